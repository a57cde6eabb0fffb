//! The lists of Envoy 1.40's stat names, one block each.
//!
//! Names that stay 0 in a proxy without the feature are listed where Envoy prints them too.

/// Declares a struct with one method a stat, over a [`super::Block`]: `stats.upstream_rq_total().inc()`.
///
/// A name that is no identifier is written behind `=`. `lazy` blocks do not exist before they are touched; the prefix of `raw` ones is taken as
/// it is.
#[macro_export]
macro_rules! stat_block {
    (
        $(#[$doc:meta])*
        pub struct $name:ident $(: $($flag:ident)+)? {
            $(counters { $($c:ident $(= $cn:literal)?),* $(,)? })?
            $(gauges { $($g:ident $(= $gn:literal)?),* $(,)? })?
            $(histograms { $($h:ident $(= $hn:literal)? : $hu:ident),* $(,)? })?
            $(lazy_histograms { $($l:ident $(= $ln:literal)? : $lu:ident),* $(,)? })?
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name(std::sync::Arc<$crate::stats::Block>);

        const _: () = {
            #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
            enum Counters { $($($c,)*)? __End }
            #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
            enum Gauges { $($($g,)*)? __End }
            #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
            enum Histograms { $($($h,)*)? $($($l,)*)? __End }

            // A block may name every part.
            #[allow(clippy::needless_update)]
            static TEMPLATE: $crate::stats::Template = $crate::stats::Template {
                counters: &[$($($crate::stat_block!(@name $c $($cn)?),)*)?],
                gauges: &[$($($crate::stat_block!(@name $g $($gn)?),)*)?],
                histograms: &[$($(($crate::stat_block!(@name $h $($hn)?), $crate::stats::Unit::$hu),)*)?],
                lazy_histograms: &[$($(($crate::stat_block!(@name $l $($ln)?), $crate::stats::Unit::$lu),)*)?],
                $($($flag: true,)+)?
                ..$crate::stats::EMPTY
            };

            impl $name {
                /// Registers the names below `prefix`, or finds them registered.
                pub fn new(store: &$crate::stats::Store, prefix: &str) -> $name {
                    let _ = (Counters::__End as usize, Gauges::__End as usize, Histograms::__End as usize);
                    $name(store.block(prefix, &TEMPLATE))
                }

                /// The block behind it.
                pub fn block(&self) -> &$crate::stats::Block {
                    &self.0
                }

                $($(
                    #[doc = concat!("Counter `", $crate::stat_block!(@name $c $($cn)?), "`.")]
                    #[inline]
                    pub fn $c(&self) -> $crate::stats::CounterRef<'_> {
                        self.0.counter(Counters::$c as usize)
                    }
                )*)?
                $($(
                    #[doc = concat!("Gauge `", $crate::stat_block!(@name $g $($gn)?), "`.")]
                    #[inline]
                    pub fn $g(&self) -> $crate::stats::GaugeRef<'_> {
                        self.0.gauge(Gauges::$g as usize)
                    }
                )*)?
                $($(
                    #[doc = concat!("Histogram `", $crate::stat_block!(@name $h $($hn)?), "`.")]
                    #[inline]
                    pub fn $h(&self) -> $crate::stats::HistogramRef<'_> {
                        self.0.histogram(Histograms::$h as usize)
                    }
                )*)?
                $($(
                    #[doc = concat!("Histogram `", $crate::stat_block!(@name $l $($ln)?), "`, there from its first value on.")]
                    #[inline]
                    pub fn $l(&self) -> $crate::stats::HistogramRef<'_> {
                        self.0.histogram(Histograms::$l as usize)
                    }
                )*)?
            }
        };
    };
    (@name $ident:ident) => { stringify!($ident) };
    (@name $ident:ident $name:literal) => { $name };
}

