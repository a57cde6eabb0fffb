//! Compiles `HeaderMutation` and `HeaderMutationPerRoute`.

use std::sync::Arc;

use plenipo_api::proto::envoy::{
    config::common::mutation_rules::v3::{HeaderMutation as Rule, header_mutation::Action},
    extensions::filters::http::header_mutation::v3 as proto,
};

use super::{Factory, Mutations, Step};
use crate::{
    config::{
        headers,
        issues::{At, Issues},
    },
    filter::{FilterFactory, RouteConfig},
    http::header::HeaderName,
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
        response: steps(&config.response_mutations, &at.field("response_mutations"), issues),
    }
}

fn steps(rules: &[Rule], at: &At<'_>, issues: &mut Issues) -> Vec<Step> {
    let one = |(i, rule): (usize, &Rule)| {
        let at = at.index(i);
        match &rule.action {
            Some(Action::Remove(name)) => Some(Step::Remove(HeaderName::new(name))),
            Some(Action::Append(option)) => {
                headers::addition(option, &at.field("append"), issues).map(|addition| Step::Add(Box::new(addition)))
            }
            _ => {
                issues.push(at.unsupported("only append and remove are implemented"));
                None
            }
        }
    };
    rules.iter().enumerate().filter_map(one).collect()
}
