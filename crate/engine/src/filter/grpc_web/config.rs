//! Compiles the configuration of `grpc_web`.

use std::sync::Arc;

use super::Factory;
use crate::filter::FilterFactory;

/// The type of the filter's configuration, which has no fields.
pub const TYPE: &str = "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb";

/// Compiles the filter of a chain.
pub fn compile(name: &str) -> Arc<dyn FilterFactory> {
    Arc::new(Factory { name: name.to_owned() })
}
