//! One attempt at sending a request to one host.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use crate::{
    balance,
    cluster::{ActiveRequest, Cluster, Host, Outcome, Permit, Priority},
    error::Failure,
    http::{
        body::{BodyError, Frame},
        header::HeaderList,
        stream::Stream,
    },
    route::RetryPolicy,
    upstream::{self, Exchange, request::Source},
    worker::timer::Deadline,
};

/// The hosts that a request was sent to before.
#[derive(Default)]
pub struct Tried(Vec<Arc<Host>>);

impl Tried {
    /// A host for the next attempt, of the hosts that the cluster has now.
    pub fn pick(&mut self, stream: &Stream, cluster: &Arc<Cluster>, retry: Option<&RetryPolicy>) -> Result<Arc<Host>, Failure> {
        let hosts = cluster.hosts();
        let avoid = retry.filter(|r| r.avoid_previous_hosts && !self.0.is_empty()).map(|r| r.host_selection_attempts);
        let host = stream.worker.with_cursor(cluster, |cursor, random| match avoid {
            Some(attempts) => balance::pick_other(&cluster.settings.policy, &hosts, cursor, random, &self.0, attempts).cloned(),
            None => balance::pick(&cluster.settings.policy, &hosts, cursor, random).cloned(),
        });
        let host = host.ok_or(Failure::NoHealthyHost)?;
        if retry.is_some_and(|r| r.avoid_previous_hosts) {
            self.0.push(host.clone());
        }
        Ok(host)
    }
}

/// One attempt.
pub struct Attempt {
    exchange: Exchange,
    request: ActiveRequest,
    cluster: Arc<Cluster>,
    per_try: Deadline,
    _active: Active,
    _permit: Permit,
}

impl Attempt {
    /// Gets a connection to the host and begins the request on it.
    pub async fn begin(
        stream: &mut Stream,
        cluster: &Arc<Cluster>,
        host: Arc<Host>,
        priority: Priority,
        source: &Source,
        per_try: Option<Duration>,
    ) -> Result<Attempt, Failure> {
        stream.info.upstream_host = Some(host.address());
        let Some(permit) = cluster.circuit.try_request(priority) else {
            cluster.stats.upstream_rq_pending_overflow().inc();
            return Err(Failure::Overflow);
        };
        let pool = stream.worker.pools.of(cluster, &host);
        let mut deadline = Deadline::default();
        deadline.set(per_try);
        let begin = upstream::begin(&pool, priority, &stream.headers, source.cursor());
        let mut begin = std::pin::pin!(begin);
        let exchange = poll_fn(|cx| {
            if let Poll::Ready(result) = begin.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            deadline.poll(cx).map(|()| Err(Failure::PerTryTimeout))
        })
        .await?;
        cluster.stats.upstream_rq_total().inc();
        cluster.stats.upstream_rq_active().inc();
        let active = Active(cluster.clone());
        let now = Instant::now();
        stream.info.upstream_first_tx = Some(now);
        stream.info.upstream_local = exchange.local();
        stream.info.upstream_protocol = Some(exchange.protocol());
        Ok(Attempt { exchange, request: host.request(), cluster: cluster.clone(), per_try: deadline, _active: active, _permit: permit })
    }

    /// Waits for the final head of the answer; informational ones are left with the stream.
    pub async fn head(&mut self, stream: &Stream) -> Result<HeaderList, Failure> {
        loop {
            let head = poll_fn(|cx| {
                if let Poll::Ready(head) = self.exchange.poll_head(cx) {
                    return Poll::Ready(head);
                }
                self.per_try.poll(cx).map(|()| Err(Failure::PerTryTimeout))
            })
            .await?;
            if !head.informational {
                return Ok(head.headers);
            }
            if head.headers.status() != 100 || stream.manager.settings.proxy_100_continue {
                stream.interim.push(head.headers);
            }
        }
    }

    /// Counts how the attempt failed.
    pub fn failed(&self, failure: &Failure) {
        let stats = &self.cluster.stats;
        let outcome = match failure {
            Failure::PerTryTimeout => {
                stats.upstream_rq_per_try_timeout().inc();
                Outcome::Timeout
            }
            Failure::Protocol(_) => {
                stats.upstream_cx_protocol_error().inc();
                Outcome::Error
            }
            Failure::RemoteReset | Failure::RefusedStream => {
                stats.upstream_rq_rx_reset().inc();
                Outcome::Error
            }
            _ => Outcome::Error,
        };
        self.request.host().finished(outcome);
    }

    /// Whether the connection was a reused one that gave no byte of an answer.
    pub fn is_stale(&self) -> bool {
        self.exchange.reused() && !self.exchange.answered()
    }

    /// The host.
    pub fn host(&self) -> &Arc<Host> {
        self.request.host()
    }

    /// The next frame of the answer's body.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        self.exchange.poll_body(cx)
    }

    /// Goes on sending the request.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) {
        // A failure comes back from the next poll of the body.
        let _ = self.exchange.poll_send(cx);
    }

    /// Whether the answer's body is known to be over.
    pub fn end_if_over(&mut self) -> bool {
        self.exchange.sent() && self.exchange.end_if_over()
    }
}

/// Counts an attempt that has a connection.
struct Active(Arc<Cluster>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.stats.upstream_rq_active().dec();
    }
}
