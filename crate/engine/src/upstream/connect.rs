//! Makes one connection to an upstream host: TCP, then the cluster's transport socket.

use std::{
    cell::Cell,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use socket2::SockRef;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
};

use crate::{
    cluster::{Bind, Cluster, Host, Permit, Spoken},
    error::Failure,
    stream_info::{TlsInfo, UpstreamConnection},
    tls::TlsNames,
    transport::{Transport, proxy_protocol::Preface},
    worker::random::Random,
};

/// What is known of a connection, and the resources that it holds until it is dropped.
pub struct Connected {
    cluster: Arc<Cluster>,
    host: Arc<Host>,
    /// What streams tell of it.
    pub facts: Rc<UpstreamConnection>,
    opened: Instant,
    /// How long it may be used.
    lifetime: Option<Duration>,
    by_peer: Cell<bool>,
    at_work: Cell<bool>,
    requests: Cell<u32>,
    _permit: Permit,
    _active: crate::cluster::ActiveConnection,
}

impl Connected {
    /// Whether it may carry a further request (`max_connection_duration`).
    pub fn is_young(&self) -> bool {
        self.lifetime.is_none_or(|max| self.opened.elapsed() < max)
    }

    /// Notes that the peer closed it.
    pub fn closed_by_peer(&self) {
        self.by_peer.set(true);
    }

    /// Notes that it goes while a request is under way.
    pub fn closed_at_work(&self) {
        self.at_work.set(true);
    }

    /// Notes a request.
    pub fn carries_request(&self) {
        self.requests.set(self.requests.get() + 1);
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let stats = &self.cluster.stats;
        stats.upstream_cx_active().dec();
        stats.upstream_cx_destroy().inc();
        let (by_peer, at_work) = (self.by_peer.get(), self.at_work.get());
        if by_peer {
            stats.upstream_cx_destroy_remote().inc()
        } else {
            stats.upstream_cx_destroy_local().inc()
        }
        if at_work {
            stats.upstream_cx_destroy_with_active_rq().inc();
            if by_peer {
                stats.upstream_cx_destroy_remote_with_active_rq().inc();
            } else {
                stats.upstream_cx_destroy_local_with_active_rq().inc();
            }
        }
        if self.requests.get() > 0 {
            stats.upstream_rq_per_cx().record(self.requests.get().into());
        }
        stats.upstream_cx_length_ms().record(self.opened.elapsed().as_millis() as u64);
    }
}

/// How long a new connection may be used: all of one host need not end at once.
fn lifetime(cluster: &Cluster, host: &Host) -> Option<Duration> {
    let settings = &cluster.settings;
    let seed = || host.id ^ host.stats.cx_total.load(std::sync::atomic::Ordering::Relaxed) << 32;
    settings.max_connection_duration.map(|max| Random::seeded(seed()).lengthen(max, settings.max_connection_duration_jitter))
}

/// How a connection begins.
pub struct Greeting<'a> {
    /// The number of the connection.
    pub id: u64,
    /// Bytes that go before everything else: a PROXY protocol header.
    pub preface: Option<&'a Preface>,
    /// What requests ask of its TLS.
    pub names: TlsNames<&'a str>,
    /// What will be spoken on it.
    pub spoken: Spoken,
}

/// Connects within the cluster's `connect_timeout`.
pub async fn connect(
    cluster: &Arc<Cluster>,
    host: &Arc<Host>,
    permit: Permit,
    greeting: Greeting<'_>,
) -> Result<(Transport, Connected), Failure> {
    let stats = &cluster.stats;
    let opened = Instant::now();
    stats.upstream_cx_total().inc();
    stats.upstream_cx_active().inc();
    let (address, id) = (host.address(), greeting.id);
    // Made before the attempt, so that its drop takes the counts back however the attempt ends.
    let mut meta = Connected {
        cluster: cluster.clone(),
        host: host.clone(),
        facts: Rc::new(UpstreamConnection { id, local: address, begun: opened, connected: None, secured: None, tls: None }),
        opened,
        lifetime: lifetime(cluster, host),
        by_peer: Cell::new(false),
        at_work: Cell::new(false),
        requests: Cell::new(0),
        _permit: permit,
        _active: host.connection(),
    };
    let made = tokio::time::timeout(cluster.settings.connect_timeout, open(cluster, address, greeting)).await;
    let failure = match made {
        Ok(Ok((transport, tls, connected))) => {
            stats.upstream_cx_connect_ms().record(opened.elapsed().as_millis() as u64);
            let local = transport.tcp().local_addr().unwrap_or(address);
            let secured = tls.as_ref().map(|_| Instant::now());
            meta.facts = Rc::new(UpstreamConnection { id, local, begun: opened, connected: Some(connected), secured, tls });
            return Ok((transport, meta));
        }
        Ok(Err(failure)) => failure,
        Err(_) => {
            stats.upstream_cx_connect_timeout().inc();
            Failure::ConnectTimeout
        }
    };
    stats.upstream_cx_connect_fail().inc();
    stats.upstream_rq_pending_failure_eject().inc();
    if matches!(failure, Failure::Connect(_)) {
        meta.closed_by_peer();
    }
    meta.host.connect_failed();
    Err(failure)
}

