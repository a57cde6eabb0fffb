//! More of Envoy 1.40's stat names: TLS, TCP proxy, health checks, outlier detection.

use std::time::Duration;

use super::ServerStats;
use crate::stat_block;

stat_block! {
    /// What is left below the limits (`cluster.<name>.circuit_breakers.<priority>`), with `track_remaining`.
    pub struct CircuitBreakerRemainingStats {
        gauges {
            remaining_cx, remaining_cx_pools, remaining_pending, remaining_retries, remaining_rq,
        }
    }
}

stat_block! {
    /// Requests of one virtual cluster (`vhost.<virtual host>.vcluster.<name>`), or of one route (`vhost.<virtual host>.route.<stat_prefix>`).
    pub struct RequestGroupStats: raw {
        counters {
            upstream_rq_retry, upstream_rq_retry_limit_exceeded, upstream_rq_retry_overflow, upstream_rq_retry_success,
            upstream_rq_timeout, upstream_rq_total,
        }
        lazy_histograms {
            upstream_rq_time: Milliseconds,
        }
    }
}

impl RequestGroupStats {
    /// Counts an answer, or a local reply in its place.
    pub fn answer(&self, code: u16) {
        self.0.count_plain(code);
    }
}

stat_block! {
    /// Requests from the zone of this proxy to hosts of one zone (`cluster.<name>.zone.<from>.<to>`).
    pub struct ZoneStats: lazy raw {
        lazy_histograms {
            upstream_rq_time: Milliseconds,
        }
    }
}

impl ZoneStats {
    /// Counts an answer, or a local reply in its place.
    pub fn answer(&self, code: u16) {
        self.0.count_plain(code);
    }
}

stat_block! {
    /// How routes are found for the requests of one HTTP connection manager (`http.<stat_prefix>`), with `record_route_resolution_stats`.
    pub struct RouteResolutionStats {
        histograms {
            downstream_rq_route_resolution_time_us: Microseconds, downstream_rq_route_resolutions: Unspecified,
        }
    }
}

stat_block! {
    /// The ring of one cluster (`cluster.<name>.ring_hash_lb`).
    pub struct RingHashStats {
        gauges {
            max_hashes_per_host, min_hashes_per_host, size,
        }
    }
}

stat_block! {
    /// The Maglev table of one cluster (`cluster.<name>.maglev_lb`).
    pub struct MaglevStats {
        gauges {
            max_entries_per_host, min_entries_per_host,
        }
    }
}

stat_block! {
    /// Active health checks of one cluster (`cluster.<name>.health_check`).
    pub struct HealthCheckStats {
        counters {
            attempt, failure, network_failure, passive_failure, success, verify_cluster,
        }
        gauges {
            degraded, healthy,
        }
    }
}

stat_block! {
    /// Outlier detection of one cluster (`cluster.<name>.outlier_detection`).
    pub struct OutlierDetectionStats {
        counters {
            ejections_consecutive_5xx, ejections_detected_consecutive_5xx, ejections_detected_consecutive_gateway_failure,
            ejections_detected_consecutive_local_origin_failure, ejections_detected_degradation,
            ejections_detected_failure_percentage, ejections_detected_local_origin_failure_percentage,
            ejections_detected_local_origin_success_rate, ejections_detected_success_rate, ejections_enforced_consecutive_5xx,
            ejections_enforced_consecutive_gateway_failure, ejections_enforced_consecutive_local_origin_failure,
            ejections_enforced_failure_percentage, ejections_enforced_local_origin_failure_percentage,
            ejections_enforced_local_origin_success_rate, ejections_enforced_success_rate, ejections_enforced_total,
            ejections_overflow, ejections_success_rate, ejections_total,
        }
        gauges {
            ejections_active,
        }
    }
}

stat_block! {
    /// TLS of one side: `listener.<address>.ssl` or `cluster.<name>.ssl`.
    pub struct SslStats {
        counters {
            connection_error, fail_verify_cert_hash, fail_verify_error, fail_verify_no_cert, fail_verify_san, handshake,
            no_certificate, ocsp_staple_failed, ocsp_staple_omitted, ocsp_staple_requests, ocsp_staple_responses, session_reused,
        }
    }
}

