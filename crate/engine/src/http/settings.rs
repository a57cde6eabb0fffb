//! The settings of one HTTP connection manager, compiled: plain data that the data plane reads.
//!
//! `config` fills it from the `HttpConnectionManager` message; the defaults are Envoy's.

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::{
    client_certificate::ForwardClientCert,
    header::{HeaderName, Known},
    proxy_status::ProxyStatus,
};
use crate::{cidr::Cidr, filter::header_mutation::Step, route::StringMatch, worker::random::Random};

/// Compiled settings of one HTTP connection manager.
#[derive(Clone, Debug)]
pub struct ConnectionManager {
    /// `codec_type`.
    pub codec: Codec,
    /// `server_name`: value of the `server` header; default `envoy`.
    pub server_name: Arc<str>,
    /// `server_header_transformation`; default [`ServerHeader::Overwrite`].
    pub server_header: ServerHeader,
    /// `scheme_header_transformation`; default [`SchemeHeader::Keep`].
    pub scheme_header: SchemeHeader,
    /// `early_header_mutation_extensions`: what is done to a request's headers before anything else.
    pub early_mutations: Vec<Step>,
    /// `proxy_status_config`; absent by default.
    pub proxy_status: Option<ProxyStatus>,
    /// Who the client is; default [`ClientAddress::Detected`] by the last address of `x-forwarded-for`.
    pub client_address: ClientAddress,
    /// `via`: value that is appended to `via` of requests and answers; empty means none.
    pub via: Arc<str>,
    /// `generate_request_id`; default true.
    pub generate_request_id: bool,
    /// `pack_trace_reason` of the UUID request id: a request id of a client outside never says that it is traced; default true.
    pub pack_trace_reason: bool,
    /// `preserve_external_request_id`; default false.
    pub preserve_external_request_id: bool,
    /// `always_set_request_id_in_response`; default false.
    pub always_set_request_id_in_response: bool,
    /// `proxy_100_continue`: `expect: 100-continue` goes upstream instead of being answered here; default false.
    pub proxy_100_continue: bool,
    /// `add_user_agent`: writes the service cluster's name as `user-agent` and `x-envoy-downstream-service-cluster`.
    pub user_agent: Option<Arc<str>>,
    /// The node's name for `x-envoy-downstream-service-node`; used where `user_agent` is set.
    pub node_name: Arc<str>,
    /// `append_x_forwarded_port`; default false.
    pub append_x_forwarded_port: bool,
    /// `forward_proto_config`; absent by default.
    pub forward_proto: Option<ForwardProto>,
    /// `forward_client_cert_details`; default [`ForwardClientCert::Sanitize`].
    pub forward_client_cert: ForwardClientCert,
    /// `internal_address_config`: which addresses count as internal; none by default.
    pub internal_addresses: InternalAddresses,
    /// `request_timeout`; absent by default.
    pub request_timeout: Option<Duration>,
    /// `request_headers_timeout`; absent by default.
    pub request_headers_timeout: Option<Duration>,
    /// `stream_idle_timeout`; default 5 minutes, absent where the configuration says 0.
    pub stream_idle_timeout: Option<Duration>,
    /// `stream_flush_timeout`; that of idle streams where absent, none where it is 0.
    pub stream_flush_timeout: Option<Duration>,
    /// `common_http_protocol_options.idle_timeout`; default 1 hour, absent where the configuration says 0.
    pub idle_timeout: Option<Duration>,
    /// `common_http_protocol_options.max_connection_duration`; absent by default.
    pub max_connection_duration: Option<Duration>,
    /// `common_http_protocol_options.max_connection_duration_jitter`: up to so many percent of the duration are added; default 0.
    pub max_connection_duration_jitter: f64,
    /// `http1_safe_max_connection_duration`: an HTTP/1 connection that is too old ends with its next answer only; default false.
    pub http1_safe_max_connection_duration: bool,
    /// `common_http_protocol_options.max_stream_duration`; absent by default.
    pub max_stream_duration: Option<Duration>,
    /// `common_http_protocol_options.max_requests_per_connection`; 0 means without limit.
    pub max_requests_per_connection: u32,
    /// `drain_timeout`; default 5 s. See [`ConnectionManager::drain_time`].
    pub drain_timeout: Duration,
    /// `drain_timeout_jitter`: up to so many percent of it are added; default 0.
    pub drain_timeout_jitter: f64,
    /// `delayed_close_timeout`; default 1 s, absent where the configuration says 0.
    pub delayed_close_timeout: Option<Duration>,
    /// `max_request_headers_kb`, in bytes; default 60 KiB.
    pub max_request_headers_bytes: usize,
    /// `common_http_protocol_options.max_headers_count`; default 100.
    pub max_headers_count: usize,
    /// `common_http_protocol_options.headers_with_underscores_action`; default [`Underscores::Allow`].
    pub underscores: Underscores,
    /// `http_protocol_options`.
    pub http1: Http1,
    /// `http2_protocol_options`.
    pub http2: Http2,
    /// `http3_protocol_options`.
    pub http3: Http3,
    /// `normalize_path`, `merge_slashes` and `path_with_escaped_slashes_action`.
    pub path: PathOptions,
    /// `strip_matching_host_port` and `strip_any_host_port`.
    pub strip_port: StripPort,
    /// `strip_trailing_host_dot`; default false.
    pub strip_trailing_host_dot: bool,
    /// `upgrade_configs`.
    pub upgrades: Vec<Upgrade>,
}

