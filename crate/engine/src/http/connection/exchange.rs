//! One stream's way through the connection manager, for the protocols that carry many on one connection.

use std::{
    cell::Cell,
    collections::VecDeque,
    future::{Future, poll_fn},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    limits::{FLUSH_TIMEOUT, Limits},
    note_broken, send_buffer,
};
use crate::{
    error::Flags,
    http::{
        body::{Body, BodyError, Frame, PollBody},
        header::{HeaderList, Known},
        local_reply::{LocalReply, is_grpc},
        manager::{self, Manager},
        settings::Underscores,
        stream::{Interim, Response, Stream},
    },
    stream_info::{Protocol, StreamInfo},
    worker::{Worker, signal::Signal, timer::Deadline},
};

/// What a protocol does for one stream of a client.
pub trait ClientStream {
    /// The protocol, and what it calls what went wrong.
    const WORDS: Words;

    /// What ended the stream from below already; nothing of it goes on then.
    fn broken_off(&self) -> Option<Flags> {
        None
    }

    /// Sends an interim answer (1xx), as far as the client takes it.
    fn send_interim(&mut self, headers: &HeaderList);

    /// Ready where the client does not wait for the answer any more; tells whether with its connection.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Flags>;

    /// Begins the answer; `end` where nothing follows its head.
    fn send_head(&mut self, headers: &HeaderList, end: bool) -> Result<(), BodyError>;

    /// Sends as much of `data` as there is room for, and takes it away; pending where there is none.
    fn poll_send(&mut self, data: &mut Bytes, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>>;

    /// Ends the answer.
    fn send_end(&mut self, trailers: Option<&HeaderList>) -> Result<(), BodyError>;

    /// Counts a client that did not take the end of its answer in time (`stream_flush_timeout`).
    fn note_flush_timeout(&self);

    /// Ready when all that was sent is with the protocol.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>>;

    /// Breaks the stream off: its head must not be served, or its answer cannot be ended.
    fn reset(&mut self);

    /// Notes that the client broke the stream off before its answer.
    fn note_reset(&mut self, flag: Flags, info: &mut StreamInfo);

    /// Notes that the client left while it was answered, with its connection or alone.
    fn note_lost(&self, flag: Flags, info: &mut StreamInfo);
}

/// A protocol's name and its `%RESPONSE_CODE_DETAILS%`.
pub struct Words {
    /// The protocol.
    pub protocol: Protocol,
    /// A head with more headers than allowed.
    pub too_many_headers: &'static str,
    /// A header with an underscore that is not allowed.
    pub underscore: &'static str,
}

/// A stream and what runs it.
pub struct Exchange<S> {
    /// The worker of its connection.
    pub worker: Rc<Worker>,
    /// Tells when its connection must end.
    pub signal: Rc<Signal>,
    /// The protocol's part.
    pub stream: S,
}

/// What a request's body tells the stream.
#[derive(Default)]
pub struct Received {
    /// Bytes of the body so far.
    pub bytes: Cell<u64>,
    /// When its end came.
    pub ended: Cell<Option<Instant>>,
    /// Why the client's side broke off.
    pub reset: Cell<Option<Flags>>,
}

/// A stream that is reset sooner than this, and before its answer, was reset too early (`overload.premature_reset_min_stream_lifetime_seconds`).
pub const PREMATURE: Duration = Duration::from_secs(2);

/// Takes the headers whose names have underscores out of a request, unless they are allowed; tells how many there were.
pub fn underscores(request: &mut HeaderList, action: Underscores) -> usize {
    if action == Underscores::Allow {
        return 0;
    }
    let before = request.len();
    request.retain(|_, name, _| !name.contains(&b'_'));
    before - request.len()
}

/// Why a stream ended without an answer.
enum Stop {
    /// By the client (`DR`), or with its connection (`DC`).
    Reset(Flags),
    Reply(LocalReply),
}

impl<S: ClientStream> Exchange<S> {
    /// An exchange that has not begun.
    pub fn new(worker: Rc<Worker>, signal: Rc<Signal>, stream: S) -> Exchange<S> {
        Exchange { worker, signal, stream }
    }

