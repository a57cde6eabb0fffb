//! Compiles `RouteAction.RequestMirrorPolicy`.

use std::sync::Arc;

use plenipo_api::proto::envoy::config::{
    common::mutation_rules::v3::{HeaderMutation, header_mutation::Action},
    route::v3::route_action::RequestMirrorPolicy,
};

use crate::{
    config::{
        headers,
        issues::{At, Issues},
        value,
    },
    http::header::HeaderName,
    route::{Choice, HeaderMutations, Mirror},
};

/// The policies of one level, which stand at `at`; nothing where it has none.
pub fn compile(list: &[RequestMirrorPolicy], at: &At<'_>, issues: &mut Issues) -> Option<Arc<Vec<Mirror>>> {
    let mirrors: Vec<Mirror> = list.iter().enumerate().filter_map(|(i, policy)| mirror(policy, &at.index(i), issues)).collect();
    (!mirrors.is_empty()).then(|| Arc::new(mirrors))
}

fn mirror(config: &RequestMirrorPolicy, at: &At<'_>, issues: &mut Issues) -> Option<Mirror> {
    let cluster = match (config.cluster.as_str(), config.cluster_header.as_str()) {
        ("", "") => {
            issues.push(at.invalid("Exactly one of cluster or cluster_header in request mirror policy need to be specified"));
            return None;
        }
        (name, "") => Choice::Name(name.into()),
        ("", header) => Choice::Header(HeaderName::of_request(header)),
        (name, header) => {
            let message = format!("Only one of cluster '{name}' or cluster_header '{header}' in request mirror policy can be specified");
            issues.push(at.invalid(message));
            return None;
        }
    };
    let edits_at = at.field("request_headers_mutations");
    let edits = config.request_headers_mutations.iter().enumerate();
    Some(Mirror {
        cluster,
        fraction: config.runtime_fraction.as_ref().map(value::fraction),
        host: (!config.host_rewrite_literal.is_empty()).then(|| config.host_rewrite_literal.as_bytes().into()),
        suffix: !config.disable_shadow_host_suffix_append,
        edits: edits.filter_map(|(i, rule)| edit(rule, &edits_at.index(i), issues)).collect(),
    })
}

fn edit(rule: &HeaderMutation, at: &At<'_>, issues: &mut Issues) -> Option<HeaderMutations> {
    match &rule.action {
        Some(Action::Remove(name)) => Some(HeaderMutations { remove: vec![HeaderName::of_request(name)], add: Vec::new() }),
        Some(Action::Append(option)) => {
            let addition = headers::addition(option, &at.field("append"), issues)?;
            Some(HeaderMutations { remove: Vec::new(), add: vec![addition] })
        }
        _ => {
            issues.push(at.unsupported("only append and remove are implemented"));
            None
        }
    }
}
