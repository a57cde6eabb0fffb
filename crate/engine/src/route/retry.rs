//! Which failed attempts are tried again, how often and after what pause.

use std::{
    ops::{BitOr, BitOrAssign},
    time::Duration,
};

use super::matcher::HeaderMatch;
use crate::{
    error::Failure,
    http::header::{HeaderList, Known},
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
    /// `retry_host_predicate` holds `previous_hosts`: hosts that were tried before are passed over.
    pub avoid_previous_hosts: bool,
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
            avoid_previous_hosts: false,
            host_selection_attempts: 1,
        }
    }
}

/// What an attempt's end means for the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retriable {
    /// The policy does not cover it.
    No,
    /// Worth another attempt.
    Yes,
}

impl RetryPolicy {
    /// Whether any request with these headers may be tried again.
    pub fn applies_to(&self, request: &HeaderList) -> bool {
        !self.retry_on.is_empty() && (self.request_headers.is_empty() || self.request_headers.iter().any(|m| m.matches(request)))
    }

    /// Whether an attempt with this answer is worth another.
    pub fn answer(&self, response: &HeaderList) -> Retriable {
        let status = response.status();
        let on = |condition| self.retry_on.any(condition);
        if response.contains(Known::EnvoyOverloaded) {
            return Retriable::No;
        }
        if response.contains(Known::EnvoyRateLimited) {
            return yes(on(RetryOn::ENVOY_RATE_LIMITED));
        }
        yes((on(RetryOn::SERVER_ERROR) && (500..600).contains(&status))
            || (on(RetryOn::GATEWAY_ERROR) && (502..505).contains(&status))
            || (on(RetryOn::RETRIABLE_4XX) && status == 409)
            || (on(RetryOn::RETRIABLE_STATUS_CODES) && self.status_codes.contains(&status))
            || (on(RetryOn::RETRIABLE_HEADERS) && self.headers.iter().any(|m| m.matches(response)))
            || grpc(response).is_some_and(on))
    }

    /// Whether an attempt that failed so is worth another. `request_started` tells whether any byte of the request
    /// went upstream.
    pub fn failure(&self, failure: &Failure, request_started: bool) -> Retriable {
        let on = |condition| self.retry_on.any(condition);
        match failure {
            Failure::NoCluster | Failure::NoHealthyHost | Failure::Overflow | Failure::Timeout => Retriable::No,
            Failure::Connect(_) | Failure::ConnectTimeout if on(RetryOn::CONNECT_FAILURE) => Retriable::Yes,
            Failure::RefusedStream if on(RetryOn::REFUSED_STREAM) => Retriable::Yes,
            _ => yes(on(RetryOn::RESET | RetryOn::SERVER_ERROR | RetryOn::GATEWAY_ERROR)
                || (on(RetryOn::RESET_BEFORE_REQUEST) && !request_started)),
        }
    }
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
