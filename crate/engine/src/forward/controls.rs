//! What a request's route and its control headers (`x-envoy-…`) make of its timeouts and retries: resolved once, before the first attempt.
//!
//! Only internal requests have such headers left here; a request without any costs one look at its list, and nothing is allocated.

use std::{borrow::Cow, time::Duration};

use crate::{
    cluster::Cluster,
    error::{Failure, Flags},
    http::{
        header::{HeaderList, Known},
        headers,
        local_reply::{LocalReply, is_grpc},
        settings::Router,
    },
    route::{Forward, RetryOn, RetryPolicy, number, set_grpc_timeout},
    stats::AltClusterStats,
};

/// How one request is forwarded.
pub struct Controls<'r> {
    /// From the end of the request to the end of the answer: `timeout`, `max_grpc_timeout` or `x-envoy-upstream-rq-timeout-ms`.
    pub timeout: Option<Duration>,
    /// From the end of the request, or the later begin of an attempt, to the head of its answer: `per_try_timeout` or
    /// `x-envoy-upstream-rq-per-try-timeout-ms`; absent where it is not shorter than `timeout`.
    pub per_try: Option<Duration>,
    /// Between two pieces of an attempt's answer: `per_try_idle_timeout`.
    pub per_try_idle: Option<Duration>,
    /// A slow attempt is not reset, another joins it: `hedge_on_per_try_timeout` or `x-envoy-hedge-on-per-try-timeout`.
    pub hedge: bool,
    /// From the begin of an attempt to its end: the cluster's `max_stream_duration` or `x-envoy-upstream-stream-duration-ms`.
    pub stream_duration: Option<Duration>,
    /// The status where a timeout passes: 504, or 204 with `x-envoy-upstream-rq-timeout-alt-response`.
    pub timeout_status: u16,
    /// The policy for retries, merged with what the client asks for; nothing is tried again without.
    pub retry: Option<Cow<'r, RetryPolicy>>,
    /// Where answers are counted too: `x-envoy-upstream-alt-stat-name`.
    pub alt_stats: Option<AltClusterStats>,
    /// Whether `x-envoy-…` headers are written.
    pub own_headers: bool,
    /// `grpc-timeout` tells the upstream of the timeout too.
    tell_grpc: bool,
}

