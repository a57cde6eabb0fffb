//! Forwards a request: picks hosts, makes attempts, retries, and turns failures into local replies. What Envoy's router does.

mod answer;
mod attempt;

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use crate::{
    cluster::{Cluster, Outcome, Priority},
    error::{Failure, Flags},
    http::{
        body::BodyError,
        header::{HeaderList, Known},
        headers,
        local_reply::LocalReply,
        stream::{Response, Stream},
    },
    route::{Action, Forward, HostRewrite, Retriable, RetryPolicy, RouteMatch},
    upstream::request::Source,
    worker::timer::Deadline,
};
use answer::Answer;
use attempt::{Attempt, Tried};

/// Answers a request by its route.
pub async fn forward(stream: &mut Stream) -> Response {
    stream.manager.router.rq_total().inc();
    let Some(route) = stream.route.clone() else {
        stream.manager.router.no_route().inc();
        return stream.reply(LocalReply::new(404, "", "route_not_found").flag(Flags::NO_ROUTE_FOUND));
    };
    let Some(action) = route.forward() else { return direct(stream, &route) };
    match to_cluster(stream, &route, action).await {
        Ok(response) => response,
        Err(reply) => reply_by_route(stream, &route, reply),
    }
}

/// A local reply with the route's edits of answers, which come before the reply's own content headers.
fn reply_by_route(stream: &mut Stream, route: &RouteMatch, mut reply: LocalReply) -> Response {
    stream.info.status = reply.status;
    reply.headers.set_status(reply.status);
    route.finalize_response_headers(&mut reply.headers, Some(&stream.headers), &stream.info);
    stream.reply(reply)
}

/// The answer that the route gives itself.
fn direct(stream: &mut Stream, route: &RouteMatch) -> Response {
    let status = route.response_status().unwrap_or(500);
    let body = match route.action() {
        Action::DirectResponse(direct) => direct.body.clone(),
        _ => bytes::Bytes::new(),
    };
    // As in Envoy redirects are counted here too; `rq_redirect` is for internal ones.
    stream.manager.router.rq_direct_response().inc();
    let mut reply = LocalReply::new(status, body, "direct_response");
    if let Some(location) = route.location(&stream.headers) {
        reply = reply.header(Known::Location, &location);
    }
    reply_by_route(stream, route, reply)
}

async fn to_cluster(stream: &mut Stream, route: &RouteMatch, action: &Forward) -> Result<Response, LocalReply> {
    let name = route.cluster(&stream.headers);
    let Some(cluster) = stream.snapshot.cluster(name).cloned() else {
        stream.manager.router.no_cluster().inc();
        return Err(LocalReply::new(action.cluster_not_found_status, "", "cluster_not_found").flag(Flags::NO_CLUSTER_FOUND));
    };
    stream.info.cluster = Some(cluster.name.clone());

    let retry = action.retry.as_ref().filter(|policy| policy.applies_to(&stream.headers));
    let own_headers = !stream.manager.suppress_envoy_headers;
    let per_try = retry.and_then(|policy| policy.per_try_timeout).filter(|t| !t.is_zero());
    if own_headers {
        let attempt = route.vhost().request_attempt_count.then_some(1);
        headers::edit_routed_request(&mut stream.headers, per_try.or(action.timeout), attempt);
    }
    route.finalize_request_headers(&mut stream.headers, &stream.info, own_headers);

    let keep = if retry.is_some() || is_idempotent(stream.headers.method()) { replay_limit(stream, route) } else { 0 };
    let source = Source::new(std::mem::take(&mut stream.body), keep);
    let timer = stream.timer.clone();
    let outcome = {
        let mut attempts = pin!(attempts(stream, route, action, &cluster, retry, per_try, &source));
        let mut timeout = Timeout { timer: &timer, source: &source, after: action.timeout };
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = attempts.as_mut().poll(cx) {
                return Poll::Ready(Some(outcome));
            }
            timeout.poll(cx).map(|()| None)
        })
        .await
    };
    source.forget();
    let failure = match outcome {
        Some(Ok(answered)) => return Ok(respond(stream, route, &cluster, answered, source, own_headers)),
        Some(Err(failure)) => failure,
        None => {
            cluster.stats.upstream_rq_timeout().inc();
            Failure::Timeout
        }
    };
    timer.borrow_mut().set(None);
    Err(fail(stream, &cluster, failure, &source))
}

