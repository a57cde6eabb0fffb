//! QUIC on a worker's datagram socket: the endpoint, and the way of a connection to its filter chain.
//!
//! A connection stays with one worker, wherever its client moves: the worker's number is in the connection ids that it gives out, and a filter in the
//! kernel (`socket.rs`) hands each datagram to the socket of the worker that its connection id names.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use quinn::{
    ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, IdleTimeout, Incoming, ServerConfig, TokioRuntime, TransportConfig,
    VarInt,
};

use super::{Listener, accept::Limited, filter_chain::Traits};
use crate::{
    http::connection::Connection,
    stream_info::{ConnectionInfo, TlsInfo},
    tls::Certificate,
    worker::{Worker, signal::Listening},
};

/// What a listener of datagrams says of QUIC (`udp_listener_config.quic_options`).
pub struct Quic {
    server: Arc<ServerConfig>,
    options: QuicOptions,
}

/// `QuicProtocolOptions`, the listener's and those within; the defaults are Envoy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuicOptions {
    /// `idle_timeout`: a connection on which nothing is received for so long is over; default 5 minutes.
    pub idle_timeout: Option<Duration>,
    /// `crypto_handshake_timeout`; default 20 s.
    pub handshake_timeout: Duration,
    /// `max_concurrent_streams`: requests of one connection at once; default 100.
    pub max_concurrent_streams: u32,
    /// `initial_stream_window_size`: bytes of one stream that wait to be read; default 16 MiB.
    pub stream_window: u32,
    /// `initial_connection_window_size`: bytes of all streams of a connection; default 24 MiB.
    pub connection_window: u32,
    /// `reject_new_connections`
    pub rejects: bool,
}

impl Default for QuicOptions {
    fn default() -> QuicOptions {
        QuicOptions {
            idle_timeout: Some(Duration::from_secs(300)),
            handshake_timeout: Duration::from_secs(20),
            max_concurrent_streams: 100,
            stream_window: 16 * 1024 * 1024,
            connection_window: 24 * 1024 * 1024,
            rejects: false,
        }
    }
}

/// Control, encoder and decoder stream of a client, and a few that we know nothing of.
const UNIDIRECTIONAL_STREAMS: u32 = 10;
/// The least that may wait for its acknowledgement, in bytes, however small the listener's buffer limit is.
const SEND_WINDOW: u64 = 64 * 1024;

impl Quic {
    /// QUIC with this TLS context; `buffer_limit` bounds what waits for a client's acknowledgement (`per_connection_buffer_limit_bytes`; 0 is 1 MiB).
    pub fn new(crypto: Arc<dyn quinn::crypto::ServerConfig>, options: QuicOptions, buffer_limit: usize) -> Quic {
        let mut transport = TransportConfig::default();
        let buffer_limit = if buffer_limit == 0 { super::BUFFER_LIMIT } else { buffer_limit };
        transport
            .max_idle_timeout(options.idle_timeout.and_then(|timeout| IdleTimeout::try_from(timeout).ok()))
            .max_concurrent_bidi_streams(VarInt::from_u32(options.max_concurrent_streams))
            .max_concurrent_uni_streams(VarInt::from_u32(UNIDIRECTIONAL_STREAMS))
            .stream_receive_window(VarInt::from_u32(options.stream_window))
            .receive_window(VarInt::from_u32(options.connection_window))
            .send_window(SEND_WINDOW.max(buffer_limit as u64))
            // Datagram frames (RFC 9221) are for protocols that are not spoken here.
            .datagram_receive_buffer_size(None);
        let mut server = ServerConfig::with_crypto(crypto);
        server.transport_config(Arc::new(transport));
        Quic { server: Arc::new(server), options }
    }
}

/// The endpoint of one of `workers` workers on its socket.
pub fn endpoint(socket: UdpSocket, quic: &Quic, worker: usize, workers: usize) -> io::Result<Endpoint> {
    let mut config = EndpointConfig::default();
    config.cid_generator(move || Box::new(WorkerIds { worker: worker as u32, workers: workers.max(1) as u32 }));
    Endpoint::new(config, Some(ServerConfig::clone(&quic.server)), socket, Arc::new(TokioRuntime))
}

