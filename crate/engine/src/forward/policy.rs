//! Whether and when another attempt follows one that ended, and at which host.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::tally::Tally;
use crate::{
    balance,
    cluster::{Cluster, Host, Permit, Priority},
    error::{Failure, Flags},
    http::{header::HeaderList, stream::Stream},
    route::{HashCookie, Pause, Retriable, RetryPolicy},
};

/// What is left of a request's retry policy; without one nothing is tried again.
pub struct Retries<'a> {
    policy: Option<&'a RetryPolicy>,
    tally: &'a Tally,
    priority: Priority,
    done: u32,
    /// Held from the decision for a retry to the next decision, as in Envoy.
    permit: Option<Permit>,
}

impl<'a> Retries<'a> {
    /// All retries of the policy.
    pub fn new(policy: Option<&'a RetryPolicy>, tally: &'a Tally, priority: Priority) -> Retries<'a> {
        Retries { policy, tally, priority, done: 0, permit: None }
    }

    /// The policy, while it is followed.
    pub fn policy(&self) -> Option<&'a RetryPolicy> {
        self.policy
    }

    /// No attempt follows any more.
    pub fn end(&mut self) {
        self.policy = None;
        self.permit = None;
    }

    /// Which thresholds the request counts against.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// Whether the policy wants another attempt behind this answer.
    pub fn wants_answer(&self, head: &HeaderList) -> Retriable {
        self.policy.map_or(Retriable::No, |policy| policy.answer(head))
    }

    /// Whether the policy wants another attempt behind this failure; `sent` tells whether the request had a connection.
    pub fn wants_failure(&self, failure: &Failure, sent: bool) -> Retriable {
        self.policy.map_or(Retriable::No, |policy| policy.failure(failure, sent))
    }

    /// Decides about another attempt behind one whose end, with this answer or none, wants it or does not: the pause before it, or none.
    pub fn next(&mut self, wanted: Retriable, answer: Option<&HeaderList>, stream: &mut Stream) -> Option<Duration> {
        let policy = self.policy?;
        let (tally, cluster) = (self.tally, self.tally.cluster());
        let stats = &cluster.stats;
        if wanted == Retriable::No {
            if self.permit.take().is_some() {
                stats.upstream_rq_retry_success().inc();
                tally.groups(|group| group.upstream_rq_retry_success().inc());
            }
            return None;
        }
        if self.done >= policy.num_retries {
            stats.upstream_rq_retry_limit_exceeded().inc();
            tally.groups(|group| group.upstream_rq_retry_limit_exceeded().inc());
            stream.info.flags.insert(Flags::UPSTREAM_RETRY_LIMIT_EXCEEDED);
            return None;
        }
        self.permit = None;
        self.permit = cluster.circuit.try_retry(self.priority);
        if self.permit.is_none() {
            stats.upstream_rq_retry_overflow().inc();
            tally.groups(|group| group.upstream_rq_retry_overflow().inc());
            stream.info.flags.insert(Flags::UPSTREAM_OVERFLOW);
            return None;
        }
        stats.upstream_rq_retry().inc();
        tally.groups(|group| group.upstream_rq_retry().inc());
        let retry = self.done;
        self.done += 1;
        if wanted == Retriable::AtOnce {
            return Some(Duration::ZERO);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(match policy.pause(retry, answer, now, stream.worker.random.next()) {
            Pause::Exponential(pause) => {
                stats.upstream_rq_retry_backoff_exponential().inc();
                pause
            }
            Pause::RateLimited(pause) => {
                stats.upstream_rq_retry_backoff_ratelimited().inc();
                pause
            }
        })
    }
}

/// The hosts that a request was sent to before, and what the choice of them leaves for the client.
#[derive(Default)]
pub struct Hosts {
    tried: Vec<Arc<Host>>,
    /// Values of `set-cookie`.
    pub cookies: Vec<String>,
}

impl Hosts {
    /// A host for the next attempt, of the hosts that the cluster has now.
    pub fn pick(&mut self, stream: &Stream, cluster: &Arc<Cluster>, retry: Option<&RetryPolicy>) -> Result<Arc<Host>, Failure> {
        let hosts = cluster.hosts();
        let retry = retry.filter(|retry| retry.pass_over.any());
        let again = retry.filter(|_| stream.info.attempts > 1);
        let hash = matches!(cluster.settings.policy, balance::Policy::Hashed(_)).then(|| self.hash(stream, cluster));
        let pass_over = |host: &Host| {
            let tried = |retry: &RetryPolicy| retry.pass_over.previous && self.tried.iter().any(|tried| tried.id == host.id);
            again.is_some_and(|retry| tried(retry) || retry.pass_over.labelled(host.metadata().as_deref()))
        };
        let attempts = again.map_or(0, |retry| retry.host_selection_attempts);
        let host = match hash {
            Some(hash) => balance::pick_hashed(&hosts, hash, pass_over, attempts).cloned(),
            None => stream.worker.with_cursor(cluster, |cursor, random| {
                balance::pick_other(&cluster.settings.policy, &hosts, cursor, random, pass_over, attempts).cloned()
            }),
        };
        let host = host.ok_or(Failure::NoHealthyHost)?;
        if retry.is_some_and(|retry| retry.pass_over.previous) {
            self.tried.push(host.clone());
        }
        Ok(host)
    }

    /// The request's hash; a random one where there is none.
    fn hash(&mut self, stream: &Stream, cluster: &Cluster) -> u64 {
        let own = cluster.settings.policies.as_ref().and_then(|own| own.hash.as_deref());
        let of_route = || stream.info.route.as_ref().and_then(|route| route.forward()?.hash.as_deref());
        let policy = own.or_else(of_route);
        let mut give = |cookie: &HashCookie, value: &str| self.cookies.push(cookie.set(value));
        let hash = policy.and_then(|policy| policy.hash(&stream.headers, &stream.info, Some(&mut give)));
        hash.unwrap_or_else(|| stream.worker.random.next())
    }
}