    /// Resets a stream whose head must not be served, as Envoy's codec does, and logs it with the flag and the detail of that, where there are some.
    pub fn refuse(mut self, manager: &Arc<Manager>, info: &mut StreamInfo, why: Option<(Flags, &'static str)>) {
        let _under_way = manager.begin(S::WORDS.protocol);
        self.stream.reset();
        manager.stats.downstream_rq_rx_reset().inc();
        if let Some((flag, detail)) = why {
            info.flags.insert(flag);
            info.detail = Some(detail.into());
        }
        info.end = Some(Instant::now());
        manager.log_end(info, None, None, None);
    }

    /// Serves a request to the end of its answer; `body` notes in `received` what comes in, and is absent where the head was all.
    pub async fn serve(
        mut self,
        manager: Arc<Manager>,
        mut request: HeaderList,
        body: Option<Body>,
        received: Rc<Received>,
        mut info: StreamInfo,
        limit: usize,
    ) {
        let settings = &manager.settings;
        let whole = body.is_none();
        if whole {
            info.request_end = Some(info.started);
        }
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
            body: body.unwrap_or_default(),
            info,
            route_cleared: false,
            snapshot: self.worker.snapshot(),
            under_way: Some(manager.begin(S::WORDS.protocol)),
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
            Err(Stop::Reply(LocalReply::new(431, "Request Header Fields Too Large", S::WORDS.too_many_headers)))
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
                self.stream.note_reset(flag, &mut stream.info);
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
        let mut ahead = Ahead::new(send_buffer(limit));
        let result = self.send(&mut response, &mut ahead, &mut limits, &manager).await;
        // A tunnel's upstream side breaks off with the client's.
        let lost = result.is_err() && received.reset.get() == Some(Flags::DOWNSTREAM_CONNECTION_TERMINATION);
        let result = if lost { Err(BodyError::ClientGone) } else { result };
        if let Err(BodyError::Upstream(_) | BodyError::Timeout(_)) = &result {
            // The reset would overtake what came before it: the connection's task first gets its turn to send that.
            for _ in 0..2 {
                tokio::task::yield_now().await;
            }
            self.stream.reset();
        }
        stream.info.bytes_sent = ahead.pulled;
        note(&mut stream.info);
        // An answer that is whole before its request: the protocol resets the stream without an error once all of it is sent.
        if let Err(error) = result {
            match &error {
                BodyError::ClientGone => {
                    let by = poll_fn(|cx| Poll::Ready(self.stream.poll_gone(cx))).await;
                    let reset = !lost && by == Poll::Ready(Flags::DOWNSTREAM_REMOTE_RESET);
                    let flag = if reset { Flags::DOWNSTREAM_REMOTE_RESET } else { Flags::DOWNSTREAM_CONNECTION_TERMINATION };
                    self.stream.note_lost(flag, &mut stream.info);
                }
                BodyError::Timeout(FLUSH_TIMEOUT) => self.stream.note_flush_timeout(),
                other => note_broken(&mut stream.info, &manager, other),
            }
            match error {
                BodyError::ClientGone => manager.stats.downstream_rq_rx_reset().inc(),
                BodyError::ClientProtocol(_) | BodyError::Refused { .. } | BodyError::Timeout(FLUSH_TIMEOUT) => {}
                BodyError::Upstream(_) | BodyError::Timeout(_) => manager.stats.downstream_rq_tx_reset().inc(),
            }
        }
        drop(std::mem::take(&mut response.body));
        manager.finish(&mut stream, Some(&response.headers), ahead.trailers.as_ref());
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
            if let Some(flag) = self.stream.broken_off() {
                return Poll::Ready(Err(Stop::Reset(flag)));
            }
            let answer = serving.as_mut().poll(cx);
            for headers in interim.take() {
                self.stream.send_interim(&headers);
            }
            if let Poll::Ready(response) = answer {
                return Poll::Ready(received.reset.get().map_or(Ok(response), |flag| Err(Stop::Reset(flag))));
            }
            if let Some(flag) = received.reset.get() {
                return Poll::Ready(Err(Stop::Reset(flag)));
            }
            match self.stream.poll_gone(cx) {
                Poll::Ready(flag) => return Poll::Ready(Err(Stop::Reset(flag))),
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
        ahead: &mut Ahead,
        limits: &mut Limits<'_>,
        manager: &Manager,
    ) -> Result<(), BodyError> {
        ahead.over = response.body.is_end();
        let mut ending = ahead.over;
        self.stream.send_head(&response.headers, ending)?;
        limits.answering();
        poll_fn(|cx| {
            loop {
                if let Some(piece) = ahead.first() {
                    if self.stream.poll_send(piece, cx)?.is_ready() {
                        continue;
                    }
                    // Meanwhile what comes is kept, so that its end is seen, and from then on only the client is waited for.
                    ahead.fill(&mut response.body, cx)?;
                    response.body.poll_background(cx);
                    if ahead.over {
                        limits.flushing();
                    }
                } else if ending {
                    if let Poll::Ready(flushed) = self.stream.poll_flush(cx) {
                        return Poll::Ready(flushed);
                    }
                } else if ahead.over {
                    self.stream.send_end(ahead.trailers.as_ref())?;
                    ending = true;
                    continue;
                } else if ahead.pull(&mut response.body, cx)?.is_ready() {
                    continue;
                }
                if self.stream.poll_gone(cx).is_ready() || self.signal.ended() {
                    return Poll::Ready(Err(BodyError::ClientGone));
                }
                let passed = std::task::ready!(limits.poll(ahead.pulled, true, cx));
                return Poll::Ready(Err(passed.broken(manager)));
            }
        })
        .await
    }
}

/// What was pulled of an answer's body and is not sent yet.
struct Ahead {
    next: Bytes,
    /// What follows; mostly nothing.
    pieces: VecDeque<Bytes>,
    /// So many bytes may be kept.
    room: usize,
    /// Bytes of the body so far, sent or not.
    pulled: u64,
    /// The trailers, where there are some.
    trailers: Option<HeaderList>,
    /// Nothing more comes.
    over: bool,
}

impl Ahead {
    fn new(room: usize) -> Ahead {
        Ahead { next: Bytes::new(), pieces: VecDeque::new(), room, pulled: 0, trailers: None, over: false }
    }

    /// What is sent next.
    fn first(&mut self) -> Option<&mut Bytes> {
        while self.next.is_empty() {
            self.next = self.pieces.pop_front()?;
        }
        Some(&mut self.next)
    }

    /// Pulls one frame; ready where it came.
    fn pull(&mut self, body: &mut Body, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match std::task::ready!(body.poll_frame(cx)) {
            Some(Ok(Frame::Data(data))) => {
                self.pulled += data.len() as u64;
                if self.next.is_empty() && self.pieces.is_empty() {
                    self.next = data;
                } else {
                    self.pieces.push_back(data);
                }
            }
            Some(Ok(Frame::Trailers(trailers))) => (self.trailers, self.over) = (Some(trailers), true),
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => self.over = true,
        }
        Poll::Ready(Ok(()))
    }

    fn kept(&self) -> usize {
        self.next.len() + self.pieces.iter().map(Bytes::len).sum::<usize>()
    }

    /// Pulls what has come, as far as there is room for it.
    fn fill(&mut self, body: &mut Body, cx: &mut Context<'_>) -> Result<(), BodyError> {
        while !self.over && self.kept() < self.room {
            match self.pull(body, cx) {
                Poll::Ready(pulled) => pulled?,
                Poll::Pending => break,
            }
        }
        Ok(())
    }
}
