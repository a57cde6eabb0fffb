//! Compiles `Rds` and `ConfigSource`: where the routes of a connection manager are discovered.

use std::{path::Path, time::Duration};

use plenipo_api::proto::envoy::{
    config::core::v3::{ConfigSource, config_source::ConfigSourceSpecifier},
    extensions::filters::network::http_connection_manager::v3::Rds,
};
use prost::Message;
use xxhash_rust::xxh64::xxh64;

use super::{
    Context,
    issues::{At, Issues},
    value,
};
use crate::route::{Origin, RouteSource};

/// Envoy's default of `initial_fetch_timeout`.
const INITIAL_FETCH_TIMEOUT: Duration = Duration::from_secs(15);

/// Compiles `rds`; `manager` is the prefix of the connection manager's stats.
pub fn compile(config: &Rds, manager: &str, context: &Context<'_>, at: &At<'_>, issues: &mut Issues) -> Option<RouteSource> {
    let source_at = at.field("config_source");
    let Some(source) = &config.config_source else {
        issues.push(source_at.invalid("routes need a source"));
        return None;
    };
    if context.service_node.is_empty() || context.service_cluster.is_empty() {
        // As in Envoy, whatever the source; whoever serves configuration tells nodes apart by these.
        let message = "node 'id' and 'cluster' are required where routes are discovered";
        issues.push(at.invalid(message).hint("set them in the bootstrap's node, or by --service-node and --service-cluster"));
    }
    let origin = origin(source, &source_at, issues);
    let timeout_at = source_at.field("initial_fetch_timeout");
    let initial_fetch_timeout = value::limit(source.initial_fetch_timeout.as_ref(), Some(INITIAL_FETCH_TIMEOUT), &timeout_at, issues);
    Some(RouteSource {
        key: xxh64(&config.encode_to_vec(), 0),
        name: config.route_config_name.as_str().into(),
        stats: format!("{manager}.rds.{}", config.route_config_name),
        origin: origin?,
        initial_fetch_timeout,
    })
}

#[allow(deprecated, reason = "the field of old is read as long as Envoy reads it")]
fn origin(source: &ConfigSource, at: &At<'_>, issues: &mut Issues) -> Option<Origin> {
    match &source.config_source_specifier {
        Some(ConfigSourceSpecifier::Path(path)) => {
            exists(path, &at.field("path"), issues);
            Some(Origin::File { path: path.into(), watched: None })
        }
        Some(ConfigSourceSpecifier::PathConfigSource(file)) => {
            let at = at.field("path_config_source");
            exists(&file.path, &at.field("path"), issues);
            let watched = file.watched_directory.as_ref().map(|directory| &directory.path);
            if let Some(directory) = watched {
                exists(directory, &at.field("watched_directory").field("path"), issues);
            }
            Some(Origin::File { path: file.path.as_str().into(), watched: watched.map(Into::into) })
        }
        Some(_) => {
            issues.push(at.unsupported("this source of routes is not implemented"));
            None
        }
        None => {
            issues.push(at.invalid("routes need a source").expected("path_config_source"));
            None
        }
    }
}

/// As in Envoy, a file that is not there yet cannot be waited for.
fn exists(path: &str, at: &At<'_>, issues: &mut Issues) {
    if !Path::new(path).exists() {
        issues.push(at.invalid(format!("paths must refer to an existing path in the system: '{path}' does not exist")));
    }
}
