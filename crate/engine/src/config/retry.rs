//! Compiles `RetryPolicy`.

use std::time::Duration;

use plenipo_api::proto::envoy::{
    config::route::v3::{
        self as proto,
        retry_policy::{RateLimitedRetryBackOff, ResetHeaderFormat, RetryBackOff, retry_host_predicate, retry_priority},
    },
    extensions::retry::host::omit_host_metadata::v3::OmitHostMetadataConfig,
};

use super::{
    any, headers,
    issues::{At, Issues},
    metadata, value,
};
use crate::{
    http::header::HeaderName,
    route::{BackOff, PassOver, RateLimited, ResetFormat, RetryOn, RetryPolicy},
};

const PREVIOUS_HOSTS: &str = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
const OMIT_CANARIES: &str = "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate";
const PREVIOUS_PRIORITIES: &str = "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig";
const OMIT_METADATA: &str = "envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig";
/// Envoy's default for `rate_limited_retry_back_off.max_interval`.
const MAX_RESET: Duration = Duration::from_secs(300);

/// Compiles a retry policy that stands at `at`.
pub fn compile(config: &proto::RetryPolicy, at: &At<'_>, issues: &mut Issues) -> RetryPolicy {
    let (retry_on, unknown) = RetryOn::parse(&config.retry_on);
    if !unknown.is_empty() {
        let warning = at.field("retry_on").warning("unknown conditions have no effect, as in Envoy");
        issues.push(warning.got(unknown.join(",")));
    }
    check_priority(config, &at.field("retry_priority"), issues);
    let default = RetryPolicy::default();
    RetryPolicy {
        retry_on,
        num_retries: config.num_retries.unwrap_or(default.num_retries),
        per_try_timeout: value::limit(config.per_try_timeout.as_ref(), None, &at.field("per_try_timeout"), issues),
        per_try_idle_timeout: value::limit(config.per_try_idle_timeout.as_ref(), None, &at.field("per_try_idle_timeout"), issues),
        status_codes: config.retriable_status_codes.iter().filter_map(|code| u16::try_from(*code).ok()).collect(),
        headers: headers::matchers(&config.retriable_headers, &at.field("retriable_headers"), issues),
        request_headers: headers::matchers(&config.retriable_request_headers, &at.field("retriable_request_headers"), issues),
        back_off: config.retry_back_off.as_ref().map_or(default.back_off, |b| back_off(b, &at.field("retry_back_off"), issues)),
        rate_limited: config
            .rate_limited_retry_back_off
            .as_ref()
            .map(|b| rate_limited(b, &at.field("rate_limited_retry_back_off"), issues)),
        pass_over: pass_over(config, &at.field("retry_host_predicate"), issues),
        host_selection_attempts: u32::try_from(config.host_selection_retry_max_attempts).unwrap_or(0).max(1),
    }
}

/// Other priorities than those that were tried are asked for a host: since clusters have one priority only, there is nothing to choose, as in Envoy.
fn check_priority(config: &proto::RetryPolicy, at: &At<'_>, issues: &mut Issues) {
    let Some(priority) = &config.retry_priority else { return };
    let typed = priority.config_type.as_ref().map(|retry_priority::ConfigType::TypedConfig(typed)| any::type_name(typed));
    if typed != Some(PREVIOUS_PRIORITIES) {
        issues.push(at.unsupported("this retry priority is not implemented").got(&*priority.name).expected(PREVIOUS_PRIORITIES));
    }
}

fn pass_over(config: &proto::RetryPolicy, at: &At<'_>, issues: &mut Issues) -> PassOver {
    let mut hosts = PassOver::default();
    for (i, predicate) in config.retry_host_predicate.iter().enumerate() {
        let at = at.index(i);
        let typed = predicate.config_type.as_ref().map(|retry_host_predicate::ConfigType::TypedConfig(typed)| typed);
        match (typed.map(any::type_name), typed) {
            (Some(PREVIOUS_HOSTS), _) => hosts.previous = true,
            (Some(OMIT_CANARIES), _) => hosts.canaries = true,
            (Some(OMIT_METADATA), Some(typed)) => {
                let omit = any::decode::<OmitHostMetadataConfig>(typed, &at.field("typed_config"), issues);
                let labels = metadata::compile(omit.as_ref().and_then(|omit| omit.metadata_match.as_ref()));
                hosts.labels.extend(labels.and_then(|labels| labels.namespace("envoy.lb").cloned()));
            }
            (None, _) if predicate.name == "envoy.retry_host_predicates.previous_hosts" => hosts.previous = true,
            (None, _) if predicate.name == "envoy.retry_host_predicates.omit_canary_hosts" => hosts.canaries = true,
            _ => issues.push(at.unsupported("this predicate is not implemented").got(&*predicate.name).expected(PREVIOUS_HOSTS)),
        }
    }
    hosts
}

fn back_off(config: &RetryBackOff, at: &At<'_>, issues: &mut Issues) -> BackOff {
    let least = Duration::from_millis(1);
    let base = value::duration(config.base_interval.as_ref(), &at.field("base_interval"), issues);
    let base = base.map_or(BackOff::default().base, |base| base.max(least));
    let max = value::duration(config.max_interval.as_ref(), &at.field("max_interval"), issues);
    let max = max.map_or(base.saturating_mul(10), |max| max.max(least));
    if max < base {
        let message = "retry_policy.max_interval must greater than or equal to the base_interval";
        issues.push(at.field("max_interval").invalid(message).got(format!("{max:?}")));
    }
    BackOff { base, max }
}

fn rate_limited(config: &RateLimitedRetryBackOff, at: &At<'_>, issues: &mut Issues) -> RateLimited {
    let format = |format: ResetHeaderFormat| match format {
        ResetHeaderFormat::Seconds => ResetFormat::Seconds,
        ResetHeaderFormat::UnixTimestamp => ResetFormat::UnixTimestamp,
    };
    RateLimited {
        headers: config.reset_headers.iter().map(|h| (HeaderName::new(&h.name), format(h.format()))).collect(),
        max: value::duration(config.max_interval.as_ref(), &at.field("max_interval"), issues).unwrap_or(MAX_RESET),
    }
}
