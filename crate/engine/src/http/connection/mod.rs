//! One client connection: which protocol it speaks, and the loop that serves its requests.

mod exchange;
mod h1;
mod h2;
mod h3;
mod lifetime;
mod limits;
mod linger;

use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;

use linger::Lingering;

use super::{body::BodyError, io::poll_read_some, manager::Manager, settings::Codec};
use crate::{
    error::{Failure, Flags},
    stats::{GaugeRef, HttpStats},
    stream_info::{ConnectionInfo, Protocol, StreamInfo},
    transport::Transport,
    worker::{Worker, signal::Listening},
};

/// How long a draining connection that has said nothing yet stays open for a request that is already on its way.
const DRAIN_QUIET: Duration = Duration::from_secs(1);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection needs beside its transport.
pub struct Connection {
    /// The worker that runs it.
    pub worker: Rc<Worker>,
    /// The connection manager that reads it.
    pub manager: Arc<Manager>,
    /// Its addresses and TLS facts.
    pub info: Rc<ConnectionInfo>,
    /// How it learns that it drains or must end.
    pub listening: Listening,
    /// `per_connection_buffer_limit_bytes`: most that is read at once, and how many bytes of a request are kept for replay.
    pub buffer_limit: usize,
}

/// Serves a connection to its end.
pub async fn serve(mut transport: Transport, mut connection: Connection) {
    let mut open = Open::new(&connection);
    let alpn = connection.info.tls.as_ref().and_then(|t| t.alpn.as_deref());
    let only_h2 = match (connection.manager.settings.codec, alpn) {
        (Codec::Http1, _) => Some(false),
        (Codec::Http2, _) | (Codec::Auto, Some("h2")) => Some(true),
        (Codec::Auto, Some("http/1.1")) => Some(false),
        // HTTP/3 does not come here: the configuration allows it on datagrams only.
        (Codec::Auto | Codec::Http3, _) => None,
    };
    let is_h2 = match only_h2 {
        Some(false) => only_h2,
        _ => unless_drained(&mut connection.listening, detect(&mut transport, &connection.manager)).await,
    };
    if let Some(is_h2) = is_h2 {
        open.speaks(if only_h2.unwrap_or(is_h2) { Protocol::Http2 } else { Protocol::Http11 });
    }
    match is_h2 {
        // No preface where only HTTP/2 is spoken: nobody would understand an answer.
        Some(false) if only_h2 == Some(true) => {
            connection.manager.stats.downstream_cx_protocol_error().inc();
            let mut transport = Lingering::new(transport, connection.manager.settings.delayed_close_timeout);
            let _ = unless_drained(&mut connection.listening, async { transport.shutdown().await.ok() }).await;
        }
        // Boxed, so that the tasks of HTTP/1 connections have no room for it.
        Some(true) => Box::pin(h2::serve(transport, connection)).await,
        Some(false) => h1::serve(transport, connection).await,
        None => {}
    }
}

/// Serves a QUIC connection to its end.
pub async fn serve_quic(quic: quinn::Connection, connection: Connection) {
    let mut open = Open::new(&connection);
    open.speaks(Protocol::Http3);
    h3::serve(quic, connection).await;
}

