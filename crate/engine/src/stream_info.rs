//! What is known of one stream: flags, timings, bytes, attempts. Access log, stats, tracing and hooks all read it.

use std::{
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    cluster::{Cluster, Host},
    error::Flags,
    filter_state::FilterState,
    http::client_certificate::Told,
    metadata::Metadata,
    route::RouteMatch,
    tls::Certificate,
    transport::proxy_protocol::Tlv,
    worker::random::Random,
};

/// The protocol of one side of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
    /// HTTP/3
    Http3,
}

impl Protocol {
    /// Whether it is a version of HTTP/1: one request after the other.
    pub fn is_http1(self) -> bool {
        matches!(self, Protocol::Http10 | Protocol::Http11)
    }

    /// As `%PROTOCOL%` prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Http10 => "HTTP/1.0",
            Protocol::Http11 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
            Protocol::Http3 => "HTTP/3",
        }
    }
}

/// What a TLS handshake settled, one for a connection.
#[derive(Clone, Debug, Default)]
pub struct TlsInfo {
    /// The server name that the client asked for.
    pub sni: Option<String>,
    /// The protocol that ALPN chose.
    pub alpn: Option<String>,
    /// As `%DOWNSTREAM_TLS_VERSION%` prints it: `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite's OpenSSL name.
    pub cipher: &'static str,
    /// The key exchange group, as BoringSSL names it: `X25519`.
    pub group: &'static str,
    /// The certificate that the peer showed and that was checked, then what it sent to vouch for it; empty where it showed none.
    pub peer: Box<[Certificate]>,
    /// The certificate that the peer was shown.
    pub local: Option<Arc<Certificate>>,
    /// What `x-forwarded-client-cert` tells of the peer.
    pub told: Told,
}

/// The downstream connection that a stream came in on.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// The peer of the socket.
    pub peer: SocketAddr,
    /// The same, or the source that a PROXY protocol header tells.
    pub remote: SocketAddr,
    /// The address that it connected to, or the destination that a PROXY protocol header tells.
    pub local: SocketAddr,
    /// Such a header tells another destination than the socket's own address.
    pub local_restored: bool,
    /// What the TLS handshake settled, where there was one.
    pub tls: Option<TlsInfo>,
    /// What a PROXY protocol header told beside the addresses, as far as the listener passes it on.
    pub tlvs: Vec<Tlv>,
    /// Number of the connection in this process.
    pub id: u64,
    /// When it was accepted; absent for the admin interface.
    pub accepted: Option<Instant>,
    /// When its TLS handshake began and was over.
    pub handshake: Option<(Instant, Instant)>,
    /// What the configuration says of the way that it came in; absent for the admin interface.
    pub entrance: Option<Arc<Entrance>>,
}

impl ConnectionInfo {
    /// A connection of which its number and addresses are all that is known: clear text, from no listener of the configuration.
    pub fn plain(id: u64, peer: SocketAddr, local: SocketAddr) -> ConnectionInfo {
        ConnectionInfo {
            peer,
            remote: peer,
            local,
            local_restored: false,
            tls: None,
            tlvs: Vec::new(),
            id,
            accepted: None,
            handshake: None,
            entrance: None,
        }
    }
}

/// What is told of an upstream connection by the streams that it carries.
#[derive(Clone, Debug)]
pub struct UpstreamConnection {
    /// Number of the connection in this process, counted with those of clients.
    pub id: u64,
    /// Our own address.
    pub local: SocketAddr,
    /// When it was begun.
    pub begun: Instant,
    /// When it stood, below TLS.
    pub connected: Option<Instant>,
    /// When its TLS handshake was over.
    pub secured: Option<Instant>,
    /// What the TLS handshake settled, where there was one.
    pub tls: Option<TlsInfo>,
}

/// What formats and matchers want to know of a listener and its filter chain; one for a chain.
#[derive(Clone, Debug)]
pub struct Entrance {
    /// The listener's name.
    pub listener_name: Arc<str>,
    /// `metadata` of the listener.
    pub listener_metadata: Option<Arc<Metadata>>,
    /// `name` of the filter chain; may be empty.
    pub chain_name: String,
    /// `metadata` of the filter chain.
    pub chain_metadata: Option<Arc<Metadata>>,
}

