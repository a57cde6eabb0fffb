//! Hosts of a cluster, and the immutable set of them that balancers pick from.

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
}

/// `Locality`: where a host runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Locality {
    /// `region`
    pub region: Box<str>,
    /// `zone`
    pub zone: Box<str>,
    /// `sub_zone`
    pub sub_zone: Box<str>,
}

impl Endpoint {
    /// An endpoint of weight 1 without a name.
    pub fn new(address: SocketAddr) -> Endpoint {
        Endpoint { address, hostname: Arc::from(""), weight: 1, metadata: None, locality: None }
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
    moved: Option<ArcSwap<SocketAddr>>,
}

impl Host {
    fn new(endpoint: &Endpoint, logical: bool) -> Host {
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
    fn renew(&self, endpoint: &Endpoint) {
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

/// A host and its weight in one set.
#[derive(Clone, Debug)]
pub struct HostEntry {
    /// The host.
    pub host: Arc<Host>,
    /// Its weight; at least 1.
    pub weight: u32,
}

fn next_generation() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}

/// The hosts of a cluster at one moment. Never changed once published.
#[derive(Clone, Debug, Default)]
pub struct HostSet {
    generation: u64,
    entries: Vec<HostEntry>,
    weighted: bool,
}

impl HostSet {
    /// The set of these endpoints; hosts that `old` has at the same address and under the same name are kept.
    pub(super) fn next(old: Option<&HostSet>, endpoints: &[Endpoint]) -> HostSet {
        let mut kept = std::collections::HashMap::new();
        // A LOGICAL_DNS host is where its name was last, not where it began: it is nobody else's.
        for entry in old.map(HostSet::entries).unwrap_or_default().iter().filter(|entry| entry.host.moved.is_none()) {
            kept.insert((entry.host.address, entry.host.hostname.clone()), entry.host.clone());
        }
        let entries: Vec<HostEntry> = endpoints
            .iter()
            .map(|endpoint| {
                let key = (endpoint.address, endpoint.hostname.clone());
                let host = kept.entry(key).or_insert_with(|| Arc::new(Host::new(endpoint, false))).clone();
                host.renew(endpoint);
                HostEntry { host, weight: endpoint.weight.max(1) }
            })
            .collect();
        HostSet { generation: next_generation(), weighted: entries.windows(2).any(|pair| pair[0].weight != pair[1].weight), entries }
    }

    /// The set of one LOGICAL_DNS host: a new one, or the old one at its new address.
    pub(super) fn logical(old: &HostSet, endpoint: &Endpoint) -> Option<HostSet> {
        if let Some(Host { moved: Some(moved), hostname, .. }) = old.entries.first().map(|e| &*e.host)
            && *hostname == endpoint.hostname
            && let Some(entry) = old.entries.first()
        {
            entry.host.renew(endpoint);
            if **moved.load() != endpoint.address {
                moved.store(Arc::new(endpoint.address));
            }
            return None;
        }
        let host = Arc::new(Host::new(endpoint, true));
        let entries = vec![HostEntry { host, weight: endpoint.weight.max(1) }];
        Some(HostSet { generation: next_generation(), entries, weighted: false })
    }

    /// Whether the set is made of exactly these endpoints.
    pub(super) fn equals(&self, endpoints: &[Endpoint]) -> bool {
        self.entries.len() == endpoints.len()
            && self.entries.iter().zip(endpoints).all(|(entry, endpoint)| {
                entry.host.address == endpoint.address
                    && entry.weight == endpoint.weight.max(1)
                    && entry.host.hostname == endpoint.hostname
                    && *entry.host.metadata.load() == endpoint.metadata
                    && *entry.host.locality.load() == endpoint.locality
                    && entry.host.moved.is_none()
            })
    }

    /// Another number for every set of this process, except 0 for empty ones that nobody made.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The hosts, in the order of the configuration.
    pub fn entries(&self) -> &[HostEntry] {
        &self.entries
    }

    /// Whether weights differ.
    pub fn weighted(&self) -> bool {
        self.weighted
    }

    /// Whether a host is still in the set.
    pub fn contains(&self, host: &Host) -> bool {
        self.entries.iter().any(|entry| entry.host.id == host.id)
    }
}
