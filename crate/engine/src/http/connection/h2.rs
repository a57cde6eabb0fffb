//! Serves the streams of one HTTP/2 client connection.

use std::{
    future::{Future, poll_fn},
    rc::Rc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, server};

use super::{
    Connection, destroyed,
    exchange::{ClientStream, Exchange, PREMATURE, Received, Words, underscores},
    lifetime::{Idle, Lifetime},
    linger::Lingering,
    send_buffer,
};
use crate::{
    error::Flags,
    http::{
        body::{Body, BodyError, Frame, PollBody},
        convert,
        frames::{Flood, Role, Watch, Watched, WatchedStream},
        h1,
        header::HeaderList,
        io::Meter,
        keepalive::{self, PingNow},
        settings::Underscores,
    },
    stream_info::{Protocol, StreamInfo},
    transport::Transport,
    worker::timer::Deadline,
};

/// How many streams may be reset by the client before they were begun; the limit on those that are reset too early comes first.
const PENDING_RESETS: usize = 500;
/// Trailers with a pseudo-header.
const INVALID_FIELD: &str = "http2.invalid.header.field";

/// Serves until the connection ends.
pub async fn serve(transport: Transport, mut connection: Connection) {
    let manager = connection.manager.clone();
    let settings = &manager.settings;
    let mut builder = server::Builder::new();
    builder
        .initial_window_size(settings.http2.initial_stream_window_size)
        .initial_connection_window_size(settings.http2.initial_connection_window_size)
        .max_concurrent_streams(settings.http2.max_concurrent_streams)
        .max_header_list_size(u32::try_from(settings.max_request_headers_bytes).unwrap_or(u32::MAX))
        .max_send_buffer_size(send_buffer(connection.buffer_limit))
        .header_table_size(settings.http2.hpack_table_size)
        // Those that were reset before they could be begun count with all others that were reset too early.
        .max_pending_accept_reset_streams(PENDING_RESETS);
    if let Some(size) = settings.http2.max_frame_size {
        builder.max_frame_size(size);
    }
    if settings.http2.allow_connect {
        builder.enable_connect_protocol();
    }
    let mut idle = Deadline::default();
    idle.set(settings.idle_timeout);
    let watch = Watch::new(Role::Server, settings.http2.floods, manager.http2.clone());
    watch.stats.nghttp2_downstream_connections().inc();
    let transport = Watched::new(
        Lingering::new(transport, settings.delayed_close_timeout),
        Meter::Downstream(manager.clone()),
        watch.clone(),
        &settings.http2.custom_settings,
    );
    let mut handshake = Box::pin(builder.handshake::<_, Bytes>(transport));
    let ready = poll_fn(|cx| {
        connection.listening.register(cx);
        match handshake.as_mut().poll(cx) {
            Poll::Ready(ready) => Poll::Ready(ready.ok()),
            Poll::Pending if connection.listening.signal().ended() || idle.poll(cx).is_ready() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    drop(handshake);
    if let Some(h2) = ready {
        run(h2, &mut connection, idle, watch).await;
    }
}

async fn run(mut h2: server::Connection<Watched<Lingering>, Bytes>, connection: &mut Connection, idle: Deadline, watch: Rc<Watch>) {
    let settings = &connection.manager.settings;
    let mut alive = settings.http2.keepalive.and_then(|keepalive| {
        let pings = h2.ping_pong()?;
        Some(Box::pin(keepalive::run(pings, keepalive, connection.worker.random.next(), PingNow::default(), watch.clone())))
    });
    let mut lifetime = Lifetime::new(connection.manager.clone(), &connection.worker, idle);
    let stats = &connection.manager.stats;
    let mut by_peer = true;
    let mut aborted = false;
    loop {
        let next = poll_fn(|cx| {
            connection.listening.register(cx);
            let signal = connection.listening.signal();
            if signal.ended() {
                by_peer = false;
                return Poll::Ready(None);
            }
            if lifetime.poll_drain(signal, cx) {
                goodbye(&mut h2, &watch);
            }
            if let Poll::Ready(next) = h2.poll_accept(cx) {
                return Poll::Ready(next);
            }
            watch.streams.register(cx);
            match watch.flood() {
                // What waits for such a client is not sent any more.
                Some(Flood::Outbound | Flood::Control) => {
                    by_peer = false;
                    return Poll::Ready(None);
                }
                Some(flood @ (Flood::Reset | Flood::Field)) if !aborted => {
                    aborted = true;
                    by_peer = false;
                    stats.downstream_cx_protocol_error().inc();
                    let reset = flood == Flood::Reset;
                    h2.abrupt_shutdown(if reset { h2::Reason::INTERNAL_ERROR } else { h2::Reason::COMPRESSION_ERROR });
                    return h2.poll_accept(cx);
                }
                _ => {}
            }
            if watch.streams.resets_prematurely() {
                stats.downstream_rq_too_many_premature_resets().inc();
                by_peer = false;
                return Poll::Ready(None);
            }
            if alive.as_mut().is_some_and(|alive| alive.as_mut().poll(cx).is_ready()) {
                by_peer = false;
                return Poll::Ready(None);
            }
            if watch.streams.active() == 0
                && let Poll::Ready(idle) = lifetime.poll_idle(cx)
            {
                return match idle {
                    Idle::End => Poll::Ready(None),
                    Idle::Drain => {
                        goodbye(&mut h2, &watch);
                        h2.poll_accept(cx) // Sends it.
                    }
                };
            }
            Poll::Pending
        })
        .await;
        let (request, respond) = match next {
            Some(Ok(stream)) => stream,
            Some(Err(e)) => {
                by_peer = e.is_io() && watch.flood().is_none();
                if !e.is_io() {
                    stats.downstream_cx_protocol_error().inc();
                }
                break;
            }
            None => break,
        };
        if lifetime.take_stream(&connection.worker) {
            goodbye(&mut h2, &watch);
        }
        let (head, body) = request.into_parts();
        let watched = watch.stream(respond.stream_id().as_u32());
        let mut stream = H2Stream { respond, body: None, watched, connect: head.method == http::Method::CONNECT };
        if !is_acceptable(&head) {
            stream.reset_with(h2::Reason::PROTOCOL_ERROR);
            continue;
        }
        let exchange = Exchange::new(connection.worker.clone(), connection.listening.signal().clone(), stream);
        let mut info = StreamInfo::new(connection.info.clone(), Protocol::Http2, connection.worker.random.next());
        let mut request = convert::request_from_http(&head);
        let found = underscores(&mut request, settings.underscores);
        if found > 0 && settings.underscores == Underscores::RejectRequest {
            watch.stats.requests_rejected_with_underscores_in_headers().inc();
            exchange.refuse(&connection.manager, &mut info, Some((Flags::DOWNSTREAM_REMOTE_RESET, H2Stream::WORDS.underscore)));
            continue;
        }
        watch.stats.dropped_headers_with_underscores().add(found as u64);
        let received = Rc::new(Received::default());
        let body = (!body.is_end_stream()).then(|| {
            let body = RequestBody { body, data_over: false, received: received.clone(), watch: watch.clone() };
            Body::stream(body)
        });
        let serving = exchange.serve(connection.manager.clone(), request, body, received, info, connection.buffer_limit);
        connection.worker.spawn(serving);
    }
    destroyed(stats, by_peer && !lifetime.is_draining(), watch.streams.active() > 0 || watch.streams.has_lost());
}

/// Tells the client to open no further stream.
fn goodbye(h2: &mut server::Connection<Watched<Lingering>, Bytes>, watch: &Watch) {
    watch.stats.goaway_sent().inc();
    h2.graceful_shutdown();
}

/// Whether a head that the library took means one thing only: user information in an authority, or an empty scheme, could be read in two ways.
fn is_acceptable(head: &http::request::Parts) -> bool {
    let authority = head.uri.authority().is_none_or(|a| !a.as_str().contains('@'));
    let hosts = head.headers.get_all(http::header::HOST).iter().all(|h| h1::is_host(h.as_bytes()));
    // Without an authority the library has nowhere to keep the scheme, which it has checked.
    let scheme = head.uri.scheme_str().map_or(head.uri.authority().is_none() || head.method == http::Method::CONNECT, |s| !s.is_empty());
    authority && hosts && scheme
}

/// The client's side of one stream.
struct H2Stream {
    respond: server::SendResponse<Bytes>,
    /// The answer's body, once it has begun.
    body: Option<SendStream<Bytes>>,
    watched: WatchedStream,
    /// A tunnel, whose break has a code of its own.
    connect: bool,
}

impl ClientStream for H2Stream {
    const WORDS: Words =
        Words { protocol: Protocol::Http2, too_many_headers: "http2.too_many_headers", underscore: "http2.unexpected_underscore" };

    fn broken_off(&self) -> Option<Flags> {
        self.watched.watch().flood().map(|_| Flags::DOWNSTREAM_CONNECTION_TERMINATION)
    }

    fn send_interim(&mut self, headers: &HeaderList) {
        let _ = self.respond.send_informational(convert::response_to_http(headers));
        self.watched.queues_headers();
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Flags> {
        let reset = match &mut self.body {
            Some(body) => body.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        reset.map(|reset| match reset {
            // The library's own, for a body that is not as long as its head says.
            Ok(h2::Reason::PROTOCOL_ERROR) => Flags::DOWNSTREAM_PROTOCOL_ERROR,
            Ok(_) => Flags::DOWNSTREAM_REMOTE_RESET,
            Err(_) => Flags::DOWNSTREAM_CONNECTION_TERMINATION,
        })
    }

    fn send_head(&mut self, headers: &HeaderList, end: bool) -> Result<(), BodyError> {
        let head = convert::response_to_http(headers);
        self.body = Some(self.respond.send_response(head, end).map_err(|_| BodyError::ClientGone)?);
        self.watched.queues_headers();
        Ok(())
    }

    fn poll_send(&mut self, data: &mut Bytes, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let Some(body) = &mut self.body else { return Poll::Ready(Err(BodyError::ClientGone)) };
        let room = std::task::ready!(room(body, data.len(), cx)).ok_or(BodyError::ClientGone)?;
        let piece = data.split_to(room.min(data.len()));
        self.watched.queues_data(piece.len());
        Poll::Ready(body.send_data(piece, false).map_err(|_| BodyError::ClientGone))
    }

    fn send_end(&mut self, trailers: Option<&HeaderList>) -> Result<(), BodyError> {
        let Some(body) = &mut self.body else { return Err(BodyError::ClientGone) };
        match trailers {
            Some(trailers) => {
                self.watched.queues_headers();
                body.send_trailers(convert::to_map(trailers))
            }
            None => {
                self.watched.queues_data(0);
                body.send_data(Bytes::new(), true)
            }
        }
        .map_err(|_| BodyError::ClientGone)
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        Poll::Ready(Ok(()))
    }

    fn note_flush_timeout(&self) {
        self.watched.watch().stats.tx_flush_timeout().inc();
    }

    fn reset(&mut self) {
        self.reset_with(if self.connect { h2::Reason::CONNECT_ERROR } else { h2::Reason::INTERNAL_ERROR });
    }

    fn note_reset(&mut self, flag: Flags, info: &mut StreamInfo) {
        self.note_gone(flag, info);
        if self.watched.has_malformed_trailers() {
            self.reset_with(h2::Reason::PROTOCOL_ERROR);
        }
        if flag == Flags::DOWNSTREAM_CONNECTION_TERMINATION {
            self.watched.running.lose();
        }
        if flag == Flags::DOWNSTREAM_REMOTE_RESET && info.started.elapsed() < PREMATURE {
            self.watched.running.premature_reset();
        }
    }

    fn note_lost(&self, flag: Flags, info: &mut StreamInfo) {
        self.note_gone(flag, info);
    }
}

impl H2Stream {
    /// Notes why the client's side ended: `flag`, or what the client flooded us with.
    fn note_gone(&self, flag: Flags, info: &mut StreamInfo) {
        let flood = self.watched.watch().flood();
        info.flags.insert(flood.map_or(flag, |_| Flood::FLAG));
        let detail = match flag {
            _ if self.watched.has_malformed_trailers() => INVALID_FIELD,
            Flags::DOWNSTREAM_CONNECTION_TERMINATION => "downstream_remote_disconnect",
            _ => "http2.remote_reset",
        };
        info.detail = Some(flood.map_or(detail, Flood::detail).into());
    }

    fn reset_with(&mut self, reason: h2::Reason) {
        self.respond.send_reset(reason);
        self.watched.queues_reset();
    }
}

/// How many bytes may be sent; `None` when the client reset the stream.
fn room(send: &mut SendStream<Bytes>, wanted: usize, cx: &mut Context<'_>) -> Poll<Option<usize>> {
    send.reserve_capacity(wanted);
    if send.capacity() > 0 {
        return Poll::Ready(Some(send.capacity()));
    }
    match std::task::ready!(send.poll_capacity(cx)) {
        Some(Ok(room)) => Poll::Ready(Some(room)),
        _ => Poll::Ready(None),
    }
}

fn reset_flag(error: &h2::Error) -> Flags {
    match error.reason() {
        Some(_) if error.is_library() => Flags::DOWNSTREAM_PROTOCOL_ERROR,
        Some(_) => Flags::DOWNSTREAM_REMOTE_RESET,
        None => Flags::DOWNSTREAM_CONNECTION_TERMINATION,
    }
}

/// The body of a request.
struct RequestBody {
    body: RecvStream,
    data_over: bool,
    received: Rc<Received>,
    watch: Rc<Watch>,
}

impl PollBody for RequestBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        while !self.data_over {
            match std::task::ready!(self.body.poll_data(cx)) {
                Some(Ok(data)) => {
                    // What is pulled goes on at once; the puller's own limits are the back-pressure.
                    let _ = self.body.flow_control().release_capacity(data.len());
                    self.received.bytes.set(self.received.bytes.get() + data.len() as u64);
                    if self.body.is_end_stream() {
                        self.received.ended.set(Some(Instant::now()));
                    }
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::Data(data))));
                    }
                }
                Some(Err(error)) => {
                    self.received.reset.set(Some(reset_flag(&error)));
                    return Poll::Ready(Some(Err(BodyError::ClientGone)));
                }
                None => self.data_over = true,
            }
        }
        let trailers = std::task::ready!(self.body.poll_trailers(cx));
        self.received.ended.set(Some(Instant::now()));
        match trailers {
            Ok(Some(_)) if self.watch.ended_with_pseudo(self.body.stream_id().as_u32()) => {
                self.received.reset.set(Some(Flags::DOWNSTREAM_PROTOCOL_ERROR));
                Poll::Ready(Some(Err(BodyError::ClientGone)))
            }
            Ok(Some(trailers)) => {
                self.watch.stats.trailers().inc();
                Poll::Ready(Some(Ok(Frame::Trailers(convert::from_map(&trailers)))))
            }
            Ok(None) => Poll::Ready(None),
            Err(error) => {
                self.received.reset.set(Some(reset_flag(&error)));
                Poll::Ready(Some(Err(BodyError::ClientGone)))
            }
        }
    }
}
