//! What is known of one stream: flags, timings, bytes, attempts. Access log, stats, tracing and hooks all read it.

use std::{
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Instant, SystemTime},
};

use crate::error::Flags;

/// The protocol of one side of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

impl Protocol {
    /// As `%PROTOCOL%` prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Http10 => "HTTP/1.0",
            Protocol::Http11 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
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
    /// Whether the peer showed a certificate that was checked.
    pub peer_certificate: bool,
}

/// The downstream connection that a stream came in on.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// The peer of the socket.
    pub remote: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
    /// What the TLS handshake settled, where there was one.
    pub tls: Option<TlsInfo>,
    /// Number of the connection in this process.
    pub id: u64,
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
    /// When the whole request had been read.
    pub request_end: Option<Instant>,
    /// When the first byte of the request went upstream.
    pub upstream_first_tx: Option<Instant>,
    /// When the last byte of the request went upstream.
    pub upstream_last_tx: Option<Instant>,
    /// When the first byte of the answer came from upstream.
    pub upstream_first_rx: Option<Instant>,
    /// When the last byte of the answer came from upstream.
    pub upstream_last_rx: Option<Instant>,
    /// When the first byte of the answer went to the client.
    pub response_start: Option<Instant>,
    /// When the stream ended.
    pub end: Option<Instant>,
    /// The upstream host of the last attempt.
    pub upstream_host: Option<SocketAddr>,
    /// Our own address on the upstream connection.
    pub upstream_local: Option<SocketAddr>,
    /// Protocol of the upstream side.
    pub upstream_protocol: Option<Protocol>,
    /// Why the upstream connection failed, in the transport's words.
    pub upstream_failure: Option<String>,
    /// The cluster that the route chose (its name).
    pub cluster: Option<Arc<str>>,
    /// The name of the route that matched.
    pub route_name: Option<Arc<str>>,
    /// The name of the virtual host that matched.
    pub virtual_host: Option<Arc<str>>,
    /// How many attempts at an upstream were made.
    pub attempts: u32,
}

impl StreamInfo {
    /// A stream that begins now.
    pub fn new(connection: Rc<ConnectionInfo>, protocol: Protocol) -> StreamInfo {
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
            request_end: None,
            upstream_first_tx: None,
            upstream_last_tx: None,
            upstream_first_rx: None,
            upstream_last_rx: None,
            response_start: None,
            end: None,
            upstream_host: None,
            upstream_local: None,
            upstream_protocol: None,
            upstream_failure: None,
            cluster: None,
            route_name: None,
            virtual_host: None,
            attempts: 0,
        }
    }
}
