//! Where a request is counted beside its cluster: under another name, as one of a group, by zone.

use std::{rc::Rc, sync::Arc};

use smallvec::SmallVec;

use crate::{
    cluster::{Cluster, Host},
    route::RouteMatch,
    stats::{AltClusterStats, RequestGroupStats},
};

/// Counts one request; most have nothing beside their cluster.
#[derive(Clone)]
pub struct Tally {
    cluster: Arc<Cluster>,
    more: Option<Rc<More>>,
}

#[derive(Default)]
struct More {
    /// `x-envoy-upstream-alt-stat-name`
    alt: Option<AltClusterStats>,
    /// The request's virtual cluster, and its route where that has a `stat_prefix`.
    groups: SmallVec<[RequestGroupStats; 2]>,
}

impl Tally {
    /// Of a request that is counted in its cluster alone.
    pub fn of(cluster: &Arc<Cluster>) -> Tally {
        Tally { cluster: cluster.clone(), more: None }
    }

    /// Of a request on this route, that belongs to this virtual cluster and asks for this other name.
    pub fn new(cluster: &Arc<Cluster>, route: &RouteMatch, group: Option<&RequestGroupStats>, alt: Option<AltClusterStats>) -> Tally {
        let groups: SmallVec<_> = group.into_iter().chain(&route.route().stats).cloned().collect();
        let more = (alt.is_some() || !groups.is_empty()).then(|| Rc::new(More { alt, groups }));
        Tally { cluster: cluster.clone(), more }
    }

    /// The request's cluster.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Counts an answer, or a local reply in its place; `host` is whose it is.
    pub fn answer(&self, status: u16, internal: bool, canary: bool, host: Option<&Host>) {
        self.cluster.stats.answer(status, internal, canary);
        if let Some(zone) = host.and_then(|host| self.cluster.zone_stats(host)) {
            zone.answer(status);
        }
        if let Some(alt) = self.alt() {
            alt.answer(status, internal, canary);
        }
        self.groups(|group| group.answer(status));
    }

    /// Records how many milliseconds a request took that a host has answered.
    pub fn time(&self, ms: u64, internal: bool, canary: bool, host: &Host) {
        self.cluster.stats.request_time(ms, internal, canary);
        if let Some(zone) = self.cluster.zone_stats(host) {
            zone.upstream_rq_time().record(ms);
        }
        if let Some(alt) = self.alt() {
            alt.request_time(ms, internal, canary);
        }
        self.groups(|group| group.upstream_rq_time().record(ms));
    }

    /// Counts what both a cluster and a group count, in the groups.
    pub fn groups(&self, count: impl Fn(&RequestGroupStats)) {
        if let Some(more) = &self.more {
            more.groups.iter().for_each(count);
        }
    }

    fn alt(&self) -> Option<&AltClusterStats> {
        self.more.as_ref()?.alt.as_ref()
    }
}