stat_block! {
    /// Traffic of one cluster (`cluster.<name>`): connections, requests, balancing, circuit breakers.
    pub struct ClusterStats {
        counters {
            bind_errors, lb_healthy_panic, lb_local_cluster_not_ok, lb_recalculate_zone_structures, lb_subsets_created,
            lb_subsets_fallback, lb_subsets_fallback_panic, lb_subsets_removed, lb_subsets_selected, lb_zone_cluster_too_small,
            lb_zone_no_capacity_left, lb_zone_routing_all_directly, lb_zone_routing_cross_zone, lb_zone_routing_sampled,
            original_dst_host_invalid, retry_or_shadow_abandoned, upstream_cx_close_notify, upstream_cx_connect_attempts_exceeded,
            upstream_cx_connect_fail, upstream_cx_connect_timeout, upstream_cx_connect_with_0_rtt, upstream_cx_destroy,
            upstream_cx_destroy_local, upstream_cx_destroy_local_with_active_rq, upstream_cx_destroy_remote,
            upstream_cx_destroy_remote_with_active_rq, upstream_cx_destroy_with_active_rq, upstream_cx_http1_total,
            upstream_cx_http2_total, upstream_cx_http3_total, upstream_cx_idle_timeout, upstream_cx_max_duration_reached,
            upstream_cx_max_requests, upstream_cx_none_healthy, upstream_cx_overflow, upstream_cx_pool_overflow,
            upstream_cx_preconnect_skipped, upstream_cx_protocol_error, upstream_cx_rx_bytes_total, upstream_cx_total,
            upstream_cx_tx_bytes_total, upstream_flow_control_backed_up_total, upstream_flow_control_drained_total,
            upstream_flow_control_paused_reading_total, upstream_flow_control_resumed_reading_total, upstream_http3_broken,
            upstream_internal_redirect_failed_total, upstream_internal_redirect_succeeded_total, upstream_rq_0rtt,
            upstream_rq_active_overflow, upstream_rq_cancelled, upstream_rq_completed, upstream_rq_maintenance_mode,
            upstream_rq_max_duration_reached, upstream_rq_pending_failure_eject, upstream_rq_pending_overflow,
            upstream_rq_pending_total, upstream_rq_per_try_idle_timeout, upstream_rq_per_try_timeout, upstream_rq_retry,
            upstream_rq_retry_backoff_exponential, upstream_rq_retry_backoff_ratelimited, upstream_rq_retry_limit_exceeded,
            upstream_rq_retry_overflow, upstream_rq_retry_success, upstream_rq_rx_reset, upstream_rq_rx_reset_no_error,
            upstream_rq_timeout, upstream_rq_total, upstream_rq_tx_reset,
        }
        gauges {
            default_cx_open = "circuit_breakers.default.cx_open", default_cx_pool_open = "circuit_breakers.default.cx_pool_open",
            default_rq_open = "circuit_breakers.default.rq_open",
            default_rq_pending_open = "circuit_breakers.default.rq_pending_open",
            default_rq_retry_open = "circuit_breakers.default.rq_retry_open", high_cx_open = "circuit_breakers.high.cx_open",
            high_cx_pool_open = "circuit_breakers.high.cx_pool_open", high_rq_open = "circuit_breakers.high.rq_open",
            high_rq_pending_open = "circuit_breakers.high.rq_pending_open",
            high_rq_retry_open = "circuit_breakers.high.rq_retry_open", lb_subsets_active, upstream_cx_active,
            upstream_cx_rx_bytes_buffered, upstream_cx_tx_bytes_buffered, upstream_queue_overloaded, upstream_rq_active,
            upstream_rq_pending_active,
        }
        histograms {
            upstream_cx_connect_ms: Milliseconds, upstream_cx_length_ms: Milliseconds, upstream_rq_per_cx: Unspecified,
        }
        lazy_histograms {
            canary_upstream_rq_time = "canary.upstream_rq_time": Milliseconds,
            external_upstream_rq_time = "external.upstream_rq_time": Milliseconds,
            internal_upstream_rq_time = "internal.upstream_rq_time": Milliseconds, upstream_rq_time: Milliseconds,
        }
    }
}

stat_block! {
    /// PROXY protocol headers that a cluster's connections begin with (`cluster.<name>.upstream.proxyprotocol`).
    pub struct ProxyHeaderStats {
        counters {
            v2_tlvs_exceed_max_length,
        }
    }
}

stat_block! {
    /// Hosts of one cluster (`cluster.<name>`).
    pub struct ClusterEndpointStats {
        counters {
            default_total_match_count = "default.total_match_count", membership_change,
        }
        gauges {
            max_host_weight, membership_degraded, membership_excluded, membership_healthy, membership_total,
        }
    }
}

