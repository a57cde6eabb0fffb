//! The request that attempts send: its body is pulled once from the client and replayed to later attempts.

use std::{
    cell::RefCell,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::copy::Feed;
use crate::http::body::{Body, BodyError, Frame, PollBody};

/// A request's body, shared by the attempts at sending it.
#[derive(Clone, Default)]
pub struct Source(Option<Rc<RefCell<Replay>>>);

/// One attempt's place in a [`Source`].
#[derive(Default)]
pub struct Cursor {
    source: Source,
    next: usize,
}

struct Replay {
    body: Body,
    /// What was pulled and may be asked for again.
    kept: Vec<Frame>,
    /// How many frames were pulled in all; `kept` holds all of them while `keeping`.
    pulled: usize,
    keeping: bool,
    /// It was kept until it was over the limit.
    overflowed: bool,
    size: usize,
    limit: usize,
    ended: Option<Instant>,
    error: Option<BodyError>,
    /// What shadows see of it.
    copies: Vec<Feed>,
}

impl Source {
    /// A source of this body that keeps up to `limit` bytes for replay; 0 keeps none.
    pub fn new(body: Body, limit: usize) -> Source {
        if body.is_end() {
            return Source(None);
        }
        let replay = Replay {
            body,
            kept: Vec::new(),
            pulled: 0,
            keeping: limit > 0,
            overflowed: false,
            size: 0,
            limit,
            ended: None,
            error: None,
            copies: Vec::new(),
        };
        Source(Some(Rc::new(RefCell::new(replay))))
    }

    /// Whether there is no body.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The length of the body where it is known.
    pub fn length(&self) -> Option<u64> {
        self.0.as_ref().map_or(Some(0), |r| r.borrow().body.length())
    }

    /// A new attempt's place, at the beginning.
    pub fn cursor(&self) -> Cursor {
        Cursor { source: self.clone(), next: 0 }
    }

    /// Gives a copy of what is pulled from now on.
    pub fn copy_to(&self, feed: Feed) {
        match &self.0 {
            Some(replay) => replay.borrow_mut().copies.push(feed),
            None => feed.end(),
        }
    }

    /// Whether a new attempt would see the whole body.
    pub fn can_replay(&self) -> bool {
        self.0.as_ref().is_none_or(|r| {
            let r = r.borrow();
            r.error.is_none() && (r.keeping || r.pulled == 0)
        })
    }

    /// Whether the body was over the limit, so that no later attempt would see all of it.
    pub fn overflowed(&self) -> bool {
        self.0.as_ref().is_some_and(|r| r.borrow().overflowed)
    }

    /// The body from its beginning, for another request; it must be whole and kept.
    pub fn again(&self) -> Body {
        match &self.0 {
            Some(replay) => Body::stream(Again(std::mem::take(&mut replay.borrow_mut().kept).into_iter())),
            None => Body::Empty,
        }
    }

    /// No further attempt will be made: what was kept is let go as it is sent.
    pub fn forget(&self) {
        if let Some(replay) = &self.0 {
            replay.borrow_mut().keeping = false;
        }
    }

    /// Whether the client has sent all of it.
    pub fn is_over(&self) -> bool {
        self.is_empty() || self.ended().is_some()
    }

    /// When the client had sent all of it; `None` while it has not.
    pub fn ended(&self) -> Option<Instant> {
        self.0.as_ref().and_then(|r| r.borrow().ended)
    }

    /// How long ago the request was over, which `started` at that moment; zero while it is not.
    pub fn elapsed(&self, started: Instant) -> Duration {
        let over = self.ended().or_else(|| self.is_empty().then_some(started));
        over.map(|over| over.elapsed()).unwrap_or_default()
    }

    /// Why the client's body broke off.
    pub fn error(&self) -> Option<BodyError> {
        self.0.as_ref().and_then(|r| r.borrow().error.clone())
    }
}

/// A body that was pulled before.
struct Again(std::vec::IntoIter<Frame>);

impl PollBody for Again {
    fn poll_frame(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        Poll::Ready(self.0.next().map(Ok))
    }
}

impl Replay {
    fn end(&mut self) {
        self.ended = Some(Instant::now());
        self.copies.drain(..).for_each(Feed::end);
    }
}

impl Cursor {
    /// Whether there is no body.
    pub fn is_empty(&self) -> bool {
        self.source.is_empty()
    }

    /// The next frame for this attempt.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let Some(replay) = &self.source.0 else { return Poll::Ready(None) };
        let replay = &mut *replay.borrow_mut();
        if let Some(frame) = kept(&mut self.next, replay) {
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(error) = &replay.error {
            return Poll::Ready(Some(Err(error.clone())));
        }
        if replay.ended.is_some() {
            return Poll::Ready(None);
        }
        let frame = std::task::ready!(replay.body.poll_frame(cx));
        match frame {
            None => {
                replay.end();
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                replay.error = Some(error.clone());
                replay.copies.clear();
                Poll::Ready(Some(Err(error)))
            }
            Some(Ok(frame)) => {
                replay.copies.retain(|copy| copy.push(&frame));
                match &frame {
                    Frame::Data(data) => replay.size += data.len(),
                    Frame::Trailers(_) => replay.end(),
                }
                replay.pulled += 1;
                self.next = replay.pulled;
                if replay.keeping && replay.size <= replay.limit {
                    replay.kept.push(frame.clone());
                } else {
                    replay.overflowed |= replay.keeping;
                    replay.keeping = false;
                    replay.kept = Vec::new();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }
}

/// The frame of that number, where it was kept.
fn kept(next: &mut usize, replay: &Replay) -> Option<Frame> {
    let before = replay.pulled - replay.kept.len();
    let frame = replay.kept.get(next.checked_sub(before)?)?.clone();
    *next += 1;
    Some(frame)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn drain(cursor: &mut Cursor) -> Vec<u8> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut out = Vec::new();
        while let Poll::Ready(Some(Ok(Frame::Data(data)))) = cursor.poll_frame(&mut cx) {
            out.extend_from_slice(&data);
        }
        out
    }

    #[test]
    fn a_second_attempt_sees_the_whole_body_again() {
        let source = Source::new(Body::full(Bytes::from_static(b"hello")), 100);
        assert_eq!(drain(&mut source.cursor()), b"hello");
        assert!(source.can_replay() && source.ended().is_some());
        assert_eq!(drain(&mut source.cursor()), b"hello");
    }

    #[test]
    fn what_is_over_the_limit_is_not_kept() {
        let source = Source::new(Body::full(Bytes::from_static(b"hello")), 4);
        assert_eq!(drain(&mut source.cursor()), b"hello");
        assert!(!source.can_replay() && source.overflowed());
    }
}
