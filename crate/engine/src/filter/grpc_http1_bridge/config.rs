//! Compiles the configuration of `grpc_http1_bridge`.

use std::sync::Arc;

use super::Factory;
use crate::filter::FilterFactory;

/// The type of the filter's configuration.
pub const TYPE: &str = "envoy.extensions.filters.http.grpc_http1_bridge.v3.Config";

/// Compiles the filter of a chain; its fields are refused before.
pub fn compile(name: &str) -> Arc<dyn FilterFactory> {
    Arc::new(Factory { name: name.to_owned() })
}
