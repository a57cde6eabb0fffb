//! Serves the requests of one HTTP/1 client connection, one after the other.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{Connection, limits::Limits, note_broken};
use crate::{
    error::Flags,
    http::{
        body::{Body, BodyError, Frame, PollBody},
        h1::{self, BodyDecoder, BodyEvent, Framing, Reject, RequestDecoder, RequestHead, RequestLimits, ResponseEncoding},
        header::{HeaderList, Known},
        headers,
        io::{Io, Meter},
        local_reply::{LocalReply, is_grpc, write_refusal},
        manager::{self, Manager},
        settings::ConnectionManager,
        stream::{Interim, Response, Stream},
    },
    stream_info::{Protocol, StreamInfo},
    transport::Transport,
    worker::{random::Random, timer::Deadline},
};

/// While a request is under way, so much of what follows it may be read ahead.
const PIPELINE_MAX: usize = 64 * 1024;
/// How long a draining connection that is idle stays open for a request that is already on its way.
const DRAIN_QUIET: Duration = Duration::from_secs(1);

/// What the connection and the body of its request share.
struct Shared {
    io: Io,
    body: BodyDecoder,
    /// Bytes of the request's body so far.
    received: u64,
    /// When its body was read to the end.
    ended: Option<Instant>,
    /// The client closed.
    gone: bool,
    /// Moves with every byte of the body.
    progress: u64,
}

/// Why the wait for a request ended without one.
enum Over {
    /// Nothing more is to be said.
    Close,
    /// The client must be told.
    Reject(Reject),
    /// `request_headers_timeout` passed.
    HeadersTimeout,
}

/// Serves until either side closes.
pub async fn serve(transport: Transport, mut connection: Connection) {
    let manager = connection.manager.clone();
    let stats = &manager.stats;
    let shared = Rc::new(RefCell::new(Shared {
        io: Io::new(transport, Meter::Downstream(manager.clone()), connection.buffer_limit),
        body: BodyDecoder::empty(),
        received: 0,
        ended: None,
        gone: false,
        progress: 0,
    }));
    manager.http1.block().touch();
    let mut decoder = RequestDecoder::new();
    let mut idle = Deadline::default();
    let timer = Rc::new(RefCell::new(Deadline::default()));
    let mut lifetime = Lifetime::new(&manager.settings, &connection.worker.random);
    let mut requests = 0;
    loop {
        let mut request = HeaderList::new();
        let idle_since = Instant::now();
        // As in Envoy a connection that was of use is not cut off when it was idle for too long: it drains first.
        let grace = if requests > 0 { lifetime.drain } else { Duration::ZERO };
        let head = poll_head(&shared, &mut connection, &mut decoder, &mut idle, &mut request, grace, &mut lifetime).await;
        let (head, began) = match head {
            Ok(head) => head,
            Err(Over::Close) => break,
            Err(over) => {
                refuse(&shared, &connection, over);
                stats.downstream_rq_response_before_rq_complete().inc();
                stats.downstream_rq_rx_reset().inc();
                stats.downstream_cx_destroy_local().inc();
                flush_and_close(&shared, &mut connection).await;
                break;
            }
        };
        requests += 1;
        if head.dropped_underscores > 0 {
            manager.http1.dropped_headers_with_underscores().add(head.dropped_underscores.into());
        }
        lifetime.last = manager.settings.max_requests_per_connection != 0 && requests >= manager.settings.max_requests_per_connection;
        if lifetime.last {
            stats.downstream_cx_max_requests_reached().inc();
        }
        lifetime.last |= manager.settings.idle_timeout.is_some_and(|t| idle_since.elapsed() >= t);
        // One allocation for all that a request needs while it runs, none of it while the connection is idle.
        if !Box::pin(exchange(&shared, &mut connection, (head, began), request, &mut idle, &timer, &mut lifetime)).await {
            break;
        }
        shared.borrow_mut().io.release();
    }
}

/// How long the connection may be used: `max_requests_per_connection`, an idle timeout that came before a request, `max_connection_duration`.
struct Lifetime {
    /// The request under way is the last one.
    last: bool,
    /// When it is too old.
    ends: Option<Instant>,
    timer: Deadline,
    noticed: bool,
    /// How long it stays for a request that is on its way.
    drain: Duration,
}

