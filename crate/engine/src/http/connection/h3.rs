//! Serves the streams of one HTTP/3 client connection.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use quinn::{ConnectionError, RecvStream};

use super::{
    Connection, destroyed,
    exchange::{ClientStream, Exchange, PREMATURE, Received, Words, underscores},
    lifetime::{Idle, Lifetime},
};
use crate::{
    error::Flags,
    http::{
        body::{self, Body, BodyError, PollBody},
        h1,
        h3::{
            self, BadHead, Bounds, Code,
            frame::Frame,
            peer::{self, Announcement, Role},
            stream::{Broken, Reader, Writer},
        },
        header::{HeaderList, Known},
        io::Meter,
        manager::Manager,
        settings::Underscores,
        streams::{Running, Streams},
    },
    stream_info::{Protocol, StreamInfo},
    worker::timer::Deadline,
};

/// Serves until the connection ends.
pub async fn serve(quic: quinn::Connection, mut connection: Connection) {
    let manager = connection.manager.clone();
    let (settings, stats) = (&manager.settings, &manager.stats);
    manager.http3.quic_version_rfc_v1().inc();
    let preface = h3::control_preface(settings.max_request_headers_bytes, settings.http3.allow_extended_connect);
    let goaway = Announcement::default();
    connection.worker.spawn(peer::announce(quic.clone(), preface, goaway.clone()));
    connection.worker.spawn(peer::listen(quic.clone(), connection.worker.clone(), Role::Server, Default::default()));
    let streams = Rc::new(Streams::default());
    let mut lifetime = Lifetime::new(manager.clone(), &connection.worker, Deadline::default());
    let mut by_peer = true;
    let mut incoming = pin!(quic.accept_bi());
    loop {
        let next = poll_fn(|cx| {
            connection.listening.register(cx);
            streams.register(cx);
            let signal = connection.listening.signal();
            if signal.ended() {
                by_peer = false;
                return Poll::Ready(None);
            }
            if lifetime.poll_drain(signal, cx) {
                goaway.make();
            }
            if let Poll::Ready(next) = incoming.as_mut().poll(cx) {
                return Poll::Ready(Some(next));
            }
            if streams.resets_prematurely() {
                stats.downstream_rq_too_many_premature_resets().inc();
                by_peer = false;
                return Poll::Ready(None);
            }
            if streams.active() == 0
                && let Poll::Ready(idle) = lifetime.poll_idle(cx)
            {
                match idle {
                    Idle::End => return Poll::Ready(None),
                    Idle::Drain => goaway.make(),
                }
            }
            Poll::Pending
        })
        .await;
        let (send, recv) = match next {
            Some(Ok(stream)) => stream,
            Some(Err(e)) => {
                by_peer = !matches!(e, ConnectionError::LocallyClosed | ConnectionError::TimedOut);
                break;
            }
            None => break,
        };
        incoming.set(quic.accept_bi());
        if lifetime.take_stream(&connection.worker) {
            goaway.make();
        }
        let stream = H3Stream {
            quic: quic.clone(),
            manager: manager.clone(),
            writer: Writer::new(send, Meter::Downstream(manager.clone())),
            running: streams.begin(),
            code: Code::REQUEST_REJECTED,
        };
        let exchange = Exchange::new(connection.worker.clone(), connection.listening.signal().clone(), stream);
        let info = StreamInfo::new(connection.info.clone(), Protocol::Http3, connection.worker.random.next());
        connection.worker.spawn(serve_stream(exchange, recv, info, connection.buffer_limit));
    }
    quic.close(Code::NO_ERROR.into(), b"");
    destroyed(stats, by_peer && !lifetime.is_draining(), streams.active() > 0 || streams.has_lost());
}

