//! Counts of gRPC messages and statuses of one cluster, by service and method where that was asked for.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwapOption;

use crate::stats::{Block, EMPTY, Store, Template};

/// How many names of methods one cluster counts apart. Clients choose the names, so that without a bound they could fill the memory;
/// what comes later is counted without service and method.
const MAX_METHODS: usize = 1_000;

static TEMPLATE: Template = Template { lazy: true, ..EMPTY };

const STATUSES: [&str; 17] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"];

/// The gRPC counters of a cluster; nothing is kept before the first is asked for.
pub struct GrpcStats {
    store: Store,
    by_name: ArcSwapOption<HashMap<Box<str>, Arc<Block>>>,
}

/// The counters of one method, or of all that are not counted by method.
#[derive(Clone)]
pub struct GrpcCounters(Arc<Block>);

/// The protocol that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrpcProtocol {
    /// gRPC, or Connect.
    Grpc,
    /// gRPC-Web.
    GrpcWeb,
}

impl GrpcStats {
    pub(super) fn new(store: &Store) -> GrpcStats {
        GrpcStats { store: store.clone(), by_name: ArcSwapOption::empty() }
    }

    /// The counters `<cluster>.grpc[.<service>.<method>]`; `cluster` is the prefix of the cluster's stats.
    pub fn counters(&self, cluster: &str, protocol: GrpcProtocol, method: Option<(&str, &str)>) -> GrpcCounters {
        let known = self.by_name.load();
        let full = known.as_ref().is_some_and(|names| names.len() >= MAX_METHODS);
        let protocol = match protocol {
            GrpcProtocol::Grpc => "grpc",
            GrpcProtocol::GrpcWeb => "grpc-web",
        };
        let named = method.map(|(service, method)| format!("{protocol}.{service}.{method}"));
        if let Some(found) = known.as_ref().zip(named.as_deref()).and_then(|(names, name)| names.get(name)) {
            return GrpcCounters(found.clone());
        }
        let name = named.filter(|_| !full).unwrap_or_else(|| protocol.to_owned());
        if let Some(found) = known.as_ref().and_then(|names| names.get(&*name)) {
            return GrpcCounters(found.clone());
        }
        let block = self.store.block(&format!("{cluster}.{name}"), &TEMPLATE);
        self.by_name.rcu(|names| {
            let mut names = names.as_deref().cloned().unwrap_or_default();
            names.insert(name.as_str().into(), block.clone());
            Some(Arc::new(names))
        });
        GrpcCounters(block)
    }
}

impl GrpcCounters {
    /// Counts messages of requests.
    pub fn request_messages(&self, count: u64) {
        self.0.add_name("", "request_message_count", count);
    }

    /// Counts messages of answers.
    pub fn response_messages(&self, count: u64) {
        self.0.add_name("", "response_message_count", count);
    }

    /// Counts an answer by its `grpc-status`: the status, `success` or `failure`, and `total`. What is no status of gRPC's has no counter
    /// of its own, since an upstream could make up any number of them.
    pub fn status(&self, status: &[u8]) {
        if let Some(name) = STATUSES.iter().find(|name| name.as_bytes() == status) {
            self.0.add_name("", name, 1);
        }
        self.outcome(status == b"0");
    }

    /// Counts an answer as `success` or `failure`, and in `total`.
    pub fn outcome(&self, success: bool) {
        self.0.add_name("", if success { "success" } else { "failure" }, 1);
        self.0.add_name("", "total", 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_messages_have_envoys_names() {
        let store = Store::new();
        let stats = GrpcStats::new(&store);
        let counters = stats.counters("cluster.u", GrpcProtocol::Grpc, Some(("s.S", "M")));
        counters.request_messages(2);
        counters.status(b"0");
        counters.status(b"14");
        counters.status(b"no status");
        stats.counters("cluster.u", GrpcProtocol::GrpcWeb, None).outcome(true);
        let value = |name: &str| store.value(name);
        assert_eq!(value("cluster.u.grpc.s.S.M.request_message_count"), Some(2));
        assert_eq!(value("cluster.u.grpc.s.S.M.0"), Some(1));
        assert_eq!(value("cluster.u.grpc.s.S.M.14"), Some(1));
        assert_eq!(value("cluster.u.grpc.s.S.M.success"), Some(1));
        assert_eq!(value("cluster.u.grpc.s.S.M.failure"), Some(2));
        assert_eq!(value("cluster.u.grpc.s.S.M.total"), Some(3));
        assert_eq!(value("cluster.u.grpc-web.success"), Some(1));
        assert_eq!(value("cluster.u.grpc.s.S.M.response_message_count"), None);
    }

    #[test]
    fn names_that_clients_make_up_are_bounded() {
        let store = Store::new();
        let stats = GrpcStats::new(&store);
        for n in 0..MAX_METHODS + 5 {
            stats.counters("cluster.u", GrpcProtocol::Grpc, Some(("s", &format!("m{n}")))).outcome(true);
        }
        assert_eq!(store.value("cluster.u.grpc.s.m0.total"), Some(1));
        assert_eq!(store.value(&format!("cluster.u.grpc.s.m{}.total", MAX_METHODS + 1)), None);
        assert_eq!(store.value("cluster.u.grpc.total"), Some(5));
        stats.counters("cluster.u", GrpcProtocol::Grpc, Some(("s", "m0"))).outcome(true);
        assert_eq!(store.value("cluster.u.grpc.s.m0.total"), Some(2));
    }
}