impl Lifetime {
    fn new(settings: &ConnectionManager, random: &Random) -> Lifetime {
        let ends = settings.lifetime(random).and_then(|d| Instant::now().checked_add(d));
        let mut timer = Deadline::default();
        timer.set_at(ends);
        Lifetime { last: false, ends, timer, noticed: false, drain: settings.drain_time(random) }
    }

    /// Whether the answer under way is the last one.
    fn is_over(&mut self, manager: &Manager) -> bool {
        let old = self.ends.is_some_and(|ends| Instant::now() >= ends);
        if old {
            self.notice(manager);
        }
        old || self.last
    }

    /// Ready when a connection without a request must close: so long after its end as it may drain, or never where that could cut off a request
    /// on its way (`http1_safe_max_connection_duration`).
    fn poll(&mut self, cx: &mut Context<'_>, manager: &Manager) -> Poll<()> {
        std::task::ready!(self.timer.poll(cx));
        if self.noticed {
            return Poll::Ready(());
        }
        self.notice(manager);
        if manager.settings.http1_safe_max_connection_duration {
            return Poll::Pending;
        }
        self.timer.set_at(Some(Instant::now() + self.drain));
        self.timer.poll(cx)
    }

    fn notice(&mut self, manager: &Manager) {
        if !std::mem::replace(&mut self.noticed, true) {
            manager.stats.downstream_cx_max_duration_reached().inc();
        }
    }
}

/// Waits for the head of the next request; tells when its first byte came, where it did not come at once.
async fn poll_head(
    shared: &Rc<RefCell<Shared>>,
    connection: &mut Connection,
    decoder: &mut RequestDecoder,
    idle: &mut Deadline,
    request: &mut HeaderList,
    grace: Duration,
    lifetime: &mut Lifetime,
) -> Result<(RequestHead, Option<Instant>), Over> {
    let settings = &connection.manager.settings;
    let limits = RequestLimits {
        max_bytes: settings.max_request_headers_bytes,
        max_headers: settings.max_headers_count,
        underscores: settings.underscores,
        http1: &settings.http1,
    };
    let mut began = None;
    idle.set(settings.idle_timeout.map(|t| t + grace));
    poll_fn(|cx| {
        connection.listening.register(cx);
        let mut shared = shared.borrow_mut();
        loop {
            if !shared.io.input.is_empty() {
                if request.is_empty() {
                    // Only now, as a connection that waits should hold nothing.
                    *request = HeaderList::with_capacity(16, 512);
                }
                match decoder.decode_head(limits, &mut shared.io.input, request) {
                    Ok(Some(head)) => return Poll::Ready(Ok((head, began))),
                    Ok(None) => {}
                    Err(reject) => return Poll::Ready(Err(Over::Reject(reject))),
                }
                if began.is_none() && decoder.is_partial(&shared.io.input) {
                    began = Some(Instant::now());
                    if let Some(timeout) = settings.request_headers_timeout {
                        idle.set(Some(timeout));
                    }
                }
            }
            match shared.io.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Over::Close)),
                Poll::Ready(Ok(_)) => continue,
                Poll::Pending => {}
            }
            let signal = connection.listening.signal();
            if signal.ended() {
                return Poll::Ready(Err(Over::Close));
            }
            if let (Some(since), None) = (signal.draining(), began) {
                idle.set_at(Some(since + DRAIN_QUIET));
            }
            if lifetime.poll(cx, &connection.manager).is_ready() {
                return Poll::Ready(Err(Over::Close));
            }
            return match idle.poll(cx) {
                Poll::Ready(()) if began.is_some() && settings.request_headers_timeout.is_some() => Poll::Ready(Err(Over::HeadersTimeout)),
                Poll::Ready(()) => {
                    if signal.draining().is_none() {
                        connection.manager.stats.downstream_cx_idle_timeout().inc();
                    }
                    Poll::Ready(Err(Over::Close))
                }
                Poll::Pending => Poll::Pending,
            };
        }
    })
    .await
}