impl Default for ConnectionManager {
    fn default() -> ConnectionManager {
        ConnectionManager {
            codec: Codec::Auto,
            server_name: "envoy".into(),
            server_header: ServerHeader::Overwrite,
            scheme_header: SchemeHeader::Keep,
            early_mutations: Vec::new(),
            proxy_status: None,
            client_address: ClientAddress::default(),
            via: "".into(),
            generate_request_id: true,
            pack_trace_reason: true,
            preserve_external_request_id: false,
            always_set_request_id_in_response: false,
            proxy_100_continue: false,
            user_agent: None,
            node_name: "".into(),
            append_x_forwarded_port: false,
            forward_proto: None,
            forward_client_cert: ForwardClientCert::Sanitize,
            internal_addresses: InternalAddresses::default(),
            request_timeout: None,
            request_headers_timeout: None,
            stream_idle_timeout: Some(Duration::from_secs(300)),
            stream_flush_timeout: None,
            idle_timeout: Some(Duration::from_secs(3600)),
            max_connection_duration: None,
            max_connection_duration_jitter: 0.0,
            http1_safe_max_connection_duration: false,
            max_stream_duration: None,
            max_requests_per_connection: 0,
            drain_timeout: Duration::from_secs(5),
            drain_timeout_jitter: 0.0,
            delayed_close_timeout: Some(Duration::from_secs(1)),
            max_request_headers_bytes: 60 * 1024,
            max_headers_count: 100,
            underscores: Underscores::Allow,
            http1: Http1::default(),
            http2: Http2::default(),
            http3: Http3::default(),
            path: PathOptions::default(),
            strip_port: StripPort::None,
            strip_trailing_host_dot: false,
            upgrades: Vec::new(),
        }
    }
}

impl ConnectionManager {
    /// How long one connection may be used.
    pub fn lifetime(&self, random: &Random) -> Option<Duration> {
        self.max_connection_duration.map(|max| random.lengthen(max, self.max_connection_duration_jitter))
    }

    /// How long one connection may take to drain.
    pub fn drain_time(&self, random: &Random) -> Duration {
        random.lengthen(self.drain_timeout, self.drain_timeout_jitter)
    }

    /// Whether an upgrade of this type (the `upgrade` header's value, or `CONNECT`) is allowed; no match means no.
    pub fn allows_upgrade(&self, kind: &[u8]) -> bool {
        self.upgrades.iter().find(|u| u.kind.as_bytes().eq_ignore_ascii_case(kind)).is_some_and(|u| u.enabled)
    }
}

/// `forward_proto_config`: which protocol a client spoke to the balancer in front of us, by the port that a PROXY protocol header names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardProto {
    /// `https_destination_ports`; they count before the others.
    pub https: Vec<u32>,
    /// `http_destination_ports`
    pub http: Vec<u32>,
}

