//! Compiles the configuration of `grpc_stats`.

use std::sync::Arc;

use plenipo_api::proto::envoy::extensions::filters::http::grpc_stats::v3::{FilterConfig, filter_config::PerMethodStatSpecifier};

use super::{Factory, Names};
use crate::filter::FilterFactory;

/// The type of the filter's configuration.
pub const TYPE: &str = "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig";

/// Compiles the filter of a chain. `enable_upstream_stats` is refused before.
pub fn compile(name: &str, config: &FilterConfig) -> Arc<dyn FilterFactory> {
    let names = match &config.per_method_stat_specifier {
        Some(PerMethodStatSpecifier::StatsForAllMethods(true)) => Names::All { replace_dots: config.replace_dots_in_grpc_service_name },
        Some(PerMethodStatSpecifier::IndividualMethodStatsAllowlist(list)) => {
            Names::Listed(list.services.iter().flat_map(|s| s.method_names.iter().map(|method| (s.name.clone(), method.clone()))).collect())
        }
        Some(PerMethodStatSpecifier::StatsForAllMethods(false)) | None => Names::None,
    };
    Arc::new(Factory { name: name.to_owned(), names: Arc::new(names), emit_filter_state: config.emit_filter_state })
}
