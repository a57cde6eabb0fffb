//! Why a stream failed: the failure kind, its response flag, detail string and retryability; one table for all.

/// Response flags as Envoy prints them in `%RESPONSE_FLAGS%`; several may be set for one stream, and keep the order in which they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    set: u32,
    /// Five bits a flag, the first lowest: its bit's number plus one.
    order: u64,
}

macro_rules! flags {
    ($($name:ident = $bit:literal, $short:literal, $long:literal;)*) => {
        impl Flags {
            $(#[doc = concat!("`", $short, "`, ", $long)] pub const $name: Flags = Flags { set: 1 << $bit, order: $bit + 1 };)*
            /// Short and long names, by bit.
            const NAMES: &'static [(&'static str, &'static str)] = &[$(($short, $long),)*];
        }
    };
}

flags! {
    FAILED_LOCAL_HEALTH_CHECK = 0, "LH", "FailedLocalHealthCheck";
    NO_HEALTHY_UPSTREAM = 1, "UH", "NoHealthyUpstream";
    UPSTREAM_REQUEST_TIMEOUT = 2, "UT", "UpstreamRequestTimeout";
    LOCAL_RESET = 3, "LR", "LocalReset";
    UPSTREAM_REMOTE_RESET = 4, "UR", "UpstreamRemoteReset";
    UPSTREAM_CONNECTION_FAILURE = 5, "UF", "UpstreamConnectionFailure";
    UPSTREAM_CONNECTION_TERMINATION = 6, "UC", "UpstreamConnectionTermination";
    UPSTREAM_OVERFLOW = 7, "UO", "UpstreamOverflow";
    NO_ROUTE_FOUND = 8, "NR", "NoRouteFound";
    DELAY_INJECTED = 9, "DI", "DelayInjected";
    FAULT_INJECTED = 10, "FI", "FaultInjected";
    RATE_LIMITED = 11, "RL", "RateLimited";
    UNAUTHORIZED = 12, "UAEX", "UnauthorizedExternalService";
    RATE_LIMIT_SERVICE_ERROR = 13, "RLSE", "RateLimitServiceError";
    DOWNSTREAM_CONNECTION_TERMINATION = 14, "DC", "DownstreamConnectionTermination";
    UPSTREAM_RETRY_LIMIT_EXCEEDED = 15, "URX", "UpstreamRetryLimitExceeded";
    STREAM_IDLE_TIMEOUT = 16, "SI", "StreamIdleTimeout";
    INVALID_ENVOY_REQUEST_HEADERS = 17, "IH", "InvalidEnvoyRequestHeaders";
    DOWNSTREAM_PROTOCOL_ERROR = 18, "DPE", "DownstreamProtocolError";
    UPSTREAM_MAX_STREAM_DURATION = 19, "UMSDR", "UpstreamMaxStreamDurationReached";
    RESPONSE_FROM_CACHE = 20, "RFCF", "ResponseFromCacheFilter";
    NO_FILTER_CONFIG_FOUND = 21, "NFCF", "NoFilterConfigFound";
    DURATION_TIMEOUT = 22, "DT", "DurationTimeout";
    UPSTREAM_PROTOCOL_ERROR = 23, "UPE", "UpstreamProtocolError";
    NO_CLUSTER_FOUND = 24, "NC", "NoClusterFound";
    OVERLOAD_MANAGER = 25, "OM", "OverloadManagerTerminated";
    DNS_FAILURE = 26, "DF", "DnsResolutionFailed";
    DROP_OVERLOAD = 27, "DO", "DropOverload";
    DOWNSTREAM_REMOTE_RESET = 28, "DR", "DownstreamRemoteReset";
    UNCONDITIONAL_DROP_OVERLOAD = 29, "UDO", "UnconditionalDropOverload";
}

impl Flags {
    /// Adds the flags of `other` behind those that are set; more than twelve are never set together.
    pub fn insert(&mut self, other: Flags) {
        for number in other.numbers().filter(|n| self.set & (1 << n) == 0).collect::<smallvec::SmallVec<[u32; 4]>>() {
            self.order |= u64::from(number + 1) << (5 * self.set.count_ones().min(12));
            self.set |= 1 << number;
        }
    }

    /// Whether all flags of `other` are set.
    pub fn contains(self, other: Flags) -> bool {
        self.set & other.set == other.set
    }

    /// Whether none is set.
    pub fn is_empty(self) -> bool {
        self.set == 0
    }

    /// The short names of the flags that are set, in the order in which they were.
    pub fn short_names(self) -> impl Iterator<Item = &'static str> {
        self.numbers().map(|n| Flags::NAMES[n as usize].0)
    }

    /// The long names (`%RESPONSE_FLAGS_LONG%`) of the flags that are set, in the order in which they were.
    pub fn long_names(self) -> impl Iterator<Item = &'static str> {
        self.numbers().map(|n| Flags::NAMES[n as usize].1)
    }

    fn numbers(self) -> impl Iterator<Item = u32> {
        (0..12).map(move |i| (self.order >> (5 * i) & 31) as u32).take_while(|n| *n != 0).map(|n| n - 1)
    }
}

/// What went wrong with one attempt at an upstream, or with choosing one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The cluster that the route names does not exist.
    NoCluster,
    /// The cluster has no host to send to.
    NoHealthyHost,
    /// A circuit breaker of the cluster is open.
    Overflow,
    /// The connection could not be made; with the transport's reason.
    Connect(String),
    /// No connection could be begun from the address that the configuration says; with the reason.
    Bind(String),
    /// The connection was not made within `connect_timeout`.
    ConnectTimeout,
    /// The connection closed before the answer was whole.
    ConnectionTermination,
    /// The upstream reset the stream.
    RemoteReset,
    /// The upstream refused the stream before it did any work (HTTP/2 `REFUSED_STREAM`, or above GOAWAY's last id).
    RefusedStream,
    /// What the upstream sent is no valid answer; with the codec's detail.
    Protocol(&'static str),
    /// The route's timeout passed.
    Timeout,
    /// The per-try timeout passed.
    PerTryTimeout,
    /// The per-try idle timeout passed.
    PerTryIdleTimeout,
    /// The cluster's `max_stream_duration` passed.
    StreamDuration,
}

