//! Compiles `RouteAction.HashPolicy`.

use std::sync::Arc;

use plenipo_api::proto::envoy::config::route::v3::route_action::{
    HashPolicy as Proto,
    hash_policy::{Cookie, PolicySpecifier},
};

use crate::{
    config::{
        issues::{At, Issues},
        value,
    },
    http::header::HeaderName,
    route::{HashCookie, HashPolicy, HashRule, HashSource},
};

/// The rules of one level, which stand at `at`; nothing where it has none.
pub fn compile(list: &[Proto], at: &At<'_>, issues: &mut Issues) -> Option<Arc<HashPolicy>> {
    let source = |(i, config): (usize, &Proto)| {
        let source = source(config, &at.index(i), issues)?;
        Some(HashRule { source, terminal: config.terminal })
    };
    let rules: Vec<HashRule> = list.iter().enumerate().filter_map(source).collect();
    (!list.is_empty()).then(|| Arc::new(HashPolicy(rules)))
}

fn source(config: &Proto, at: &At<'_>, issues: &mut Issues) -> Option<HashSource> {
    match &config.policy_specifier {
        Some(PolicySpecifier::Header(header)) => {
            let at = at.field("header");
            let rewrite = match &header.regex_rewrite {
                Some(rewrite) => Some(value::rewrite(rewrite, &at.field("regex_rewrite"), issues)?),
                None => None,
            };
            Some(HashSource::Header(HeaderName::of_request(&header.header_name), rewrite))
        }
        Some(PolicySpecifier::Cookie(cookie)) => Some(HashSource::Cookie(hash_cookie(cookie, &at.field("cookie"), issues))),
        // As in Envoy without it there is nothing to hash.
        Some(PolicySpecifier::ConnectionProperties(properties)) => properties.source_ip.then_some(HashSource::SourceIp),
        Some(PolicySpecifier::QueryParameter(parameter)) => Some(HashSource::QueryParameter(parameter.name.as_bytes().into())),
        Some(PolicySpecifier::FilterState(state)) => Some(HashSource::FilterState(state.key.as_str().into())),
        None => {
            issues.push(
                at.invalid("a hash policy is empty").expected("header, cookie, connection_properties, query_parameter or filter_state"),
            );
            None
        }
    }
}

fn hash_cookie(config: &Cookie, at: &At<'_>, issues: &mut Issues) -> HashCookie {
    HashCookie {
        name: config.name.as_str().into(),
        ttl: value::duration(config.ttl.as_ref(), &at.field("ttl"), issues).map(|ttl| ttl.as_secs()),
        path: config.path.as_str().into(),
        attributes: config.attributes.iter().map(|one| (one.name.as_str().into(), one.value.as_str().into())).collect(),
    }
}