/// Serves one stream: reads its head, then hands it on.
async fn serve_stream(mut exchange: Exchange<H3Stream>, recv: RecvStream, mut info: StreamInfo, buffer_limit: usize) {
    let manager = exchange.stream.manager.clone();
    let settings = &manager.settings;
    let bounds = Bounds {
        bytes: settings.max_request_headers_bytes,
        count: settings.max_headers_count,
        extended_connect: settings.http3.allow_extended_connect,
    };
    let mut reader = Reader::new(recv, bounds.bytes, Meter::Downstream(manager.clone()));
    let signal = exchange.signal.clone();
    let head = exchange.stream.head(&mut reader, bounds, || signal.ended()).await;
    let request = head.and_then(|mut request| exchange.stream.without_underscores(&mut request).map(|()| request));
    let request = match request {
        Ok(request) => request,
        Err(why) => return exchange.refuse(&manager, &mut info, why),
    };
    let received = Rc::new(Received::default());
    let length = request.get(Known::ContentLength).and_then(h1::decimal);
    // Whether the head was all is asked once: what has not come by now counts as a body, perhaps an empty one.
    let body = match poll_fn(|cx| Poll::Ready(reader.poll_next(cx))).await {
        Poll::Ready(Ok(None)) if length.is_none_or(|length| length == 0) => None,
        Poll::Ready(Ok(None)) => {
            exchange.stream.code = Code::GENERAL_PROTOCOL_ERROR;
            return exchange.refuse(&manager, &mut info, Some((Flags::DOWNSTREAM_PROTOCOL_ERROR, INCONSISTENT)));
        }
        ahead => Some(Body::stream(RequestBody {
            reader,
            ahead: match ahead {
                Poll::Ready(ahead) => Some(ahead),
                Poll::Pending => None,
            },
            length,
            bounds,
            quic: exchange.stream.quic.clone(),
            manager: manager.clone(),
            received: received.clone(),
        })),
    };
    exchange.serve(manager, request, body, received, info, buffer_limit).await;
}

/// A body that is not as long as its head says.
const INCONSISTENT: &str = "http3.inconsistent_content_length";
const INVALID: &str = "http3.invalid_header_field";
const TOO_LARGE: &str = "http3.headers_too_large";

/// The client's side of one stream.
struct H3Stream {
    quic: quinn::Connection,
    manager: Arc<Manager>,
    writer: Writer,
    running: Running,
    /// What the stream is reset with.
    code: Code,
}