async fn open(cluster: &Cluster, address: SocketAddr, greeting: Greeting<'_>) -> Result<(Transport, Option<TlsInfo>, Instant), Failure> {
    let mut stream = dial(cluster, address).await?;
    let connected = Instant::now();
    // Small writes go out at once, as from Envoy; both calls can only fail on a socket that is already gone.
    let _ = stream.set_nodelay(true);
    if let Some(keepalive) = &cluster.settings.tcp_keepalive {
        let mut wanted = socket2::TcpKeepalive::new();
        wanted = keepalive.time.map_or(wanted.clone(), |t| wanted.clone().with_time(t));
        wanted = keepalive.interval.map_or(wanted.clone(), |t| wanted.clone().with_interval(t));
        wanted = keepalive.probes.map_or(wanted.clone(), |n| wanted.clone().with_retries(n));
        let _ = SockRef::from(&stream).set_tcp_keepalive(&wanted);
    }
    if let Some(preface) = greeting.preface {
        stream.write_all(&preface.bytes).await.map_err(|e| Failure::Connect(reason(&e)))?;
        cluster.stats.upstream_cx_tx_bytes_total().add(preface.bytes.len() as u64);
        if let Some(stats) = cluster.proxy_header_stats.as_ref().filter(|_| preface.cut) {
            stats.v2_tlvs_exceed_max_length().inc();
        }
    }
    match &cluster.settings.tls {
        None => Ok((Transport::raw(stream), None, connected)),
        Some(context) => {
            let secured = context.connect(stream, greeting.names, greeting.spoken == Spoken::Http2).await;
            let secured = secured.map_err(|e| Failure::Connect(e.to_string()));
            secured.map(|(transport, tls)| (transport, Some(tls), connected))
        }
    }
}

/// Connects, from the address that the configuration says where it says one.
async fn dial(cluster: &Cluster, to: SocketAddr) -> Result<TcpStream, Failure> {
    let connecting = match &cluster.settings.bind {
        None => TcpStream::connect(to).await,
        Some(bind) => {
            let from = bind.source(to);
            let socket = bound(bind, from, to).map_err(|e| {
                cluster.stats.bind_errors().inc();
                Failure::Bind(format!("failed to bind to {from}: {}", e.raw_os_error().map_or(e.to_string(), os_error_name)))
            })?;
            socket.connect(to).await
        }
    };
    connecting.map_err(|e| Failure::Connect(reason(&e)))
}

fn bound(bind: &Bind, from: SocketAddr, to: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if bind.freebind {
        let socket = SockRef::from(&socket);
        if to.is_ipv4() { socket.set_freebind_v4(true)? } else { socket.set_freebind_v6(true)? }
    }
    socket.bind(from)?;
    Ok(socket)
}

/// A connection's failure in Envoy's words.
fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => format!("delayed connect error: {}", os_error_name(code)),
        None => error.to_string(),
    }
}

fn os_error_name(code: i32) -> String {
    match code {
        libc::ECONNREFUSED => "Connection refused".into(),
        libc::ENETUNREACH => "Network is unreachable".into(),
        libc::EHOSTUNREACH => "No route to host".into(),
        libc::ETIMEDOUT => "Connection timed out".into(),
        libc::ECONNRESET => "Connection reset by peer".into(),
        _ => {
            let text = io::Error::from_raw_os_error(code).to_string();
            text.split(" (os error").next().unwrap_or_default().to_owned()
        }
    }
}
