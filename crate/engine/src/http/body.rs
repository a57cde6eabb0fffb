//! The one pull-based body type: what a stream's reader pulls frames from, whichever protocol they come in on.

use std::{
    fmt,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};

use super::header::HeaderList;
use crate::error::Failure;

/// A piece of a body.
#[derive(Debug, Clone)]
pub enum Frame {
    /// Bytes; never empty.
    Data(Bytes),
    /// Trailers; nothing follows them.
    Trailers(HeaderList),
}

/// Why a body did not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyError {
    /// The client closed or reset the stream before its end.
    ClientGone,
    /// The client sent a body that is not valid; with the codec's detail.
    ClientProtocol(&'static str),
    /// A filter refused what it read, and this is its answer.
    Refused {
        /// The answer's status.
        status: u16,
        /// The answer's body.
        body: &'static str,
        /// `%RESPONSE_CODE_DETAILS%`
        detail: &'static str,
    },
    /// The upstream failed in the middle of its answer.
    Upstream(Failure),
    /// A limit of the configuration was passed while the answer was under way.
    Timeout(&'static str),
}

/// A source of frames.
pub trait PollBody {
    /// The next frame; `None` at the end.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>>;

    /// Moves what must go on while nobody pulls (a request that is still being sent while its answer is read).
    fn poll_background(&mut self, _cx: &mut Context<'_>) {}

    /// The whole length where it is known before the first frame.
    fn length(&self) -> Option<u64> {
        None
    }

    /// Whether it is known that no frame will come.
    fn is_end(&self) -> bool {
        self.length() == Some(0)
    }
}

/// A body of any source.
#[derive(Default)]
pub enum Body {
    /// No bytes, no trailers.
    #[default]
    Empty,
    /// Bytes that are all here, then perhaps trailers.
    Full(Bytes, Option<HeaderList>),
    /// Frames that come in time.
    Stream(Box<dyn PollBody>),
}

impl Body {
    /// A body of these bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Body {
        let bytes = bytes.into();
        if bytes.is_empty() { Body::Empty } else { Body::Full(bytes, None) }
    }

    /// A body that is pulled from `source`.
    pub fn stream(source: impl PollBody + 'static) -> Body {
        Body::Stream(Box::new(source))
    }
}

impl PollBody for Body {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        match self {
            Body::Empty => Poll::Ready(None),
            Body::Full(bytes, trailers) => {
                let frame = match (std::mem::take(bytes), trailers.take()) {
                    (bytes, None) if !bytes.is_empty() => {
                        *self = Body::Empty;
                        Some(Ok(Frame::Data(bytes)))
                    }
                    (bytes, trailers) if !bytes.is_empty() => {
                        *self = Body::Full(Bytes::new(), trailers);
                        Some(Ok(Frame::Data(bytes)))
                    }
                    (_, trailers) => {
                        *self = Body::Empty;
                        trailers.map(|t| Ok(Frame::Trailers(t)))
                    }
                };
                Poll::Ready(frame)
            }
            Body::Stream(source) => source.poll_frame(cx),
        }
    }

    fn poll_background(&mut self, cx: &mut Context<'_>) {
        if let Body::Stream(source) = self {
            source.poll_background(cx);
        }
    }

    fn length(&self) -> Option<u64> {
        match self {
            Body::Empty => Some(0),
            Body::Full(bytes, None) => Some(bytes.len() as u64),
            Body::Full(..) => None,
            Body::Stream(source) => source.length(),
        }
    }
}

/// A body that is pulled until it is whole.
#[derive(Default)]
pub struct Gathered {
    /// Its bytes.
    pub bytes: BytesMut,
    /// Its trailers.
    pub trailers: Option<HeaderList>,
}

/// Why a body could not be gathered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatherError {
    /// It has more bytes than allowed.
    TooLarge,
    /// It did not end well.
    Body(BodyError),
}

impl Gathered {
    /// Pulls `body` to its end; ready with an error as soon as there are more than `limit` bytes.
    pub fn poll(&mut self, cx: &mut Context<'_>, body: &mut Body, limit: usize) -> Poll<Result<(), GatherError>> {
        Poll::Ready(loop {
            match std::task::ready!(body.poll_frame(cx)) {
                Some(Ok(Frame::Data(data))) if self.bytes.len() + data.len() > limit => break Err(GatherError::TooLarge),
                Some(Ok(Frame::Data(data))) => self.bytes.extend_from_slice(&data),
                Some(Ok(Frame::Trailers(trailers))) => self.trailers = Some(trailers),
                Some(Err(error)) => break Err(GatherError::Body(error)),
                None => break Ok(()),
            }
        })
    }

    /// What was gathered, as a body.
    pub fn into_body(self) -> Body {
        match self.trailers {
            None => Body::full(self.bytes),
            trailers => Body::Full(self.bytes.freeze(), trailers),
        }
    }
}

/// A body that ends with an error at once: what comes of one that was gathered in part.
pub struct Broken(pub Option<BodyError>);

impl PollBody for Broken {
    fn poll_frame(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        Poll::Ready(self.0.take().map(Err))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Empty => f.write_str("Empty"),
            Body::Full(bytes, trailers) => {
                write!(f, "Full({} bytes, {} trailers)", bytes.len(), trailers.as_ref().map_or(0, HeaderList::len))
            }
            Body::Stream(_) => f.write_str("Stream"),
        }
    }
}
