//! What the control side shows of the running configuration: `/config_dump` and `dump()`.

use std::time::SystemTime;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Kind, discovery::Discovered, resources::Resources};

/// The running configuration in its wire form.
#[derive(Clone, Debug, Default)]
pub struct View {
    bootstrap: Bytes,
    node: Bytes,
    clusters: Vec<Bytes>,
    listeners: Vec<(String, Bytes)>,
    routes: Vec<Discovered>,
    version: u64,
}

impl View {
    /// A view without resources.
    pub fn new(bootstrap: Bytes, node: Bytes) -> View {
        View { bootstrap, node, ..View::default() }
    }

    /// The same with these resources and discovered routes; bytes are shared, not copied.
    pub fn with_resources(&self, resources: &Resources, routes: Vec<Discovered>, version: u64) -> View {
        View {
            clusters: resources.of_kind(Kind::Cluster).map(|(_, r)| r.bytes.clone()).collect(),
            listeners: resources.of_kind(Kind::Listener).map(|(name, r)| (name.to_owned(), r.bytes.clone())).collect(),
            routes,
            version,
            ..self.clone()
        }
    }

    /// `bootstrap`, `listeners`, `clusters` in Envoy's JSON; sensitive fields are redacted.
    pub fn dump(&self) -> Value {
        let clusters: Vec<Value> = self.clusters.iter().map(|b| show(Kind::Cluster.message(), b)).collect();
        let listeners: Vec<Value> = self.listeners.iter().map(|(_, b)| show(Kind::Listener.message(), b)).collect();
        json!({ "bootstrap": self.bootstrap(), "listeners": listeners, "clusters": clusters })
    }

    /// The bootstrap without its static resources.
    pub fn bootstrap(&self) -> Value {
        show("envoy.config.bootstrap.v3.Bootstrap", &self.bootstrap)
    }

    /// The node.
    pub fn node(&self) -> Value {
        show("envoy.config.core.v3.Node", &self.node)
    }

    /// Every cluster.
    pub fn clusters(&self) -> Vec<Value> {
        self.clusters.iter().map(|b| show(Kind::Cluster.message(), b)).collect()
    }

    /// Every listener with its name.
    pub fn listeners(&self) -> Vec<(String, Value)> {
        self.listeners.iter().map(|(name, b)| (name.clone(), show(Kind::Listener.message(), b))).collect()
    }

    /// The routes that were discovered: their version, when they were taken into use, and what they are.
    pub fn routes(&self) -> impl Iterator<Item = (&str, SystemTime, Value)> {
        self.routes.iter().map(|r| (&*r.version, r.updated, show("envoy.config.route.v3.RouteConfiguration", &r.config)))
    }

    /// The version that it shows.
    pub fn version(&self) -> u64 {
        self.version
    }
}

fn show(message: &str, bytes: &Bytes) -> Value {
    plenipo_api::to_json(message, bytes).unwrap_or_else(|e| json!({ "error": e.to_string() }))
}