impl ForwardProto {
    /// The protocol of a port that is listed.
    pub fn of(&self, port: u16) -> Option<Scheme> {
        let listed = |ports: &[u32]| ports.contains(&u32::from(port));
        if listed(&self.https) {
            return Some(Scheme::Https);
        }
        listed(&self.http).then_some(Scheme::Http)
    }
}

/// The router filter's own configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Router {
    /// `suppress_envoy_headers`: no `x-envoy-…` header is written; default false.
    pub suppress_envoy_headers: bool,
    /// `respect_expected_rq_timeout`: `x-envoy-expected-rq-timeout-ms` of an internal request is its timeout; default false.
    pub respect_expected_rq_timeout: bool,
    /// `strict_check_headers`: control headers whose value must be readable, else the request is answered 400.
    pub strict_check_headers: Vec<Known>,
    /// Not `dynamic_stats`: answers are not counted by their status, nor is their time recorded; default false.
    pub no_dynamic_stats: bool,
    /// `suppress_grpc_request_failure_code_stats`: a cluster counts no statuses of answers to gRPC requests; default false.
    pub suppress_grpc_codes: bool,
}

/// `codec_type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// ALPN decides, else the connection's first bytes.
    #[default]
    Auto,
    /// HTTP/1 only.
    Http1,
    /// HTTP/2 only.
    Http2,
    /// HTTP/3, which only a listener of datagrams can speak.
    Http3,
}

/// `server_header_transformation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerHeader {
    /// Always the configured name.
    #[default]
    Overwrite,
    /// The configured name where the upstream sent none.
    AppendIfAbsent,
    /// Left as the upstream sent it, present or not.
    PassThrough,
}

/// `scheme_header_transformation`: what becomes of a request's scheme.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SchemeHeader {
    /// It stays.
    #[default]
    Keep,
    /// `scheme_to_overwrite`: this one takes its place, in `x-forwarded-proto` too.
    Overwrite(Scheme),
    /// `match_upstream`: that of the connection to the upstream takes its place.
    MatchUpstream,
}

/// A request's scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// As it stands in `:scheme`.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// `headers_with_underscores_action`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Underscores {
    /// Such headers are like any others.
    #[default]
    Allow,
    /// A request with one is answered 400.
    RejectRequest,
    /// The header is dropped.
    DropHeader,
}

/// `http_protocol_options`: HTTP/1 towards clients, or towards upstreams for a cluster.
#[derive(Clone, Debug)]
pub struct Http1 {
    /// `allow_absolute_url`; default true.
    pub allow_absolute_url: bool,
    /// `accept_http_10`; default false: such requests are answered 426.
    pub accept_http_10: bool,
    /// `default_host_for_http_10`; empty means none.
    pub default_host_for_http_10: Arc<str>,
    /// `header_key_format`: how names are written that did not arrive with a case to keep; default [`HeaderCase::Lower`].
    pub header_case: HeaderCase,
    /// The `preserve_case` formatter of `header_key_format`: what is read here is written on the other side as it arrived.
    pub preserve_case: Option<PreserveCase>,
    /// `enable_trailers`; default false: trailers are dropped.
    pub enable_trailers: bool,
    /// `allow_chunked_length`: `content-length` beside `transfer-encoding: chunked` is removed instead of refused; default false.
    pub allow_chunked_length: bool,
    /// `send_fully_qualified_url`: requests to upstream name scheme and host in their first line; default false.
    pub send_fully_qualified_url: bool,
    /// `ignore_http_11_upgrade`: upgrades that are taken out of a request.
    pub ignored_upgrades: Vec<StringMatch>,
    /// `override_stream_error_on_invalid_http_message`, else the connection manager's `stream_error_on_invalid_http_message`: a request that
    /// is answered 400 for what it says does not end its connection, where its end is known; default false.
    pub stream_errors: bool,
    /// `allow_custom_methods`: any token is a method; default false: only those that Envoy knows.
    pub allow_custom_methods: bool,
}