stat_block! {
    /// Updates of one cluster (`cluster.<name>`): EDS and DNS.
    pub struct ClusterConfigStats {
        counters {
            assignment_stale, assignment_timeout_received, assignment_use_cached, update_attempt, update_empty, update_failure,
            update_no_rebuild, update_success,
        }
        gauges {
            version, warming_state,
        }
    }
}

stat_block! {
    /// One HTTP connection manager (`http.<stat_prefix>`).
    pub struct HttpStats {
        counters {
            downstream_cx_delayed_close_timeout, downstream_cx_destroy, downstream_cx_destroy_active_rq,
            downstream_cx_destroy_local, downstream_cx_destroy_local_active_rq, downstream_cx_destroy_remote,
            downstream_cx_destroy_remote_active_rq, downstream_cx_drain_close, downstream_cx_http1_total, downstream_cx_http2_total,
            downstream_cx_http3_total, downstream_cx_idle_timeout, downstream_cx_max_duration_reached,
            downstream_cx_max_requests_reached, downstream_cx_overload_disable_keepalive, downstream_cx_protocol_error,
            downstream_cx_rx_bytes_total, downstream_cx_ssl_total, downstream_cx_total, downstream_cx_tx_bytes_total,
            downstream_cx_upgrades_total, downstream_flow_control_paused_reading_total,
            downstream_flow_control_resumed_reading_total, downstream_rq_1xx, downstream_rq_2xx, downstream_rq_3xx,
            downstream_rq_4xx, downstream_rq_5xx, downstream_rq_completed, downstream_rq_failed_path_normalization,
            downstream_rq_header_timeout, downstream_rq_http1_total, downstream_rq_http2_total, downstream_rq_http3_total,
            downstream_rq_idle_timeout, downstream_rq_max_duration_reached, downstream_rq_non_relative_path,
            downstream_rq_overload_close, downstream_rq_redirected_with_normalized_path, downstream_rq_rejected_via_ip_detection,
            downstream_rq_response_before_rq_complete, downstream_rq_rx_reset, downstream_rq_timeout, downstream_rq_too_large,
            downstream_rq_too_many_premature_resets, downstream_rq_total, downstream_rq_tx_reset, downstream_rq_ws_on_non_ws_route,
            rs_too_large,
        }
        gauges {
            downstream_cx_active, downstream_cx_http1_active, downstream_cx_http1_soft_drain, downstream_cx_http2_active,
            downstream_cx_http3_active, downstream_cx_rx_bytes_buffered, downstream_cx_ssl_active, downstream_cx_tx_bytes_buffered,
            downstream_cx_upgrades_active, downstream_rq_active,
        }
        histograms {
            downstream_cx_length_ms: Milliseconds, downstream_rq_time: Milliseconds,
        }
    }
}

stat_block! {
    /// The router filter of one HTTP connection manager (`http.<stat_prefix>`).
    pub struct RouterStats {
        counters {
            no_cluster, no_route, passthrough_internal_redirect_bad_location, passthrough_internal_redirect_no_route,
            passthrough_internal_redirect_predicate, passthrough_internal_redirect_too_many_redirects,
            passthrough_internal_redirect_unsafe_scheme, rq_direct_response, rq_overload_local_reply, rq_redirect,
            rq_reset_after_downstream_response_started, rq_total,
        }
    }
}

stat_block! {
    /// Tracing decisions of one HTTP connection manager (`http.<stat_prefix>.tracing`).
    pub struct TracingStats {
        counters {
            client_enabled, health_check, not_traceable, random_sampling, service_forced,
        }
    }
}

stat_block! {
    /// The PROXY protocol (`proxy_proto`).
    pub struct ProxyProtocolStats {
        counters {
            not_found_allowed, not_found_disallowed,
        }
    }
}

stat_block! {
    /// One version of the PROXY protocol (`proxy_proto.versions.v<n>`).
    pub struct ProxyProtocolVersionStats {
        counters {
            disallowed, error, found,
        }
    }
}

stat_block! {
    /// One listener (`listener.<address>`).
    pub struct ListenerStats {
        counters {
            downstream_cx_destroy, downstream_cx_overflow, downstream_cx_overload_reject, downstream_cx_total,
            downstream_cx_transport_socket_connect_timeout, downstream_global_cx_overflow, downstream_listener_filter_error,
            downstream_listener_filter_remote_close, downstream_pre_cx_timeout, extension_config_missing,
            network_extension_config_missing, no_filter_chain_match,
        }
        gauges {
            downstream_cx_active, downstream_pre_cx_active,
        }
        histograms {
            connections_accepted_per_socket_event: Unspecified, downstream_cx_length_ms: Milliseconds,
        }
    }
}

