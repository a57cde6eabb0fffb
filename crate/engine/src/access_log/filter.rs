//! Which streams an access log takes.

use super::LogType;
use crate::{
    format::{Context, grpc_status},
    http::header::{HeaderList, Known},
    metadata::MetadataMatch,
    route::HeaderMatch,
};

/// A compiled `AccessLogFilter`.
#[derive(Clone, Debug)]
pub enum Filter {
    /// `status_code_filter`: the answer's status, 0 where there was none.
    Status(Comparison),
    /// `duration_filter`: the stream's milliseconds.
    Duration(Comparison),
    /// `header_filter`: a header of the request.
    Header(HeaderMatch),
    /// `response_flag_filter`: any of these short names; any flag at all where empty.
    ResponseFlag(Vec<String>),
    /// `not_health_check_filter`: health checks of our own `health_check` filter are not logged; there is none yet.
    NotHealthCheck,
    /// `traceable_filter`: only what is traced; nothing is, as there is no tracing yet.
    Traceable,
    /// `runtime_filter`: so many of so many streams.
    Fraction {
        /// How many.
        numerator: u64,
        /// Of how many.
        denominator: u64,
        /// `use_independent_randomness`; else the request id decides, where it is one.
        independent: bool,
    },
    /// `grpc_status_filter`: one of these statuses, or with `exclude` none of them.
    GrpcStatus {
        /// `statuses`
        statuses: Vec<i64>,
        /// `exclude`
        exclude: bool,
    },
    /// `metadata_filter`: dynamic metadata.
    Metadata {
        /// `matcher`; where absent, the key is never found.
        matcher: Option<MetadataMatch>,
        /// `match_if_key_not_found`
        if_absent: bool,
    },
    /// `log_type_filter`: one of these types, by name, or with `exclude` none of them.
    LogType {
        /// `types`
        types: Vec<LogType>,
        /// `exclude`
        exclude: bool,
    },
    /// `and_filter`
    And(Vec<Filter>),
    /// `or_filter`
    Or(Vec<Filter>),
}

/// A number and how to compare with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The operation.
    pub op: Op,
    /// The right-hand side.
    pub value: u64,
}

/// `ComparisonFilter.Op`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Equal.
    Eq,
    /// Greater or equal.
    Ge,
    /// Less or equal.
    Le,
    /// Not equal.
    Ne,
}

impl Comparison {
    fn holds(self, left: u64) -> bool {
        match self.op {
            Op::Eq => left == self.value,
            Op::Ge => left >= self.value,
            Op::Le => left <= self.value,
            Op::Ne => left != self.value,
        }
    }
}

impl Filter {
    /// Whether the stream is logged.
    pub fn takes(&self, context: &Context<'_>) -> bool {
        let info = context.info;
        match self {
            Filter::Status(comparison) => comparison.holds(info.status.into()),
            Filter::Duration(comparison) => comparison.holds(info.duration().as_millis() as u64),
            Filter::Header(matcher) => match context.request {
                Some(headers) => matcher.matches(headers),
                None => matcher.matches(&HeaderList::new()),
            },
            Filter::ResponseFlag(names) if names.is_empty() => !info.flags.is_empty(),
            Filter::ResponseFlag(names) => info.flags.short_names().any(|flag| names.iter().any(|name| name == flag)),
            Filter::NotHealthCheck => true,
            Filter::Traceable => false,
            Filter::Fraction { numerator, denominator, independent } => {
                let of_request = if *independent { None } else { context.request.and_then(number_of_request) };
                of_request.unwrap_or_else(|| info.random.next()) % denominator < *numerator
            }
            Filter::GrpcStatus { statuses, exclude } => statuses.contains(&grpc_status(context)) != *exclude,
            Filter::Metadata { matcher, if_absent } => match matcher {
                // As in Envoy `invert` has no effect here.
                Some(m) => m.find(info.metadata.as_deref()).map_or(*if_absent, |value| m.value.matches(Some(value))),
                None => *if_absent,
            },
            Filter::LogType { types, exclude } => types.contains(&context.log_type) != *exclude,
            Filter::And(filters) => filters.iter().all(|f| f.takes(context)),
            Filter::Or(filters) => filters.iter().any(|f| f.takes(context)),
        }
    }
}

/// The number that a request's id stands for: its first eight hexadecimal digits.
fn number_of_request(headers: &HeaderList) -> Option<u64> {
    let digits = headers.get_str(Known::RequestId)?.get(..8)?;
    u64::from_str_radix(digits, 16).ok()
}
