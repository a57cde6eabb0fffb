//! One request and its answer on an HTTP/1 connection to an upstream host.

use std::{
    rc::Rc,
    task::{Context, Poll},
    time::Instant,
};

use super::{Head, connect::Connected, pool::HostPool, request::Cursor};
use crate::{
    error::Failure,
    http::{
        body::{BodyError, Frame},
        h1::{Asked, BodyDecoder, BodyEncoder, BodyEvent, Framing, RequestEncoding, ResponseDecoder, encode_request_head},
        header::{HeaderList, Known},
        io::Io,
    },
    stream_info::UpstreamConnection,
};

/// A connection that is idle or at work.
pub struct Connection {
    io: Io,
    decoder: ResponseDecoder,
    /// What is known of the connection, and its place in the circuit breaker.
    pub meta: Connected,
    /// How many requests it has carried.
    pub requests: u32,
    /// When it became idle.
    pub idle_since: Instant,
}

impl Connection {
    /// A connection that was just made.
    pub fn new(io: Io, meta: Connected) -> Connection {
        Connection { io, decoder: ResponseDecoder::new(), meta, requests: 0, idle_since: Instant::now() }
    }

    /// Whether it is still silent, as an idle connection has to be.
    pub fn is_usable(&mut self) -> bool {
        let usable = self.io.is_quiet();
        if self.io.eof {
            self.meta.closed_by_peer();
        }
        usable
    }
}

/// One request and its answer.
pub struct Exchange {
    /// `None` once the connection went back to its pool.
    connection: Option<Box<Connection>>,
    pool: Rc<HostPool>,
    encoder: BodyEncoder,
    request: Cursor,
    /// The whole request is framed.
    framed: bool,
    /// The whole request is written.
    flushed: bool,
    /// Writing failed.
    broken: bool,
    asked: Asked,
    body: BodyDecoder,
    keep_alive: bool,
    answered: bool,
    /// Bytes go both ways.
    tunnel: bool,
}

impl Exchange {
    /// Begins a request; nothing is written before the first poll.
    pub fn new(mut connection: Box<Connection>, pool: Rc<HostPool>, headers: &HeaderList, request: Cursor) -> Exchange {
        connection.requests += 1;
        connection.meta.carries_request();
        let upgrade = headers.contains(Known::Upgrade);
        let asked = Asked { head: headers.method() == b"HEAD", connect: headers.method() == b"CONNECT", upgrade };
        let encoding = RequestEncoding {
            end_stream: request.is_empty(),
            case: pool.http1().header_case,
            full_url: pool.http1().send_fully_qualified_url,
        };
        let encoder = encode_request_head(headers, encoding, connection.io.output());
        Exchange {
            connection: Some(connection),
            pool,
            encoder,
            request,
            framed: false,
            flushed: false,
            broken: false,
            asked,
            body: BodyDecoder::empty(),
            keep_alive: false,
            answered: false,
            tunnel: false,
        }
    }

    /// What is told of the connection; nothing once it is given back.
    pub fn facts(&self) -> Option<&Rc<UpstreamConnection>> {
        self.connection.as_ref().map(|c| &c.meta.facts)
    }

    /// Whether any byte of the answer has come.
    pub fn answered(&self) -> bool {
        self.answered
    }

    /// Whether the connection had carried a request before.
    pub fn reused(&self) -> bool {
        self.connection.as_ref().is_some_and(|c| c.requests > 1)
    }

    /// Whether the whole request went out.
    pub fn sent(&self) -> bool {
        self.flushed
    }

