//! Compiles `Buffer` and `BufferPerRoute`.

use std::sync::Arc;

use plenipo_api::proto::envoy::extensions::filters::http::buffer::v3 as proto;

use super::{PerRoute, factory};
use crate::{
    config::issues::{At, Issues},
    filter::{FilterFactory, RouteConfig},
};

/// The type of the filter's configuration.
pub const TYPE: &str = "envoy.extensions.filters.http.buffer.v3.Buffer";
/// The type of its configuration for a route.
pub const ROUTE_TYPE: &str = "envoy.extensions.filters.http.buffer.v3.BufferPerRoute";

/// Compiles the filter of a chain.
pub fn compile(name: &str, config: &proto::Buffer, at: &At<'_>, issues: &mut Issues) -> Option<Arc<dyn FilterFactory>> {
    Some(factory(name, limit(config, at, issues)?))
}

/// Compiles what a route says of the filter.
pub fn compile_route(config: &proto::BufferPerRoute, at: &At<'_>, issues: &mut Issues) -> Option<RouteConfig> {
    use proto::buffer_per_route::Override;
    let config = match &config.r#override {
        Some(Override::Disabled(true)) => PerRoute::Disabled,
        Some(Override::Buffer(buffer)) => PerRoute::Limit(limit(buffer, &at.field("buffer"), issues)?),
        Some(Override::Disabled(false)) | None => {
            issues.push(at.invalid("either disabled: true or buffer is needed"));
            return None;
        }
    };
    Some(Arc::new(config))
}

fn limit(config: &proto::Buffer, at: &At<'_>, issues: &mut Issues) -> Option<usize> {
    match config.max_request_bytes {
        Some(limit) if limit > 0 => Some(limit as usize),
        _ => {
            issues.push(at.field("max_request_bytes").invalid("must be greater than 0"));
            None
        }
    }
}
