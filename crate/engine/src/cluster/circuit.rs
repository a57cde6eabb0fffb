//! Circuit breakers: how many connections, requests and retries a cluster may have at once, over all workers.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use crate::stats::{ClusterStats, GaugeRef};

/// Which set of thresholds a request counts against (`priority` of the route).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// `DEFAULT`
    #[default]
    Default,
    /// `HIGH`
    High,
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
}

/// `RetryBudget`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    /// `budget_percent`: share of the requests under way that may be retries; default 20.
    pub percent: f64,
    /// `min_retry_concurrency`; default 3.
    pub min_concurrency: u32,
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds { connections: 1024, pending: 1024, requests: 1024, retries: 3, retry_budget: None }
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
}

const RESOURCES: usize = 4;

/// The counters of one cluster and their limits.
pub struct Circuit {
    /// By priority, then by resource. Beside the reference count of the `Arc` on purpose: whoever takes a permit writes both.
    current: [AtomicU32; 2 * RESOURCES],
    limits: [Thresholds; 2],
    stats: ClusterStats,
}

impl Circuit {
    /// Counters at zero.
    pub fn new(limits: &[Thresholds; 2], stats: ClusterStats) -> Circuit {
        Circuit { current: Default::default(), limits: *limits, stats }
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

    /// Leave to try a request again.
    pub fn try_retry(self: &Arc<Circuit>, priority: Priority) -> Option<Permit> {
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

    fn limit(&self, priority: Priority, resource: Resource) -> u32 {
        let limits = self.limits(priority);
        match (resource, limits.retry_budget) {
            (Resource::Connections, _) => limits.connections,
            (Resource::Pending, _) => limits.pending,
            (Resource::Requests, _) => limits.requests,
            (Resource::Retries, None) => limits.retries,
            (Resource::Retries, Some(budget)) => {
                let active = self.requests(priority).saturating_add(self.pending(priority));
                // A share of at most 100 % of a u32 fits into one again.
                budget.min_concurrency.max((f64::from(active) * budget.percent / 100.0) as u32)
            }
        }
    }

    fn take(self: &Arc<Circuit>, priority: Priority, resource: Resource) -> Option<Permit> {
        let limit = self.limit(priority, resource);
        let counter = self.counter(priority, resource);
        let taken = counter.fetch_update(Relaxed, Relaxed, |current| (current < limit).then(|| current + 1));
        let before = taken.ok()?;
        Some(self.permit(priority, resource, before, limit))
    }

    fn count(self: &Arc<Circuit>, priority: Priority, resource: Resource) -> Permit {
        let before = self.counter(priority, resource).fetch_add(1, Relaxed);
        self.permit(priority, resource, before, self.limit(priority, resource))
    }

    fn permit(self: &Arc<Circuit>, priority: Priority, resource: Resource, before: u32, limit: u32) -> Permit {
        // A budget's limit moves, so that its gauge cannot be kept by transitions.
        let fixed = !(resource == Resource::Retries && self.limits(priority).retry_budget.is_some());
        let opens = fixed && before.wrapping_add(1) == limit;
        if opens {
            self.gauge(priority, resource).inc();
        }
        Permit { circuit: self.clone(), priority, resource }
    }

    fn gauge(&self, priority: Priority, resource: Resource) -> GaugeRef<'_> {
        let s = &self.stats;
        match (priority, resource) {
            (Priority::Default, Resource::Connections) => s.default_cx_open(),
            (Priority::Default, Resource::Pending) => s.default_rq_pending_open(),
            (Priority::Default, Resource::Requests) => s.default_rq_open(),
            (Priority::Default, Resource::Retries) => s.default_rq_retry_open(),
            (Priority::High, Resource::Connections) => s.high_cx_open(),
            (Priority::High, Resource::Pending) => s.high_rq_pending_open(),
            (Priority::High, Resource::Requests) => s.high_rq_open(),
            (Priority::High, Resource::Retries) => s.high_rq_retry_open(),
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
        let fixed = !(self.resource == Resource::Retries && circuit.limits(self.priority).retry_budget.is_some());
        if fixed && before == circuit.limit(self.priority, self.resource) {
            circuit.gauge(self.priority, self.resource).dec();
        }
    }
}