    /// Sends what can be sent now.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        const MISMATCH: Failure = Failure::Protocol("http1.content_length_mismatch");
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let io = &mut connection.io;
        while !self.flushed && !self.broken {
            let mut waiting = false;
            // What follows an upgrade goes on only once it is one.
            waiting |= self.asked.upgrade && !self.tunnel;
            while !waiting && !self.framed && io.has_room() {
                match self.request.poll_frame(cx) {
                    Poll::Pending => {
                        waiting = true;
                        break;
                    }
                    Poll::Ready(Some(Ok(Frame::Data(data)))) => {
                        self.encoder.begin(data.len(), io.output()).map_err(|_| MISMATCH)?;
                        if io.push(data) {
                            self.encoder.end(io.output());
                        }
                    }
                    Poll::Ready(Some(Ok(Frame::Trailers(trailers)))) => {
                        let trailers = self.pool.http1().enable_trailers.then_some(&trailers);
                        self.encoder.finish(trailers, io.output()).map_err(|_| MISMATCH)?;
                        self.framed = true;
                    }
                    Poll::Ready(None) => {
                        self.encoder.finish(None, io.output()).map_err(|_| MISMATCH)?;
                        self.framed = true;
                    }
                    // The client is gone or sent nonsense; the caller asks the source why.
                    Poll::Ready(Some(Err(_))) => return Err(Failure::RemoteReset),
                }
            }
            match io.poll_flush(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(())) if self.framed => self.flushed = true,
                Poll::Ready(Ok(())) if waiting => return Ok(()),
                Poll::Ready(Ok(())) => {}
                // A peer that stopped reading may have answered already; reading tells.
                Poll::Ready(Err(_)) => {
                    self.broken = true;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The next head of the answer: informational ones, then the final one.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        self.poll_send(cx)?;
        let Some(connection) = &mut self.connection else { return Poll::Ready(Err(Failure::ConnectionTermination)) };
        let limits = self.pool.response_limits();
        loop {
            if !connection.io.input.is_empty() {
                self.answered = true;
                let mut headers = HeaderList::with_capacity(16, connection.io.input.len().min(4096) + 64);
                match connection.decoder.decode_head(limits, self.asked, &mut connection.io.input, &mut headers) {
                    Err(reject) => return Poll::Ready(Err(Failure::Protocol(reject.detail))),
                    Ok(Some(head)) => {
                        if !head.informational {
                            self.body = BodyDecoder::new(head.framing, limits.http1.enable_trailers, limits.max_bytes, false);
                            self.tunnel = head.framing == Framing::Tunnel;
                            self.keep_alive = head.keep_alive && head.framing != Framing::Tunnel;
                        }
                        return Poll::Ready(Ok(Head { headers, informational: head.informational }));
                    }
                    Ok(None) => {}
                }
            }
            match std::task::ready!(connection.io.poll_fill(cx)) {
                // Half a head is no answer.
                Ok(0) | Err(_) if self.answered && !connection.io.input.is_empty() => {
                    return Poll::Ready(Err(Failure::Protocol("http1.codec_error")));
                }
                Ok(0) | Err(_) => {
                    connection.meta.closed_by_peer();
                    return Poll::Ready(Err(Failure::ConnectionTermination));
                }
                Ok(_) => {}
            }
        }
    }

    /// The next frame of the answer's body.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        if let Err(failure) = self.poll_send(cx) {
            return Poll::Ready(Some(Err(BodyError::Upstream(failure))));
        }
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        loop {
            match self.body.decode(&mut connection.io.input) {
                Err(reject) => return Poll::Ready(Some(Err(BodyError::Upstream(Failure::Protocol(reject.detail))))),
                Ok(BodyEvent::Data(data)) => return Poll::Ready(Some(Ok(Frame::Data(data)))),
                Ok(BodyEvent::Trailers(trailers)) => {
                    return Poll::Ready(Some(Ok(Frame::Trailers(trailers))));
                }
                Ok(BodyEvent::End) => {
                    self.finish();
                    return Poll::Ready(None);
                }
                Ok(BodyEvent::NeedMore) => {}
            }
            match std::task::ready!(connection.io.poll_fill(cx)) {
                Ok(0) if self.body.ends_with_connection() && !self.tunnel => return Poll::Ready(None),
                Ok(0) | Err(_) if !self.tunnel => {
                    connection.meta.closed_by_peer();
                    return Poll::Ready(Some(Err(BodyError::Upstream(Failure::Protocol("http1.codec_error")))));
                }
                Ok(0) | Err(_) => return Poll::Ready(Some(Err(BodyError::Upstream(Failure::ConnectionTermination)))),
                Ok(_) => {}
            }
        }
    }

    /// Whether the body is known to be over; the connection is then given back at once.
    pub fn end_if_over(&mut self) -> bool {
        let over = self.body.is_end();
        if over {
            self.finish();
        }
        over
    }

    fn finish(&mut self) {
        if self.keep_alive
            && self.flushed
            && let Some(mut connection) = self.connection.take_if(|c| c.io.input.is_empty() && !c.io.eof)
        {
            connection.io.release();
            self.pool.release(connection);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // Not given back: its stream is in an unknown state, so that it can only be closed.
        if let Some(connection) = self.connection.take() {
            connection.meta.closed_at_work();
            drop(connection);
            self.pool.lost();
        }
    }
}
