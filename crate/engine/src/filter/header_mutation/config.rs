//! Compiles `HeaderMutation` and `HeaderMutationPerRoute`.

use std::sync::Arc;

use plenipo_api::proto::envoy::{
    config::{
        common::mutation_rules::v3::{HeaderMutation as Rule, header_mutation::Action},
        core::v3::{KeyValueMutation, key_value_append::KeyValueAppendAction},
    },
    extensions::filters::http::header_mutation::v3 as proto,
};

use prost_types::value::Kind;

use super::{Factory, Mutations, QueryStep, Step};
use crate::{
    config::{
        headers,
        issues::{At, Issues},
        value,
    },
    filter::{FilterFactory, RouteConfig},
    http::header::HeaderName,
    route::{AppendAction, HeaderMutations},
};

/// The type of the filter's configuration.
pub const TYPE: &str = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation";
/// The type of its configuration for a route.
pub const ROUTE_TYPE: &str = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute";

/// Compiles the filter of a chain.
pub fn compile(name: &str, config: &proto::HeaderMutation, at: &At<'_>, issues: &mut Issues) -> Option<Arc<dyn FilterFactory>> {
    let mutations = Arc::new(mutations(config.mutations.as_ref(), &at.field("mutations"), issues));
    let most_specific_wins = config.most_specific_header_mutations_wins;
    Some(Arc::new(Factory { name: name.to_owned(), mutations, most_specific_wins }))
}

/// Compiles what a route says of the filter.
pub fn compile_route(config: &proto::HeaderMutationPerRoute, at: &At<'_>, issues: &mut Issues) -> Option<RouteConfig> {
    Some(Arc::new(mutations(config.mutations.as_ref(), &at.field("mutations"), issues)))
}

fn mutations(config: Option<&proto::Mutations>, at: &At<'_>, issues: &mut Issues) -> Mutations {
    let Some(config) = config else { return Mutations::default() };
    Mutations {
        request: steps(&config.request_mutations, &at.field("request_mutations"), issues),
        query: query(&config.query_parameter_mutations, &at.field("query_parameter_mutations"), issues),
        response: steps(&config.response_mutations, &at.field("response_mutations"), issues),
    }
}

/// Compiles a list of steps.
pub fn steps(rules: &[Rule], at: &At<'_>, issues: &mut Issues) -> Vec<Step> {
    let one = |(i, rule): (usize, &Rule)| {
        let at = at.index(i);
        match &rule.action {
            Some(Action::Remove(name)) if name.starts_with(':') || name.eq_ignore_ascii_case("host") => {
                issues.push(at.field("remove").unsupported("removing :-prefixed or host headers is not implemented").got(&**name));
                None
            }
            Some(Action::Remove(name)) => {
                Some(Step::Change(HeaderMutations { remove: vec![HeaderName::new(name)], ..HeaderMutations::default() }))
            }
            Some(Action::Append(option)) => {
                let addition = headers::addition(option, &at.field("append"), issues)?;
                Some(Step::Change(HeaderMutations { add: vec![addition], ..HeaderMutations::default() }))
            }
            Some(Action::RemoveOnMatch(rule)) => {
                let at = at.field("remove_on_match");
                let at = at.field("key_matcher");
                match &rule.key_matcher {
                    Some(matcher) => value::string_match(matcher, &at, issues).map(Step::RemoveMatching),
                    None => {
                        issues.push(at.invalid("a matcher is missing"));
                        None
                    }
                }
            }
            None => {
                issues.push(at.invalid("an action is missing").expected("remove, append or remove_on_match"));
                None
            }
        }
    };
    rules.iter().enumerate().filter_map(one).collect()
}

fn query(rules: &[KeyValueMutation], at: &At<'_>, issues: &mut Issues) -> Vec<QueryStep> {
    let one = |(i, rule): (usize, &KeyValueMutation)| {
        let at = at.index(i);
        let Some(append) = &rule.append else {
            if rule.remove.is_empty() {
                issues.push(at.invalid("One of 'append'/'remove' must be specified; there is no mutation"));
                return None;
            }
            return Some(QueryStep::Remove(rule.remove.as_bytes().into()));
        };
        let at = at.field("append");
        let Some(record) = &append.record else {
            issues.push(at.field("record").invalid("No record specified for append mutation."));
            return None;
        };
        let at = at.field("record");
        let at = at.field("value");
        let Some(Kind::StringValue(text)) = record.value.as_ref().and_then(|v| v.kind.as_ref()) else {
            issues.push(at.invalid("Only string value is allowed for record value."));
            return None;
        };
        let value = headers::program(text, true, &at, issues)?;
        let action = match append.action() {
            KeyValueAppendAction::AppendIfExistsOrAdd => AppendAction::AppendIfExistsOrAdd,
            KeyValueAppendAction::AddIfAbsent => AppendAction::AddIfAbsent,
            KeyValueAppendAction::OverwriteIfExistsOrAdd => AppendAction::OverwriteIfExistsOrAdd,
            KeyValueAppendAction::OverwriteIfExists => AppendAction::OverwriteIfExists,
        };
        Some(QueryStep::Add { key: record.key.as_bytes().into(), value, action })
    };
    rules.iter().enumerate().filter_map(one).collect()
}