/// Why a stream is refused: the flag and the detail, where there is something to tell.
type Why = Option<(Flags, &'static str)>;

impl H3Stream {
    /// Waits for the head of the request.
    async fn head(&mut self, reader: &mut Reader, bounds: Bounds, ended: impl Fn() -> bool) -> Result<HeaderList, Why> {
        let settings = &self.manager.settings;
        let mut patience = Deadline::default();
        patience.set(settings.request_headers_timeout.into_iter().chain(settings.stream_idle_timeout).min());
        let first = poll_fn(|cx| match reader.poll_next(cx) {
            Poll::Ready(first) => Poll::Ready(Some(first)),
            Poll::Pending if ended() => Poll::Ready(None),
            Poll::Pending => patience.poll(cx).map(|()| None),
        })
        .await;
        let head = match first {
            Some(Ok(Some(Frame::Headers(section)))) => section.ok_or(BadHead::TooLarge).and_then(|section| h3::request(&section, bounds)),
            // A body without a head, or nothing at all.
            Some(Ok(_)) => Err(BadHead::Undecodable(Code::FRAME_UNEXPECTED)),
            Some(Err(Broken::Protocol(code))) => Err(BadHead::Undecodable(code)),
            Some(Err(Broken::Reset(_))) => {
                self.manager.http3.rx_reset().inc();
                self.running.premature_reset();
                return Err(None);
            }
            Some(Err(Broken::Lost)) | None => return Err(None),
        };
        head.map_err(|bad| {
            let detail = match bad {
                BadHead::Undecodable(code) => {
                    self.quic.close(code.into(), b"");
                    return None;
                }
                BadHead::Invalid if !settings.http3.stream_errors => {
                    self.quic.close(Code::FRAME_ERROR.into(), b"");
                    INVALID
                }
                BadHead::Invalid => {
                    self.code = Code::GENERAL_PROTOCOL_ERROR;
                    INVALID
                }
                BadHead::Reset(code) => {
                    self.code = code;
                    INVALID
                }
                BadHead::TooMany => {
                    self.code = Code::EXCESSIVE_LOAD;
                    H3Stream::WORDS.too_many_headers
                }
                BadHead::TooLarge => {
                    self.code = Code::EXCESSIVE_LOAD;
                    TOO_LARGE
                }
            };
            Some((Flags::DOWNSTREAM_PROTOCOL_ERROR, detail))
        })
    }

    /// Does what is configured about headers with underscores.
    fn without_underscores(&mut self, request: &mut HeaderList) -> Result<(), Why> {
        let action = self.manager.settings.underscores;
        let found = underscores(request, action);
        if found > 0 && action == Underscores::RejectRequest {
            self.manager.http3.requests_rejected_with_underscores_in_headers().inc();
            self.code = Code::GENERAL_PROTOCOL_ERROR;
            return Err(Some((Flags::DOWNSTREAM_PROTOCOL_ERROR, H3Stream::WORDS.underscore)));
        }
        self.manager.http3.dropped_headers_with_underscores().add(found as u64);
        Ok(())
    }
}

impl ClientStream for H3Stream {
    const WORDS: Words =
        Words { protocol: Protocol::Http3, too_many_headers: "http3.too_many_headers", underscore: "http3.unexpected_underscore" };

    fn send_interim(&mut self, headers: &HeaderList) {
        self.writer.headers(headers);
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Flags> {
        // An interim answer goes while the final one is waited for.
        let broken = match self.writer.poll_flush(cx) {
            Poll::Ready(Err(broken)) => broken,
            _ => ready!(self.writer.poll_stopped(cx)),
        };
        Poll::Ready(match broken {
            Broken::Lost => Flags::DOWNSTREAM_CONNECTION_TERMINATION,
            Broken::Reset(_) | Broken::Protocol(_) => {
                self.manager.http3.rx_reset().inc();
                Flags::DOWNSTREAM_REMOTE_RESET
            }
        })
    }

    fn send_head(&mut self, headers: &HeaderList, end: bool) -> Result<(), BodyError> {
        self.writer.headers(headers);
        if end {
            self.writer.finish();
        }
        Ok(())
    }

    fn poll_send(&mut self, data: &mut Bytes, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        ready!(self.poll_flush(cx))?;
        self.writer.data(std::mem::take(data));
        match self.poll_flush(cx) {
            Poll::Ready(flushed) => Poll::Ready(flushed),
            // It waits in the writer; the next piece waits for it.
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    fn send_end(&mut self, trailers: Option<&HeaderList>) -> Result<(), BodyError> {
        if let Some(trailers) = trailers {
            self.writer.headers(trailers);
        }
        self.writer.finish();
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        self.writer.poll_flush(cx).map_err(|_| BodyError::ClientGone)
    }

    fn reset(&mut self) {
        if self.writer.reset(self.code) {
            self.manager.http3.tx_reset().inc();
        }
    }

    fn note_reset(&mut self, flag: Flags, info: &mut StreamInfo) {
        match flag {
            Flags::DOWNSTREAM_PROTOCOL_ERROR => {
                info.flags.insert(flag);
                info.detail = Some(INCONSISTENT.into());
                self.code = Code::GENERAL_PROTOCOL_ERROR;
            }
            Flags::DOWNSTREAM_CONNECTION_TERMINATION => self.running.lose(),
            _ if info.started.elapsed() < PREMATURE => self.running.premature_reset(),
            _ => {}
        }
        self.reset();
    }

    /// As in Envoy the log says nothing of it.
    fn note_lost(&self, _flag: Flags, _info: &mut StreamInfo) {}

    fn note_flush_timeout(&self) {
        self.manager.http3.tx_flush_timeout().inc();
    }
}

/// The body of a request.
struct RequestBody {
    reader: Reader,
    /// What came right behind the head.
    ahead: Option<Result<Option<Frame>, Broken>>,
    /// `content-length`
    length: Option<u64>,
    bounds: Bounds,
    quic: quinn::Connection,
    manager: Arc<Manager>,
    received: Rc<Received>,
}

impl RequestBody {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>, Broken>> {
        match self.ahead.take() {
            Some(ahead) => Poll::Ready(ahead),
            None => self.reader.poll_next(cx),
        }
    }

    /// Whether the body is as long as its head says, as far as it came.
    fn is_consistent(&self, over: bool) -> bool {
        let bytes = self.received.bytes.get();
        self.length.is_none_or(|length| if over { bytes == length } else { bytes <= length })
    }

    /// Trailers, once the stream has ended behind them.
    fn poll_trailers(&mut self, section: Option<Bytes>, cx: &mut Context<'_>) -> Poll<Result<HeaderList, Broken>> {
        let trailers = section.ok_or(BadHead::TooLarge).and_then(|section| h3::trailers(&section, self.bounds));
        let trailers = trailers.map_err(|bad| match bad {
            BadHead::Undecodable(code) | BadHead::Reset(code) => Broken::Protocol(code),
            BadHead::Invalid | BadHead::TooMany | BadHead::TooLarge => Broken::Protocol(Code::FRAME_ERROR),
        })?;
        match ready!(self.reader.poll_next(cx))? {
            None => Poll::Ready(Ok(trailers)),
            Some(_) => Poll::Ready(Err(Broken::Protocol(Code::FRAME_UNEXPECTED))),
        }
    }

    fn break_off(&mut self, broken: Broken) -> BodyError {
        let flag = match broken {
            Broken::Protocol(code) => {
                self.quic.close(code.into(), b"");
                Flags::DOWNSTREAM_CONNECTION_TERMINATION
            }
            Broken::Reset(_) => {
                self.manager.http3.rx_reset().inc();
                Flags::DOWNSTREAM_REMOTE_RESET
            }
            Broken::Lost => Flags::DOWNSTREAM_CONNECTION_TERMINATION,
        };
        self.received.reset.set(Some(flag));
        BodyError::ClientGone
    }

    fn inconsistent(&self) -> BodyError {
        self.received.reset.set(Some(Flags::DOWNSTREAM_PROTOCOL_ERROR));
        BodyError::ClientGone
    }
}

impl PollBody for RequestBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<body::Frame, BodyError>>> {
        let next = ready!(self.poll_next(cx));
        let frame = match next {
            Ok(Some(Frame::Data(data))) => {
                self.received.bytes.set(self.received.bytes.get() + data.len() as u64);
                if !self.is_consistent(false) {
                    return Poll::Ready(Some(Err(self.inconsistent())));
                }
                body::Frame::Data(data)
            }
            Ok(Some(Frame::Headers(section))) => {
                if !self.is_consistent(true) {
                    return Poll::Ready(Some(Err(self.inconsistent())));
                }
                match self.poll_trailers(section.clone(), cx) {
                    Poll::Ready(Ok(trailers)) => {
                        self.received.ended.set(Some(Instant::now()));
                        body::Frame::Trailers(trailers)
                    }
                    Poll::Ready(Err(broken)) => return Poll::Ready(Some(Err(self.break_off(broken)))),
                    Poll::Pending => {
                        self.ahead = Some(Ok(Some(Frame::Headers(section))));
                        return Poll::Pending;
                    }
                }
            }
            Ok(Some(_)) => return Poll::Ready(Some(Err(self.break_off(Broken::Protocol(Code::FRAME_UNEXPECTED))))),
            Ok(None) if !self.is_consistent(true) => return Poll::Ready(Some(Err(self.inconsistent()))),
            Ok(None) => {
                self.received.ended.set(Some(Instant::now()));
                return Poll::Ready(None);
            }
            Err(broken) => return Poll::Ready(Some(Err(self.break_off(broken)))),
        };
        Poll::Ready(Some(Ok(frame)))
    }
}
