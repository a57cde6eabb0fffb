//! Forwards a request: picks hosts, makes attempts, retries, and turns failures into local replies. What Envoy's router does.

mod answer;
mod attempt;
mod attempts;
mod controls;
mod policy;
mod redirect;
mod shadow;
mod tally;

use std::{
    cell::RefCell,
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};

use crate::{
    cluster::{Outcome, Priority},
    error::{Failure, Flags},
    http::{
        body::BodyError,
        header::Known,
        headers,
        local_reply::{LocalReply, is_grpc},
        settings::{Scheme, SchemeHeader},
        stream::{Response, Stream},
    },
    route::{Action, Forward, RouteMatch},
    upstream::request::Source,
    worker::timer::Deadline,
};
use answer::Answer;
use attempt::Limits;
use attempts::{Answered, Attempts};
use controls::Controls;
use policy::Retries;
use tally::{Codes, Tally};

/// Answers a request by its route; nothing where an internal redirect has made it another request.
pub async fn forward(stream: &mut Stream) -> Option<Response> {
    stream.manager.router.rq_total().inc();
    let Some(route) = stream.route().cloned() else {
        stream.manager.router.no_route().inc();
        return Some(stream.reply(LocalReply::new(404, "", "route_not_found").flag(Flags::NO_ROUTE_FOUND)));
    };
    let Some(action) = route.forward() else { return Some(direct(stream, &route)) };
    match to_cluster(stream, &route, action).await {
        Ok(response) => response,
        Err(reply) => Some(reply_by_route(stream, &route, reply)),
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
    // As in Envoy redirects are counted here too; `rq_redirect` is for internal ones.
    stream.manager.router.rq_direct_response().inc();
    let mut reply = LocalReply::new(status, bytes::Bytes::new(), "direct_response");
    if let Action::DirectResponse(direct) = route.action() {
        reply = reply.body(direct.body.clone(), direct.format.as_deref(), &stream.headers, &stream.info);
    }
    if let Some(location) = route.location(&stream.headers, &stream.info) {
        reply = reply.header(Known::Location, &location);
    }
    reply_by_route(stream, route, reply)
}

async fn to_cluster(stream: &mut Stream, route: &RouteMatch, action: &Forward) -> Result<Option<Response>, LocalReply> {
    // Settled with the route: a header that names it may have changed since.
    let Some(cluster) = stream.info.cluster.clone() else {
        stream.manager.router.no_cluster().inc();
        return Err(LocalReply::new(action.cluster_not_found_status, "", "cluster_not_found").flag(Flags::NO_CLUSTER_FOUND));
    };
    let group = route.virtual_cluster(&stream.headers);
    stream.info.virtual_cluster = group.and_then(|group| group.name.clone());

    if stream.manager.settings.scheme_header == SchemeHeader::MatchUpstream {
        let scheme = if cluster.settings.tls.is_some() { Scheme::Https } else { Scheme::Http };
        stream.headers.set(Known::Scheme, scheme.as_str().as_bytes());
    }
    let router = &stream.manager.router_settings;
    let codes = match () {
        () if router.no_dynamic_stats => Codes::None,
        () if router.suppress_grpc_codes && is_grpc(&stream.headers) => Codes::Parts,
        () => Codes::All,
    };
    let mut controls = Controls::take(&mut stream.headers, action, &cluster, router)?;
    let tally = Tally::new(&cluster, route, group.map(|group| &group.stats), controls.alt_stats.take(), codes);
    if route.vhost().request_attempt_count {
        headers::set_number(&mut stream.headers, Known::EnvoyAttemptCount, 1);
    }
    route.finalize_request_headers(&mut stream.headers, &stream.info, controls.own_headers);
    // A cluster's policies come before those of its routes.
    let own = cluster.settings.policies.as_deref();
    controls.take_retries(&mut stream.headers, own.and_then(|own| own.retry.as_ref()).or(action.retry.as_deref()));

    let mirrors = own.and_then(|own| own.mirrors.as_ref()).or(action.mirrors.as_ref());
    let shadows = mirrors.map(|mirrors| shadow::of(stream, mirrors)).unwrap_or_default();
    let kept = controls.retry.is_some() || action.internal_redirect.is_some() || is_idempotent(stream.headers.method());
    let keep = if kept { replay_limit(stream, route) } else { 0 };
    let source = Source::new(std::mem::take(&mut stream.body), keep);
    let timer = stream.timer.clone();
    let (mut outcome, begun) = {
        let timeout = Timeout { timer: &timer, source: &source, after: controls.timeout };
        let limits =
            Limits { per_try: controls.per_try, idle: controls.per_try_idle, duration: controls.stream_duration, hedge: controls.hedge };
        let priority = if action.high_priority { Priority::High } else { Priority::Default };
        let retries = Retries::new(controls.retry.as_deref(), &tally, priority);
        let mut attempts = Attempts::new(route, &tally, &source, &controls, timeout, limits, retries);
        let outcome = match attempts.begin(stream) {
            Ok(()) => {
                let limit = replay_limit(stream, route);
                shadows.into_iter().for_each(|shadow| shadow.start(stream, route, &source, controls.timeout, limit));
                attempts.run(stream).await
            }
            Err(failure) => Err(failure),
        };
        (outcome, attempts.begun())
    };
    if controls.retry.is_some() && source.overflowed() {
        cluster.stats.retry_or_shadow_abandoned().inc();
    }
    if let (Ok(answered), Some(policy)) = (&mut outcome, &action.internal_redirect)
        && policy.statuses.contains(&answered.headers.status())
    {
        if redirect::follow(stream, route, policy, &answered.headers, &source) {
            cluster.stats.upstream_internal_redirect_succeeded_total().inc();
            // An answer without a body leaves its connection usable.
            answered.attempt.end_if_over();
            timer.borrow_mut().set(None);
            stream.info.status = answered.headers.status();
            return Ok(None);
        }
        cluster.stats.upstream_internal_redirect_failed_total().inc();
    }
    source.forget();
    match outcome {
        Ok(answered) => Ok(Some(respond(stream, route, tally, answered, source, &controls))),
        Err(failure) => {
            timer.borrow_mut().set(None);
            Err(fail(stream, &tally, failure, &source, &controls, begun))
        }
    }
}

/// Makes the answer out of an attempt's.
fn respond(stream: &mut Stream, route: &RouteMatch, tally: Tally, answered: Answered, source: Source, controls: &Controls<'_>) -> Response {
    charge_answer(stream, &tally, &answered);
    let canary = answered.is_canary();
    let Answered { mut headers, attempt, cookies } = answered;
    attempt.note(&mut stream.info);
    let now = Instant::now();
    let status = headers.status();
    let internal = stream.is_internal();
    stream.info.detail = Some("via_upstream".into());
    stream.info.upstream_first_rx = Some(now);
    if controls.own_headers {
        // An answer to a request that is not over tells no time.
        if let Some(since) = source.ended().or_else(|| source.is_empty().then_some(stream.info.started)) {
            headers::set_upstream_service_time(&mut headers, now.saturating_duration_since(since));
        }
    }
    cookies.iter().for_each(|cookie| headers.append(b"set-cookie", cookie.as_bytes()));
    stream.info.status = status;
    route.finalize_response_headers(&mut headers, Some(&stream.headers), &stream.info);
    if route.vhost().response_attempt_count {
        headers::set_number(&mut headers, Known::EnvoyAttemptCount, u64::from(stream.info.attempts));
    }
    let body = Answer::body(attempt, tally, stream.timer.clone(), stream.info.started, (internal, canary));
    Response { headers, body }
}

/// Counts an answer that ends the attempts.
fn charge_answer(stream: &Stream, tally: &Tally, answered: &Answered) {
    let status = answered.headers.status();
    tally.answer(status, stream.is_internal(), answered.is_canary(), Some(answered.attempt.host()));
    answered.attempt.host().finished(if status >= 500 { Outcome::Error } else { Outcome::Success });
}

/// Counts a request for which the cluster has no host.
fn charge_no_host(stream: &Stream, tally: &Tally) {
    tally.cluster().stats.upstream_cx_none_healthy().inc();
    tally.answer(Failure::NoHealthyHost.status(), stream.is_internal(), false, None);
}

/// The local reply to a request that no attempt could answer.
fn fail(stream: &mut Stream, tally: &Tally, failure: Failure, source: &Source, controls: &Controls<'_>, begun: bool) -> LocalReply {
    if let Some(BodyError::ClientProtocol(detail)) = source.error() {
        return LocalReply::new(400, "Bad Request", detail).flag(Flags::DOWNSTREAM_PROTOCOL_ERROR).closing();
    }
    if let Some(BodyError::Refused { status, body, detail }) = source.error() {
        return LocalReply::new(status, body, detail).closing();
    }
    if failure == Failure::NoHealthyHost {
        charge_no_host(stream, tally);
    }
    if let Failure::Connect(reason) | Failure::Bind(reason) = &failure {
        stream.info.upstream_failure = Some(reason.clone());
    }
    let detail = if begun { failure.detail_after_begin() } else { failure.detail() };
    let status = if failure == Failure::StreamDuration && !source.is_over() { 408 } else { controls.status(&failure) };
    let body = if status == 204 { String::new() } else { failure.body(stream.info.attempts > 1) };
    let mut reply = LocalReply::new(status, body, detail).flag(failure.flag());
    if failure == Failure::Overflow && controls.own_headers {
        reply = reply.header(Known::EnvoyOverloaded, b"true");
    }
    if stream.info.route.as_ref().is_some_and(|route| route.vhost().response_attempt_count) {
        headers::set_number(&mut reply.headers, Known::EnvoyAttemptCount, u64::from(stream.info.attempts));
    }
    reply
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
