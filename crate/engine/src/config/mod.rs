//! From API messages to compiled types: collects all problems with their field paths.

pub mod access_log;
pub mod any;
pub mod cluster;
pub mod filter;
pub mod headers;
pub mod issues;
pub mod listener;
pub mod local_reply;
pub mod log_filter;
pub mod manager;
pub mod metadata;
pub mod protocol;
mod quic;
pub mod rds;
mod retry;
pub mod route;
pub mod tls;
pub mod transport;
pub mod value;

use std::sync::Arc;

use once_cell::sync::Lazy;
use plenipo_api::Support;

use crate::{access_log::Files, route::RouteSource, stats::Store};

/// What the engine implements of Envoy's API: `supported.txt`.
pub static SUPPORT: Lazy<Support> = Lazy::new(|| {
    // A test reads the list too; a wrong entry never leaves the project.
    Support::parse(include_str!("supported.txt")).expect("supported.txt names only what Envoy's API has")
});

/// What compiling reads beside the messages.
pub struct Context<'a> {
    /// Where stats are registered.
    pub stats: &'a Store,
    /// Where access logs are opened.
    pub files: &'a Files,
    /// Number of workers.
    pub workers: usize,
    /// Whether other processes may listen on the same ports.
    pub share_port: bool,
    /// `node.cluster`
    pub service_cluster: &'a str,
    /// `node.id`
    pub service_node: &'a str,
    /// Whether a cluster of that name will exist once the change is published.
    pub cluster_exists: &'a dyn Fn(&str) -> bool,
    /// The one source of routes that equals this one, of all that are in use.
    pub route_source: &'a dyn Fn(RouteSource) -> Arc<RouteSource>,
}
