//! The attempts at one request that are under way together. The first acceptable answer wins; the others are reset.

use std::{
    future::poll_fn,
    task::{Context, Poll},
    time::Duration,
};

use smallvec::SmallVec;

use super::{
    Timeout,
    attempt::{Attempt, Limits, Progress},
    controls::Controls,
    is_idempotent,
    policy::{Hosts, Retries},
    tally::Tally,
};
use crate::{
    cluster::Outcome,
    error::Failure,
    http::{
        body::BodyError,
        header::{HeaderList, Known},
        headers,
        stream::Stream,
    },
    route::{Retriable, RouteMatch},
    upstream::request::Source,
    worker::timer::Deadline,
};

/// An attempt whose answer goes to the client.
pub struct Answered {
    /// The head of its answer.
    pub headers: HeaderList,
    /// The attempt, with the body to come.
    pub attempt: Attempt,
    /// Cookies that the client gets (`set-cookie`), by which its next requests go to the same host.
    pub cookies: Vec<String>,
}

impl Answered {
    /// Whether a canary answered: the host is one, or the answer says so.
    pub fn is_canary(&self) -> bool {
        self.headers.get(Known::EnvoyUpstreamCanary) == Some(b"true") || self.attempt.host().is_canary()
    }
}

/// The attempts at one request.
pub struct Attempts<'a> {
    route: &'a RouteMatch,
    tally: &'a Tally,
    source: &'a Source,
    controls: &'a Controls<'a>,
    limits: Limits,
    timeout: Timeout<'a>,
    retries: Retries<'a>,
    hosts: Hosts,
    /// Oldest first. One is the rule, and needs no memory beside this.
    running: SmallVec<[Attempt; 1]>,
    /// Set while another attempt is to follow.
    pause: Deadline,
    stale_retried: bool,
    /// An interim answer came.
    begun: bool,
    /// The attempt that ended last took longer than its limits allow.
    was_late: bool,
}

/// A pause of nothing would be no deadline.
const AT_ONCE: Duration = Duration::from_nanos(1);

/// What happens next.
enum Event {
    /// An attempt, by its place, has something to tell.
    Of(usize, Progress),
    /// The pause before another attempt is over.
    Due,
    /// The route's timeout passed.
    Timeout,
}

