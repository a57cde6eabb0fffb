//! Circuit breakers: how many connections, requests and retries a cluster may have at once, over all workers.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use super::window::Window;
use crate::stats::{CircuitBreakerRemainingStats, ClusterStats, GaugeRef, Store};

/// Which set of thresholds a request counts against (`priority` of the route).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// `DEFAULT`
    #[default]
    Default,
    /// `HIGH`
    High,
}

impl Priority {
    /// As stats name it.
    fn name(self) -> &'static str {
        match self {
            Priority::Default => "default",
            Priority::High => "high",
        }
    }
}

/// `CircuitBreakers.Thresholds`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// `max_connections`; default 1024.
    pub connections: u32,
    /// `max_pending_requests`; default 1024.
    pub pending: u32,
    /// `max_requests`; default 1024.
    pub requests: u32,
    /// `max_retries`; default 3.
    pub retries: u32,
    /// `retry_budget`, in place of `max_retries`.
    pub retry_budget: Option<RetryBudget>,
    /// `track_remaining`: gauges tell what is left below the limits.
    pub track_remaining: bool,
    /// `max_connections` of `per_host_thresholds`; absent by default.
    pub connections_per_host: Option<u32>,
}

/// `RetryBudget`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    /// `budget_percent`: share of the requests under way that may be retries; default 20.
    pub percent: f64,
    /// `min_retry_concurrency`; default 3.
    pub min_concurrency: u32,
    /// `budget_interval`: the requests that began in so long a time count, not those under way.
    pub interval: Option<Duration>,
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds {
            connections: 1024,
            pending: 1024,
            requests: 1024,
            retries: 3,
            retry_budget: None,
            track_remaining: false,
            connections_per_host: None,
        }
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Resource {
    Connections,
    Pending,
    Requests,
    Retries,
    Pools,
}

const RESOURCES: usize = 5;

/// The counters of one cluster and their limits.
pub struct Circuit {
    /// By priority, then by resource. Beside the reference count of the `Arc` on purpose: whoever takes a permit writes both.
    current: [AtomicU32; 2 * RESOURCES],
    limits: [Thresholds; 2],
    stats: ClusterStats,
    /// `circuit_breakers.<priority>.remaining_*`
    remaining: [Option<Remaining>; 2],
    /// Requests of the last time, where a budget goes by them.
    begun: [Option<Box<Window>>; 2],
}

impl Circuit {
    /// Counters at zero.
    pub fn new(limits: &[Thresholds; 2], stats: ClusterStats, store: &Store) -> Circuit {
        let remaining = |priority: Priority| {
            let limits = &limits[priority as usize];
            limits
                .track_remaining
                .then(|| Remaining::new(limits, store, &format!("{}.circuit_breakers.{}", stats.block().prefix(), priority.name())))
        };
        let begun =
            |limits: &Thresholds| limits.retry_budget.and_then(|budget| budget.interval).map(|interval| Box::new(Window::new(interval)));
        Circuit {
            current: Default::default(),
            limits: *limits,
            remaining: [remaining(Priority::Default), remaining(Priority::High)],
            begun: [begun(&limits[0]), begun(&limits[1])],
            stats,
        }
    }

    /// Leave to open one more connection.
    pub fn try_connection(self: &Arc<Circuit>, priority: Priority) -> Option<Permit> {
        self.take(priority, Resource::Connections)
    }

    /// Opens one more connection whatever the limit: a pool without any must not starve, as in Envoy.
    pub fn force_connection(self: &Arc<Circuit>, priority: Priority) -> Permit {
        self.count(priority, Resource::Connections)
    }

    /// Leave to wait for a connection.
    pub fn try_pending(self: &Arc<Circuit>, priority: Priority) -> Option<Permit> {
        self.take(priority, Resource::Pending)
    }

    /// Leave to send one more request.
    pub fn try_request(self: &Arc<Circuit>, priority: Priority) -> Option<Permit> {
        self.take(priority, Resource::Requests)
    }

    /// Counts a request that looks for a host; for budgets that go by those.
    pub fn request_begins(&self, priority: Priority) {
        if let Some(begun) = &self.begun[priority as usize] {
            begun.add();
        }
    }

    /// Counts one more pool of connections, of which there may be any number.
    pub fn pool(self: &Arc<Circuit>, priority: Priority) -> Permit {
        self.count(priority, Resource::Pools)
    }

    /// Leave to try a request again.
    pub fn try_retry(self: &Arc<Circuit>, priority: Priority) -> Option<Permit> {
        if let (Some(remaining), Some(_)) = (&self.remaining[priority as usize], self.limits(priority).retry_budget) {
            remaining.forget_retries();
        }
        self.take(priority, Resource::Retries)
    }

    /// How many connections there are.
    pub fn connections(&self, priority: Priority) -> u32 {
        self.current(priority, Resource::Connections)
    }

    /// How many requests are under way.
    pub fn requests(&self, priority: Priority) -> u32 {
        self.current(priority, Resource::Requests)
    }

    /// How many requests wait for a connection.
    pub fn pending(&self, priority: Priority) -> u32 {
        self.current(priority, Resource::Pending)
    }

    /// The limits of a priority.
    pub fn limits(&self, priority: Priority) -> &Thresholds {
        &self.limits[priority as usize]
    }

    fn current(&self, priority: Priority, resource: Resource) -> u32 {
        self.counter(priority, resource).load(Relaxed)
    }

    fn counter(&self, priority: Priority, resource: Resource) -> &AtomicU32 {
        &self.current[priority as usize * RESOURCES + resource as usize]
    }

