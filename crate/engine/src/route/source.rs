//! Where a connection manager's routes are: in its configuration, or in the snapshot, where discovery puts them.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::RouteTable;

/// The routes of a connection manager.
#[derive(Clone)]
pub enum Routes {
    /// `route_config`
    Own(Arc<RouteTable>),
    /// `rds`: the snapshot has them, by the source's key.
    Discovered(Arc<RouteSource>),
}

/// Where routes are discovered (`rds`). Connection managers with the same `rds` share one, and what discovers them lives as long as the last of them.
#[derive(Debug)]
pub struct RouteSource {
    /// Equal sources have equal keys.
    pub key: u64,
    /// `route_config_name`
    pub name: Arc<str>,
    /// The prefix of its stats, `http.<stat_prefix>.rds.<name>`; that of the first connection manager which used it.
    pub stats: String,
    /// How they are discovered.
    pub origin: Origin,
    /// `initial_fetch_timeout`: how long a listener waits for its first routes; default 15 s, without limit where the configuration says 0.
    pub initial_fetch_timeout: Option<Duration>,
}

/// How routes are discovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `path_config_source`: a file that is read again when one is moved into its place.
    File {
        /// `path`
        path: PathBuf,
        /// `watched_directory`: the file is read again when anything is moved into this directory instead.
        watched: Option<PathBuf>,
    },
}
