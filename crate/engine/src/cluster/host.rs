//! A host of a cluster: where it is, how it is, and its counters.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::metadata::{Metadata, Value};

/// Where a host is, as configuration or discovery tell it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Address and port.
    pub address: SocketAddr,
    /// `hostname`, or the DNS name that was resolved; may be empty.
    pub hostname: Arc<str>,
    /// `load_balancing_weight`; at least 1, default 1.
    pub weight: u32,
    /// `metadata`
    pub metadata: Option<Arc<Metadata>>,
    /// `locality` of the group that it is in.
    pub locality: Option<Arc<Locality>>,
    /// `health_status`
    pub health: Health,
}

/// `health_status`, as far as it makes a difference: `UNKNOWN`, and numbers without a name, are `HEALTHY`; `TIMEOUT` is `UNHEALTHY`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Health {
    /// Gets traffic.
    #[default]
    Healthy,
    /// Gets what the healthy ones are too few for.
    Degraded,
    /// Gets traffic in a panic only.
    Unhealthy,
    /// The same, and does not count when health is measured.
    Draining,
}

impl Health {
    /// Envoy's flag of a host that is not healthy.
    pub fn flag(self) -> Option<&'static str> {
        match self {
            Health::Healthy => None,
            Health::Degraded => Some("degraded_eds_health"),
            Health::Unhealthy => Some("failed_eds_health"),
            Health::Draining => Some("eds_status_draining"),
        }
    }
}

/// `Locality`: where a host runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locality {
    /// `region`
    pub region: Box<str>,
    /// `zone`
    pub zone: Box<str>,
    /// `sub_zone`
    pub sub_zone: Box<str>,
}

impl Endpoint {
    /// A healthy endpoint of weight 1 without a name.
    pub fn new(address: SocketAddr) -> Endpoint {
        Endpoint { address, hostname: Arc::from(""), weight: 1, metadata: None, locality: None, health: Health::Healthy }
    }
}

/// One upstream host. Lives as long as its address stays in the cluster, across updates.
#[derive(Debug)]
pub struct Host {
    /// Number of the host in this process: the key of connection pools.
    pub id: u64,
    /// `hostname`, or the DNS name that was resolved; may be empty.
    pub hostname: Arc<str>,
    /// Traffic of the host; read by LEAST_REQUEST and the admin page.
    pub stats: HostStats,
    address: SocketAddr,
    /// The newest `metadata` of the endpoint.
    metadata: ArcSwapOption<Metadata>,
    /// The newest `locality` of the endpoint.
    locality: ArcSwapOption<Locality>,
    /// The newest address of a LOGICAL_DNS host, which stays one host whatever its name resolves to.
    pub(super) moved: Option<ArcSwap<SocketAddr>>,
}

impl Host {
    pub(super) fn new(endpoint: &Endpoint, logical: bool) -> Host {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Host {
            id: NEXT.fetch_add(1, Relaxed),
            hostname: endpoint.hostname.clone(),
            stats: HostStats::default(),
            address: endpoint.address,
            metadata: ArcSwapOption::new(endpoint.metadata.clone()),
            locality: ArcSwapOption::new(endpoint.locality.clone()),
            moved: logical.then(|| ArcSwap::from_pointee(endpoint.address)),
        }
    }

    /// Where to connect.
    pub fn address(&self) -> SocketAddr {
        self.moved.as_ref().map_or(self.address, |moved| **moved.load())
    }

    /// `metadata` of the endpoint.
    pub fn metadata(&self) -> Option<Arc<Metadata>> {
        self.metadata.load_full()
    }

    /// `locality` of the endpoint.
    pub fn locality(&self) -> Option<Arc<Locality>> {
        self.locality.load_full()
    }

    /// Whether its metadata mark it as canary (`envoy.lb`, `canary: true`).
    pub fn is_canary(&self) -> bool {
        let metadata = self.metadata.load();
        metadata.as_ref().is_some_and(|m| m.namespace("envoy.lb").and_then(|lb| lb.0.get("canary")) == Some(&Value::Bool(true)))
    }

    /// Takes over what an update says of the endpoint beside address and name.
    pub(super) fn renew(&self, endpoint: &Endpoint) {
        if *self.metadata.load() != endpoint.metadata {
            self.metadata.store(endpoint.metadata.clone());
        }
        if *self.locality.load() != endpoint.locality {
            self.locality.store(endpoint.locality.clone());
        }
    }

    /// Counts a request as under way until the guard is dropped.
    pub fn request(self: &Arc<Host>) -> ActiveRequest {
        self.stats.rq_active.fetch_add(1, Relaxed);
        self.stats.rq_total.fetch_add(1, Relaxed);
        ActiveRequest(self.clone())
    }

    /// Counts a connection as open until the guard is dropped.
    pub fn connection(self: &Arc<Host>) -> ActiveConnection {
        self.stats.cx_active.fetch_add(1, Relaxed);
        self.stats.cx_total.fetch_add(1, Relaxed);
        ActiveConnection(self.clone())
    }

    /// Counts a connection that could not be made.
    pub fn connect_failed(&self) {
        self.stats.cx_connect_fail.fetch_add(1, Relaxed);
    }

    /// Counts how a request ended.
    pub fn finished(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Success => &self.stats.rq_success,
            Outcome::Error => &self.stats.rq_error,
            Outcome::Timeout => &self.stats.rq_timeout,
        };
        counter.fetch_add(1, Relaxed);
    }
}

/// How a request at a host ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Any answer but a 5xx.
    Success,
    /// A 5xx, or none.
    Error,
    /// The route's or the per-try timeout passed.
    Timeout,
}

/// Counters of one host, over all workers; on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct HostStats {
    /// Requests under way.
    pub rq_active: AtomicU32,
    /// Connections open.
    pub cx_active: AtomicU32,
    /// Requests sent.
    pub rq_total: AtomicU64,
    /// Requests that ended well.
    pub rq_success: AtomicU64,
    /// Requests that ended with a 5xx or without an answer.
    pub rq_error: AtomicU64,
    /// Requests that timed out.
    pub rq_timeout: AtomicU64,
    /// Connections made.
    pub cx_total: AtomicU64,
    /// Connections that could not be made.
    pub cx_connect_fail: AtomicU64,
}

/// A request under way at a host.
#[derive(Debug)]
pub struct ActiveRequest(Arc<Host>);

impl ActiveRequest {
    /// The host.
    pub fn host(&self) -> &Arc<Host> {
        &self.0
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.stats.rq_active.fetch_sub(1, Relaxed);
    }
}

/// A connection open at a host.
#[derive(Debug)]
pub struct ActiveConnection(Arc<Host>);

impl Drop for ActiveConnection {
    fn drop(&mut self) {
        self.0.stats.cx_active.fetch_sub(1, Relaxed);
    }
}
