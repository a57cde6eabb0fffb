//! One request stream over QUIC, in either role: frames in, frames out.

use std::{
    collections::VecDeque,
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use quinn::{ReadError, RecvStream, SendStream, StoppedError, VarInt};

use super::{
    Code,
    frame::{Frame, Frames, Place, kind, put_head},
    headers_frame,
};
use crate::http::{header::HeaderList, io::Meter};

/// Most that is read at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// Why a stream broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// What the peer sent is not valid: the connection must end with this code.
    Protocol(Code),
    /// The peer reset the stream, or does not want what we send.
    Reset(u64),
    /// The connection ended.
    Lost,
}

impl From<Code> for VarInt {
    fn from(code: Code) -> VarInt {
        VarInt::from_u32(code.0)
    }
}

/// Reads the frames of a stream. Nothing is read before somebody asks, which is the back-pressure.
pub struct Reader {
    recv: RecvStream,
    frames: Frames,
    chunk: Bytes,
    over: bool,
    meter: Meter,
}

impl Reader {
    /// A reader that keeps field sections of up to `limit` bytes.
    pub fn new(recv: RecvStream, limit: usize, meter: Meter) -> Reader {
        Reader { recv, frames: Frames::new(Place::Request, limit), chunk: Bytes::new(), over: false, meter }
    }

    /// The next frame, or piece of a body; `None` at the end of the stream.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>, Broken>> {
        loop {
            if let Some(frame) = self.frames.next(&mut self.chunk).map_err(Broken::Protocol)? {
                return Poll::Ready(Ok(Some(frame)));
            }
            if self.over {
                return Poll::Ready(Ok(None));
            }
            let read = ready!(pin!(self.recv.read_chunk(CHUNK, true)).poll(cx));
            match read {
                Ok(Some(chunk)) => {
                    self.meter.read(chunk.bytes.len());
                    self.chunk = chunk.bytes;
                }
                Ok(None) => {
                    self.over = true;
                    if !self.frames.may_end() {
                        return Poll::Ready(Err(Broken::Protocol(Code::FRAME_ERROR)));
                    }
                }
                Err(ReadError::Reset(code)) => {
                    self.over = true;
                    return Poll::Ready(Err(Broken::Reset(code.into_inner())));
                }
                Err(_) => {
                    self.over = true;
                    return Poll::Ready(Err(Broken::Lost));
                }
            }
        }
    }

    /// Tells the peer that what else it sends is not wanted.
    pub fn stop(&mut self, code: Code) {
        if !std::mem::replace(&mut self.over, true) {
            let _ = self.recv.stop(code.into());
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop(Code::NO_ERROR);
    }
}

/// Writes the frames of a stream; what does not fit the peer's window and the connection's buffer waits here.
pub struct Writer {
    send: SendStream,
    waiting: VecDeque<Bytes>,
    ending: End,
    stopped: Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>>>>,
    meter: Meter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// More may come.
    Open,
    /// Nothing more comes; what waits has to go.
    Near,
    /// The end is with QUIC, or the stream was reset.
    Over,
}

impl Writer {
    /// A writer of a stream on which nothing was written.
    pub fn new(send: SendStream, meter: Meter) -> Writer {
        let stopped = Box::pin(send.stopped());
        Writer { send, waiting: VecDeque::new(), ending: End::Open, stopped, meter }
    }

    /// Writes a head or trailers.
    pub fn headers(&mut self, headers: &HeaderList) {
        self.waiting.push_back(headers_frame(headers).into());
    }

    /// Writes a piece of a body; the caller waits for [`Writer::poll_flush`] before it has another.
    pub fn data(&mut self, data: Bytes) {
        let mut head = Vec::with_capacity(9);
        put_head(kind::DATA, data.len(), &mut head);
        self.waiting.extend([head.into(), data]);
    }

    /// Nothing more comes.
    pub fn finish(&mut self) {
        if self.ending == End::Open {
            self.ending = End::Near;
        }
    }

    /// Ready when all that was written is with QUIC.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        while !self.waiting.is_empty() {
            let written = ready!(pin!(self.send.write_chunks(self.waiting.make_contiguous())).poll(cx));
            let written = written.map_err(|error| match error {
                quinn::WriteError::Stopped(code) => Broken::Reset(code.into_inner()),
                _ => Broken::Lost,
            })?;
            self.meter.wrote(written.bytes);
            self.waiting.drain(..written.chunks);
        }
        if self.ending == End::Near {
            self.ending = End::Over;
            let _ = self.send.finish();
        }
        Poll::Ready(Ok(()))
    }

    /// Ready where the peer does not want the rest, or the connection ended.
    pub fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        if self.ending == End::Over {
            return Poll::Pending;
        }
        match ready!(self.stopped.as_mut().poll(cx)) {
            Ok(Some(code)) => Poll::Ready(Broken::Reset(code.into_inner())),
            Ok(None) => Poll::Pending,
            Err(_) => Poll::Ready(Broken::Lost),
        }
    }

    /// Breaks the stream off, where its end is not with QUIC yet; tells whether it did.
    pub fn reset(&mut self, code: Code) -> bool {
        if std::mem::replace(&mut self.ending, End::Over) == End::Over {
            return false;
        }
        self.waiting.clear();
        self.send.reset(code.into()).is_ok()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Without it QUIC would end the stream as if it were whole.
        self.reset(Code::REQUEST_CANCELLED);
    }
}
