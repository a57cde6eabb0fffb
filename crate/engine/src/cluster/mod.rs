//! A cluster: its settings, its hosts (read live at every pick), circuit breakers, stats and DNS.
//!
//! Settings never change; hosts do, through [`Cluster::set_hosts`], which keeps the state of hosts that stay.

mod circuit;
mod dns;
mod grpc;
mod host;
mod host_set;
mod settings;
#[cfg(test)]
mod tests;
mod window;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

pub use circuit::{Circuit, Permit, Priority, RetryBudget, Thresholds};
pub use dns::{DnsError, Resolvers, run_dns};
pub use grpc::{GrpcCounters, GrpcProtocol, GrpcStats};
pub use host::{ActiveConnection, ActiveRequest, Endpoint, Health, Host, HostStats, Locality, Outcome};
pub use host_set::{Group, HealthRules, HostEntry, HostSet, Turn};
pub use settings::{
    AutoNames, Bind, Discovery, DnsEndpoint, DnsSettings, Either, FailureRefresh, LookupFamily, Policies, ResolverConfig, Settings, Spoken,
    TcpKeepalive, UpstreamProtocol,
};

use crate::{
    balance::{Policy, TableKind},
    stats::{
        AltClusterStats, ClusterConfigStats, ClusterEndpointStats, ClusterStats, Http1Stats, Http2Stats, MaglevStats, ProxyHeaderStats,
        RingHashStats, Store, ZoneStats,
    },
};

/// Stats of a cluster's codecs; of each that may be spoken.
pub struct CodecStats {
    /// HTTP/1
    pub http1: Option<Http1Stats>,
    /// HTTP/2
    pub http2: Option<Http2Stats>,
}

/// How many names requests may make a cluster count under: names live as long as the cluster, and clients choose them.
const MAX_ALT_STATS: usize = 1000;

/// One cluster of a configuration.
pub struct Cluster {
    /// `name`
    pub name: Arc<str>,
    /// All that never changes.
    pub settings: Settings,
    /// Circuit breakers; counted over all workers.
    pub circuit: Arc<Circuit>,
    /// Traffic, `cluster.<name>`.
    pub stats: ClusterStats,
    /// Hosts, `cluster.<name>`.
    pub endpoint_stats: ClusterEndpointStats,
    /// Its codecs, `cluster.<name>.http1` and `.http2`; each is shown from its first connection on.
    pub codec_stats: CodecStats,
    /// PROXY protocol headers, `cluster.<name>.upstream.proxyprotocol`; where connections begin with one.
    pub proxy_header_stats: Option<ProxyHeaderStats>,
    /// What gRPC filters count, `cluster.<name>.grpc` and `.grpc-web`.
    pub grpc_stats: GrpcStats,
    /// `cluster.<name>.ring_hash_lb` or `.maglev_lb`, where hosts are chosen by hash.
    table_stats: Option<TableStats>,
    /// Updates, `cluster.<name>`.
    pub config_stats: ClusterConfigStats,
    /// Stats under other names, which requests ask for (`x-envoy-upstream-alt-stat-name`).
    alt_stats: Mutex<HashMap<Box<str>, AltClusterStats>>,
    /// `cluster.<name>.zone.<zone of this proxy>.<zone>`, by the zones of hosts that have answered.
    zones: ArcSwap<HashMap<Box<str>, ZoneStats>>,
    store: Store,
    hosts: ArcSwap<HostSet>,
    /// Held by whoever changes the hosts.
    writing: Mutex<()>,
    warm: watch::Sender<bool>,
}

impl Cluster {
    /// A cluster with the hosts that its settings name. State of hosts that `previous`, the cluster of the same name in
    /// the running configuration, has too is carried over; so are all its hosts where both find them by the same DNS names.
    pub fn new(name: impl Into<Arc<str>>, settings: Settings, store: &Store, previous: Option<&Cluster>) -> Cluster {
        let name = name.into();
        let stat_name = settings.alt_stat_name.as_deref().unwrap_or(&name);
        let prefix = format!("cluster.{}", stat_name.replace(':', "_"));
        let stats = ClusterStats::new(store, &prefix);
        let old = previous.map(Cluster::hosts);
        let hosts = match &settings.discovery {
            Discovery::Static(endpoints) => HostSet::next(old.as_deref().map(|a| &**a), endpoints, &settings, &stats),
            Discovery::Dns(_) => match (previous, &old) {
                (Some(p), Some(old)) if p.settings.discovery == settings.discovery => old.under(&settings, &stats),
                _ => HostSet::next(None, &[], &settings, &stats),
            },
        };
        let warm = match &settings.discovery {
            Discovery::Static(_) => true,
            Discovery::Dns(dns) => !dns.wait_for_warm_on_init,
        };
        let cluster = Cluster {
            circuit: Arc::new(Circuit::new(&settings.thresholds, stats.clone(), store)),
            endpoint_stats: ClusterEndpointStats::new(store, &prefix),
            codec_stats: CodecStats {
                http1: settings.protocol.http1().map(|_| Http1Stats::new(store, &format!("{prefix}.http1"))),
                http2: settings.protocol.http2().map(|_| Http2Stats::new(store, &format!("{prefix}.http2"))),
            },
            proxy_header_stats: settings
                .proxy_header
                .as_ref()
                .map(|_| ProxyHeaderStats::new(store, &format!("{prefix}.upstream.proxyprotocol"))),
            grpc_stats: GrpcStats::new(store),
            table_stats: TableStats::new(store, &prefix, &settings.policy),
            config_stats: ClusterConfigStats::new(store, &prefix),
            alt_stats: Mutex::default(),
            zones: ArcSwap::default(),
            store: store.clone(),
            name,
            settings,
            stats,
            hosts: ArcSwap::from_pointee(hosts),
            writing: Mutex::new(()),
            warm: watch::Sender::new(warm),
        };
        let found = cluster.hosts.load().entries().len();
        if found > 0 {
            cluster.endpoint_stats.default_total_match_count().add(found as u64);
            cluster.endpoint_stats.membership_change().inc();
        }
        cluster.count_members();
        cluster
    }