/// Makes connection ids whose first four bytes, modulo the number of workers, are the worker's number; else they are random.
struct WorkerIds {
    worker: u32,
    workers: u32,
}

impl ConnectionIdGenerator for WorkerIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; 8];
        // Where there is no randomness the process has no TLS either; ids that repeat are refused by the endpoint.
        let _ = aws_lc_rs::rand::fill(&mut id);
        let [a, b, c, d, ..] = id;
        let random = u32::from_be_bytes([a, b, c, d]);
        let steered = (random - random % self.workers).checked_add(self.worker).unwrap_or(self.worker);
        id[..4].copy_from_slice(&steered.to_be_bytes());
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// What comes before the first request: the handshake, and with it the filter chain. `None` where one of them ends it.
pub async fn begin(
    worker: Rc<Worker>,
    listener: &Arc<Listener>,
    quic: &Quic,
    incoming: Incoming,
    bound: SocketAddr,
    mut listening: Listening,
) -> Option<(quinn::Connection, Connection)> {
    if quic.options.rejects {
        incoming.refuse();
        return None;
    }
    let accepted = Instant::now();
    let remote = incoming.remote_address();
    let local = SocketAddr::new(incoming.local_ip().unwrap_or(bound.ip()), bound.port());
    let connecting = incoming.accept_with(quic.server.clone()).ok()?;
    let connected = super::accept::limited(&mut listening, quic.options.handshake_timeout, connecting).await;
    let Limited::Done(Ok(connected)) = connected else { return None };
    let handshake = connected.handshake_data().and_then(|data| data.downcast::<quinn::crypto::rustls::HandshakeData>().ok());
    let (sni, alpn) = handshake.map(|data| (data.server_name, data.protocol)).unwrap_or_default();
    let alpn: Vec<String> = alpn.iter().map(|protocol| String::from_utf8_lossy(protocol).into_owned()).collect();
    let traits = Traits { local, remote, peer: remote, server_name: sni.as_deref().unwrap_or_default(), tls: true, alpn: &alpn };
    let Some(chain) = listener.chains.find(&traits).cloned() else {
        listener.stats.no_filter_chain_match().inc();
        return None;
    };
    let shown = chain.tls.as_ref().and_then(|tls| tls.shown(sni.as_deref()));
    let tls =
        TlsInfo { sni, alpn: alpn.into_iter().next(), version: "TLSv1.3", peer: peer(&connected), local: shown, ..TlsInfo::default() };
    let connection = Connection {
        manager: chain.manager.clone(),
        info: Rc::new(ConnectionInfo {
            peer: remote,
            remote,
            local,
            local_restored: false,
            tlvs: Default::default(),
            tls: Some(tls),
            accepted: Some(accepted),
            handshake: Some((accepted, Instant::now())),
            id: worker.connection_id(),
            entrance: Some(chain.entrance.clone()),
        }),
        worker,
        listening,
        buffer_limit: listener.buffer_limit,
    };
    Some((connected, connection))
}

/// The certificates that the client showed.
fn peer(connection: &quinn::Connection) -> Box<[Certificate]> {
    type Chain = Vec<rustls::pki_types::CertificateDer<'static>>;
    let chain = connection.peer_identity().and_then(|identity| identity.downcast::<Chain>().ok());
    chain.map(|chain| chain.into_iter().map(Certificate::new).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_ids_name_their_worker() {
        for workers in [1, 2, 3, 7, 64] {
            for worker in 0..workers {
                let mut ids = WorkerIds { worker, workers };
                for _ in 0..100 {
                    let id = ids.generate_cid();
                    assert_eq!(id.len(), ids.cid_len());
                    assert_eq!(u32::from_be_bytes([id[0], id[1], id[2], id[3]]) % workers, worker);
                }
            }
        }
    }
}