/// Serves one request; says whether the connection can take another.
async fn exchange(
    shared: &Rc<RefCell<Shared>>,
    connection: &mut Connection,
    (head, began): (RequestHead, Option<Instant>),
    mut request: HeaderList,
    idle: &mut Deadline,
    timer: &Rc<RefCell<Deadline>>,
    lifetime: &mut Lifetime,
) -> bool {
    let manager = connection.manager.clone();
    let settings = &manager.settings;
    let mut info = StreamInfo::new(connection.info.clone(), head.version, connection.worker.random.next());
    if let Some(began) = began {
        info.began(began);
    }
    {
        let mut shared = shared.borrow_mut();
        shared.body = BodyDecoder::new(head.framing, settings.http1.enable_trailers, settings.max_request_headers_bytes, true);
        shared.received = 0;
        shared.ended = None;
        if head.framing == Framing::None {
            info.request_end = Some(info.head_end.unwrap_or(info.started));
        }
        if head.expect_continue && !settings.proxy_100_continue {
            // A client of HTTP/1.0 knows no interim answers.
            if head.version != Protocol::Http10 {
                shared.io.output().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            request.remove(Known::Expect);
        }
    }
    let body = match head.framing {
        Framing::None => Body::Empty,
        framing => {
            Body::stream(RequestBody { shared: shared.clone(), length: if let Framing::Length(n) = framing { Some(n) } else { None } })
        }
    };
    timer.borrow_mut().set(None);
    let interim = Interim::default();
    let mut stream = Box::new(Stream {
        grpc: is_grpc(&request),
        headers: request,
        body,
        info,
        route_cleared: false,
        snapshot: connection.worker.snapshot(),
        under_way: Some(manager.begin(head.version)),
        manager: manager.clone(),
        worker: connection.worker.clone(),
        random: connection.worker.random.next(),
        buffer_limit: connection.buffer_limit,
        timer: timer.clone(),
        close: false,
        redirected: None,
        interim: interim.clone(),
    });

    let mut limits = Limits::new(idle, interim.clone(), &manager, stream.info.started);
    let mut wait = Wait { shared, connection, limits: &mut limits, interim, version: head.version };
    let outcome = wait.answer(manager::serve(&mut stream)).await;
    let mut response = match outcome {
        Ok(response) => response,
        Err(Stop::Gone) => {
            stream.info.flags.insert(Flags::DOWNSTREAM_CONNECTION_TERMINATION);
            stream.info.detail.get_or_insert("downstream_remote_disconnect".into());
            note_request(shared, &mut stream.info);
            manager.stats.downstream_cx_destroy_active_rq().inc();
            manager.stats.downstream_cx_destroy_remote().inc();
            manager.stats.downstream_cx_destroy_remote_active_rq().inc();
            manager.stats.downstream_rq_rx_reset().inc();
            manager.finish(&mut stream, None, None);
            return false;
        }
        Err(Stop::Ended) => {
            stream.info.flags.insert(Flags::DOWNSTREAM_CONNECTION_TERMINATION);
            manager.finish(&mut stream, None, None);
            return false;
        }
        Err(Stop::Reply(reply)) => manager::reply(&mut stream, reply),
    };
    if stream.info.upstream_host.is_some() {
        take_buffered(&mut shared.borrow_mut());
    }
    note_request(shared, &mut stream.info);

    // An answer before the end of the request ends the connection: what is left of the request will not be read.
    let early = stream.info.request_end.is_none();
    let draining = connection.listening.signal().draining().is_some();
    let tunnel = response.headers.status() == 101 || head.connect && response.headers.status() / 100 == 2;
    let mut keep = head.keep_alive && !stream.close && !early && !tunnel && !lifetime.is_over(&manager);
    if draining && keep {
        manager.stats.downstream_cx_drain_close().inc();
    }
    keep &= !draining;
    // A proxy that fails its health checks asks clients to leave, and waits for them to do so.
    if !tunnel && (!keep || connection.worker.closing()) {
        headers::set_connection(&mut response.headers, true);
    } else if keep && head.version == Protocol::Http10 {
        headers::set_connection(&mut response.headers, false);
    }
    stream.info.response_start = Some(Instant::now());
    manager.answers(stream.info.status);
    if early {
        manager.stats.downstream_rq_response_before_rq_complete().inc();
    }
    let upgraded = tunnel.then(|| Upgraded::new(manager.clone()));
    let mut trailers = None;
    let sent = send(shared, connection, &mut stream, &head, &mut response, &mut limits, &mut trailers, tunnel).await;
    drop(upgraded);
    note_request(shared, &mut stream.info);
    match sent {
        Ok(ends_with_connection) => keep &= !ends_with_connection,
        Err(error) => {
            keep = false;
            note_broken(&mut stream.info, &manager, &error);
            match error {
                BodyError::ClientGone => {
                    manager.stats.downstream_cx_destroy_active_rq().inc();
                    manager.stats.downstream_cx_destroy_remote().inc();
                    manager.stats.downstream_cx_destroy_remote_active_rq().inc();
                }
                BodyError::ClientProtocol(_) | BodyError::Refused { .. } => {}
                BodyError::Upstream(_) | BodyError::Timeout(_) => manager.stats.downstream_rq_tx_reset().inc(),
            }
        }
    }
    drop(std::mem::take(&mut response.body));
    manager.finish(&mut stream, Some(&response.headers), trailers.as_ref());
    if !keep && !shared.borrow().gone {
        manager.stats.downstream_cx_destroy_local().inc();
    }
    // With nothing of the client's unread, closing cannot reset the connection and take our last bytes with it.
    let at_once = !early && shared.borrow().io.input.is_empty() && !shared.borrow().io.has_output();
    if !keep && !shared.borrow().gone && !at_once {
        flush_and_close(shared, connection).await;
    }
    keep
}

/// Counts an upgraded connection.
struct Upgraded(Arc<Manager>);

impl Upgraded {
    fn new(manager: Arc<Manager>) -> Upgraded {
        manager.stats.downstream_cx_upgrades_total().inc();
        manager.stats.downstream_cx_upgrades_active().inc();
        Upgraded(manager)
    }
}

impl Drop for Upgraded {
    fn drop(&mut self) {
        self.0.stats.downstream_cx_upgrades_active().dec();
    }
}

/// Reads past what is here already of a request's body that nobody wants any more.
fn take_buffered(shared: &mut Shared) {
    while !shared.body.is_end() && !shared.body.ends_with_connection() {
        match shared.body.decode(&mut shared.io.input) {
            Ok(BodyEvent::Data(data)) => shared.received += data.len() as u64,
            Ok(BodyEvent::Trailers(_)) => {}
            Ok(BodyEvent::End) => break,
            Ok(BodyEvent::NeedMore) | Err(_) => return,
        }
    }
    if shared.body.is_end() {
        shared.ended.get_or_insert_with(Instant::now);
    }
}

fn note_request(shared: &Rc<RefCell<Shared>>, info: &mut StreamInfo) {
    let shared = shared.borrow();
    info.bytes_received = shared.received;
    info.request_end = info.request_end.or(shared.ended);
}

/// Why a request ended without an answer of its stream.
enum Stop {
    /// The client closed.
    Gone,
    /// The connection must end now.
    Ended,
    /// A timeout of the connection manager passed.
    Reply(LocalReply),
}

/// The wait for a stream's answer, and what the connection does meanwhile.
struct Wait<'a, 't> {
    shared: &'a Rc<RefCell<Shared>>,
    connection: &'a mut Connection,
    limits: &'a mut Limits<'t>,
    interim: Interim,
    version: Protocol,
}

impl Wait<'_, '_> {
    async fn answer(&mut self, serving: impl Future<Output = Response>) -> Result<Response, Stop> {
        let mut serving = std::pin::pin!(serving);
        poll_fn(|cx| {
            self.connection.listening.register(cx);
            let answer = serving.as_mut().poll(cx);
            let mut shared = self.shared.borrow_mut();
            for headers in self.interim.take() {
                let case = self.connection.manager.settings.http1.header_case;
                h1::encode_informational(&headers, self.version, case, shared.io.output());
            }
            if let Poll::Ready(response) = answer {
                // A body that broke off has nobody to be answered.
                return Poll::Ready(if shared.gone { Err(Stop::Gone) } else { Ok(response) });
            }
            if self.connection.listening.signal().ended() {
                return Poll::Ready(Err(Stop::Ended));
            }
            if shared.io.has_output() && matches!(shared.io.poll_flush(cx), Poll::Ready(Err(_))) {
                return Poll::Ready(Err(Stop::Gone));
            }
            // Nobody pulls what a tunnel brings before it is there.
            let nobody_reads = shared.body.is_end() || shared.body.ends_with_connection();
            if shared.gone || nobody_reads && !watch(&mut shared, cx) {
                return Poll::Ready(Err(Stop::Gone));
            }
            let complete = shared.body.is_end();
            let passed = std::task::ready!(self.limits.poll(shared.progress, complete, cx));
            Poll::Ready(Err(Stop::Reply(passed.reply(complete, &self.connection.manager))))
        })
        .await
    }
}

/// Notices that the client closes while nobody reads a body; false when it did.
fn watch(shared: &mut Shared, cx: &mut Context<'_>) -> bool {
    while shared.io.input.len() < PIPELINE_MAX {
        match shared.io.poll_fill(cx) {
            Poll::Pending => break,
            Poll::Ready(Ok(0) | Err(_)) => {
                shared.gone = true;
                return false;
            }
            Poll::Ready(Ok(_)) => {}
        }
    }
    true
}

/// Writes an answer as its body comes; says whether only the end of the connection ends it.
#[allow(clippy::too_many_arguments, reason = "the parts of one exchange, used once")]
async fn send(
    shared: &Rc<RefCell<Shared>>,
    connection: &mut Connection,
    stream: &mut Stream,
    head: &RequestHead,
    response: &mut Response,
    limits: &mut Limits<'_>,
    trailers_seen: &mut Option<HeaderList>,
    tunnel: bool,
) -> Result<bool, BodyError> {
    let settings = &connection.manager.settings;
    let encoding = ResponseEncoding {
        version: head.version,
        end_stream: response.body.is_end(),
        to_head: head.head,
        to_connect: head.connect,
        case: settings.http1.header_case,
    };
    let mut encoder = h1::encode_response_head(&response.headers, encoding, shared.borrow_mut().io.output());
    let mut finished = false;
    let mut sent = 0u64;
    limits.answering();
    let listening = &mut connection.listening;
    let result = poll_fn(|cx| {
        listening.register(cx);
        loop {
            let mut waiting = false;
            while !finished && shared.borrow().io.has_room() {
                // The request's body is pulled through the same connection: nothing of it is borrowed here.
                match response.body.poll_frame(cx) {
                    Poll::Pending => {
                        waiting = true;
                        break;
                    }
                    Poll::Ready(Some(Ok(Frame::Data(data)))) => {
                        if encoder.writes() {
                            let mut shared = shared.borrow_mut();
                            sent += data.len() as u64;
                            if encoder.begin(data.len(), shared.io.output()).is_err() {
                                return Poll::Ready(Err(BodyError::Upstream(crate::error::Failure::Protocol(
                                    "http1.content_length_mismatch",
                                ))));
                            }
                            if shared.io.push(data) {
                                encoder.end(shared.io.output());
                            }
                        }
                    }
                    Poll::Ready(Some(Ok(Frame::Trailers(trailers)))) => {
                        let given = settings.http1.enable_trailers.then_some(&trailers);
                        finished = true;
                        let whole = encoder.finish(given, shared.borrow_mut().io.output()).is_ok();
                        *trailers_seen = Some(trailers);
                        if !whole {
                            return Poll::Ready(Err(BodyError::Upstream(crate::error::Failure::ConnectionTermination)));
                        }
                    }
                    Poll::Ready(None) => {
                        finished = true;
                        if encoder.finish(None, shared.borrow_mut().io.output()).is_err() {
                            return Poll::Ready(Err(BodyError::Upstream(crate::error::Failure::ConnectionTermination)));
                        }
                    }
                    Poll::Ready(Some(Err(error))) => {
                        // What came is forwarded; the missing end tells the client.
                        let mut shared = shared.borrow_mut();
                        if shared.gone {
                            return Poll::Ready(Err(BodyError::ClientGone));
                        }
                        let _ = shared.io.poll_flush(cx);
                        return Poll::Ready(Err(error));
                    }
                }
            }
            let flushed = shared.borrow_mut().io.poll_flush(cx);
            match flushed {
                Poll::Ready(Err(_)) => {
                    shared.borrow_mut().gone = true;
                    return Poll::Ready(Err(BodyError::ClientGone));
                }
                Poll::Ready(Ok(())) if finished => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if !waiting => continue,
                Poll::Ready(Ok(())) => {}
                // While the client does not read, what it sends still goes on.
                Poll::Pending => response.body.poll_background(cx),
            }
            if listening.signal().ended() {
                return Poll::Ready(Err(BodyError::Timeout("drain_timeout")));
            }
            let mut shared = shared.borrow_mut();
            if shared.body.is_end() && !watch(&mut shared, cx) {
                return Poll::Ready(Err(BodyError::ClientGone));
            }
            let passed = std::task::ready!(limits.poll(sent.wrapping_add(shared.progress), true, cx));
            return Poll::Ready(Err(passed.broken(&connection.manager)));
        }
    })
    .await;
    stream.info.bytes_sent = sent;
    result.map(|()| encoder.ends_with_connection() || tunnel)
}

/// Answers what could not be read as a request, and logs it.
fn refuse(shared: &Rc<RefCell<Shared>>, connection: &Connection, over: Over) {
    let manager = &connection.manager;
    let stats = &manager.stats;
    let (reply, flags) = match over {
        Over::Close => return,
        Over::Reject(reject) => {
            stats.downstream_cx_protocol_error().inc();
            if reject.status == 431 {
                stats.downstream_rq_too_large().inc();
            }
            if reject == h1::UNDERSCORE {
                manager.http1.requests_rejected_with_underscores_in_headers().inc();
            }
            (LocalReply::from(reject), Flags::DOWNSTREAM_PROTOCOL_ERROR)
        }
        Over::HeadersTimeout => {
            stats.downstream_rq_header_timeout().inc();
            (LocalReply::new(408, "request header timeout", "request_header_timeout"), Flags::default())
        }
    };
    stats.downstream_rq_total().inc();
    stats.downstream_rq_http1_total().inc();
    let worker = &connection.worker;
    let mut info = StreamInfo::new(connection.info.clone(), Protocol::Http11, worker.random.next());
    let mut shared = shared.borrow_mut();
    info.bytes_sent =
        write_refusal(reply, &manager.settings, manager.local_replies.as_ref(), &mut info, &worker.date(), shared.io.output()) as u64;
    manager.answers(info.status);
    // As in Envoy the flag comes after the answer: no rule for local replies sees it.
    info.flags.insert(flags);
    info.end = Some(Instant::now());
    manager.log_end(&info, None, None, None);
}

/// Writes what is left, says that no more comes, and gives the client a moment to read it before the socket goes.
async fn flush_and_close(shared: &Rc<RefCell<Shared>>, connection: &mut Connection) {
    let listening = &mut connection.listening;
    let mut patience = Deadline::default();
    patience.set(connection.manager.settings.stream_idle_timeout);
    let mut shut = false;
    let delay = connection.manager.settings.delayed_close_timeout;
    poll_fn(|cx| {
        listening.register(cx);
        let io = &mut shared.borrow_mut().io;
        if !shut {
            match io.poll_flush(cx) {
                Poll::Pending if patience.poll(cx).is_pending() && !listening.signal().ended() => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                _ => return Poll::Ready(()),
            }
            match io.poll_shutdown(cx) {
                Poll::Pending => return patience.poll(cx),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => shut = true,
            }
            let Some(delay) = delay else { return Poll::Ready(()) };
            patience.set(Some(delay));
        }
        // What still comes in is dropped, so that the close is no reset that would take our last bytes with it.
        loop {
            match io.poll_fill(cx) {
                Poll::Ready(Ok(1..)) => io.input.clear(),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return patience.poll(cx),
            }
        }
    })
    .await;
}

/// The body of the request under way.
struct RequestBody {
    shared: Rc<RefCell<Shared>>,
    length: Option<u64>,
}

impl PollBody for RequestBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let shared = &mut *self.shared.borrow_mut();
        loop {
            match shared.body.decode(&mut shared.io.input) {
                Ok(BodyEvent::Data(data)) => {
                    shared.received += data.len() as u64;
                    shared.progress += 1;
                    if shared.body.is_end() {
                        shared.ended.get_or_insert_with(Instant::now);
                    }
                    return Poll::Ready(Some(Ok(Frame::Data(data))));
                }
                Ok(BodyEvent::Trailers(trailers)) => {
                    shared.ended.get_or_insert_with(Instant::now);
                    return Poll::Ready(Some(Ok(Frame::Trailers(trailers))));
                }
                Ok(BodyEvent::End) => {
                    shared.ended.get_or_insert_with(Instant::now);
                    return Poll::Ready(None);
                }
                Ok(BodyEvent::NeedMore) => {}
                Err(reject) => {
                    return Poll::Ready(Some(Err(BodyError::ClientProtocol(reject.detail))));
                }
            }
            match std::task::ready!(shared.io.poll_fill(cx)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => {
                    shared.gone = true;
                    return Poll::Ready(Some(Err(BodyError::ClientGone)));
                }
            }
        }
    }

    fn length(&self) -> Option<u64> {
        self.length
    }
}