stat_block! {
    /// One worker of one listener (`listener.<address>.worker_<n>`).
    pub struct ListenerWorkerStats {
        counters {
            downstream_cx_total,
        }
        gauges {
            downstream_cx_active,
        }
    }
}

stat_block! {
    /// The HTTP/1 codec (`http1`, `cluster.<name>.http1`), there from its first connection on.
    pub struct Http1Stats: lazy {
        counters {
            dropped_headers_with_underscores, metadata_not_supported_error, requests_rejected_with_underscores_in_headers,
            response_flood,
        }
    }
}

stat_block! {
    /// The HTTP/2 codec (`http2`, `cluster.<name>.http2`), there from its first connection on.
    pub struct Http2Stats: lazy {
        counters {
            cookies_total_bytes_too_large, dropped_headers_with_underscores, goaway_sent, header_list_size_too_large,
            header_overflow, headers_cb_no_stream, inbound_empty_frames_flood, inbound_priority_frames_flood,
            inbound_window_update_frames_flood, keepalive_timeout, metadata_empty_frames, nghttp2_downstream_connections,
            nghttp2_upstream_connections, oghttp2_downstream_connections, oghttp2_upstream_connections, outbound_control_flood,
            outbound_flood, requests_rejected_with_underscores_in_headers, rx_messaging_error, rx_reset, stream_refused_errors,
            trailers, tx_flush_timeout, tx_reset,
        }
        gauges {
            deferred_stream_close, outbound_control_frames_active, outbound_frames_active, pending_send_bytes, streams_active,
        }
        histograms {
            cookie_count: Unspecified, cookie_size: Unspecified, header_count: Unspecified, header_list_size: Unspecified,
        }
    }
}

stat_block! {
    /// The HTTP/3 codec (`http3`, `cluster.<name>.http3`), there from its first connection on.
    pub struct Http3Stats: lazy {
        counters {
            dropped_headers_with_underscores, metadata_not_supported_error, quic_version_h3_29, quic_version_rfc_v1,
            requests_rejected_with_underscores_in_headers, rx_reset, tx_flush_timeout, tx_reset,
        }
    }
}

stat_block! {
    /// Listener updates (`listener_manager`).
    pub struct ListenerManagerStats {
        counters {
            listener_added, listener_create_failure, listener_create_success, listener_in_place_updated, listener_modified,
            listener_removed, listener_stopped,
        }
        gauges {
            total_filter_chains_draining, total_listeners_active, total_listeners_draining, total_listeners_warming, workers_pinned,
            workers_started,
        }
    }
}

stat_block! {
    /// Cluster updates (`cluster_manager`).
    pub struct ClusterManagerStats {
        counters {
            cluster_added, cluster_modified, cluster_removed, cluster_updated, cluster_updated_via_merge, update_merge_cancelled,
            update_out_of_merge_window,
        }
        gauges {
            active_clusters, warming_clusters,
        }
    }
}

stat_block! {
    /// The runtime layers (`runtime`).
    pub struct RuntimeStats {
        counters {
            deprecated_feature_use, load_error, load_success, override_dir_exists, override_dir_not_exists,
        }
        gauges {
            admin_overrides_active, deprecated_feature_seen_since_process_start, num_keys, num_layers,
        }
    }
}

stat_block! {
    /// Files written to, access logs (`filesystem`).
    pub struct FilesystemStats {
        counters {
            flushed_by_timer, reopen_failed, write_buffered, write_completed, write_failed,
        }
        gauges {
            write_total_buffered,
        }
    }
}

stat_block! {
    /// The whole proxy (`server`).
    pub struct ServerStats {
        counters {
            debug_assertion_failures, dropped_stat_flushes, dynamic_unknown_fields, envoy_bug_failures, envoy_notifications,
            static_unknown_fields, wip_protos,
        }
        gauges {
            compilation_settings_fips_mode = "compilation_settings.fips_mode", concurrency, days_until_first_cert_expiring,
            hot_restart_epoch, hot_restart_generation, live, memory_allocated, memory_heap_size, memory_physical_size,
            parent_connections, seconds_until_first_ocsp_response_expiring, state, stats_recent_lookups, total_connections, uptime,
            version,
        }
        histograms {
            initialization_time_ms: Milliseconds,
        }
    }
}

