//! A copy of a request's body for a shadow. The reader of the copy never slows the request: what it leaves lying is bounded.

use std::{
    cell::RefCell,
    collections::VecDeque,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use crate::http::body::{BodyError, Frame, PollBody};

/// Where the frames go in; dropped before the end, it breaks the copy off.
pub struct Feed(Rc<RefCell<Queue>>);

/// Where they come out.
pub struct CopiedBody(Rc<RefCell<Queue>>);

/// Tells that a copy broke off.
pub struct Broken(Rc<RefCell<Queue>>);

#[derive(Default)]
struct Queue {
    frames: VecDeque<Frame>,
    size: usize,
    limit: usize,
    ended: bool,
    broken: bool,
    reader: Option<Waker>,
}

/// A copy of which at most `limit` bytes wait for their reader.
pub fn copy(limit: usize) -> (Feed, CopiedBody, Broken) {
    let queue = Rc::new(RefCell::new(Queue { limit, ..Queue::default() }));
    (Feed(queue.clone()), CopiedBody(queue.clone()), Broken(queue))
}

impl Feed {
    /// Gives the copy a frame; false where its reader is too slow, which breaks the copy off.
    pub fn push(&self, frame: &Frame) -> bool {
        let queue = &mut *self.0.borrow_mut();
        if let Frame::Data(data) = frame {
            queue.size += data.len();
        }
        if queue.size > queue.limit {
            queue.end(true);
            return false;
        }
        queue.frames.push_back(frame.clone());
        queue.wake();
        true
    }

    /// The body is whole.
    pub fn end(self) {
        self.0.borrow_mut().end(false);
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.0.borrow_mut().end(true);
    }
}

impl Queue {
    fn end(&mut self, broken: bool) {
        if !self.ended {
            self.ended = true;
            self.broken = broken;
            if broken {
                self.frames = VecDeque::new();
            }
            self.wake();
        }
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl PollBody for CopiedBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let queue = &mut *self.0.borrow_mut();
        match queue.frames.pop_front() {
            Some(frame) => {
                if let Frame::Data(data) = &frame {
                    queue.size -= data.len();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            None if queue.broken => Poll::Ready(Some(Err(BodyError::ClientGone))),
            None if queue.ended => Poll::Ready(None),
            None => {
                queue.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Broken {
    /// Ready once the copy has broken off.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let queue = &mut *self.0.borrow_mut();
        if queue.broken {
            return Poll::Ready(());
        }
        if !queue.ended {
            queue.reader = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn data(text: &'static str) -> Frame {
        Frame::Data(Bytes::from_static(text.as_bytes()))
    }

    fn read(body: &mut CopiedBody) -> Option<Result<String, BodyError>> {
        match body.poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(Frame::Data(data)))) => Some(Ok(String::from_utf8_lossy(&data).into_owned())),
            Poll::Ready(Some(Ok(Frame::Trailers(_)))) => Some(Ok("trailers".into())),
            Poll::Ready(Some(Err(error))) => Some(Err(error)),
            Poll::Ready(None) => Some(Ok("end".into())),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_reader_that_keeps_up_sees_everything() {
        let (feed, mut body, broken) = copy(4);
        for piece in ["abcd", "efgh"] {
            assert!(feed.push(&data(piece)));
            assert_eq!((read(&mut body), read(&mut body)), (Some(Ok(piece.into())), None));
        }
        feed.end();
        assert_eq!(read(&mut body), Some(Ok("end".into())));
        assert!(broken.poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }

    #[test]
    fn a_slow_reader_loses_the_copy_and_a_feed_that_goes_breaks_it() {
        let (feed, mut body, broken) = copy(4);
        assert!(feed.push(&data("abcd")) && !feed.push(&data("e")));
        assert_eq!(read(&mut body), Some(Err(BodyError::ClientGone)));
        assert!(broken.poll(&mut Context::from_waker(Waker::noop())).is_ready());
        let (feed, mut body, _) = copy(4);
        drop(feed);
        assert_eq!(read(&mut body), Some(Err(BodyError::ClientGone)));
    }
}
