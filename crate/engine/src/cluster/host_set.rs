//! The hosts of a cluster at one moment, and which of them balancers pick from.
//!
//! As in Envoy healthy hosts get as much of the traffic as their share of all hosts, times the overprovisioning factor; degraded ones get
//! the rest. Where both together are too few (the panic threshold) health does not matter, and all hosts get traffic.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    host::{Endpoint, Health, Host},
    settings::Settings,
};
use crate::{
    balance::{HashTable, Policy, TableRules},
    stats::ClusterStats,
};

/// How the health of its hosts decides who gets traffic; the defaults are Envoy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthRules {
    /// `common_lb_config.healthy_panic_threshold`, in percent; default 50, 0 for no panic ever.
    pub panic_threshold: u32,
    /// `common_lb_config.zone_aware_lb_config.fail_traffic_on_panic`: no host gets traffic in a panic; default false.
    pub fail_on_panic: bool,
    /// `load_assignment.policy.overprovisioning_factor`, in percent; default 140.
    pub overprovisioning: u32,
    /// `load_assignment.policy.weighted_priority_health`: hosts count by their weights; default false.
    pub by_weight: bool,
}

impl Default for HealthRules {
    fn default() -> HealthRules {
        HealthRules { panic_threshold: 50, fail_on_panic: false, overprovisioning: 140, by_weight: false }
    }
}

/// A host in one set.
#[derive(Clone, Debug)]
pub struct HostEntry {
    /// The host.
    pub host: Arc<Host>,
    /// Its weight; at least 1.
    pub weight: u32,
    /// Its health.
    pub health: Health,
}

/// Hosts that a balancer picks from.
#[derive(Clone, Debug)]
pub struct Group {
    entries: Arc<[HostEntry]>,
    weighted: bool,
    table: Option<Arc<HashTable>>,
}

impl Group {
    fn new(entries: Arc<[HostEntry]>, table: Option<&TableRules>) -> Group {
        Group {
            weighted: entries.windows(2).any(|pair| pair[0].weight != pair[1].weight),
            table: table.map(|rules| Arc::new(HashTable::new(rules, &entries))),
            entries,
        }
    }

    /// The hosts, in the order of the configuration.
    pub fn entries(&self) -> &[HostEntry] {
        &self.entries
    }

    /// Whether weights differ.
    pub fn weighted(&self) -> bool {
        self.weighted
    }

    /// Which hash leads to which of them, where the cluster chooses by hash.
    pub fn table(&self) -> Option<&HashTable> {
        self.table.as_deref()
    }
}

/// Which of the two groups of a set a pick is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The healthy hosts; in a panic all.
    First,
    /// The degraded hosts.
    Degraded,
}

/// The hosts of a cluster at one moment. Never changed once published.
#[derive(Clone)]
pub struct HostSet {
    generation: u64,
    all: Arc<[HostEntry]>,
    first: Group,
    degraded: Group,
    /// So many percent of the picks are of the degraded hosts.
    degraded_load: u32,
    /// There while the set is in a panic: where that is counted.
    panic: Option<ClusterStats>,
}

impl HostSet {
    /// The set of these endpoints; hosts that `old` has at the same address and under the same name are kept.
    pub(super) fn next(old: Option<&HostSet>, endpoints: &[Endpoint], settings: &Settings, stats: &ClusterStats) -> HostSet {
        let mut kept = HashMap::new();
        // A LOGICAL_DNS host is where its name was last, not where it began: it is nobody else's.
        for entry in old.map(HostSet::entries).unwrap_or_default().iter().filter(|entry| entry.host.moved.is_none()) {
            kept.insert((entry.host.address(), entry.host.hostname.clone()), entry.host.clone());
        }
        let entries = endpoints.iter().map(|endpoint| {
            let key = (endpoint.address, endpoint.hostname.clone());
            let host = kept.entry(key).or_insert_with(|| Arc::new(Host::new(endpoint, false))).clone();
            host.renew(endpoint);
            HostEntry { host, weight: endpoint.weight.max(1), health: endpoint.health }
        });
        HostSet::of(entries.collect(), settings, stats)
    }

    /// The set of one LOGICAL_DNS host: a new one, or the old one at its new address.
    pub(super) fn logical(old: &HostSet, endpoint: &Endpoint, settings: &Settings, stats: &ClusterStats) -> Option<HostSet> {
        if let Some(Host { moved: Some(moved), hostname, .. }) = old.all.first().map(|e| &*e.host)
            && *hostname == endpoint.hostname
            && let Some(entry) = old.all.first()
        {
            entry.host.renew(endpoint);
            if **moved.load() != endpoint.address {
                moved.store(Arc::new(endpoint.address));
            }
            return None;
        }
        let host = Arc::new(Host::new(endpoint, true));
        let entry = HostEntry { host, weight: endpoint.weight.max(1), health: endpoint.health };
        Some(HostSet::of(Arc::new([entry]), settings, stats))
    }