impl<'a> Attempts<'a> {
    /// No attempt yet.
    pub fn new(
        route: &'a RouteMatch,
        tally: &'a Tally,
        source: &'a Source,
        controls: &'a Controls<'a>,
        timeout: Timeout<'a>,
        limits: Limits,
        retries: Retries<'a>,
    ) -> Attempts<'a> {
        let (hosts, running, pause) = (Hosts::default(), SmallVec::new(), Deadline::default());
        Attempts {
            route,
            tally,
            source,
            controls,
            limits,
            timeout,
            retries,
            hosts,
            running,
            pause,
            stale_retried: false,
            was_late: false,
            begun: false,
        }
    }

    /// Whether an interim answer came, so that a failure is one behind the begin of the answer.
    pub fn begun(&self) -> bool {
        self.begun
    }

    /// Waits for an attempt that answers for good, and begins more of them where one is not enough, until none is left.
    pub async fn run(&mut self, stream: &mut Stream) -> Result<Answered, Failure> {
        loop {
            match poll_fn(|cx| self.poll(cx, stream)).await {
                Event::Of(at, Progress::Answer(head)) => {
                    self.was_late = false;
                    let wanted = self.retries.wants_answer(&head);
                    if self.follows(at, wanted, Some(&head), stream) {
                        self.running[at].host().finished(Outcome::Error);
                        self.tally.cluster().stats.retried(head.status());
                        // An answer without a body leaves its connection usable.
                        self.running[at].end_if_over();
                        self.running.remove(at);
                    } else if wanted != Retriable::No && self.others() {
                        // Another may still do better.
                        self.running[at].host().finished(Outcome::Error);
                        self.running.remove(at);
                    } else {
                        let cookies = std::mem::take(&mut self.hosts.cookies);
                        return Ok(Answered { headers: head, attempt: self.running.swap_remove(at), cookies });
                    }
                }
                Event::Of(_, Progress::Failed(failure)) if self.source.error().is_some() => {
                    // The client's doing, which is not charged to the cluster.
                    self.running.clear();
                    if self.source.error() == Some(BodyError::ClientGone) {
                        // Nobody waits for an answer: the connection is about to drop all this.
                        std::future::pending::<()>().await;
                    }
                    return Err(failure);
                }
                Event::Of(at, Progress::Failed(failure)) => {
                    self.running[at].failed(&failure);
                    self.was_late = false;
                    if self.is_stale(at, &failure, stream) {
                        self.running.remove(at);
                        self.begin(stream)?;
                        continue;
                    }
                    let wanted = self.retries.wants_failure(&failure, self.running[at].is_sent());
                    self.gave_up(at, wanted, failure, stream)?;
                }
                // Its answer began with an interim one: only the whole timeout ends it.
                Event::Of(_, Progress::Late(Failure::PerTryTimeout)) if self.begun => {}
                Event::Of(at, Progress::Late(_)) if self.limits.hedge => {
                    self.was_late = true;
                    if self.follows(at, Retriable::Yes, None, stream) {
                        self.running[at].hedged = true;
                        self.pause.set(Some(AT_ONCE));
                    }
                }
                Event::Of(at, Progress::Late(failure)) => {
                    self.running[at].failed(&failure);
                    self.was_late = true;
                    let wanted = self.retries.wants_failure(&failure, true);
                    self.gave_up(at, wanted, failure, stream)?;
                }
                Event::Of(at, Progress::Interim(head)) => {
                    // The client may see it, so that the answer to come can only be this attempt's.
                    self.running.swap(0, at);
                    self.running.truncate(1);
                    self.begun = true;
                    self.pause.set(None);
                    self.retries.end();
                    self.tally.answer(head.status(), stream.is_internal(), false, Some(self.running[0].host()));
                    if stream.manager.settings.proxy_100_continue {
                        stream.interim.push(head);
                    }
                }
                Event::Due => self.begin(stream)?,
                Event::Timeout => {
                    for attempt in &self.running {
                        attempt.failed(&Failure::Timeout);
                        self.charge(attempt, &Failure::Timeout, stream);
                    }
                    return Err(Failure::Timeout);
                }
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<Event> {
        for (at, attempt) in self.running.iter_mut().enumerate() {
            if let Poll::Ready(progress) = attempt.poll(cx, stream) {
                return Poll::Ready(Event::Of(at, progress));
            }
        }
        if self.pause.poll(cx).is_ready() {
            return Poll::Ready(Event::Due);
        }
        self.timeout.poll(cx).map(|()| Event::Timeout)
    }

    /// Begins one more attempt, at a host of those that the cluster has now.
    pub fn begin(&mut self, stream: &mut Stream) -> Result<(), Failure> {
        stream.info.attempts += 1;
        let host = self.hosts.pick(stream, self.tally.cluster(), self.retries.policy())?;
        if stream.info.attempts > 1 {
            self.controls.tell(&mut stream.headers, self.source.elapsed(stream.info.started));
            if self.route.vhost().is_timeout_retry_header {
                stream.headers.set(Known::EnvoyIsTimeoutRetry, if self.was_late { b"true" } else { b"false" });
            }
        }
        if self.route.vhost().request_attempt_count {
            headers::set_number(&mut stream.headers, Known::EnvoyAttemptCount, u64::from(stream.info.attempts));
        }
        self.running.push(Attempt::begin(stream, self.tally, host, self.retries.priority(), self.source, self.limits));
        Ok(())
    }

    /// Removes an attempt that ended with a failure, which is the answer where no other is left.
    fn gave_up(&mut self, at: usize, wanted: Retriable, failure: Failure, stream: &mut Stream) -> Result<(), Failure> {
        if self.follows(at, wanted, None, stream) {
            self.running[at].host().finished(Outcome::Error);
        } else {
            self.charge(&self.running[at], &failure, stream);
        }
        let more = self.others();
        self.running.remove(at);
        if more { Ok(()) } else { Err(failure) }
    }

    /// Counts the failure of an attempt that no other follows, as the answer that it would be; as in Envoy, of each such attempt.
    fn charge(&self, attempt: &Attempt, failure: &Failure, stream: &Stream) {
        if !self.begun && *failure != Failure::StreamDuration {
            self.tally.answer(self.controls.status(failure), stream.is_internal(), false, Some(attempt.host()));
            attempt.host().finished(Outcome::Error);
        }
    }

    /// Whether another attempt follows this one, whose end is worth one: it is then due after a pause.
    fn follows(&mut self, at: usize, wanted: Retriable, answer: Option<&HeaderList>, stream: &mut Stream) -> bool {
        if self.running[at].hedged || !self.source.can_replay() {
            return false;
        }
        let Some(pause) = self.retries.next(wanted, answer, stream) else { return false };
        self.pause.set(Some(pause.max(AT_ONCE)));
        true
    }

    /// Whether anything is under way beside one attempt.
    fn others(&self) -> bool {
        self.running.len() > 1 || self.pause.is_set()
    }

    /// Whether the peer closed a kept-alive connection as we wrote to it: it did no work, and the request may be sent once more.
    fn is_stale(&mut self, at: usize, failure: &Failure, stream: &Stream) -> bool {
        let stale = *failure == Failure::ConnectionTermination
            && self.running[at].is_stale()
            && !self.stale_retried
            && !self.begun
            && is_idempotent(stream.headers.method())
            && self.source.can_replay();
        self.stale_retried |= stale;
        stale
    }
}
