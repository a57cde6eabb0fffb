//! The registry of HTTP filters by type URL: compiles a filter of a chain, and its configuration for a route.

use std::sync::Arc;

use prost_types::Any;

use super::{
    any,
    issues::{At, Issues},
};
use crate::{
    filter::{
        FilterFactory, RouteConfig, buffer, cors, grpc_http1_bridge, grpc_stats, grpc_web, header_mutation, set_filter_state, set_metadata,
    },
    stats::Store,
};

/// The type of the router's configuration; it is the end of a chain, not a filter of it.
pub const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";

/// Where a filter's stats are registered.
#[derive(Clone, Copy)]
pub struct FilterStats<'a> {
    /// The proxy's stats.
    pub store: &'a Store,
    /// `http.<stat_prefix>` of the connection manager.
    pub manager: &'a str,
}

/// Compiles one filter of a chain; the router is not one.
pub fn compile(name: &str, config: &Any, stats: FilterStats<'_>, at: &At<'_>, issues: &mut Issues) -> Option<Arc<dyn FilterFactory>> {
    match any::type_name(config) {
        buffer::config::TYPE => buffer::config::compile(name, &any::decode(config, at, issues)?, at, issues),
        header_mutation::config::TYPE => header_mutation::config::compile(name, &any::decode(config, at, issues)?, at, issues),
        set_filter_state::config::TYPE => set_filter_state::config::compile(name, &any::decode(config, at, issues)?, at, issues),
        set_metadata::config::TYPE => set_metadata::config::compile(name, &any::decode(config, at, issues)?, at, issues),
        cors::config::TYPE => Some(cors::config::compile(name, stats.store, stats.manager)),
        grpc_http1_bridge::config::TYPE => Some(grpc_http1_bridge::config::compile(name, &any::decode(config, at, issues)?)),
        grpc_stats::config::TYPE => Some(grpc_stats::config::compile(name, &any::decode(config, at, issues)?)),
        grpc_web::config::TYPE => Some(grpc_web::config::compile(name)),
        other => {
            issues.push(at.unsupported("this HTTP filter is not implemented").got(other));
            None
        }
    }
}

/// Compiles what a route, virtual host or route table says of a filter.
pub fn compile_route(_name: &str, config: &Any, at: &At<'_>, issues: &mut Issues) -> Option<RouteConfig> {
    match any::type_name(config) {
        buffer::config::ROUTE_TYPE => buffer::config::compile_route(&any::decode(config, at, issues)?, at, issues),
        cors::config::ROUTE_TYPE => cors::config::compile_route(&any::decode(config, at, issues)?, at, issues),
        header_mutation::config::ROUTE_TYPE => header_mutation::config::compile_route(&any::decode(config, at, issues)?, at, issues),
        set_filter_state::config::TYPE => set_filter_state::config::compile_route(&any::decode(config, at, issues)?, at, issues),
        other => {
            issues.push(at.unsupported("this HTTP filter takes no configuration for a route here").got(other));
            None
        }
    }
}
