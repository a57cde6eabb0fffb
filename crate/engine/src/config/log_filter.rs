//! Compiles `AccessLogFilter`, of access logs and of local replies.

use plenipo_api::proto::envoy::{
    config::accesslog::v3::{
        AccessLogFilter, ComparisonFilter, access_log_filter::FilterSpecifier, comparison_filter, grpc_status_filter::Status,
    },
    data::accesslog::v3::AccessLogType,
    r#type::v3::{FractionalPercent, fractional_percent::DenominatorType},
};

use super::{
    headers,
    issues::{At, Issues},
    metadata,
};
use crate::access_log::{Comparison, Filter, LogType, Op};

/// Compiles one filter.
pub fn compile(filter: &AccessLogFilter, at: &At<'_>, issues: &mut Issues) -> Option<Filter> {
    let mut all = |filters: &[AccessLogFilter], kind: &str| -> Option<Vec<Filter>> {
        let at = at.field(kind);
        let at = at.field("filters");
        let compiled: Vec<_> = filters.iter().enumerate().map(|(i, f)| compile(f, &at.index(i), issues)).collect();
        compiled.into_iter().collect()
    };
    Some(match filter.filter_specifier.as_ref()? {
        FilterSpecifier::StatusCodeFilter(f) => Filter::Status(comparison(f.comparison.as_ref(), &at.field("status_code_filter"), issues)?),
        FilterSpecifier::DurationFilter(f) => Filter::Duration(comparison(f.comparison.as_ref(), &at.field("duration_filter"), issues)?),
        FilterSpecifier::NotHealthCheckFilter(_) => Filter::NotHealthCheck,
        FilterSpecifier::TraceableFilter(_) => Filter::Traceable,
        FilterSpecifier::ResponseFlagFilter(f) => Filter::ResponseFlag(f.flags.clone()),
        FilterSpecifier::AndFilter(f) => Filter::And(all(&f.filters, "and_filter")?),
        FilterSpecifier::OrFilter(f) => Filter::Or(all(&f.filters, "or_filter")?),
        FilterSpecifier::HeaderFilter(f) => {
            let at = at.field("header_filter");
            let at = at.field("header");
            let Some(header) = &f.header else {
                issues.push(at.invalid("a header matcher is missing"));
                return None;
            };
            Filter::Header(headers::one_matcher(header, &at, issues)?)
        }
        FilterSpecifier::RuntimeFilter(f) => {
            // The key can change it in Envoy; there is no runtime layer here that could hold one.
            let percent = f.percent_sampled.unwrap_or_default();
            let (numerator, denominator) = (percent.numerator.into(), denominator(&percent));
            Filter::Fraction { numerator, denominator, independent: f.use_independent_randomness }
        }
        FilterSpecifier::GrpcStatusFilter(f) => {
            let statuses = f.statuses.iter().filter_map(|s| Status::try_from(*s).ok()).map(|s| s as i64).collect();
            Filter::GrpcStatus { statuses, exclude: f.exclude }
        }
        FilterSpecifier::MetadataFilter(f) => {
            let at = at.field("metadata_filter");
            let matcher = match &f.matcher {
                Some(matcher) => Some(metadata::matcher(matcher, &at.field("matcher"), issues)?),
                None => None,
            };
            Filter::Metadata { matcher, if_absent: f.match_if_key_not_found.unwrap_or(true) }
        }
        FilterSpecifier::LogTypeFilter(f) => {
            let types = f.types.iter().filter_map(|t| AccessLogType::try_from(*t).ok()).filter_map(log_type).collect();
            Filter::LogType { types, exclude: f.exclude }
        }
        FilterSpecifier::ExtensionFilter(_) => {
            issues.push(at.field("extension_filter").unsupported("extension_filter is not implemented"));
            return None;
        }
    })
}

/// The types of lines that are written here; no stream has one of the others.
fn log_type(config: AccessLogType) -> Option<LogType> {
    match config {
        AccessLogType::NotSet => Some(LogType::NotSet),
        AccessLogType::DownstreamStart => Some(LogType::DownstreamStart),
        AccessLogType::DownstreamPeriodic => Some(LogType::DownstreamPeriodic),
        AccessLogType::DownstreamEnd => Some(LogType::DownstreamEnd),
        AccessLogType::DownstreamTunnelSuccessfullyEstablished => Some(LogType::DownstreamTunnelSuccessfullyEstablished),
        _ => None,
    }
}

fn denominator(percent: &FractionalPercent) -> u64 {
    match percent.denominator() {
        DenominatorType::Hundred => 100,
        DenominatorType::TenThousand => 10_000,
        DenominatorType::Million => 1_000_000,
    }
}

fn comparison(config: Option<&ComparisonFilter>, at: &At<'_>, issues: &mut Issues) -> Option<Comparison> {
    let at = at.field("comparison");
    let Some(config) = config else {
        issues.push(at.invalid("a comparison is missing"));
        return None;
    };
    let op = match comparison_filter::Op::try_from(config.op) {
        Ok(comparison_filter::Op::Eq) => Op::Eq,
        Ok(comparison_filter::Op::Ge) => Op::Ge,
        Ok(comparison_filter::Op::Le) => Op::Le,
        Ok(comparison_filter::Op::Ne) => Op::Ne,
        Err(_) => {
            issues.push(at.field("op").invalid(format!("{} is no operation", config.op)));
            return None;
        }
    };
    // The runtime key can change it in Envoy; there is no runtime layer here that could hold it.
    let value = config.value.as_ref().map_or(0, |v| v.default_value);
    Some(Comparison { op, value: value.into() })
}
