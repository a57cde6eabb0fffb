//! One request and its answer on an HTTP/2 connection to an upstream host.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, client};

use super::{Head, connect::Connected, pool::HostPool, request::Cursor};
use crate::{
    error::Failure,
    http::{
        body::{BodyError, Frame},
        convert,
        frames::{Flood, Watch, WatchedStream},
        h1,
        header::{HeaderList, Known},
        keepalive::PingNow,
        settings::{Http2, Keepalive},
    },
    stream_info::UpstreamConnection,
};

/// A connection that carries many requests at a time.
pub struct Connection {
    sender: client::SendRequest<Bytes>,
    /// `max_concurrent_streams`, of our own side; the peer may allow fewer.
    max_streams: u32,
    watch: Rc<Watch>,
    keepalive: Option<Keepalive>,
    ping_now: PingNow,
    used: Cell<Instant>,
    /// Requests carried in all.
    pub requests: Cell<u32>,
    /// The connection task has ended, or the peer said that it will.
    pub closed: Rc<Cell<bool>>,
    /// What is known of the connection.
    pub meta: Rc<Connected>,
}

impl Connection {
    /// A connection whose preface was sent; `closed` is set by the task that drives it.
    pub fn new(
        sender: client::SendRequest<Bytes>,
        closed: Rc<Cell<bool>>,
        meta: Rc<Connected>,
        options: &Http2,
        ping_now: PingNow,
        watch: Rc<Watch>,
    ) -> Connection {
        let (max_streams, keepalive) = (options.max_concurrent_streams, options.keepalive);
        let used = Cell::new(Instant::now());
        Connection { sender, max_streams, watch, keepalive, ping_now, used, requests: Cell::new(0), closed, meta }
    }

    fn failure(&self, error: &h2::Error) -> Failure {
        match self.watch.flood() {
            Some(Flood::Outbound) => Failure::ConnectionTermination,
            Some(_) => Failure::Protocol("http2.flood"),
            None => failure(error),
        }
    }

    /// For how long it has carried no request; `None` while it carries one.
    pub fn idle_for(&self) -> Option<Duration> {
        (self.watch.streams.active() == 0).then(|| self.used.get().elapsed())
    }

    /// Whether another request fits on it.
    pub fn has_room(&self) -> bool {
        let active = self.watch.streams.active();
        !self.closed.get() && active < u64::from(self.max_streams) && active < self.sender.current_max_send_streams() as u64
    }
}

/// One request and its answer.
pub struct Exchange {
    connection: Rc<Connection>,
    stream: WatchedStream,
    pool: Rc<HostPool>,
    /// The answer is whole.
    over: bool,
    /// The peer or the connection ended it before.
    broken: bool,
    send: SendStream<Bytes>,
    response: client::ResponseFuture,
    body: Option<RecvStream>,
    data_over: bool,
    request: Cursor,
    /// The kind of upgrade that was asked for.
    upgrade: Option<Box<[u8]>>,
    waiting: Option<Bytes>,
    sent: bool,
    answered: bool,
}

impl Exchange {
    /// Sends the head of a request. The connection must have room.
    pub fn new(connection: Rc<Connection>, pool: Rc<HostPool>, headers: &HeaderList, request: Cursor) -> Result<Exchange, Failure> {
        let head = convert::request_to_http(headers).ok_or(Failure::Protocol("http2.invalid_request_headers"))?;
        let end = request.is_empty();
        let upgrade = headers.get(Known::Upgrade).filter(|_| h1::is_upgrade(headers)).map(Into::into);
        connection.ping_now.used(&connection.used, connection.keepalive.as_ref());
        connection.requests.set(connection.requests.get() + 1);
        if connection.requests.get() == pool.cluster().settings.max_requests_per_connection {
            pool.cluster().stats.upstream_cx_max_requests().inc();
        }
        connection.meta.carries_request();
        let (response, send) = connection.sender.clone().send_request(head, end).map_err(|e| connection.failure(&e))?;
        let stream = connection.watch.stream(send.stream_id().as_u32());
        stream.queues_headers();
        Ok(Exchange {
            connection,
            stream,
            pool,
            over: false,
            broken: false,
            send,
            response,
            body: None,
            data_over: false,
            request,
            upgrade,
            waiting: None,
            sent: end,
            answered: false,
        })
    }

    /// What is told of the connection.
    pub fn facts(&self) -> &Rc<UpstreamConnection> {
        &self.connection.meta.facts
    }

    /// Whether any part of the answer has come.
    pub fn answered(&self) -> bool {
        self.answered
    }

    /// Whether the connection had carried a request before.
    pub fn reused(&self) -> bool {
        self.connection.requests.get() > 1
    }

    /// Whether the whole request went out.
    pub fn sent(&self) -> bool {
        self.sent
    }