/// Makes attempts until one answers for good, or none is left.
async fn attempts(
    stream: &mut Stream,
    route: &RouteMatch,
    action: &Forward,
    cluster: &Arc<Cluster>,
    retry: Option<&Arc<RetryPolicy>>,
    per_try: Option<Duration>,
    source: &Source,
) -> Result<Answered, Failure> {
    let priority = if action.high_priority { Priority::High } else { Priority::Default };
    let mut tried = Tried::default();
    let mut retries = 0;
    let mut stale_retried = false;
    let mut retry_permit = None;
    loop {
        stream.info.attempts += 1;
        let host = tried.pick(stream, cluster, retry.map(|r| &**r))?;
        if stream.info.attempts > 1
            && let Some(left) = source.left(stream.info.started, action.timeout)
            && stream.headers.contains(Known::EnvoyExpectedRqTimeoutMs)
        {
            let left = per_try.map_or(left, |t| left.min(u64::try_from(t.as_millis()).unwrap_or(u64::MAX)));
            headers::set_number(&mut stream.headers, Known::EnvoyExpectedRqTimeoutMs, left);
        }
        if route.vhost().request_attempt_count {
            headers::set_number(&mut stream.headers, Known::EnvoyAttemptCount, u64::from(stream.info.attempts));
        }
        if matches!(action.host_rewrite, HostRewrite::Auto) && !host.hostname.is_empty() {
            action.set_host(&mut stream.headers, host.hostname.as_bytes(), retries == 0);
        }
        let mut attempt = Attempt::begin(stream, cluster, host, priority, source, per_try).await;
        let result = match &mut attempt {
            Ok(attempt) => attempt.head(stream).await,
            Err(failure) => Err(failure.clone()),
        };
        let again = match (&result, retry) {
            (_, _) if source.error().is_some() => false,
            (Ok(head), Some(policy)) => policy.answer(head) == Retriable::Yes,
            (Err(failure), Some(policy)) => policy.failure(failure, attempt.is_ok()) == Retriable::Yes,
            (_, None) => false,
        };
        if let Err(failure) = &result {
            if let Ok(attempt) = &attempt {
                attempt.failed(failure);
                // The peer closed a kept-alive connection as we wrote to it: it did no work.
                let stale = *failure == Failure::ConnectionTermination && attempt.is_stale();
                if stale && !stale_retried && is_idempotent(stream.headers.method()) && source.can_replay() {
                    stale_retried = true;
                    continue;
                }
            }
        } else if retry_permit.is_some() && !again {
            cluster.stats.upstream_rq_retry_success().inc();
        }
        let may = again && source.can_replay() && {
            let policy = retry.map(|r| r.num_retries).unwrap_or(0);
            if retries >= policy {
                cluster.stats.upstream_rq_retry_limit_exceeded().inc();
                stream.info.flags.insert(Flags::UPSTREAM_RETRY_LIMIT_EXCEEDED);
                false
            } else {
                drop(retry_permit.take());
                retry_permit = cluster.circuit.try_retry(priority);
                if retry_permit.is_none() {
                    cluster.stats.upstream_rq_retry_overflow().inc();
                    stream.info.flags.insert(Flags::UPSTREAM_OVERFLOW);
                }
                retry_permit.is_some()
            }
        };
        if !may {
            let attempt = attempt?;
            return result.map(|headers| Answered { headers, attempt });
        }
        if let Ok(head) = &result {
            cluster.stats.retried(head.status());
        }
        if let Ok(attempt) = &mut attempt {
            // An answer without a body leaves its connection usable.
            attempt.end_if_over();
        }
        drop(attempt);
        cluster.stats.upstream_rq_retry().inc();
        cluster.stats.upstream_rq_retry_backoff_exponential().inc();
        // `may` is only true under a policy.
        let back_off = retry.map(|r| r.back_off).unwrap_or_default();
        tokio::time::sleep(back_off.pause(retries, stream.worker.random.next())).await;
        retries += 1;
    }
}