/// Waits for a client's first bytes; `None` where draining comes first: a client that has only connected must not hold up the end.
async fn unless_drained<T>(listening: &mut Listening, first: impl Future<Output = Option<T>>) -> Option<T> {
    let mut first = pin!(first);
    let mut quiet = pin!(None);
    poll_fn(|cx| {
        listening.register(cx);
        if let Poll::Ready(first) = first.as_mut().poll(cx) {
            return Poll::Ready(first);
        }
        let signal = listening.signal();
        let Some(since) = signal.draining().filter(|_| !signal.ended()) else {
            return if signal.ended() { Poll::Ready(None) } else { Poll::Pending };
        };
        if quiet.is_none() {
            quiet.set(Some(tokio::time::sleep_until((since + DRAIN_QUIET).into())));
        }
        match quiet.as_mut().as_pin_mut() {
            Some(quiet) => quiet.poll(cx).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}

/// How many bytes of one stream may wait in the HTTP/2 library to be sent, given the connection's `per_connection_buffer_limit_bytes`.
pub fn send_buffer(limit: usize) -> usize {
    const MOST: usize = 400 * 1024;
    if limit == 0 { MOST } else { limit.min(MOST) }
}

/// Whether the first bytes are the preface of HTTP/2; `None` where the client left, or time was over, before that was clear.
async fn detect(transport: &mut Transport, manager: &Manager) -> Option<bool> {
    let mut ahead = BytesMut::new();
    let is_h2 = async {
        loop {
            let n = poll_fn(|cx| poll_read_some(transport, cx, &mut ahead, usize::MAX)).await.ok()?;
            let seen = ahead.len().min(PREFACE.len());
            if ahead[..seen] != PREFACE[..seen] {
                return Some(false);
            }
            if seen == PREFACE.len() {
                return Some(true);
            }
            if n == 0 {
                return (!ahead.is_empty()).then_some(false);
            }
        }
    };
    let (idle, age) = (manager.settings.idle_timeout, manager.settings.max_connection_duration);
    let is_h2 = match idle.into_iter().chain(age).min() {
        Some(limit) => tokio::time::timeout(limit, is_h2).await.unwrap_or_else(|_| {
            if Some(limit) == age {
                manager.stats.downstream_cx_max_duration_reached().inc();
            } else {
                manager.stats.downstream_cx_idle_timeout().inc();
            }
            None
        }),
        None => is_h2.await,
    }?;
    transport.unread(ahead);
    Some(is_h2)
}

/// Counts a connection that ends, by who ended it and whether requests were under way.
fn destroyed(stats: &HttpStats, by_peer: bool, at_work: bool) {
    if by_peer {
        stats.downstream_cx_destroy_remote().inc();
    } else {
        stats.downstream_cx_destroy_local().inc();
    }
    if at_work {
        stats.downstream_cx_destroy_active_rq().inc();
        if by_peer {
            stats.downstream_cx_destroy_remote_active_rq().inc();
        } else {
            stats.downstream_cx_destroy_local_active_rq().inc();
        }
    }
}

/// Notes why an answer broke off after its head had gone to the client.
fn note_broken(info: &mut StreamInfo, manager: &Manager, error: &BodyError) {
    let (flags, detail) = match error {
        BodyError::ClientGone => (Flags::DOWNSTREAM_CONNECTION_TERMINATION, "downstream_remote_disconnect".into()),
        BodyError::ClientProtocol(detail) => (Flags::DOWNSTREAM_PROTOCOL_ERROR, (*detail).into()),
        BodyError::Refused { detail, .. } => (Flags::default(), (*detail).into()),
        BodyError::Upstream(failure) => {
            manager.router.rq_reset_after_downstream_response_started().inc();
            (failure.flag(), failure.detail_after_begin().into())
        }
        BodyError::Timeout("response_timeout") => (Failure::Timeout.flag(), "response_timeout".into()),
        BodyError::Timeout("stream_idle_timeout") => (Flags::STREAM_IDLE_TIMEOUT, "stream_idle_timeout".into()),
        BodyError::Timeout(detail) => (Flags::default(), (*detail).into()),
    };
    info.flags.insert(flags);
    info.detail = Some(detail);
}

/// Counts an open connection.
struct Open {
    manager: Arc<Manager>,
    since: Instant,
    tls: bool,
    protocol: Option<Protocol>,
}

impl Open {
    fn new(connection: &Connection) -> Open {
        let stats = &connection.manager.stats;
        stats.downstream_cx_total().inc();
        stats.downstream_cx_active().inc();
        let tls = connection.info.tls.is_some();
        if tls {
            stats.downstream_cx_ssl_total().inc();
            stats.downstream_cx_ssl_active().inc();
        }
        Open { manager: connection.manager.clone(), since: Instant::now(), tls, protocol: None }
    }

    /// Notes the protocol, once it is known.
    fn speaks(&mut self, protocol: Protocol) {
        let stats = &self.manager.stats;
        self.protocol = Some(protocol);
        match protocol {
            Protocol::Http10 | Protocol::Http11 => stats.downstream_cx_http1_total().inc(),
            Protocol::Http2 => stats.downstream_cx_http2_total().inc(),
            Protocol::Http3 => stats.downstream_cx_http3_total().inc(),
        }
        active(stats, protocol).inc();
    }
}

fn active(stats: &HttpStats, protocol: Protocol) -> GaugeRef<'_> {
    match protocol {
        Protocol::Http10 | Protocol::Http11 => stats.downstream_cx_http1_active(),
        Protocol::Http2 => stats.downstream_cx_http2_active(),
        Protocol::Http3 => stats.downstream_cx_http3_active(),
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let stats = &self.manager.stats;
        stats.downstream_cx_active().dec();
        if let Some(protocol) = self.protocol {
            active(stats, protocol).dec();
        }
        if self.tls {
            stats.downstream_cx_ssl_active().dec();
        }
        stats.downstream_cx_destroy().inc();
        stats.downstream_cx_length_ms().record(self.since.elapsed().as_millis() as u64);
    }
}