impl Failure {
    /// The response flag of an attempt that ended so.
    pub fn flag(&self) -> Flags {
        match self {
            Failure::NoCluster => Flags::NO_CLUSTER_FOUND,
            Failure::NoHealthyHost => Flags::NO_HEALTHY_UPSTREAM,
            Failure::Overflow => Flags::UPSTREAM_OVERFLOW,
            Failure::Connect(_) | Failure::Bind(_) | Failure::ConnectTimeout => Flags::UPSTREAM_CONNECTION_FAILURE,
            Failure::ConnectionTermination => Flags::UPSTREAM_CONNECTION_TERMINATION,
            Failure::RemoteReset | Failure::RefusedStream => Flags::UPSTREAM_REMOTE_RESET,
            Failure::Protocol(_) => Flags::UPSTREAM_PROTOCOL_ERROR,
            Failure::Timeout | Failure::PerTryTimeout | Failure::PerTryIdleTimeout => Flags::UPSTREAM_REQUEST_TIMEOUT,
            Failure::StreamDuration => Flags::UPSTREAM_MAX_STREAM_DURATION,
        }
    }

    /// Whether a limit of time was passed.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Failure::Timeout | Failure::PerTryTimeout | Failure::PerTryIdleTimeout)
    }

    /// The status of the local reply.
    pub fn status(&self) -> u16 {
        match self {
            Failure::Timeout | Failure::PerTryTimeout | Failure::PerTryIdleTimeout | Failure::StreamDuration => 504,
            Failure::Protocol(_) => 502,
            _ => 503,
        }
    }

    /// The body of the local reply, as Envoy words it; `retried` tells whether it was the last of several attempts.
    pub fn body(&self, retried: bool) -> String {
        let reason = match self {
            Failure::NoCluster => return String::new(),
            Failure::NoHealthyHost => return "no healthy upstream".into(),
            Failure::Timeout | Failure::PerTryTimeout | Failure::PerTryIdleTimeout => return "upstream request timeout".into(),
            Failure::StreamDuration => return "upstream max stream duration reached".into(),
            Failure::Overflow => "overflow",
            Failure::Connect(_) => "remote connection failure",
            Failure::Bind(_) => "local connection failure",
            Failure::ConnectTimeout => "connection timeout",
            Failure::ConnectionTermination => "connection termination",
            Failure::RemoteReset => "remote reset",
            Failure::RefusedStream => "remote refused stream reset",
            Failure::Protocol(_) => "protocol error",
        };
        let retried = if retried { "retried and the latest " } else { "" };
        format!("upstream connect error or disconnect/reset before headers. {retried}reset reason: {reason}")
    }

    /// `%RESPONSE_CODE_DETAILS%` where the answer had begun.
    pub fn detail_after_begin(&self) -> String {
        self.detail().replace("before_response_started", "after_response_started")
    }

    /// `%RESPONSE_CODE_DETAILS%` of the local reply.
    pub fn detail(&self) -> String {
        match self {
            Failure::NoCluster => "cluster_not_found".into(),
            Failure::NoHealthyHost => "no_healthy_upstream".into(),
            Failure::Overflow => "upstream_reset_before_response_started{overflow}".into(),
            Failure::Connect(reason) if reason.is_empty() => "upstream_reset_before_response_started{remote_connection_failure}".into(),
            Failure::Connect(reason) => {
                format!("upstream_reset_before_response_started{{remote_connection_failure|{}}}", reason.replace(' ', "_"))
            }
            Failure::Bind(reason) => {
                format!("upstream_reset_before_response_started{{local_connection_failure|{}}}", reason.replace(' ', "_"))
            }
            Failure::ConnectTimeout => "upstream_reset_before_response_started{connection_timeout}".into(),
            Failure::ConnectionTermination => "upstream_reset_before_response_started{connection_termination}".into(),
            Failure::RemoteReset => "upstream_reset_before_response_started{remote_reset}".into(),
            Failure::RefusedStream => "upstream_reset_before_response_started{remote_refused_stream_reset}".into(),
            Failure::Protocol(_) => "upstream_reset_before_response_started{protocol_error}".into(),
            Failure::Timeout => "response_timeout".into(),
            Failure::PerTryTimeout => "upstream_per_try_timeout".into(),
            Failure::PerTryIdleTimeout => "upstream_per_try_idle_timeout".into(),
            Failure::StreamDuration => "upstream_max_stream_duration_reached".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_keep_the_order_in_which_they_were_set() {
        let mut flags = Flags::UPSTREAM_RETRY_LIMIT_EXCEEDED;
        flags.insert(Flags::UPSTREAM_CONNECTION_FAILURE);
        flags.insert(Flags::UPSTREAM_RETRY_LIMIT_EXCEEDED);
        assert_eq!(flags.short_names().collect::<Vec<_>>(), ["URX", "UF"]);
        assert!(flags.contains(Flags::UPSTREAM_CONNECTION_FAILURE) && !flags.contains(Flags::NO_ROUTE_FOUND));
        assert_eq!(Flags::UNCONDITIONAL_DROP_OVERLOAD.short_names().collect::<Vec<_>>(), ["UDO"]);
    }
}