    /// How many there may be.
    fn limit(&self, priority: Priority, resource: Resource) -> u32 {
        let limits = self.limits(priority);
        match (resource, limits.retry_budget) {
            (Resource::Retries, Some(budget)) => {
                let active = match &self.begun[priority as usize] {
                    Some(begun) => begun.sum(),
                    None => self.requests(priority).saturating_add(self.pending(priority)),
                };
                // A share of at most 100 % of a u32 fits into one again.
                budget.min_concurrency.max((f64::from(active) * budget.percent / 100.0) as u32)
            }
            _ => limits.of(resource),
        }
    }

    fn take(self: &Arc<Circuit>, priority: Priority, resource: Resource) -> Option<Permit> {
        let limit = self.limit(priority, resource);
        let counter = self.counter(priority, resource);
        let taken = counter.fetch_update(Relaxed, Relaxed, |current| (current < limit).then(|| current + 1));
        let before = taken.ok()?;
        Some(self.permit(priority, resource, before))
    }

    fn count(self: &Arc<Circuit>, priority: Priority, resource: Resource) -> Permit {
        let before = self.counter(priority, resource).fetch_add(1, Relaxed);
        self.permit(priority, resource, before)
    }

    /// Gauges go by the fixed limits, as in Envoy: a budget's moves.
    fn permit(self: &Arc<Circuit>, priority: Priority, resource: Resource, before: u32) -> Permit {
        let limit = self.limits(priority).of(resource);
        // Where nothing is allowed, the one that is nevertheless is too many.
        if before.wrapping_add(1) == limit.max(1) {
            self.gauge(priority, resource).inspect(|gauge| gauge.inc());
        }
        if before < limit
            && let Some(gauge) = self.remaining(priority, resource)
        {
            gauge.dec();
        }
        Permit { circuit: self.clone(), priority, resource }
    }

    fn gauge(&self, priority: Priority, resource: Resource) -> Option<GaugeRef<'_>> {
        let s = &self.stats;
        Some(match (priority, resource) {
            (Priority::Default, Resource::Connections) => s.default_cx_open(),
            (Priority::Default, Resource::Pending) => s.default_rq_pending_open(),
            (Priority::Default, Resource::Requests) => s.default_rq_open(),
            (Priority::Default, Resource::Retries) => s.default_rq_retry_open(),
            (Priority::High, Resource::Connections) => s.high_cx_open(),
            (Priority::High, Resource::Pending) => s.high_rq_pending_open(),
            (Priority::High, Resource::Requests) => s.high_rq_open(),
            (Priority::High, Resource::Retries) => s.high_rq_retry_open(),
            (_, Resource::Pools) => return None,
        })
    }

    fn remaining(&self, priority: Priority, resource: Resource) -> Option<GaugeRef<'_>> {
        let remaining = self.remaining[priority as usize].as_ref()?;
        let counted = resource != Resource::Retries || self.limits(priority).retry_budget.is_none();
        counted.then(|| remaining.gauge(resource))
    }
}

impl Thresholds {
    /// The fixed limit; pools have none.
    fn of(&self, resource: Resource) -> u32 {
        match resource {
            Resource::Connections => self.connections,
            Resource::Pending => self.pending,
            Resource::Requests => self.requests,
            Resource::Retries => self.retries,
            Resource::Pools => u32::MAX,
        }
    }
}

/// What is left below each limit. More than the limit may be there, and less than nothing is never left.
struct Remaining {
    stats: CircuitBreakerRemainingStats,
    /// What the gauges began with, which goes with this configuration.
    whole: [(Resource, u64); RESOURCES],
    /// Nobody can say what is left of a budget, as in Envoy from the first look at it on.
    retries_forgotten: AtomicBool,
}

impl Remaining {
    fn new(limits: &Thresholds, store: &Store, prefix: &str) -> Remaining {
        let whole = [Resource::Connections, Resource::Pending, Resource::Requests, Resource::Retries, Resource::Pools].map(|resource| {
            let limit = if resource == Resource::Pools { u64::MAX } else { limits.of(resource).into() };
            (resource, limit)
        });
        let remaining =
            Remaining { stats: CircuitBreakerRemainingStats::new(store, prefix), whole, retries_forgotten: AtomicBool::new(false) };
        whole.iter().for_each(|(resource, limit)| remaining.gauge(*resource).add(*limit));
        remaining
    }

    fn gauge(&self, resource: Resource) -> GaugeRef<'_> {
        match resource {
            Resource::Connections => self.stats.remaining_cx(),
            Resource::Pending => self.stats.remaining_pending(),
            Resource::Requests => self.stats.remaining_rq(),
            Resource::Retries => self.stats.remaining_retries(),
            Resource::Pools => self.stats.remaining_cx_pools(),
        }
    }

    fn forget_retries(&self) {
        if !self.retries_forgotten.swap(true, Relaxed) {
            self.gauge(Resource::Retries).sub(self.whole[Resource::Retries as usize].1);
        }
    }
}

impl Drop for Remaining {
    fn drop(&mut self) {
        self.forget_retries();
        for (resource, limit) in self.whole.iter().filter(|(resource, _)| *resource != Resource::Retries) {
            self.gauge(*resource).sub(*limit);
        }
    }
}

/// Leave to use one of a cluster's resources, given back when dropped.
pub struct Permit {
    circuit: Arc<Circuit>,
    priority: Priority,
    resource: Resource,
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({:?}, {:?})", self.priority, self.resource)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let circuit = &self.circuit;
        let before = circuit.counter(self.priority, self.resource).fetch_sub(1, Relaxed);
        let limit = circuit.limits(self.priority).of(self.resource);
        if before == limit.max(1) {
            circuit.gauge(self.priority, self.resource).inspect(|gauge| gauge.dec());
        }
        if before <= limit
            && let Some(gauge) = circuit.remaining(self.priority, self.resource)
        {
            gauge.inc();
        }
    }
}
