//! Which failed attempts are tried again, how often and after what pause.

use std::{
    ops::{BitOr, BitOrAssign},
    time::Duration,
};

use super::matcher::{HeaderMatch, HeaderTest};
use crate::{
    error::Failure,
    http::header::{HeaderList, HeaderName, Known},
    metadata::{Metadata, Struct, Value},
};

/// Conditions of `retry_on`, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryOn(u32);

macro_rules! conditions {
    ($($name:ident = $bit:literal, $text:literal;)*) => {
        impl RetryOn {
            $(#[doc = concat!("`", $text, "`")] pub const $name: RetryOn = RetryOn(1 << $bit);)*
            const TABLE: &'static [(&'static str, RetryOn)] = &[$(($text, RetryOn::$name),)*];
        }
    };
}

conditions! {
    SERVER_ERROR = 0, "5xx";
    GATEWAY_ERROR = 1, "gateway-error";
    CONNECT_FAILURE = 2, "connect-failure";
    RETRIABLE_4XX = 3, "retriable-4xx";
    REFUSED_STREAM = 4, "refused-stream";
    RETRIABLE_STATUS_CODES = 5, "retriable-status-codes";
    RETRIABLE_HEADERS = 6, "retriable-headers";
    RESET = 7, "reset";
    RESET_BEFORE_REQUEST = 8, "reset-before-request";
    ENVOY_RATE_LIMITED = 9, "envoy-ratelimited";
    HTTP3_POST_CONNECT_FAILURE = 10, "http3-post-connect-failure";
    GRPC_CANCELLED = 11, "cancelled";
    GRPC_DEADLINE_EXCEEDED = 12, "deadline-exceeded";
    GRPC_INTERNAL = 13, "internal";
    GRPC_RESOURCE_EXHAUSTED = 14, "resource-exhausted";
    GRPC_UNAVAILABLE = 15, "unavailable";
}

impl BitOr for RetryOn {
    type Output = RetryOn;
    fn bitor(self, other: RetryOn) -> RetryOn {
        RetryOn(self.0 | other.0)
    }
}

impl BitOrAssign for RetryOn {
    fn bitor_assign(&mut self, other: RetryOn) {
        self.0 |= other.0;
    }
}

impl RetryOn {
    /// Reads a comma-separated list; gives what it understood, and the words that it did not.
    pub fn parse(text: &str) -> (RetryOn, Vec<&str>) {
        let mut set = RetryOn::default();
        let mut unknown = Vec::new();
        for word in text.split(',').map(str::trim).filter(|w| !w.is_empty()) {
            match RetryOn::TABLE.iter().find(|(name, _)| *name == word) {
                Some((_, condition)) => set |= *condition,
                None => unknown.push(word),
            }
        }
        (set, unknown)
    }

    /// The conditions on `grpc-status`, which `x-envoy-retry-grpc-on` takes and `x-envoy-retry-on` does not.
    pub const GRPC: RetryOn = RetryOn(
        RetryOn::GRPC_CANCELLED.0
            | RetryOn::GRPC_DEADLINE_EXCEEDED.0
            | RetryOn::GRPC_INTERNAL.0
            | RetryOn::GRPC_RESOURCE_EXHAUSTED.0
            | RetryOn::GRPC_UNAVAILABLE.0,
    );

    /// Reads the list of a control header, which takes the conditions on `grpc-status` (`grpc`) or all others; gives what it understood,
    /// and whether that was everything.
    pub fn of_header(text: &[u8], grpc: bool) -> (RetryOn, bool) {
        let (set, unknown) = RetryOn::parse(std::str::from_utf8(text).unwrap_or("?"));
        let allowed = if grpc { RetryOn::GRPC.0 } else { !RetryOn::GRPC.0 };
        (RetryOn(set.0 & allowed), unknown.is_empty() && set.0 & !allowed == 0)
    }

    /// Whether any condition of `other` is in the set.
    pub fn any(self, other: RetryOn) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// `RetryPolicy`
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// `retry_on`
    pub retry_on: RetryOn,
    /// `num_retries`; default 1.
    pub num_retries: u32,
    /// `per_try_timeout`
    pub per_try_timeout: Option<Duration>,
    /// `per_try_idle_timeout`
    pub per_try_idle_timeout: Option<Duration>,
    /// `retriable_status_codes`
    pub status_codes: Vec<u16>,
    /// `retriable_headers`: answers that match one of them are tried again.
    pub headers: Vec<HeaderMatch>,
    /// `retriable_request_headers`: only requests that match one of them are tried again.
    pub request_headers: Vec<HeaderMatch>,
    /// `retry_back_off`
    pub back_off: BackOff,
    /// `rate_limited_retry_back_off`: an answer that tells when to come again decides the pause.
    pub rate_limited: Option<RateLimited>,
    /// `retry_host_predicate`: which hosts a retry passes over.
    pub pass_over: PassOver,
    /// `host_selection_retry_max_attempts`: how often a host is chosen anew for that; default 1.
    pub host_selection_attempts: u32,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy {
            retry_on: RetryOn::default(),
            num_retries: 1,
            per_try_timeout: None,
            per_try_idle_timeout: None,
            status_codes: Vec::new(),
            headers: Vec::new(),
            request_headers: Vec::new(),
            back_off: BackOff::default(),
            rate_limited: None,
            pass_over: PassOver::default(),
            host_selection_attempts: 1,
        }
    }
}

