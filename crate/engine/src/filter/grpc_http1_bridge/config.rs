//! Compiles the configuration of `grpc_http1_bridge`.

use std::sync::Arc;

use plenipo_api::proto::envoy::extensions::filters::http::grpc_http1_bridge::v3::Config;

use super::{Factory, Options};
use crate::filter::FilterFactory;

/// The type of the filter's configuration.
pub const TYPE: &str = "envoy.extensions.filters.http.grpc_http1_bridge.v3.Config";

/// Compiles the filter of a chain.
pub fn compile(name: &str, config: &Config) -> Arc<dyn FilterFactory> {
    let options = Options { upgrade_protobuf: config.upgrade_protobuf_to_grpc, ignore_query: config.ignore_query_parameters };
    Arc::new(Factory { name: name.to_owned(), options })
}
