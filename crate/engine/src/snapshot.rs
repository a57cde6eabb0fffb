//! The immutable aggregate of one configuration, and the cell that publishes it.

use std::{collections::HashMap, sync::Arc};

use crate::{
    cluster::Cluster,
    listener::Listener,
    route::{RouteTable, Routes},
};

/// Clusters by name.
pub type Clusters = HashMap<Arc<str>, Arc<Cluster>>;

/// Everything that streams read, of one version. Never changed once published.
#[derive(Default)]
pub struct Snapshot {
    /// Counts published changes; 0 before the first.
    pub version: u64,
    /// Every cluster that is warm.
    pub clusters: Clusters,
    /// Every listener that is bound.
    pub listeners: Vec<Arc<Listener>>,
    /// The routes that were discovered, by the key of their source.
    pub routes: HashMap<u64, Arc<RouteTable>>,
}

impl Snapshot {
    /// The cluster of that name.
    pub fn cluster(&self, name: &str) -> Option<&Arc<Cluster>> {
        self.clusters.get(name)
    }

    /// The table of a connection manager; none before one was discovered.
    pub fn table<'s>(&'s self, routes: &'s Routes) -> Option<&'s Arc<RouteTable>> {
        match routes {
            Routes::Own(table) => Some(table),
            Routes::Discovered(source) => self.routes.get(&source.key),
        }
    }
}