/// `RetryPolicy.retry_host_predicate`: hosts that a retry passes over, as long as others are found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PassOver {
    /// `previous_hosts`: those that were tried before.
    pub previous: bool,
    /// `omit_canary_hosts`: those whose `envoy.lb` metadata say `canary: true`.
    pub canaries: bool,
    /// `omit_host_metadata`: those whose `envoy.lb` metadata have all of one of these; a list has what it holds.
    pub labels: Vec<Struct>,
}

impl PassOver {
    /// Whether there is anything to pass over.
    pub fn any(&self) -> bool {
        self.previous || self.canaries || !self.labels.is_empty()
    }

    /// Whether a host with these metadata is passed over, whoever was tried.
    pub fn labelled(&self, metadata: Option<&Metadata>) -> bool {
        let Some(lb) = metadata.and_then(|m| m.namespace("envoy.lb")) else { return false };
        let has = |key: &str, wanted: &Value| match lb.0.get(key) {
            Some(Value::List(list)) => list.contains(wanted),
            value => value == Some(wanted),
        };
        (self.canaries && has("canary", &Value::Bool(true)))
            || self.labels.iter().any(|labels| !labels.0.is_empty() && labels.0.iter().all(|(key, value)| has(key, value)))
    }
}

/// What an attempt's end means for the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retriable {
    /// The policy does not cover it.
    No,
    /// Worth another attempt, after a pause.
    Yes,
    /// Worth another attempt at once: the answer was 425.
    AtOnce,
}

impl RetryPolicy {
    /// Whether any request with these headers may be tried again.
    pub fn applies_to(&self, request: &HeaderList) -> bool {
        !self.retry_on.is_empty() && (self.request_headers.is_empty() || self.request_headers.iter().any(|m| m.matches(request)))
    }

    /// Takes up what the control headers of a request say of retries.
    pub fn merge(&mut self, request: &HeaderList) {
        if let Some(list) = request.get(Known::EnvoyRetryOn) {
            self.retry_on |= RetryOn::of_header(list, false).0;
        }
        if let Some(list) = request.get(Known::EnvoyRetryGrpcOn) {
            self.retry_on |= RetryOn::of_header(list, true).0;
        }
        if let Some(max) = request.get(Known::EnvoyMaxRetries).and_then(number) {
            self.num_retries = u32::try_from(max).unwrap_or(u32::MAX);
        }
        let items = |name| request.get(name).unwrap_or_default().split(|b| *b == b',').map(<[u8]>::trim_ascii);
        let codes = items(Known::EnvoyRetriableStatusCodes).filter_map(|code| u16::try_from(number(code)?).ok());
        self.status_codes.extend(codes);
        let names = items(Known::EnvoyRetriableHeaderNames).filter(|name| !name.is_empty()).filter_map(|n| std::str::from_utf8(n).ok());
        self.headers.extend(names.map(|name| HeaderMatch {
            name: HeaderName::new(name),
            test: HeaderTest::Present(true),
            invert: false,
            missing_is_empty: false,
        }));
    }

    /// Whether an attempt with this answer is worth another.
    pub fn answer(&self, response: &HeaderList) -> Retriable {
        let status = response.status();
        let on = |condition| self.retry_on.any(condition);
        if response.contains(Known::EnvoyRateLimited) {
            return yes(on(RetryOn::ENVOY_RATE_LIMITED));
        }
        let by_code = on(RetryOn::RETRIABLE_STATUS_CODES) && self.status_codes.contains(&status);
        if by_code && status == 425 {
            return Retriable::AtOnce;
        }
        yes(by_code
            || (on(RetryOn::SERVER_ERROR) && (500..600).contains(&status))
            || (on(RetryOn::GATEWAY_ERROR) && (502..505).contains(&status))
            || (on(RetryOn::RETRIABLE_4XX) && status == 409)
            || (on(RetryOn::RETRIABLE_HEADERS) && self.headers.iter().any(|m| m.matches(response)))
            || grpc(response).is_some_and(on))
    }

