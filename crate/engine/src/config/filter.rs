//! The registry of HTTP filters by type URL: compiles a filter of a chain, and its configuration for a route.

use std::sync::Arc;

use prost_types::Any;

use super::{
    any,
    issues::{At, Issues},
};
use crate::filter::{FilterFactory, RouteConfig, buffer, header_mutation, set_filter_state, set_metadata};

/// The type of the router's configuration; it is the end of a chain, not a filter of it.
pub const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";

/// Compiles one filter of a chain; the router is not one.
pub fn compile(name: &str, config: &Any, at: &At<'_>, issues: &mut Issues) -> Option<Arc<dyn FilterFactory>> {
    match any::type_name(config) {
        buffer::config::TYPE => buffer::config::compile(name, &any::decode(config, at, issues)?, at, issues),
        header_mutation::config::TYPE => header_mutation::config::compile(name, &any::decode(config, at, issues)?, at, issues),
        set_filter_state::config::TYPE => set_filter_state::config::compile(name, &any::decode(config, at, issues)?, at, issues),
        set_metadata::config::TYPE => set_metadata::config::compile(name, &any::decode(config, at, issues)?, at, issues),
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
        header_mutation::config::ROUTE_TYPE => header_mutation::config::compile_route(&any::decode(config, at, issues)?, at, issues),
        set_filter_state::config::TYPE => set_filter_state::config::compile_route(&any::decode(config, at, issues)?, at, issues),
        other => {
            issues.push(at.unsupported("this HTTP filter takes no configuration for a route here").got(other));
            None
        }
    }
}