stat_block! {
    /// What one listener counts of one HTTP connection manager (`listener.<address>.http.<stat_prefix>`).
    pub struct ListenerHttpStats {
        counters {
            downstream_rq_1xx, downstream_rq_2xx, downstream_rq_3xx, downstream_rq_4xx, downstream_rq_5xx, downstream_rq_completed,
        }
    }
}

stat_block! {
    /// What one cluster counts under a name that clients ask for (`cluster.<name>.<x-envoy-upstream-alt-stat-name>`).
    pub struct AltClusterStats: lazy {
        counters {
            upstream_rq_completed,
        }
        lazy_histograms {
            canary_upstream_rq_time = "canary.upstream_rq_time": Milliseconds,
            external_upstream_rq_time = "external.upstream_rq_time": Milliseconds,
            internal_upstream_rq_time = "internal.upstream_rq_time": Milliseconds, upstream_rq_time: Milliseconds,
        }
    }
}

impl AltClusterStats {
    /// Counts an answer as [`ClusterStats::answer`] does.
    pub fn answer(&self, code: u16, internal: bool, canary: bool) {
        self.upstream_rq_completed().inc();
        self.0.count_code(code, internal, canary);
    }

    /// Counts an answer as [`ClusterStats::answer_in_parts`] does.
    pub fn answer_in_parts(&self, code: u16, internal: bool, canary: bool) {
        self.upstream_rq_completed().inc();
        self.0.count_parts(code, internal, canary);
    }

    /// Records the time of a request as [`ClusterStats::request_time`] does.
    pub fn request_time(&self, ms: u64, internal: bool, canary: bool) {
        self.upstream_rq_time().record(ms);
        if canary {
            self.canary_upstream_rq_time().record(ms);
        }
        if internal { self.internal_upstream_rq_time().record(ms) } else { self.external_upstream_rq_time().record(ms) }
    }
}

impl ClusterStats {
    /// Counts a complete answer from upstream, or a local reply in its place: `upstream_rq_completed`, `upstream_rq_<code>`,
    /// `upstream_rq_<n>xx` and the same below `external.` or `internal.` (`x-envoy-internal`) and `canary.`.
    pub fn answer(&self, code: u16, internal: bool, canary: bool) {
        self.upstream_rq_completed().inc();
        self.0.count_code(code, internal, canary);
    }

    /// Counts an answer as [`ClusterStats::answer`] does, but for `upstream_rq_<code>` and its class of the cluster as a whole.
    pub fn answer_in_parts(&self, code: u16, internal: bool, canary: bool) {
        self.upstream_rq_completed().inc();
        self.0.count_parts(code, internal, canary);
    }

    /// Counts an answer that another attempt takes the place of, below `retry.` only.
    pub fn retried(&self, code: u16) {
        self.0.count_retried(code);
    }

    /// Records the time of a request in ms: `upstream_rq_time` and the same below `external.` or `internal.`, and `canary.`.
    pub fn request_time(&self, ms: u64, internal: bool, canary: bool) {
        self.upstream_rq_time().record(ms);
        if canary {
            self.canary_upstream_rq_time().record(ms);
        }
        if internal { self.internal_upstream_rq_time().record(ms) } else { self.external_upstream_rq_time().record(ms) }
    }
}

macro_rules! count_answers {
    ($($stats:ident),*) => {$(
        impl $stats {
            /// Counts an answer to a client: `downstream_rq_completed` and `downstream_rq_<n>xx`.
            pub fn answer(&self, status: u16) {
                self.downstream_rq_completed().inc();
                match status / 100 {
                    1 => self.downstream_rq_1xx().inc(),
                    2 => self.downstream_rq_2xx().inc(),
                    3 => self.downstream_rq_3xx().inc(),
                    4 => self.downstream_rq_4xx().inc(),
                    5 => self.downstream_rq_5xx().inc(),
                    _ => {}
                }
            }
        }
    )*};
}

count_answers!(HttpStats, ListenerHttpStats);