/// An attempt whose answer goes to the client.
struct Answered {
    headers: HeaderList,
    attempt: Attempt,
}

/// Makes the answer out of an attempt's.
fn respond(
    stream: &mut Stream,
    route: &RouteMatch,
    cluster: &Arc<Cluster>,
    answered: Answered,
    source: Source,
    own_headers: bool,
) -> Response {
    let Answered { mut headers, attempt } = answered;
    let now = Instant::now();
    let status = headers.status();
    let canary = headers.get(Known::EnvoyUpstreamCanary) == Some(b"true");
    let internal = stream.headers.get(Known::EnvoyInternal) == Some(b"true");
    cluster.stats.answer(status, internal, canary);
    attempt.host().finished(if status >= 500 { Outcome::Error } else { Outcome::Success });
    stream.info.detail = Some("via_upstream".into());
    stream.info.upstream_first_rx = Some(now);
    if own_headers {
        // An answer to a request that is not over tells no time.
        if let Some(since) = source.ended().or_else(|| source.is_empty().then_some(stream.info.started)) {
            headers::set_upstream_service_time(&mut headers, now.saturating_duration_since(since));
        }
    }
    stream.info.status = status;
    route.finalize_response_headers(&mut headers, Some(&stream.headers), &stream.info);
    if route.vhost().response_attempt_count {
        headers::set_number(&mut headers, Known::EnvoyAttemptCount, u64::from(stream.info.attempts));
    }
    let body = Answer::body(attempt, cluster.clone(), stream.timer.clone(), stream.info.started, internal);
    Response { headers, body }
}

/// The local reply to a request that no attempt could answer.
fn fail(stream: &mut Stream, cluster: &Cluster, failure: Failure, source: &Source) -> LocalReply {
    if let Some(BodyError::ClientProtocol(detail)) = source.error() {
        return LocalReply::new(400, "Bad Request", detail).flag(Flags::DOWNSTREAM_PROTOCOL_ERROR).closing();
    }
    if failure == Failure::NoHealthyHost {
        cluster.stats.upstream_cx_none_healthy().inc();
        cluster.stats.lb_healthy_panic().inc();
    }
    if let Failure::Connect(reason) = &failure {
        stream.info.upstream_failure = Some(reason.clone());
    }
    cluster.stats.answer(failure.status(), false, false);
    let reply = LocalReply::new(failure.status(), failure.body(stream.info.attempts > 1), failure.detail()).flag(failure.flag());
    match failure {
        Failure::Overflow => reply.header(Known::EnvoyOverloaded, b"true"),
        _ => reply,
    }
}

/// The route's timeout: runs from the end of the request.
struct Timeout<'a> {
    timer: &'a Rc<RefCell<Deadline>>,
    source: &'a Source,
    after: Option<Duration>,
}

impl Timeout<'_> {
    fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<()> {
        let Some(after) = self.after else { return Poll::Pending };
        let mut timer = self.timer.borrow_mut();
        if !timer.is_set() {
            let from = if self.source.is_empty() { Some(Instant::now()) } else { self.source.ended() };
            match from {
                Some(from) => timer.set_at(from.checked_add(after)),
                None => return Poll::Pending,
            }
        }
        timer.poll(cx)
    }
}

fn replay_limit(stream: &Stream, route: &RouteMatch) -> usize {
    route.route().buffer_limit.map_or(stream.buffer_limit, |limit| limit as usize)
}

fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE")
}