impl Default for Http1 {
    fn default() -> Http1 {
        Http1 {
            allow_absolute_url: true,
            accept_http_10: false,
            default_host_for_http_10: "".into(),
            header_case: HeaderCase::Lower,
            preserve_case: None,
            enable_trailers: false,
            allow_chunked_length: false,
            send_fully_qualified_url: false,
            ignored_upgrades: Vec::new(),
            stream_errors: false,
            allow_custom_methods: false,
        }
    }
}

/// `header_key_format`: the case in which HTTP/1 header names are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderCase {
    /// `content-type`
    #[default]
    Lower,
    /// `Content-Type`
    ProperWords,
}

/// `PreserveCaseFormatterConfig`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreserveCase {
    /// `formatter_type_on_envoy_headers`: how names that did not arrive are written.
    pub own: HeaderCase,
    /// `forward_reason_phrase`
    pub forward_reason: bool,
}

/// `http2_protocol_options`.
#[derive(Clone, Debug)]
pub struct Http2 {
    /// `max_concurrent_streams`; default 1024 towards clients (Envoy 1.40).
    pub max_concurrent_streams: u32,
    /// `initial_stream_window_size`, in bytes.
    pub initial_stream_window_size: u32,
    /// `initial_connection_window_size`, in bytes.
    pub initial_connection_window_size: u32,
    /// `allow_connect`: extended CONNECT; default false.
    pub allow_connect: bool,
    /// `hpack_table_size`, in bytes; default 4096.
    pub hpack_table_size: u32,
    /// `connection_keepalive`; absent by default.
    pub keepalive: Option<Keepalive>,
    /// What a peer may send that costs it nothing.
    pub floods: FloodLimits,
    /// `custom_settings_parameters`, as they stand in a SETTINGS frame; empty by default.
    pub custom_settings: Box<[u8]>,
    /// `custom_settings_parameters` with the identifier 5, in bytes: how large a frame of the peer may be; 16,384 where absent.
    pub max_frame_size: Option<u32>,
}

impl Default for Http2 {
    fn default() -> Http2 {
        Http2 {
            max_concurrent_streams: 1024,
            initial_stream_window_size: 16 * 1024 * 1024,
            initial_connection_window_size: 24 * 1024 * 1024,
            allow_connect: false,
            hpack_table_size: 4096,
            keepalive: None,
            floods: FloodLimits::default(),
            custom_settings: Box::default(),
            max_frame_size: None,
        }
    }
}

/// `http3_protocol_options`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Http3 {
    /// `allow_extended_connect`: RFC 9220; default false.
    pub allow_extended_connect: bool,
    /// `override_stream_error_on_invalid_http_message`, else the connection manager's: an invalid head ends its stream only; default false.
    pub stream_errors: bool,
}

/// `connection_keepalive`: how a connection shows that it is alive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Keepalive {
    /// `interval` between pings; none are sent by the clock where absent.
    pub interval: Option<Duration>,
    /// `timeout`: how long the peer has to answer one.
    pub timeout: Duration,
    /// `interval_jitter`, in percent of the interval that is added at random; default 15.
    pub jitter: f64,
    /// `connection_idle_interval`: an upstream connection that was idle for so long shows that it is alive before it carries a request.
    pub idle_interval: Option<Duration>,
}

/// The limits of `http2_protocol_options` on frames that cost their sender nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodLimits {
    /// `max_outbound_frames`: frames of all kinds that wait to be written; default 10,000.
    pub outbound_frames: u32,
    /// `max_outbound_control_frames`: acknowledgements of PING and SETTINGS, and resets, that wait to be written; default 1000.
    pub control_frames: u32,
    /// `max_consecutive_inbound_frames_with_empty_payload`; default 1.
    pub empty_frames: u32,
    /// `max_inbound_priority_frames_per_stream`; default 100.
    pub priority_frames: u32,
    /// `max_inbound_window_update_frames_per_data_frame_sent`; default 10.
    pub window_updates: u32,
    /// `stream_reset_burst`: how many streams a client may reset at once; default 1000.
    pub reset_burst: u64,
    /// `stream_reset_rate`: how many more in each second; default 33.
    pub reset_rate: u64,
    /// `max_header_field_size_kb`, in bytes: how long a name or value may be; default 64 KiB.
    pub field_size: usize,
}