    /// Whether an attempt that failed so is worth another. `request_started` tells whether any byte of the request
    /// went upstream.
    pub fn failure(&self, failure: &Failure, request_started: bool) -> Retriable {
        let on = |condition| self.retry_on.any(condition);
        match failure {
            Failure::NoCluster | Failure::NoHealthyHost | Failure::Overflow | Failure::Timeout => Retriable::No,
            Failure::Connect(_) | Failure::Bind(_) | Failure::ConnectTimeout if on(RetryOn::CONNECT_FAILURE) => Retriable::Yes,
            Failure::RefusedStream if on(RetryOn::REFUSED_STREAM) => Retriable::Yes,
            _ => yes(on(RetryOn::RESET | RetryOn::SERVER_ERROR | RetryOn::GATEWAY_ERROR)
                || (on(RetryOn::RESET_BEFORE_REQUEST) && !request_started)),
        }
    }

    /// The pause before retry number `retry` (from 0) behind this answer, or behind a failure. `now` is the time since 1970.
    pub fn pause(&self, retry: u32, answer: Option<&HeaderList>, now: Duration, random: u64) -> Pause {
        match answer.and_then(|answer| self.rate_limited.as_ref()?.interval(answer, now)) {
            Some(interval) => Pause::RateLimited(with_lower_bound(interval, random)),
            None => Pause::Exponential(self.back_off.pause(retry, random)),
        }
    }
}

/// A pause before another attempt, and what decided it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// `retry_back_off`
    Exponential(Duration),
    /// `rate_limited_retry_back_off`
    RateLimited(Duration),
}

/// A number as Envoy reads one out of a header: digits, with space around them and a plus sign before them allowed.
pub fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

fn yes(yes: bool) -> Retriable {
    if yes { Retriable::Yes } else { Retriable::No }
}

fn grpc(response: &HeaderList) -> Option<RetryOn> {
    match response.get(Known::GrpcStatus)? {
        b"1" => Some(RetryOn::GRPC_CANCELLED),
        b"4" => Some(RetryOn::GRPC_DEADLINE_EXCEEDED),
        b"8" => Some(RetryOn::GRPC_RESOURCE_EXHAUSTED),
        b"13" => Some(RetryOn::GRPC_INTERNAL),
        b"14" => Some(RetryOn::GRPC_UNAVAILABLE),
        _ => None,
    }
}

/// Pauses between attempts: doubled each time, with full jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    /// `base_interval`; default 25 ms.
    pub base: Duration,
    /// `max_interval`; default ten times the base.
    pub max: Duration,
}

impl Default for BackOff {
    fn default() -> BackOff {
        BackOff { base: Duration::from_millis(25), max: Duration::from_millis(250) }
    }
}

impl BackOff {
    /// The pause before retry number `retry` (from 0), less than `min(base * 2^retry, max)`.
    pub fn pause(&self, retry: u32, random: u64) -> Duration {
        let bound = self.base.saturating_mul(1u32.checked_shl(retry).unwrap_or(u32::MAX)).min(self.max);
        let bound = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(random % bound)
    }
}

/// `RateLimitedRetryBackOff`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimited {
    /// `reset_headers`: the first that tells an interval counts.
    pub headers: Vec<(HeaderName, ResetFormat)>,
    /// `max_interval`; default 300 s: longer ones are not believed.
    pub max: Duration,
}

/// `RetryPolicy.ResetHeaderFormat`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetFormat {
    /// `SECONDS`: how long to wait.
    Seconds,
    /// `UNIX_TIMESTAMP`: when to come again, in seconds since 1970.
    UnixTimestamp,
}

impl RateLimited {
    /// How long an answer asks to wait; `now` is the time since 1970. Less than 2 ms is no wait.
    fn interval(&self, answer: &HeaderList, now: Duration) -> Option<Duration> {
        let told = |(name, format): &(HeaderName, ResetFormat)| {
            let value = number(answer.get_name(name)?)?;
            let seconds = match format {
                ResetFormat::Seconds => value,
                ResetFormat::UnixTimestamp => value.checked_sub(now.as_secs())?,
            };
            Some(Duration::from_secs(seconds)).filter(|interval| *interval <= self.max)
        };
        self.headers.iter().find_map(told).filter(|interval| *interval > Duration::from_millis(1))
    }
}

/// The interval, and at random up to half of it more.
fn with_lower_bound(interval: Duration, random: u64) -> Duration {
    let half = u64::try_from(interval.as_millis() / 2).unwrap_or(u64::MAX).max(1);
    interval + Duration::from_millis(random % half)
}
