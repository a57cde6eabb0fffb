//! One stream's way through the connection manager, for the protocols that carry many on one connection.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;

use super::{limits::Limits, note_broken};
use crate::{
    error::Flags,
    http::{
        body::{Body, BodyError, Frame, PollBody},
        header::{HeaderList, Known},
        local_reply::{LocalReply, is_grpc},
        manager::{self, Manager},
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

    /// Ready when all that was sent is with the protocol.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>>;

    /// Breaks the stream off: its head must not be served, or its answer cannot be ended.
    fn reset(&mut self);

    /// Notes that the client broke the stream off before its answer.
    fn note_reset(&mut self, flag: Flags, info: &mut StreamInfo);

    /// Notes that the client left while it was answered.
    fn note_lost(&self, info: &mut StreamInfo);
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
    /// Bytes of the answer's body that were sent.
    sent: u64,
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

/// Why a stream ended without an answer.
enum Stop {
    /// By the client (`DR`), or with its connection (`DC`).
    Reset(Flags),
    Reply(LocalReply),
}

impl<S: ClientStream> Exchange<S> {
    /// An exchange that has not begun.
    pub fn new(worker: Rc<Worker>, signal: Rc<Signal>, stream: S) -> Exchange<S> {
        Exchange { worker, signal, stream, sent: 0 }
    }

    /// Resets a stream whose head must not be served, as Envoy's codec does, and logs it.
    pub fn refuse(mut self, manager: &Arc<Manager>, info: &mut StreamInfo, detail: &'static str) {
        let _under_way = manager.begin(S::WORDS.protocol);
        self.stream.reset();
        manager.stats.downstream_rq_rx_reset().inc();
        info.flags.insert(Flags::DOWNSTREAM_REMOTE_RESET);
        info.detail = Some(detail.into());
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
            self.stream.reset();
        }
        stream.info.bytes_sent = self.sent;
        note(&mut stream.info);
        // An answer that is whole before its request: the protocol resets the stream without an error once all of it is sent.
        if let Err(error) = result {
            match &error {
                BodyError::ClientGone => self.stream.note_lost(&mut stream.info),
                other => note_broken(&mut stream.info, &manager, other),
            }
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
        trailers_seen: &mut Option<HeaderList>,
        limits: &mut Limits<'_>,
        manager: &Manager,
    ) -> Result<(), BodyError> {
        let mut ending = response.body.is_end();
        self.stream.send_head(&response.headers, ending)?;
        limits.answering();
        let mut waiting = Bytes::new();
        poll_fn(|cx| {
            loop {
                if !waiting.is_empty() {
                    let before = waiting.len();
                    match self.stream.poll_send(&mut waiting, cx)? {
                        Poll::Ready(()) => {
                            self.sent += (before - waiting.len()) as u64;
                            continue;
                        }
                        Poll::Pending => response.body.poll_background(cx),
                    }
                } else if ending {
                    if let Poll::Ready(flushed) = self.stream.poll_flush(cx) {
                        return Poll::Ready(flushed);
                    }
                } else {
                    match response.body.poll_frame(cx) {
                        Poll::Ready(Some(Ok(Frame::Data(data)))) => {
                            waiting = data;
                            continue;
                        }
                        Poll::Ready(Some(Ok(Frame::Trailers(trailers)))) => {
                            let sent = self.stream.send_end(Some(&trailers));
                            *trailers_seen = Some(trailers);
                            sent?;
                            ending = true;
                            continue;
                        }
                        Poll::Ready(None) => {
                            self.stream.send_end(None)?;
                            ending = true;
                            continue;
                        }
                        Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                        Poll::Pending => {}
                    }
                }
                if self.stream.poll_gone(cx).is_ready() || self.signal.ended() {
                    return Poll::Ready(Err(BodyError::ClientGone));
                }
                let passed = std::task::ready!(limits.poll(self.sent, true, cx));
                return Poll::Ready(Err(passed.broken(manager)));
            }
        })
        .await
    }
}
