//! Serves the streams of one HTTP/2 client connection.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, server};

use super::{Connection, limits::Limits, linger::Lingering, note_broken, send_buffer};
use crate::{
    access_log::LogType,
    error::Flags,
    http::{
        body::{Body, BodyError, Frame, PollBody},
        convert,
        frames::{Flood, Role, Watch, Watched, WatchedStream},
        h1,
        header::{HeaderList, Known},
        io::Meter,
        keepalive::{self, PingNow},
        local_reply::{LocalReply, is_grpc},
        manager::{self, Manager},
        settings::Underscores,
        stream::{Interim, Response, Stream},
    },
    stats::{Http2Stats, HttpStats},
    stream_info::{Protocol, StreamInfo},
    transport::Transport,
    worker::{Worker, signal::Signal, timer::Deadline},
};

/// How many streams may be reset by the client before they were begun; the limit on those that are reset too early comes first.
const PENDING_RESETS: usize = 500;
/// A stream that is reset sooner than this, and before its answer, was reset too early (`overload.premature_reset_min_stream_lifetime_seconds`).
const PREMATURE: Duration = Duration::from_secs(2);

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
    if settings.http2.allow_connect {
        builder.enable_connect_protocol();
    }
    let mut idle = Deadline::default();
    idle.set(settings.idle_timeout);
    let watch = Watch::new(Role::Server, settings.http2.floods, manager.http2.clone());
    watch.stats.nghttp2_downstream_connections().inc();
    let transport =
        Watched::new(Lingering::new(transport, settings.delayed_close_timeout), Meter::Downstream(manager.clone()), watch.clone());
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

