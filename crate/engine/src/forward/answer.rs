//! The body of an upstream's answer on its way to the client.

use std::{
    cell::RefCell,
    rc::Rc,
    task::{Context, Poll},
    time::Instant,
};

use super::{attempt::Attempt, tally::Tally};
use crate::{
    http::body::{Body, BodyError, Frame, PollBody},
    worker::timer::Deadline,
};

/// Pulls an attempt's body, within the route's timeout, and counts its end.
pub struct Answer {
    attempt: Option<Attempt>,
    tally: Tally,
    timer: Rc<RefCell<Deadline>>,
    started: Instant,
    internal: bool,
    canary: bool,
}

impl Answer {
    /// The body of the attempt's answer; nothing is left to pull where it has none. Its time counts as internal or external, and as a canary's.
    pub fn body(attempt: Attempt, tally: Tally, timer: Rc<RefCell<Deadline>>, started: Instant, (internal, canary): (bool, bool)) -> Body {
        let mut answer = Answer { attempt: Some(attempt), tally, timer, started, internal, canary };
        if answer.attempt.as_mut().is_some_and(Attempt::end_if_over) {
            answer.finish();
            return Body::Empty;
        }
        Body::stream(answer)
    }

    fn finish(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            self.timer.borrow_mut().set(None);
            self.tally.time(self.started.elapsed().as_millis() as u64, self.internal, self.canary, attempt.host());
        }
    }
}

impl PollBody for Answer {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let Some(attempt) = &mut self.attempt else { return Poll::Ready(None) };
        match attempt.poll_body(cx) {
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                // Where this was the last piece, the connection is free before the client has taken it.
                if attempt.end_if_over() {
                    self.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                if let BodyError::Upstream(failure) = &error {
                    attempt.failed(failure);
                }
                self.attempt = None;
                self.timer.borrow_mut().set(None);
                Poll::Ready(Some(Err(error)))
            }
            Poll::Pending if self.timer.borrow_mut().poll(cx).is_ready() => {
                self.tally.cluster().stats.upstream_rq_timeout().inc();
                self.attempt = None;
                Poll::Ready(Some(Err(BodyError::Timeout("response_timeout"))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_background(&mut self, cx: &mut Context<'_>) {
        if let Some(attempt) = &mut self.attempt {
            attempt.poll_send(cx);
        }
    }
}