/// Everything that is known of one stream; filled as it goes.
#[derive(Clone, Debug)]
pub struct StreamInfo {
    /// Wall-clock time of the first byte of the request.
    pub start: SystemTime,
    /// The same moment on the monotonic clock; all timings below are behind it.
    pub started: Instant,
    /// The downstream protocol.
    pub protocol: Protocol,
    /// The downstream connection.
    pub connection: Rc<ConnectionInfo>,
    /// The client's address: the peer's, or what `x-forwarded-for` tells where it is trusted.
    pub client: SocketAddr,
    /// Status of the answer; 0 while there is none.
    pub status: u16,
    /// Response flags.
    pub flags: Flags,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub detail: Option<std::borrow::Cow<'static, str>>,
    /// Bytes of the request's body.
    pub bytes_received: u64,
    /// Bytes of the answer's body.
    pub bytes_sent: u64,
    /// When the head of the request was whole, where that was later than its begin.
    pub head_end: Option<Instant>,
    /// When the whole request had been read.
    pub request_end: Option<Instant>,
    /// When the first byte of the request went upstream.
    pub upstream_first_tx: Option<Instant>,
    /// When the first byte of the answer came from upstream.
    pub upstream_first_rx: Option<Instant>,
    /// When the first byte of the answer went to the client.
    pub response_start: Option<Instant>,
    /// When the stream ended.
    pub end: Option<Instant>,
    /// The upstream host of the last attempt.
    pub upstream_host: Option<SocketAddr>,
    /// The upstream connection of the last attempt, where it got one.
    pub upstream: Option<Rc<UpstreamConnection>>,
    /// How long the last attempt waited for its connection.
    pub pool_wait: Option<Duration>,
    /// Protocol of the upstream side.
    pub upstream_protocol: Option<Protocol>,
    /// Why the upstream connection failed, in the transport's words.
    pub upstream_failure: Option<String>,
    /// The cluster that the route chose.
    pub cluster: Option<Arc<Cluster>>,
    /// The virtual cluster that the request belongs to, where it has a name.
    pub virtual_cluster: Option<Arc<str>>,
    /// The host of the last attempt.
    pub host: Option<Arc<Host>>,
    /// The route that matched.
    pub route: Option<RouteMatch>,
    /// How often a route was looked for.
    pub route_resolutions: u32,
    /// How long that took; measured with `record_route_resolution_stats`.
    pub route_resolution_time: Duration,
    /// How many attempts at an upstream were made.
    pub attempts: u32,
    /// Dynamic metadata that filters wrote; see [`StreamInfo::metadata_mut`].
    pub metadata: Option<Box<Metadata>>,
    /// Objects that filters left; see [`StreamInfo::filter_state_mut`].
    pub filter_state: Option<Box<FilterState>>,
    /// Random numbers for what is decided or made up about the stream.
    pub random: Random,
}

impl StreamInfo {
    /// A stream that begins now; `seed` is a random number.
    pub fn new(connection: Rc<ConnectionInfo>, protocol: Protocol, seed: u64) -> StreamInfo {
        StreamInfo {
            start: SystemTime::now(),
            started: Instant::now(),
            protocol,
            client: connection.remote,
            connection,
            status: 0,
            flags: Flags::default(),
            detail: None,
            bytes_received: 0,
            bytes_sent: 0,
            head_end: None,
            request_end: None,
            upstream_first_tx: None,
            upstream_first_rx: None,
            response_start: None,
            end: None,
            upstream_host: None,
            upstream: None,
            pool_wait: None,
            upstream_protocol: None,
            upstream_failure: None,
            cluster: None,
            virtual_cluster: None,
            host: None,
            route: None,
            route_resolutions: 0,
            route_resolution_time: Duration::ZERO,
            attempts: 0,
            metadata: None,
            filter_state: None,
            random: Random::seeded(seed),
        }
    }

    /// A stream whose first byte came so long ago.
    pub fn began(&mut self, since: Instant) {
        self.head_end = Some(self.started);
        self.start = self.start.checked_sub(self.started.saturating_duration_since(since)).unwrap_or(self.start);
        self.started = self.started.min(since);
    }

    /// Dynamic metadata, to write: made at the first writing.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        self.metadata.get_or_insert_default()
    }

    /// Filter state, to write: made at the first writing.
    pub fn filter_state_mut(&mut self) -> &mut FilterState {
        self.filter_state.get_or_insert_default()
    }

    /// How long the stream has taken so far, or took.
    pub fn duration(&self) -> Duration {
        self.end.unwrap_or_else(Instant::now).saturating_duration_since(self.started)
    }

    /// When the last byte of the request went upstream: as soon as it was here and there was a connection to take it.
    pub fn upstream_last_tx(&self) -> Option<Instant> {
        Some(self.upstream_first_tx?.max(self.request_end?))
    }

    /// When the last byte of the answer came from upstream: it is handed on as it comes.
    pub fn upstream_last_rx(&self) -> Option<Instant> {
        self.upstream_first_rx.and(self.end)
    }

    /// Metadata of the listener.
    pub fn listener_metadata(&self) -> Option<&Metadata> {
        self.connection.entrance.as_ref()?.listener_metadata.as_deref()
    }

    /// Metadata of the filter chain.
    pub fn chain_metadata(&self) -> Option<&Metadata> {
        self.connection.entrance.as_ref()?.chain_metadata.as_deref()
    }

    /// Metadata of the route that matched.
    pub fn route_metadata(&self) -> Option<&Metadata> {
        self.route.as_ref()?.route().metadata.as_deref()
    }

    /// Metadata of the virtual host that matched.
    pub fn virtual_host_metadata(&self) -> Option<&Metadata> {
        self.route.as_ref()?.vhost().metadata.as_deref()
    }

    /// Metadata of the cluster that the route chose.
    pub fn cluster_metadata(&self) -> Option<&Metadata> {
        self.cluster.as_ref()?.settings.metadata.as_deref()
    }

    /// Metadata of the host of the last attempt.
    pub fn host_metadata(&self) -> Option<Arc<Metadata>> {
        self.host.as_ref()?.metadata()
    }
}
