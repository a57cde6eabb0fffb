//! Which streams an access log takes.

use crate::{format::Context, route::HeaderMatch};

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
            Filter::Duration(comparison) => {
                info.end.is_some_and(|end| comparison.holds(end.saturating_duration_since(info.started).as_millis() as u64))
            }
            Filter::Header(matcher) => context.request.is_some_and(|headers| matcher.matches(headers)),
            Filter::ResponseFlag(names) if names.is_empty() => !info.flags.is_empty(),
            Filter::ResponseFlag(names) => info.flags.short_names().any(|flag| names.iter().any(|name| name == flag)),
            Filter::NotHealthCheck => true,
            Filter::And(filters) => filters.iter().all(|f| f.takes(context)),
            Filter::Or(filters) => filters.iter().any(|f| f.takes(context)),
        }
    }
}