async fn run(mut h2: server::Connection<Watched<Lingering>, Bytes>, connection: &mut Connection, mut idle: Deadline, watch: Rc<Watch>) {
    let settings = &connection.manager.settings;
    let mut alive = settings.http2.keepalive.and_then(|keepalive| {
        let pings = h2.ping_pong()?;
        Some(Box::pin(keepalive::run(pings, keepalive, connection.worker.random.next(), PingNow::default(), watch.clone())))
    });
    let mut age = Deadline::default();
    age.set(settings.lifetime(&connection.worker.random));
    let stats = &connection.manager.stats;
    let mut requests = 0u32;
    let mut draining = false;
    let mut by_peer = true;
    loop {
        let next = poll_fn(|cx| {
            connection.listening.register(cx);
            let signal = connection.listening.signal();
            if signal.ended() {
                by_peer = false;
                return Poll::Ready(None);
            }
            let why = if draining {
                None
            } else if age.poll(cx).is_ready() {
                Some(stats.downstream_cx_max_duration_reached())
            } else if signal.draining().is_some() {
                Some(stats.downstream_cx_drain_close())
            } else {
                None
            };
            if let Some(counter) = why {
                counter.inc();
                draining = true;
                goodbye(&mut h2, &watch);
                idle.set(None);
            }
            if let Poll::Ready(next) = h2.poll_accept(cx) {
                return Poll::Ready(next);
            }
            watch.register(cx);
            if watch.resets_prematurely() {
                stats.downstream_rq_too_many_premature_resets().inc();
                by_peer = false;
                return Poll::Ready(None);
            }
            if alive.as_mut().is_some_and(|alive| alive.as_mut().poll(cx).is_ready()) {
                by_peer = false;
                return Poll::Ready(None);
            }
            if watch.active() == 0 {
                // Who was told to go and does not is not waited for any longer than the drain may take.
                let patience = Some(settings.drain_timeout.max(Duration::from_millis(1)));
                if !idle.is_set() {
                    idle.set(if draining { patience } else { settings.idle_timeout });
                }
                if idle.poll(cx).is_ready() {
                    if draining {
                        return Poll::Ready(None);
                    }
                    stats.downstream_cx_idle_timeout().inc();
                    draining = true;
                    goodbye(&mut h2, &watch);
                    idle.set(patience);
                    // Sends it, and leaves the waker with both.
                    let _ = idle.poll(cx);
                    return h2.poll_accept(cx);
                }
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
        idle.set(None);
        requests += 1;
        let max = settings.max_requests_per_connection;
        if max != 0 && requests >= max && !draining {
            draining = true;
            stats.downstream_cx_max_requests_reached().inc();
            goodbye(&mut h2, &watch);
        } else if !draining && connection.worker.closing() {
            draining = true;
            stats.downstream_cx_drain_close().inc();
            goodbye(&mut h2, &watch);
        }
        let stream = Exchange {
            worker: connection.worker.clone(),
            signal: connection.listening.signal().clone(),
            respond,
            watched: watch.stream(),
            sent: 0,
        };
        let (head, body) = request.into_parts();
        if !is_acceptable(&head) {
            let mut respond = stream.respond;
            respond.send_reset(h2::Reason::PROTOCOL_ERROR);
            continue;
        }
        let mut info = StreamInfo::new(connection.info.clone(), Protocol::Http2, connection.worker.random.next());
        let mut request = convert::request_from_http(&head);
        if settings.underscores != Underscores::Allow && !underscores(&mut request, settings.underscores, &watch.stats) {
            stream.refuse(&connection.manager, &mut info, "http2.unexpected_underscore");
            continue;
        }
        let serving = stream.serve(connection.manager.clone(), request, body, info, connection.buffer_limit);
        connection.worker.spawn(serving);
    }
    destroyed(stats, by_peer && !draining, watch.active() > 0 || watch.has_lost());
}

/// Tells the client to open no further stream.
fn goodbye(h2: &mut server::Connection<Watched<Lingering>, Bytes>, watch: &Watch) {
    watch.stats.goaway_sent().inc();
    h2.graceful_shutdown();
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

/// Whether a head that the library took means one thing only: user information in an authority, or an empty scheme, could be read in two ways.
fn is_acceptable(head: &http::request::Parts) -> bool {
    let authority = head.uri.authority().is_none_or(|a| !a.as_str().contains('@'));
    let hosts = head.headers.get_all(http::header::HOST).iter().all(|h| h1::is_host(h.as_bytes()));
    // Without an authority the library has nowhere to keep the scheme, which it has checked.
    let scheme = head.uri.scheme_str().map_or(head.uri.authority().is_none() || head.method == http::Method::CONNECT, |s| !s.is_empty());
    authority && hosts && scheme
}

/// Drops the headers whose names have underscores; false where the request must be refused for one.
fn underscores(request: &mut HeaderList, action: Underscores, stats: &Http2Stats) -> bool {
    let before = request.len();
    request.retain(|_, name, _| !name.contains(&b'_'));
    let found = before - request.len();
    if found > 0 && action == Underscores::RejectRequest {
        stats.requests_rejected_with_underscores_in_headers().inc();
        return false;
    }
    stats.dropped_headers_with_underscores().add(found as u64);
    true
}

/// One stream's way through the connection manager.
struct Exchange {
    worker: Rc<Worker>,
    signal: Rc<Signal>,
    respond: server::SendResponse<Bytes>,
    watched: WatchedStream,
    sent: u64,
}

/// What a request's body tells the stream.
#[derive(Default)]
struct Received {
    bytes: Cell<u64>,
    ended: Cell<Option<Instant>>,
    /// Why the client's side broke off.
    reset: Cell<Option<Flags>>,
}

/// Why a stream ended without an answer.
enum Stop {
    /// By the client (`DR`), or with its connection (`DC`).
    Reset(Flags),
    Reply(LocalReply),
}

impl Exchange {
    /// Resets a stream whose head must not be served, as Envoy's codec does, and logs it.
    fn refuse(mut self, manager: &Arc<Manager>, info: &mut StreamInfo, detail: &'static str) {
        let _under_way = manager.begin(Protocol::Http2);
        self.respond.send_reset(h2::Reason::INTERNAL_ERROR);
        manager.stats.downstream_rq_rx_reset().inc();
        info.flags.insert(Flags::DOWNSTREAM_REMOTE_RESET);
        info.detail = Some(detail.into());
        info.end = Some(Instant::now());
        manager.log(LogType::DownstreamEnd, info, None, None, None);
    }

    async fn serve(mut self, manager: Arc<Manager>, mut request: HeaderList, body: RecvStream, mut info: StreamInfo, limit: usize) {
        let settings = &manager.settings;
        let received = Rc::new(Received::default());
        let body = if body.is_end_stream() {
            info.request_end = Some(info.started);
            Body::Empty
        } else {
            let watch = self.watched.watch().clone();
            Body::stream(RequestBody { body, data_over: false, received: received.clone(), watch })
        };
        let whole = info.request_end.is_some();
        let too_many = request.len() > settings.max_headers_count;
        let interim = Interim::default();
        if !settings.proxy_100_continue && request.get(Known::Expect).is_some_and(|v| v.eq_ignore_ascii_case(b"100-continue")) {
            request.remove(Known::Expect);
            let mut headers = HeaderList::new();
            headers.set_status(100);
            interim.push(headers);
        }
        let mut stream = Box::new(Stream {
            grpc: is_grpc(&request),
            headers: request,
            body,
            info,
            route_cleared: false,
            snapshot: self.worker.snapshot(),
            under_way: Some(manager.begin(Protocol::Http2)),
            manager: manager.clone(),
            worker: self.worker.clone(),
            random: self.worker.random.next(),
            buffer_limit: limit,
            timer: Rc::default(),
            close: false,
            redirected: None,
            interim: interim.clone(),
        });
        let mut timer = Deadline::default();
        let mut limits = Limits::new(&mut timer, interim.clone(), &manager, stream.info.started);
        let outcome = if too_many {
            manager.stats.downstream_rq_too_large().inc();
            Err(Stop::Reply(LocalReply::new(431, "Request Header Fields Too Large", "http2.too_many_headers")))
        } else {
            self.answer(&mut stream, &received, whole, &interim, &mut limits).await
        };
        let note = |info: &mut StreamInfo| {
            info.bytes_received = received.bytes.get();
            info.request_end = info.request_end.or(received.ended.get());
        };
        note(&mut stream.info);
        let mut response = match outcome {
            Ok(response) => response,
            Err(Stop::Reset(flag)) => {
                manager.stats.downstream_rq_rx_reset().inc();
                match self.watched.watch().flood() {
                    Some(flood) => {
                        stream.info.flags.insert(Flood::FLAG);
                        stream.info.detail = Some(flood.detail().into());
                    }
                    None => {
                        stream.info.flags.insert(flag);
                        stream.info.detail = Some("http2.remote_reset".into());
                    }
                }
                if flag == Flags::DOWNSTREAM_CONNECTION_TERMINATION {
                    self.watched.watch().lose();
                }
                if flag == Flags::DOWNSTREAM_REMOTE_RESET && stream.info.started.elapsed() < PREMATURE {
                    self.watched.premature_reset();
                }
                manager.finish(&mut stream, None, None);
                return;
            }
            Err(Stop::Reply(reply)) => manager::reply(&mut stream, reply),
        };
        stream.info.response_start = Some(Instant::now());
        manager.answers(stream.info.status);
        if stream.info.request_end.is_none() {
            manager.stats.downstream_rq_response_before_rq_complete().inc();
        }
        let mut trailers = None;
        let result = self.send(&mut response, &mut trailers, &mut limits, &manager).await;
        // A tunnel's upstream side breaks off with the client's.
        let lost = result.is_err() && received.reset.get() == Some(Flags::DOWNSTREAM_CONNECTION_TERMINATION);
        let result = if lost { Err(BodyError::ClientGone) } else { result };
        if let Err(BodyError::Upstream(_) | BodyError::Timeout(_)) = &result {
            // The reset would overtake what came before it: the connection's task first gets its turn to send that.
            for _ in 0..2 {
                tokio::task::yield_now().await;
            }
            self.respond.send_reset(h2::Reason::INTERNAL_ERROR);
        }
        stream.info.bytes_sent = self.sent;
        note(&mut stream.info);
        // An answer that is whole before its request: the library resets the stream with NO_ERROR once all of it is sent.
        if let Err(error) = result {
            note_broken(&mut stream.info, &manager, &error);
            if lost {
                stream.info.detail = Some("downstream_remote_disconnect".into());
            }
            match error {
                BodyError::ClientGone => manager.stats.downstream_rq_rx_reset().inc(),
                BodyError::ClientProtocol(_) | BodyError::Refused { .. } => {}
                BodyError::Upstream(_) | BodyError::Timeout(_) => manager.stats.downstream_rq_tx_reset().inc(),
            }
        }
        drop(std::mem::take(&mut response.body));
        manager.finish(&mut stream, Some(&response.headers), trailers.as_ref());
    }

    async fn answer(
        &mut self,
        stream: &mut Stream,
        received: &Received,
        whole: bool,
        interim: &Interim,
        limits: &mut Limits<'_>,
    ) -> Result<Response, Stop> {
        let manager = stream.manager.clone();
        let mut serving = Box::pin(manager::serve(stream));
        poll_fn(|cx| {
            if self.watched.watch().flood().is_some() {
                // Nothing of what a flood came with goes on.
                return Poll::Ready(Err(Stop::Reset(Flags::DOWNSTREAM_CONNECTION_TERMINATION)));
            }
            let answer = serving.as_mut().poll(cx);
            for headers in interim.take() {
                let _ = self.respond.send_informational(convert::response_to_http(&headers));
            }
            if let Poll::Ready(response) = answer {
                return Poll::Ready(received.reset.get().map_or(Ok(response), |flag| Err(Stop::Reset(flag))));
            }
            if let Some(flag) = received.reset.get() {
                return Poll::Ready(Err(Stop::Reset(flag)));
            }
            match self.respond.poll_reset(cx) {
                // The library's own, for a body that is not as long as its head says.
                Poll::Ready(Ok(h2::Reason::PROTOCOL_ERROR)) => return Poll::Ready(Err(Stop::Reset(Flags::DOWNSTREAM_PROTOCOL_ERROR))),
                Poll::Ready(Ok(_)) => return Poll::Ready(Err(Stop::Reset(Flags::DOWNSTREAM_REMOTE_RESET))),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Stop::Reset(Flags::DOWNSTREAM_CONNECTION_TERMINATION))),
                Poll::Pending if self.signal.ended() => return Poll::Ready(Err(Stop::Reset(Flags::DOWNSTREAM_CONNECTION_TERMINATION))),
                Poll::Pending => {}
            }
            let complete = whole || received.ended.get().is_some();
            let passed = std::task::ready!(limits.poll(received.bytes.get(), complete, cx));
            Poll::Ready(Err(Stop::Reply(passed.reply(complete, &manager))))
        })
        .await
    }

    async fn send(
        &mut self,
        response: &mut Response,
        trailers_seen: &mut Option<HeaderList>,
        limits: &mut Limits<'_>,
        manager: &Manager,
    ) -> Result<(), BodyError> {
        let end = response.body.is_end();
        let head = convert::response_to_http(&response.headers);
        let mut send = self.respond.send_response(head, end).map_err(|_| BodyError::ClientGone)?;
        if end {
            return Ok(());
        }
        limits.answering();
        let mut waiting: Option<Bytes> = None;
        poll_fn(|cx| {
            loop {
                if let Some(data) = &mut waiting {
                    match room(&mut send, data.len(), cx) {
                        Poll::Ready(Some(room)) => {
                            let piece = data.split_to(room.min(data.len()));
                            self.sent += piece.len() as u64;
                            if data.is_empty() {
                                waiting = None;
                            }
                            if send.send_data(piece, false).is_err() {
                                return Poll::Ready(Err(BodyError::ClientGone));
                            }
                            continue;
                        }
                        Poll::Ready(None) => return Poll::Ready(Err(BodyError::ClientGone)),
                        Poll::Pending => response.body.poll_background(cx),
                    }
                } else {
                    match response.body.poll_frame(cx) {
                        Poll::Ready(Some(Ok(Frame::Data(data)))) => {
                            waiting = Some(data);
                            continue;
                        }
                        Poll::Ready(Some(Ok(Frame::Trailers(trailers)))) => {
                            let sent = send.send_trailers(convert::to_map(&trailers)).map_err(|_| BodyError::ClientGone);
                            *trailers_seen = Some(trailers);
                            return Poll::Ready(sent);
                        }
                        Poll::Ready(None) => return Poll::Ready(send.send_data(Bytes::new(), true).map_err(|_| BodyError::ClientGone)),
                        Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                        Poll::Pending => {}
                    }
                }
                if send.poll_reset(cx).is_ready() || self.signal.ended() {
                    return Poll::Ready(Err(BodyError::ClientGone));
                }
                let passed = std::task::ready!(limits.poll(self.sent, true, cx));
                return Poll::Ready(Err(passed.broken(manager)));
            }
        })
        .await
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
