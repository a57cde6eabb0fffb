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
    codes: Codes,
    more: Option<Rc<More>>,
}

/// Where the statuses of answers are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codes {
    /// Everywhere.
    #[default]
    All,
    /// Not for the cluster as a whole: gRPC, with `suppress_grpc_request_failure_code_stats`.
    Parts,
    /// Nowhere, nor are times recorded: not `dynamic_stats`.
    None,
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
        Tally { cluster: cluster.clone(), codes: Codes::All, more: None }
    }

    /// Of a request on this route, that belongs to this virtual cluster and asks for this other name.
    pub fn new(
        cluster: &Arc<Cluster>,
        route: &RouteMatch,
        group: Option<&RequestGroupStats>,
        alt: Option<AltClusterStats>,
        codes: Codes,
    ) -> Tally {
        let groups: SmallVec<_> = group.into_iter().chain(&route.route().stats).cloned().collect();
        let more = (alt.is_some() || !groups.is_empty()).then(|| Rc::new(More { alt, groups }));
        Tally { cluster: cluster.clone(), codes, more }
    }

    /// The request's cluster.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Counts an answer, or a local reply in its place; `host` is whose it is.
    pub fn answer(&self, status: u16, internal: bool, canary: bool, host: Option<&Host>) {
        match self.codes {
            Codes::All => self.cluster.stats.answer(status, internal, canary),
            Codes::Parts => self.cluster.stats.answer_in_parts(status, internal, canary),
            Codes::None => return,
        }
        if let Some(zone) = host.and_then(|host| self.cluster.zone_stats(host)) {
            zone.answer(status);
        }
        if let Some(alt) = self.alt() {
            match self.codes {
                Codes::Parts => alt.answer_in_parts(status, internal, canary),
                Codes::All | Codes::None => alt.answer(status, internal, canary),
            }
        }
        self.groups(|group| group.answer(status));
    }

    /// Records how many milliseconds a request took that a host has answered.
    pub fn time(&self, ms: u64, internal: bool, canary: bool, host: &Host) {
        if self.codes == Codes::None {
            return;
        }
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