impl Default for FloodLimits {
    fn default() -> FloodLimits {
        FloodLimits {
            outbound_frames: 10_000,
            control_frames: 1000,
            empty_frames: 1,
            priority_frames: 100,
            window_updates: 10,
            reset_burst: 1000,
            reset_rate: 33,
            field_size: 64 * 1024,
        }
    }
}

/// What is done to a request's path before anything reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathOptions {
    /// `normalize_path`; default false, as in Envoy's builds.
    pub normalize: bool,
    /// `merge_slashes`; default false.
    pub merge_slashes: bool,
    /// `path_with_escaped_slashes_action`; default [`EscapedSlashes::Keep`].
    pub escaped_slashes: EscapedSlashes,
}

/// `path_with_escaped_slashes_action`: what becomes of `%2F`, `%2f`, `%5C` and `%5c`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// `KEEP_UNCHANGED`
    #[default]
    Keep,
    /// `REJECT_REQUEST`: 400.
    Reject,
    /// `UNESCAPE_AND_REDIRECT`: 307 to the unescaped path.
    UnescapeAndRedirect,
    /// `UNESCAPE_AND_FORWARD`
    UnescapeAndForward,
}

/// Which ports are taken off `:authority`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StripPort {
    /// None.
    #[default]
    None,
    /// One that equals the listener's port.
    Matching,
    /// Any.
    Any,
}

/// One entry of `upgrade_configs`.
#[derive(Clone, Debug)]
pub struct Upgrade {
    /// `upgrade_type`, such as `websocket` or `CONNECT`; compared without regard to case.
    pub kind: Box<str>,
    /// `enabled`; default true.
    pub enabled: bool,
}

/// Who a request's client is.
#[derive(Clone, Debug)]
pub enum ClientAddress {
    /// `use_remote_address`: this proxy is the first that can be trusted, and the peer of the connection the client.
    Peer {
        /// `xff_num_trusted_hops`: so many proxies in front of this one are trusted nevertheless.
        trusted_hops: usize,
        /// Not `skip_xff_append`: `x-forwarded-for` gets the peer's address.
        append: bool,
    },
    /// The first of these that finds an address; the peer where none does.
    Detected(Box<[Detection]>),
}

impl Default for ClientAddress {
    fn default() -> ClientAddress {
        ClientAddress::Detected(Box::new([Detection::Forwarded { trust: Trust::Hops(0), append: false }]))
    }
}

/// `original_ip_detection_extensions`: a way to find out who the client is.
#[derive(Clone, Debug)]
pub enum Detection {
    /// `XffConfig`: from `x-forwarded-for`.
    Forwarded {
        /// Whose entries are believed.
        trust: Trust,
        /// Not `skip_xff_append`: the header gets the peer's address, whether or not it told the client.
        append: bool,
    },
    /// `CustomHeaderConfig`: the address is a header's value.
    Header {
        /// `header_name`.
        name: HeaderName,
        /// `allow_extension_to_set_address_as_trusted`: the address may make the request an internal one.
        trusted: bool,
        /// `reject_with_status`: what a request without such an address is answered.
        reject: Option<u16>,
    },
}

/// Whose entries of `x-forwarded-for` are believed.
#[derive(Clone, Debug)]
pub enum Trust {
    /// `xff_num_trusted_hops`: those of so many proxies.
    Hops(usize),
    /// `xff_trusted_cidrs`: those of proxies in these ranges; never empty.
    Ranges(Box<[Cidr]>),
}

/// `internal_address_config`.
#[derive(Clone, Debug, Default)]
pub struct InternalAddresses {
    /// `cidr_ranges`.
    pub ranges: Vec<Cidr>,
}

impl InternalAddresses {
    /// Whether `address` lies in one of the ranges.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upgrades_are_looked_up_without_case() {
        let mut settings = ConnectionManager::default();
        settings.upgrades.push(Upgrade { kind: "websocket".into(), enabled: true });
        settings.upgrades.push(Upgrade { kind: "CONNECT".into(), enabled: false });
        assert!(settings.allows_upgrade(b"WebSocket"));
        assert!(!settings.allows_upgrade(b"connect"));
        assert!(!settings.allows_upgrade(b"h2c"));
    }
}
