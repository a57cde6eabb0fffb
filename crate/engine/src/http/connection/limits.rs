//! The time limits of one stream, as its connection watches them: idleness, the whole request, the whole stream, the end of the answer.

use std::{
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use crate::{
    error::Flags,
    http::{body::BodyError, local_reply::LocalReply, manager::Manager, stream::Interim},
    worker::timer::Deadline,
};

/// Watches the limits of a stream with the connection's timer.
pub struct Limits<'t> {
    timer: &'t mut Deadline,
    interim: Interim,
    /// When `request_timeout` passes.
    request: Option<Instant>,
    seen: Option<Seen>,
    /// All of the answer is here, and nothing counts but how long the client takes for what is left.
    flushing: bool,
}

/// Why an answer ended that the client did not take in time.
pub const FLUSH_TIMEOUT: &str = "stream_flush_timeout";

/// What the next deadline was made of: progress, whether the request is whole, how long may be idle, the end of the stream.
type Seen = (u64, bool, Option<Duration>, Option<Instant>);

/// Which limit was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// `stream_idle_timeout`, or the route's `idle_timeout`.
    Idle,
    /// `request_timeout`
    Request,
    /// `max_stream_duration` of the connection manager or the route, or `grpc-timeout`.
    Duration,
    /// `stream_flush_timeout`, or the route's `flush_timeout`.
    Flush,
}

impl<'t> Limits<'t> {
    /// The limits of a stream that began at `started`; a route may change those in `interim` later.
    pub fn new(timer: &'t mut Deadline, interim: Interim, manager: &Manager, started: Instant) -> Limits<'t> {
        let settings = &manager.settings;
        interim.set_idle_timeout(settings.stream_idle_timeout);
        interim.set_flush_timeout(settings.stream_flush_timeout.or(settings.stream_idle_timeout));
        interim.set_end(settings.max_stream_duration.and_then(|limit| started.checked_add(limit)));
        let request = settings.request_timeout.and_then(|limit| started.checked_add(limit));
        Limits { timer, interim, request, seen: None, flushing: false }
    }

    /// The answer begins: `request_timeout` is over, and idleness starts anew.
    pub fn answering(&mut self) {
        (self.request, self.seen) = (None, None);
    }

    /// All of the answer is here, and the client leaves no room for the rest of it: the only limit that counts is that of this wait.
    pub fn flushing(&mut self) {
        if !std::mem::replace(&mut self.flushing, true) {
            self.timer.set(self.interim.flush_timeout());
        }
    }

    /// Ready with the limit that was passed. `progress` changes with each step of the stream, which ends idleness; `complete` tells whether
    /// the client has sent all of its request.
    pub fn poll(&mut self, progress: u64, complete: bool, cx: &mut Context<'_>) -> Poll<Passed> {
        if self.flushing {
            return self.timer.poll(cx).map(|()| Passed::Flush);
        }
        let request = self.request.filter(|_| !complete);
        let (idle, end) = (self.interim.idle_timeout(), self.interim.end());
        if self.seen != Some((progress, complete, idle, end)) {
            self.seen = Some((progress, complete, idle, end));
            let idle = idle.and_then(|limit| Instant::now().checked_add(limit));
            self.timer.set_at([idle, request, end].into_iter().flatten().min());
        }
        ready!(self.timer.poll(cx));
        let passed = |at: Option<Instant>| at.is_some_and(|at| Instant::now() >= at);
        Poll::Ready(match () {
            () if passed(end) => Passed::Duration,
            () if passed(request) => Passed::Request,
            () => Passed::Idle,
        })
    }
}

impl Passed {
    /// Counts it.
    fn count(self, manager: &Manager) {
        match self {
            Passed::Idle => manager.stats.downstream_rq_idle_timeout().inc(),
            Passed::Request => manager.stats.downstream_rq_timeout().inc(),
            Passed::Duration => manager.stats.downstream_rq_max_duration_reached().inc(),
            // Its protocol counts it.
            Passed::Flush => {}
        }
    }

    /// The reply where the answer has not begun. `complete` tells whether the client had sent all of its request.
    pub fn reply(self, complete: bool, manager: &Manager) -> LocalReply {
        self.count(manager);
        let status = if complete { 504 } else { 408 };
        match self {
            // No answer is flushed before it has begun.
            Passed::Idle | Passed::Flush => {
                LocalReply::new(status, "stream timeout", "stream_idle_timeout").flag(Flags::STREAM_IDLE_TIMEOUT)
            }
            Passed::Request => LocalReply::new(408, "request timeout", "request_overall_timeout"),
            Passed::Duration => {
                LocalReply { grpc_status: Some(4), ..LocalReply::new(status, "downstream duration timeout", "max_duration_timeout") }
            }
        }
    }

    /// The end of an answer that has begun.
    pub fn broken(self, manager: &Manager) -> BodyError {
        self.count(manager);
        BodyError::Timeout(match self {
            Passed::Idle => "stream_idle_timeout",
            Passed::Request => "request_overall_timeout",
            Passed::Duration => "max_duration_timeout",
            Passed::Flush => FLUSH_TIMEOUT,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// What passes first, how many seconds after the begin.
    async fn first(idle: Option<u64>, request: Option<u64>, end: Option<u64>, complete: bool) -> (Passed, u64) {
        let begun = tokio::time::Instant::now();
        let at = |seconds: u64| begun.into_std() + Duration::from_secs(seconds);
        let mut timer = Deadline::default();
        let interim = Interim::default();
        interim.set_idle_timeout(idle.map(Duration::from_secs));
        interim.set_end(end.map(at));
        let mut limits = Limits { timer: &mut timer, interim, request: request.map(at), seen: None, flushing: false };
        let passed = poll_fn(|cx| limits.poll(0, complete, cx)).await;
        (passed, begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_limit_counts() {
        assert_eq!(first(Some(3), Some(5), Some(7), false).await, (Passed::Idle, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_request_has_no_limit_of_its_own() {
        assert_eq!(first(Some(9), Some(5), None, true).await, (Passed::Idle, 9));
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_end_of_an_answer_only_its_own_limit_counts() {
        for (flush, takes) in [(Some(4), Some(4)), (None, None)] {
            let mut timer = Deadline::default();
            let interim = Interim::default();
            interim.set_idle_timeout(Some(Duration::from_secs(1)));
            interim.set_flush_timeout(flush.map(Duration::from_secs));
            let mut limits = Limits { timer: &mut timer, interim, request: None, seen: None, flushing: false };
            let begun = tokio::time::Instant::now();
            let passed = tokio::time::timeout(Duration::from_secs(9), async {
                poll_fn(|cx| {
                    limits.flushing();
                    limits.poll(begun.elapsed().as_secs(), true, cx)
                })
                .await
            });
            assert_eq!(passed.await.ok().map(|passed| (passed, begun.elapsed().as_secs())), takes.map(|s| (Passed::Flush, s)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn limits_that_are_over_at_the_begin() {
        // The real clock stands still here, so that only such moments are over on it too.
        assert_eq!(first(Some(9), Some(0), Some(7), false).await, (Passed::Request, 0));
        assert_eq!(first(Some(9), Some(5), Some(0), false).await, (Passed::Duration, 0));
    }
}
