//! How long a request may take by its route: `max_stream_duration`, the older `max_grpc_timeout`, and the `grpc-timeout` that both read.

use std::time::Duration;

use super::retry::number;
use crate::http::{
    header::{HeaderList, Known},
    local_reply::is_grpc,
};

/// How long a stream of a route may wait, in place of what the connection manager says of it; zero is without end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// `idle_timeout`, in place of `stream_idle_timeout`.
    pub idle: Option<Duration>,
    /// `flush_timeout`, in place of `stream_flush_timeout`.
    pub flush: Option<Duration>,
}

/// `RouteAction.max_stream_duration`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamDuration {
    /// `max_stream_duration`; absent leaves the connection manager's, zero is no limit.
    pub max: Option<Duration>,
    /// `grpc_timeout_header_max`: `grpc-timeout` counts, up to this; zero is no bound.
    pub grpc_max: Option<Duration>,
    /// `grpc_timeout_header_offset`: how much earlier than the client the proxy gives up; default 0.
    pub grpc_offset: Duration,
}

impl StreamDuration {
    /// The limit of the whole stream, from its beginning; `default` is the connection manager's. A gRPC upstream is told of it.
    pub fn limit(&self, headers: &mut HeaderList, default: Option<Duration>) -> Option<Duration> {
        let limit = match (self.grpc_max, grpc_timeout(headers)) {
            (Some(max), Some(asked)) => {
                let capped = if max.is_zero() { asked } else { asked.min(max) };
                Some(capped.saturating_sub(self.grpc_offset))
            }
            _ => self.max.or(default).filter(|limit| !limit.is_zero()),
        };
        if is_grpc(headers) {
            match limit {
                Some(limit) => set_grpc_timeout(headers, limit),
                None if default.is_some() => drop(headers.remove(Known::GrpcTimeout)),
                None => {}
            }
        }
        limit
    }
}

/// `RouteAction.max_grpc_timeout` and `grpc_timeout_offset`: `grpc-timeout` takes the place of `timeout` for gRPC requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcTimeout {
    /// `max_grpc_timeout`; zero is no bound.
    pub max: Duration,
    /// `grpc_timeout_offset`; has no effect on timeouts that are not longer; default 0.
    pub offset: Duration,
}

impl GrpcTimeout {
    /// The timeout of a gRPC request; nothing is without limit.
    pub fn of(&self, headers: &HeaderList) -> Option<Duration> {
        let asked = grpc_timeout(headers).unwrap_or_default();
        let asked = if self.offset < asked { asked - self.offset } else { asked };
        let capped = if self.max.is_zero() || (!asked.is_zero() && asked <= self.max) { asked } else { self.max };
        Some(capped).filter(|timeout| !timeout.is_zero())
    }
}

/// The value of `grpc-timeout`, rounded up to whole milliseconds; nothing where it is malformed.
fn grpc_timeout(headers: &HeaderList) -> Option<Duration> {
    let (unit, digits) = headers.get(Known::GrpcTimeout)?.split_last()?;
    let value = number(digits).filter(|_| digits.len() <= 8)?;
    Some(match unit {
        b'H' => Duration::from_secs(value * 3600),
        b'M' => Duration::from_secs(value * 60),
        b'S' => Duration::from_secs(value),
        b'm' => Duration::from_millis(value),
        b'u' => Duration::from_millis(value.div_ceil(1000)),
        b'n' => Duration::from_millis(value.div_ceil(1_000_000)),
        _ => return None,
    })
}

/// Writes `grpc-timeout`, in the smallest unit of which its eight digits hold the value.
pub fn set_grpc_timeout(headers: &mut HeaderList, timeout: Duration) {
    const MAX: u128 = 99_999_999;
    let millis = timeout.as_millis();
    let units = [(millis, 'm'), (millis / 1000, 'S'), (millis / 60_000, 'M'), (millis / 3_600_000, 'H')];
    let (value, unit) = units.into_iter().find(|(value, _)| *value <= MAX).unwrap_or((MAX, 'H'));
    headers.set(Known::GrpcTimeout, format!("{value}{unit}").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(timeout: Option<&str>) -> HeaderList {
        let mut headers = HeaderList::new();
        headers.append_known(Known::ContentType, b"application/grpc");
        if let Some(timeout) = timeout {
            headers.append_known(Known::GrpcTimeout, timeout.as_bytes());
        }
        headers
    }

    #[test]
    fn grpc_timeouts_are_read_as_envoy_reads_them() {
        for (text, millis) in [
            ("1H", Some(3_600_000)),
            ("2M", Some(120_000)),
            ("1S", Some(1000)),
            ("+1S", Some(1000)),
            ("17m", Some(17)),
            ("1u", Some(1)),
            ("1001u", Some(2)),
            ("1n", Some(1)),
            ("123456789S", None),
            ("1", None),
            ("S", None),
            ("", None),
            ("1x", None),
            ("-1S", None),
        ] {
            assert_eq!(grpc_timeout(&call(Some(text))), millis.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn grpc_timeouts_are_written_in_eight_digits() {
        for (millis, text) in
            [(0, "0m"), (99_999_999, "99999999m"), (100_000_000, "100000S"), (100_000_000_000, "1666666M"), (u64::MAX, "99999999H")]
        {
            let mut headers = call(None);
            set_grpc_timeout(&mut headers, Duration::from_millis(millis));
            assert_eq!(headers.get(Known::GrpcTimeout).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn the_limit_of_a_stream() {
        let seconds = |s: u64| Some(Duration::from_secs(s));
        let route = StreamDuration { max: seconds(5), grpc_max: seconds(3), grpc_offset: Duration::from_millis(500) };
        assert_eq!(route.limit(&mut call(Some("9S")), None), Some(Duration::from_millis(2500)));
        assert_eq!(route.limit(&mut call(Some("200m")), None), Some(Duration::ZERO));
        assert_eq!(route.limit(&mut call(None), seconds(1)), seconds(5));
        let nothing = StreamDuration::default();
        assert_eq!((nothing.limit(&mut call(Some("9S")), seconds(1)), nothing.limit(&mut call(None), None)), (seconds(1), None));
        let off = StreamDuration { max: Some(Duration::ZERO), ..nothing };
        let mut headers = call(Some("9S"));
        assert_eq!((off.limit(&mut headers, seconds(1)), headers.get(Known::GrpcTimeout)), (None, None));
    }

    #[test]
    fn the_older_grpc_timeout() {
        let timeout = |max, offset, header| {
            GrpcTimeout { max: Duration::from_millis(max), offset: Duration::from_millis(offset) }.of(&call(header)).map(|t| t.as_millis())
        };
        assert_eq!(timeout(3000, 0, Some("9S")), Some(3000));
        assert_eq!(timeout(3000, 500, Some("2S")), Some(1500));
        assert_eq!(timeout(3000, 500, Some("200m")), Some(200));
        assert_eq!(timeout(3000, 0, None), Some(3000));
        assert_eq!(timeout(0, 0, Some("9S")), Some(9000));
        assert_eq!(timeout(0, 0, None), None);
    }
}