impl<'r> Controls<'r> {
    /// Of a request of our own, which has one timeout and one attempt.
    pub fn within(timeout: Option<Duration>) -> Controls<'r> {
        Controls {
            timeout,
            per_try: None,
            per_try_idle: None,
            hedge: false,
            stream_duration: None,
            timeout_status: 504,
            retry: None,
            alt_stats: None,
            own_headers: true,
            tell_grpc: false,
        }
    }

    /// Takes what is about time out of the headers, before the route's edits of them, and tells the upstream how long it has. Retries are
    /// left to [`Controls::take_retries`].
    pub fn take(headers: &mut HeaderList, action: &'r Forward, cluster: &Cluster, router: &Router) -> Result<Controls<'r>, LocalReply> {
        router.strict_check_headers.iter().try_for_each(|name| check(headers, *name))?;
        let grpc = action.grpc_timeout.as_deref().filter(|_| is_grpc(headers));
        let mut controls = Controls {
            timeout: match (&action.stream_duration, grpc) {
                (Some(_), _) => None,
                (None, Some(grpc)) => grpc.of(headers),
                (None, None) => action.timeout,
            },
            per_try: action.retry.as_ref().and_then(|policy| policy.per_try_timeout),
            per_try_idle: action.retry.as_ref().and_then(|policy| policy.per_try_idle_timeout),
            hedge: action.hedge,
            stream_duration: cluster.settings.max_stream_duration,
            timeout_status: 504,
            retry: None,
            alt_stats: None,
            own_headers: !router.suppress_envoy_headers,
            tell_grpc: grpc.is_some() && action.stream_duration.is_none(),
        };
        headers::take_controls(headers, router.respect_expected_rq_timeout, |name, value| match name {
            Known::EnvoyUpstreamAltStatName => controls.alt_stats = cluster.alt_stats(&String::from_utf8_lossy(value)),
            _ => controls.set(name, value),
        });
        if controls.timeout.is_some_and(|whole| controls.per_try.is_some_and(|one| one >= whole)) {
            controls.per_try = None;
        }
        controls.tell(headers, Duration::ZERO);
        Ok(controls)
    }

    /// Obeys one control header.
    fn set(&mut self, name: Known, value: &[u8]) {
        let millis = || number(value).map(Duration::from_millis);
        let limit = |limit: &mut Option<Duration>| {
            if let Some(asked) = millis() {
                *limit = Some(asked).filter(|asked| !asked.is_zero());
            }
        };
        match name {
            Known::EnvoyUpstreamRqTimeoutMs | Known::EnvoyExpectedRqTimeoutMs => limit(&mut self.timeout),
            Known::EnvoyUpstreamRqPerTryTimeoutMs => limit(&mut self.per_try),
            Known::EnvoyUpstreamStreamDurationMs => limit(&mut self.stream_duration),
            Known::EnvoyUpstreamRqTimeoutAltResponse => self.timeout_status = 204,
            Known::EnvoyHedgeOnPerTryTimeout => match value {
                b"true" => self.hedge = true,
                b"false" => self.hedge = false,
                _ => {}
            },
            _ => {}
        }
    }

    /// The status of the local reply to a failure.
    pub fn status(&self, failure: &Failure) -> u16 {
        match failure {
            Failure::Timeout | Failure::PerTryTimeout | Failure::PerTryIdleTimeout => self.timeout_status,
            _ => failure.status(),
        }
    }

    /// Takes what is about retries out of the headers, to merge it with the policy. Behind the route's edits, so that a route can ask for them by
    /// header too.
    pub fn take_retries(&mut self, headers: &mut HeaderList, policy: Option<&'r RetryPolicy>) {
        self.retry = policy.map(Cow::Borrowed);
        let asked = headers::has_retry_controls(headers);
        if asked {
            self.retry.get_or_insert_with(|| Cow::Owned(RetryPolicy::default())).to_mut().merge(headers);
        }
        self.retry = self.retry.take().filter(|policy| policy.applies_to(headers));
        if asked {
            headers::remove_retry_controls(headers);
        }
    }

    /// Tells the upstream how long it has, `elapsed` after the end of the request: `x-envoy-expected-rq-timeout-ms`, and `grpc-timeout`
    /// with `max_grpc_timeout`.
    pub fn tell(&self, headers: &mut HeaderList, elapsed: Duration) {
        let Some(expected) = self.per_try.filter(|_| !self.hedge).or(self.timeout) else { return };
        // Nothing would mean without end: where the time is over, its timer is about to say so.
        let left = self.timeout.map_or(expected, |whole| expected.min(whole.saturating_sub(elapsed))).max(Duration::from_millis(1));
        if self.own_headers {
            headers::set_number(headers, Known::EnvoyExpectedRqTimeoutMs, u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        }
        if self.tell_grpc {
            set_grpc_timeout(headers, left);
        }
    }
}

/// `strict_check_headers`: a control header that cannot be read is an error.
fn check(headers: &HeaderList, name: Known) -> Result<(), LocalReply> {
    let Some(value) = headers.get(name) else { return Ok(()) };
    let valid = match name {
        Known::EnvoyRetryOn => RetryOn::of_header(value, false).1,
        Known::EnvoyRetryGrpcOn => RetryOn::of_header(value, true).1,
        _ => number(value).is_some(),
    };
    if valid {
        return Ok(());
    }
    let body = format!("invalid header '{}' with value '{}'", name.name(), String::from_utf8_lossy(value));
    let detail = format!("request_headers_failed_strict_check{{{}}}", name.name());
    Err(LocalReply::new(400, body, detail).flag(Flags::INVALID_ENVOY_REQUEST_HEADERS).closing())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{route::GrpcTimeout, stats::Store};

    const EXPECTED: Known = Known::EnvoyExpectedRqTimeoutMs;

    fn list(headers: &[(&str, &str)]) -> HeaderList {
        let mut list = HeaderList::new();
        headers.iter().for_each(|(name, value)| list.append(name.as_bytes(), value.as_bytes()));
        list
    }

    fn cluster() -> Cluster {
        Cluster::new("c", Default::default(), &Store::new(), None)
    }

    fn take<'r>(headers: &mut HeaderList, action: &'r Forward, router: &Router) -> Controls<'r> {
        Controls::take(headers, action, &cluster(), router).unwrap()
    }

    #[test]
    fn a_request_without_control_headers_borrows_the_routes_policy() {
        let policy = RetryPolicy { retry_on: RetryOn::SERVER_ERROR, ..RetryPolicy::default() };
        let action = Forward { retry: Some(Arc::new(policy)), ..Forward::to("c") };
        let mut headers = list(&[("a", "b")]);
        let mut controls = take(&mut headers, &action, &Router::default());
        controls.take_retries(&mut headers, action.retry.as_deref());
        assert!(matches!(controls.retry, Some(Cow::Borrowed(_))));
        assert_eq!((controls.timeout, controls.timeout_status, headers.get_str(EXPECTED)), (action.timeout, 504, Some("15000")));
    }

    #[test]
    fn numbers_in_control_headers() {
        let action = Forward::to("c");
        let millis = |ms| Some(Duration::from_millis(ms));
        for (asked, timeout) in
            [("70", millis(70)), (" +70 ", millis(70)), ("0", None), ("7s", action.timeout), ("-1", action.timeout), ("", action.timeout)]
        {
            let mut headers = list(&[("x-envoy-upstream-rq-timeout-ms", asked)]);
            assert_eq!(take(&mut headers, &action, &Router::default()).timeout, timeout, "{asked:?}");
            assert!(!headers.contains(Known::EnvoyUpstreamRqTimeoutMs));
        }
        // So long that the clock has no such moment: no panic.
        let mut headers = list(&[("x-envoy-upstream-rq-timeout-ms", "18446744073709551615")]);
        take(&mut headers, &action, &Router::default()).tell(&mut headers, Duration::from_secs(1));
        assert_eq!(headers.get_str(EXPECTED), Some("18446744073709550615"));
    }

    #[test]
    fn what_an_upstream_is_told() {
        let action = Forward {
            grpc_timeout: Some(Box::new(GrpcTimeout { max: Duration::from_secs(3), offset: Duration::ZERO })),
            ..Forward::to("c")
        };
        let mut headers = list(&[("content-type", "application/grpc"), ("x-envoy-upstream-rq-per-try-timeout-ms", "2000")]);
        let controls = take(&mut headers, &action, &Router::default());
        assert_eq!((headers.get_str(EXPECTED), headers.get_str(Known::GrpcTimeout)), (Some("2000"), Some("2000m")));
        controls.tell(&mut headers, Duration::from_millis(2600));
        assert_eq!((headers.get_str(EXPECTED), headers.get_str(Known::GrpcTimeout)), (Some("400"), Some("400m")));
        controls.tell(&mut headers, Duration::from_secs(9));
        assert_eq!(headers.get_str(EXPECTED), Some("1"), "nothing would be without end");
        let mut hedged = list(&[("x-envoy-hedge-on-per-try-timeout", "true"), ("x-envoy-upstream-rq-per-try-timeout-ms", "2000")]);
        take(&mut hedged, &Forward::to("c"), &Router::default());
        assert_eq!(hedged.get_str(EXPECTED), Some("15000"), "an attempt that goes on has the whole time");
        let mut long = list(&[("x-envoy-upstream-rq-per-try-timeout-ms", "15000")]);
        assert_eq!(take(&mut long, &Forward::to("c"), &Router::default()).per_try, None);
    }

    #[test]
    fn retries_of_the_client_join_the_routes() {
        let policy = RetryPolicy { retry_on: RetryOn::RETRIABLE_STATUS_CODES, status_codes: vec![417], ..RetryPolicy::default() };
        let action = Forward { retry: Some(Arc::new(policy)), ..Forward::to("c") };
        let mut headers = list(&[
            ("x-envoy-retry-on", "5xx, unavailable"),
            ("x-envoy-retry-grpc-on", "cancelled,5xx"),
            ("x-envoy-max-retries", "7"),
            ("x-envoy-retriable-status-codes", "418, x,99999"),
            ("x-envoy-retriable-header-names", "X-Again,, "),
        ]);
        let mut controls = take(&mut headers, &action, &Router::default());
        controls.take_retries(&mut headers, action.retry.as_deref());
        let merged = controls.retry.unwrap();
        assert_eq!(merged.retry_on, RetryOn::RETRIABLE_STATUS_CODES | RetryOn::SERVER_ERROR | RetryOn::GRPC_CANCELLED);
        assert_eq!((merged.num_retries, &merged.status_codes[..], merged.headers.len()), (7, &[417, 418][..], 1));
        assert_eq!(headers.len(), 1, "only what was told the upstream: {:?}", headers.iter().map(|h| h.1).collect::<Vec<_>>());
        // Nothing to retry on: nothing is kept for it.
        let mut none = list(&[("x-envoy-max-retries", "7")]);
        let mut controls = take(&mut none, &action, &Router::default());
        let plain = Forward::to("c");
        controls.take_retries(&mut none, plain.retry.as_deref());
        assert!(controls.retry.is_none());
    }

    #[test]
    fn strictly_checked_headers_must_be_readable() {
        let router = Router { strict_check_headers: vec![Known::EnvoyRetryOn, Known::EnvoyMaxRetries], ..Router::default() };
        let action = Forward::to("c");
        let refused = |headers: &[(&str, &str)]| {
            Controls::take(&mut list(headers), &action, &cluster(), &router).err().map(|r| (r.status, r.detail.to_string()))
        };
        assert_eq!(
            refused(&[("x-envoy-retry-on", "5xx, reset"), ("x-envoy-max-retries", "1"), ("x-envoy-upstream-rq-timeout-ms", "x")]),
            None
        );
        let strict = |name| Some((400, format!("request_headers_failed_strict_check{{{name}}}")));
        assert_eq!(refused(&[("x-envoy-retry-on", "unavailable")]), strict("x-envoy-retry-on"));
        assert_eq!(refused(&[("x-envoy-max-retries", "")]), strict("x-envoy-max-retries"));
    }
}