stat_block! {
    /// TLS contexts: `listener.<address>.server_ssl_socket_factory` or `cluster.<name>.client_ssl_socket_factory`.
    pub struct SslSocketFactoryStats {
        counters {
            downstream_context_secrets_not_ready, ssl_context_update_by_sds, upstream_context_secrets_not_ready,
        }
    }
}

stat_block! {
    /// One TCP proxy (`tcp.<stat_prefix>`).
    pub struct TcpProxyStats {
        counters {
            downstream_cx_drain_close, downstream_cx_no_route, downstream_cx_overload_close, downstream_cx_rx_bytes_total,
            downstream_cx_total, downstream_cx_tx_bytes_total, downstream_flow_control_paused_reading_total,
            downstream_flow_control_resumed_reading_total, early_data_received_count_total, idle_timeout,
            max_downstream_connection_duration, route_delayed_total, upstream_flush_total,
        }
        gauges {
            downstream_cx_rx_bytes_buffered, downstream_cx_tx_bytes_buffered, upstream_flush_active,
        }
    }
}

stat_block! {
    /// The TLS inspector listener filter (`tls_inspector`).
    pub struct TlsInspectorStats {
        counters {
            alpn_found, alpn_not_found, client_hello_too_large, sni_found, sni_not_found, tls_found, tls_not_found,
        }
        histograms {
            bytes_processed: Unspecified,
        }
    }
}

impl SslStats {
    /// Counts a handshake: `handshake`, `versions.<version>`, `ciphers.<cipher>`, and `session_reused`, `no_certificate`.
    /// Names are OpenSSL's: `TLSv1.3`, `TLS_AES_128_GCM_SHA256`, `ECDHE-RSA-AES128-GCM-SHA256`.
    pub fn handshake_done(&self, version: &'static str, cipher: &'static str, reused: bool, peer_certificate: bool) {
        self.handshake().inc();
        self.0.count_name("versions.", version);
        self.0.count_name("ciphers.", cipher);
        if reused {
            self.session_reused().inc();
        }
        if !peer_certificate {
            self.no_certificate().inc();
        }
    }

    /// Counts the key exchange group of a handshake: `curves.<curve>`, such as `X25519`.
    pub fn curve(&self, curve: &'static str) {
        self.0.count_name("curves.", curve);
    }
}

stat_block! {
    /// Routes that are discovered (`http.<stat_prefix>.rds.<route_config_name>`).
    pub struct RdsStats {
        counters {
            config_reload, init_fetch_timeout, update_attempt, update_empty, update_failure, update_rejected, update_success,
        }
        gauges {
            config_reload_time_ms, update_time, version,
        }
        histograms {
            update_duration: Milliseconds,
        }
    }
}

impl ServerStats {
    /// Writes what is known from the start: workers, and the values that a proxy without hot restart and OCSP always has.
    pub fn started(&self, concurrency: u64, initialization: Duration) {
        self.concurrency().set(concurrency);
        self.hot_restart_generation().set(1);
        self.days_until_first_cert_expiring().set(u32::MAX.into());
        self.initialization_time_ms().record(initialization.as_millis() as u64);
    }

    /// Brings up to date what is only known on request: uptime, whether the proxy is live, its state (0 live, 1 draining,
    /// 2 before initialization, 3 initializing), open connections, and the memory that the kernel tells of.
    pub fn refresh(&self, uptime: Duration, state: u64, connections: u64) {
        self.uptime().set(uptime.as_secs());
        self.live().set(u64::from(state == 0));
        self.state().set(state);
        self.total_connections().set(connections);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bytes = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default();
            line.trim_start_matches(':').split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        self.memory_allocated().set(bytes("RssAnon"));
        self.memory_heap_size().set(bytes("VmData"));
        self.memory_physical_size().set(bytes("VmRSS"));
    }
}