    /// The same hosts under the rules of another configuration.
    pub(super) fn under(&self, settings: &Settings, stats: &ClusterStats) -> HostSet {
        HostSet::of(self.all.clone(), settings, stats)
    }

    fn of(all: Arc<[HostEntry]>, settings: &Settings, stats: &ClusterStats) -> HostSet {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let rules = &settings.health;
        let shares = Shares::of(&all, rules);
        let table = match &settings.policy {
            Policy::Hashed(rules) => Some(rules),
            _ => None,
        };
        let of_health = |wanted| all.iter().filter(|e| e.health == wanted).cloned().collect();
        let first = match () {
            () if shares.panic && rules.fail_on_panic => Arc::new([]),
            () if shares.panic || all.iter().all(|e| e.health == Health::Healthy) => all.clone(),
            () => of_health(Health::Healthy),
        };
        HostSet {
            generation: NEXT.fetch_add(1, Relaxed),
            first: Group::new(first, table),
            degraded: Group::new(of_health(Health::Degraded), table),
            degraded_load: shares.degraded_load,
            panic: shares.panic.then(|| stats.clone()),
            all,
        }
    }

    /// Whether the set is made of exactly these endpoints.
    pub(super) fn equals(&self, endpoints: &[Endpoint]) -> bool {
        self.all.len() == endpoints.len()
            && self.all.iter().zip(endpoints).all(|(entry, endpoint)| {
                entry.host.address() == endpoint.address
                    && entry.weight == endpoint.weight.max(1)
                    && entry.health == endpoint.health
                    && entry.host.hostname == endpoint.hostname
                    && entry.host.metadata() == endpoint.metadata
                    && entry.host.locality() == endpoint.locality
                    && entry.host.moved.is_none()
            })
    }

    /// Another number for every set of this process.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// All hosts, whatever their health, in the order of the configuration.
    pub fn entries(&self) -> &[HostEntry] {
        &self.all
    }

    /// Whose turn the next pick is; counts it where the set is in a panic. A number is drawn only where it decides.
    pub fn turn(&self, random: &mut dyn FnMut() -> u64) -> (Turn, &Group) {
        if let Some(stats) = &self.panic {
            stats.lb_healthy_panic().inc();
        }
        if self.degraded_load > 0 && random() % 100 < u64::from(self.degraded_load) {
            return (Turn::Degraded, &self.degraded);
        }
        (Turn::First, &self.first)
    }

    /// The table of the hosts whose turn it mostly is.
    pub fn table(&self) -> Option<&HashTable> {
        self.first.table()
    }

    /// Whether a host is still in the set.
    pub fn contains(&self, host: &Host) -> bool {
        self.all.iter().any(|entry| entry.host.id == host.id)
    }
}

impl fmt::Debug for HostSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all.iter()).finish()
    }
}

/// Who gets how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shares {
    panic: bool,
    degraded_load: u32,
}

impl Shares {
    fn of(all: &[HostEntry], rules: &HealthRules) -> Shares {
        let sum =
            |size: fn(&HostEntry) -> u64, wanted: &[Health]| -> u64 { all.iter().filter(|e| wanted.contains(&e.health)).map(size).sum() };
        let counted = [Health::Healthy, Health::Degraded, Health::Unhealthy];
        let size: fn(&HostEntry) -> u64 = if rules.by_weight { |e| e.weight.into() } else { |_| 1 };
        let total = sum(size, &counted);
        // What the healthy or the degraded could carry, in percent of the whole.
        let capacity = |health| {
            let capacity = u64::from(rules.overprovisioning).saturating_mul(sum(size, &[health])).checked_div(total);
            capacity.unwrap_or(0).min(100) as u32
        };
        let (healthy, degraded) = (capacity(Health::Healthy), capacity(Health::Degraded));
        let available = (healthy + degraded).min(100);
        // Unlike capacity, panic counts heads, and without the overprovisioning.
        let present = 100.0 * sum(|_| 1, &[Health::Healthy, Health::Degraded]) as f64 / sum(|_| 1, &counted) as f64;
        let panic = rules.panic_threshold > 0 && (available == 0 || (available < 100 && present < f64::from(rules.panic_threshold)));
        if panic || available == 0 {
            return Shares { panic, degraded_load: 0 };
        }
        let healthy_load = (healthy * 100 / available).min(100);
        let degraded_load = (degraded * 100 / available).min(100 - healthy_load);
        // What rounding left over goes to the healthy, where there are any.
        Shares { panic, degraded_load: if healthy > 0 { degraded_load } else { 100 } }
    }
}

#[cfg(test)]
#[path = "host_set_tests.rs"]
mod tests;