    /// The hosts of this moment. Read them anew at every pick, so that a retry never goes to a host that has left.
    pub fn hosts(&self) -> Guard<Arc<HostSet>> {
        self.hosts.load()
    }

    /// Replaces the hosts; those whose address stays keep their state. Says whether anything changed.
    pub fn set_hosts(&self, endpoints: &[Endpoint]) -> bool {
        let changed = self.publish(endpoints);
        if changed {
            self.looked_at(endpoints.len(), endpoints.iter().map(|e| e.weight).max().unwrap_or(0));
        }
        changed
    }

    /// Replaces the hosts, and counts nothing but members.
    fn publish(&self, endpoints: &[Endpoint]) -> bool {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.hosts.load_full();
        if old.equals(endpoints) {
            return false;
        }
        self.hosts.store(Arc::new(HostSet::next(Some(&old), endpoints, &self.settings, &self.stats)));
        self.endpoint_stats.membership_change().inc();
        self.count_members();
        true
    }

    /// Counts the endpoints of an update, the heaviest of which has this weight.
    fn looked_at(&self, endpoints: usize, heaviest: u32) {
        self.endpoint_stats.default_total_match_count().add(endpoints as u64);
        self.endpoint_stats.max_host_weight().set(u64::from(heaviest));
    }

    /// The stats that a request counts in beside the cluster's own; nothing once [`MAX_ALT_STATS`] other names were asked for.
    pub fn alt_stats(&self, name: &str) -> Option<AltClusterStats> {
        let mut known = self.alt_stats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stats) = known.get(name) {
            return Some(stats.clone());
        }
        if known.len() >= MAX_ALT_STATS {
            return None;
        }
        let stats = AltClusterStats::new(&self.store, &format!("{}.{name}", self.stats.block().prefix()));
        known.insert(name.into(), stats.clone());
        Some(stats)
    }

    /// Where answers of a host are counted by its zone; nothing where this proxy, or the host, is in none.
    pub fn zone_stats(&self, host: &Host) -> Option<ZoneStats> {
        let from = self.settings.local_zone.as_deref()?;
        let locality = host.locality().filter(|locality| !locality.zone.is_empty())?;
        if let Some(known) = self.zones.load().get(&locality.zone) {
            return Some(known.clone());
        }
        let stats = ZoneStats::new(&self.store, &format!("{}.zone.{from}.{}", self.stats.block().prefix(), locality.zone));
        self.zones.rcu(|zones| {
            let mut zones = HashMap::clone(zones);
            zones.insert(locality.zone.clone(), stats.clone());
            zones
        });
        Some(stats)
    }

    fn count_members(&self) {
        let hosts = self.hosts.load();
        let of = |health| hosts.entries().iter().filter(|e| e.health == health).count() as u64;
        self.endpoint_stats.membership_total().set(hosts.entries().len() as u64);
        self.endpoint_stats.membership_healthy().set(of(Health::Healthy));
        self.endpoint_stats.membership_degraded().set(of(Health::Degraded));
        self.endpoint_stats.membership_excluded().set(of(Health::Draining));
        if let (Some(stats), Some(table)) = (&self.table_stats, hosts.table()) {
            stats.set(table.spread);
        }
    }

    /// Resolves once the cluster may be used: at once for fixed hosts, else after the first answer or failure of every
    /// DNS name (without waiting where `wait_for_warm_on_init` is false).
    pub async fn warm(&self) {
        let mut warm = self.warm.subscribe();
        // The sender lives in `self`, so that the wait can only end well.
        let _ = warm.wait_for(|warm| *warm).await;
    }

    /// Whether the cluster may be used.
    pub fn is_warm(&self) -> bool {
        *self.warm.borrow()
    }

    fn set_warm(&self) {
        self.warm.send_if_modified(|warm| !std::mem::replace(warm, true));
    }
}

/// How evenly a table that hosts are chosen by is made.
enum TableStats {
    Ring(RingHashStats),
    Maglev(MaglevStats),
}

impl TableStats {
    fn new(store: &Store, cluster: &str, policy: &Policy) -> Option<TableStats> {
        let Policy::Hashed(rules) = policy else { return None };
        Some(match rules.kind {
            TableKind::Ring { .. } => TableStats::Ring(RingHashStats::new(store, &format!("{cluster}.ring_hash_lb"))),
            TableKind::Maglev { .. } => TableStats::Maglev(MaglevStats::new(store, &format!("{cluster}.maglev_lb"))),
        })
    }

    fn set(&self, (size, fewest, most): (u64, u64, u64)) {
        match self {
            TableStats::Ring(stats) => {
                stats.size().set(size);
                stats.min_hashes_per_host().set(fewest);
                stats.max_hashes_per_host().set(most);
            }
            TableStats::Maglev(stats) => {
                stats.min_entries_per_host().set(fewest);
                stats.max_entries_per_host().set(most);
            }
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("name", &self.name).field("hosts", &**self.hosts.load()).finish_non_exhaustive()
    }
}