    /// Sends what can be sent now.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        while !self.sent {
            if let Some(data) = &mut self.waiting {
                self.send.reserve_capacity(data.len());
                let room = if self.send.capacity() > 0 {
                    self.send.capacity()
                } else {
                    match self.send.poll_capacity(cx) {
                        Poll::Pending => return Ok(()),
                        Poll::Ready(Some(Ok(room))) => room,
                        // Reset by the peer: the answer tells why.
                        Poll::Ready(_) => {
                            self.sent = true;
                            return Ok(());
                        }
                    }
                };
                let piece = data.split_to(room.min(data.len()));
                if data.is_empty() {
                    self.waiting = None;
                }
                if !piece.is_empty() {
                    self.stream.queues_data(piece.len());
                    self.sent = self.send.send_data(piece, false).is_err();
                }
                continue;
            }
            match self.request.poll_frame(cx) {
                Poll::Pending => {
                    // A reset must wake us although there is nothing to send.
                    let _ = self.send.poll_reset(cx);
                    return Ok(());
                }
                Poll::Ready(Some(Ok(Frame::Data(data)))) => self.waiting = Some(data),
                Poll::Ready(Some(Ok(Frame::Trailers(trailers)))) => {
                    self.sent = true;
                    self.stream.queues_headers();
                    let _ = self.send.send_trailers(convert::to_map(&trailers));
                }
                Poll::Ready(None) => {
                    self.sent = true;
                    self.stream.queues_data(0);
                    let _ = self.send.send_data(Bytes::new(), true);
                }
                Poll::Ready(Some(Err(_))) => {
                    return Err(Failure::RemoteReset);
                }
            }
        }
        Ok(())
    }

    /// The head of the answer.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        self.poll_send(cx)?;
        if let Poll::Ready(Some(Ok(interim))) = self.response.poll_informational(cx) {
            self.answered = true;
            let headers = convert::response_from_http(interim.status(), interim.headers());
            return Poll::Ready(Ok(Head { headers, informational: true }));
        }
        let response = std::task::ready!(Pin::new(&mut self.response).poll(cx)).map_err(|e| {
            self.broken = true;
            self.connection.failure(&e)
        })?;
        self.answered = true;
        if self.stream.has_malformed_head() {
            return Poll::Ready(Err(Failure::Protocol("http2.invalid.header.field")));
        }
        let (head, body) = response.into_parts();
        // `:status` counts, as in Envoy, which resets the stream and takes that for the peer's doing.
        if head.headers.len() + 1 > self.pool.cluster().settings.max_headers_count {
            return Poll::Ready(Err(Failure::RemoteReset));
        }
        self.body = Some(body);
        let mut headers = convert::response_from_http(head.status, &head.headers);
        if let (Some(kind), 200) = (&self.upgrade, headers.status()) {
            // A success is a switch of protocols in HTTP/1 (RFC 8441).
            headers.set_status(101);
            headers.set(Known::Upgrade, kind);
            headers.set(Known::Connection, b"upgrade");
        }
        Poll::Ready(Ok(Head { headers, informational: false }))
    }

    /// The next frame of the answer's body.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        if let Err(failure) = self.poll_send(cx) {
            return Poll::Ready(Some(Err(BodyError::Upstream(failure))));
        }
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        while !self.data_over {
            match std::task::ready!(body.poll_data(cx)) {
                Some(Ok(data)) => {
                    let _ = body.flow_control().release_capacity(data.len());
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::Data(data))));
                    }
                }
                Some(Err(e)) => {
                    self.broken = true;
                    return Poll::Ready(Some(Err(BodyError::Upstream(self.connection.failure(&e)))));
                }
                None => self.data_over = true,
            }
        }
        match std::task::ready!(body.poll_trailers(cx)) {
            Ok(Some(_)) if self.stream.has_malformed_trailers() => {
                self.broken = true;
                Poll::Ready(Some(Err(BodyError::Upstream(Failure::Protocol("http2.invalid.header.field")))))
            }
            Ok(Some(trailers)) => {
                self.connection.watch.stats.trailers().inc();
                self.body = None;
                self.over = true;
                Poll::Ready(Some(Ok(Frame::Trailers(convert::from_map(&trailers)))))
            }
            Ok(None) => {
                self.over = true;
                Poll::Ready(None)
            }
            Err(e) => {
                self.broken = true;
                Poll::Ready(Some(Err(BodyError::Upstream(self.connection.failure(&e)))))
            }
        }
    }

    /// Whether the body is known to be over.
    pub fn end_if_over(&mut self) -> bool {
        self.body.as_ref().is_none_or(RecvStream::is_end_stream)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.connection.used.set(Instant::now());
        // An exchange that is let go before its end is cancelled; after it this does nothing.
        let whole = self.over || self.body.as_ref().is_some_and(RecvStream::is_end_stream);
        if !self.sent || !whole {
            if !self.broken {
                self.pool.cluster().stats.upstream_rq_tx_reset().inc();
            }
            self.send.send_reset(h2::Reason::INTERNAL_ERROR);
            self.stream.queues_reset();
        }
    }
}

/// What an error of the HTTP/2 library says about an attempt.
pub fn failure(error: &h2::Error) -> Failure {
    if error.is_library() {
        return Failure::Protocol("http2.protocol_error");
    }
    if error.is_io() || error.is_go_away() {
        return Failure::ConnectionTermination;
    }
    match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) => Failure::RefusedStream,
        Some(_) if error.is_remote() => Failure::RemoteReset,
        _ => Failure::Protocol("http2.protocol_error"),
    }
}
