//! Compiles `Cors` and `CorsPolicy`, and the policy of the deprecated fields of routes and virtual hosts.

use std::sync::Arc;

use plenipo_api::proto::envoy::{
    config::route::v3::{self as route, cors_policy::EnabledSpecifier},
    extensions::filters::http::cors::v3 as proto,
    r#type::matcher::v3::StringMatcher,
};

use super::{CorsStats, Factory, Policy};
use crate::{
    config::{
        issues::{At, Issues},
        value,
    },
    filter::{FilterFactory, RouteConfig},
    route::StringMatch,
    stats::Store,
};

/// The type of the filter's configuration, which has no fields.
pub const TYPE: &str = "envoy.extensions.filters.http.cors.v3.Cors";
/// The type of its configuration for a route.
pub const ROUTE_TYPE: &str = "envoy.extensions.filters.http.cors.v3.CorsPolicy";

/// Compiles the filter of a chain; `manager` is the prefix of the connection manager's stats.
pub fn compile(name: &str, stats: &Store, manager: &str) -> Arc<dyn FilterFactory> {
    Arc::new(Factory { name: name.to_owned(), stats: CorsStats::new(stats, &format!("{manager}.cors")) })
}

/// Compiles what a route says of the filter.
pub fn compile_route(config: &proto::CorsPolicy, at: &At<'_>, issues: &mut Issues) -> Option<RouteConfig> {
    Some(Arc::new(Policy {
        origins: origins(&config.allow_origin_string_match, at, issues),
        methods: config.allow_methods.as_str().into(),
        headers: config.allow_headers.as_str().into(),
        expose: config.expose_headers.as_str().into(),
        max_age: config.max_age.as_str().into(),
        credentials: config.allow_credentials,
        private_network: config.allow_private_network_access,
        forward_preflights: config.forward_not_matching_preflights,
        enabled: config.filter_enabled.as_ref().map(value::fraction),
        shadow: config.shadow_enabled.as_ref().map(value::fraction),
    }))
}

/// Compiles `RouteAction.cors` or `VirtualHost.cors`.
pub fn compile_field(config: &route::CorsPolicy, at: &At<'_>, issues: &mut Issues) -> Option<RouteConfig> {
    let config = config.clone();
    let policy = proto::CorsPolicy {
        allow_origin_string_match: config.allow_origin_string_match,
        allow_methods: config.allow_methods,
        allow_headers: config.allow_headers,
        expose_headers: config.expose_headers,
        max_age: config.max_age,
        allow_credentials: config.allow_credentials,
        filter_enabled: config.enabled_specifier.map(|EnabledSpecifier::FilterEnabled(share)| share),
        shadow_enabled: config.shadow_enabled,
        allow_private_network_access: config.allow_private_network_access,
        forward_not_matching_preflights: config.forward_not_matching_preflights,
    };
    compile_route(&policy, at, issues)
}

fn origins(matchers: &[StringMatcher], at: &At<'_>, issues: &mut Issues) -> Vec<StringMatch> {
    let at = at.field("allow_origin_string_match");
    matchers.iter().enumerate().filter_map(|(i, m)| value::string_match(m, &at.index(i), issues)).collect()
}
