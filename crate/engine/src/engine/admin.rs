//! What the admin interface sees of a running proxy.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::SystemTime,
};

use serde_json::{Value, json};

use super::{Event, Shared, State, lock};
use crate::{
    access_log::{AccessLog, Files},
    admin::{self, AdminSource, ClusterStatus, Drain, HostStatus, ListenerStatus, LogLevel, ServerInfo, Thresholds},
    cluster::{Cluster, Discovery, Health, Locality, Priority},
    control::Command,
    format::TimeFormat,
    stats::{Store, Value as Stat},
};

/// The admin interface's source.
pub struct AdminView {
    shared: Arc<Shared>,
    access_logs: Vec<AccessLog>,
    files: Files,
}

impl AdminView {
    /// A view of this proxy.
    pub(crate) fn new(shared: Arc<Shared>, access_logs: Vec<AccessLog>, files: Files) -> AdminView {
        AdminView { shared, access_logs, files }
    }
}

impl Shared {
    /// The stats, gauges that are only known on request brought up to date.
    pub(crate) fn stats(&self) -> Store {
        let state = match *self.state.borrow() {
            State::Live => 0,
            State::Draining | State::Stopped => 1,
            State::New => 2,
            State::Starting => 3,
        };
        let mut connections = 0;
        self.stats.visit(|name, reading| {
            if let (true, Stat::Gauge(n)) =
                (name.starts_with("listener.") && name.ends_with(".downstream_cx_active") && !name.contains(".worker_"), &reading.value)
            {
                connections += n;
            }
        });
        self.counters.server.refresh(self.started.elapsed(), state, connections);
        self.stats.clone()
    }
}

impl AdminSource for AdminView {
    fn stats(&self) -> Store {
        self.shared.stats()
    }

    fn state(&self) -> admin::State {
        if self.shared.health_failed.load(Relaxed) {
            return admin::State::Draining;
        }
        match *self.shared.state.borrow() {
            State::New => admin::State::PreInitializing,
            State::Starting => admin::State::Initializing,
            State::Live => admin::State::Live,
            State::Draining | State::Stopped => admin::State::Draining,
        }
    }

    fn clusters(&self) -> Vec<ClusterStatus> {
        let snapshot = self.shared.snapshot.load();
        let by_name: BTreeMap<_, _> = snapshot.clusters.iter().collect();
        by_name.values().map(|cluster| cluster_status(cluster)).collect()
    }

    fn listeners(&self) -> Vec<ListenerStatus> {
        let addresses = self.shared.addresses.load();
        let bound = addresses.iter().filter(|a| a.listener != "admin");
        bound.map(|a| ListenerStatus { name: a.listener.clone(), address: a.address }).collect()
    }

    fn config_dump(&self, include_eds: bool) -> Vec<Value> {
        let view = self.shared.view.load();
        let updated = timestamp(self.shared.started_at);
        let of = |name: &str| format!("type.googleapis.com/envoy.admin.v3.{name}");
        let entry = |kind: &str, value: Value| {
            // `@type` stands first, as in Envoy.
            let mut typed = serde_json::Map::new();
            typed.insert("@type".to_owned(), Value::String(format!("type.googleapis.com/{kind}")));
            if let Value::Object(map) = value {
                typed.extend(map);
            }
            Value::Object(typed)
        };
        let clusters: Vec<Value> = view
            .clusters()
            .into_iter()
            .map(|c| json!({ "cluster": entry("envoy.config.cluster.v3.Cluster", c), "last_updated": updated }))
            .collect();
        let listeners = view.listeners();
        let routes: Vec<Value> = listeners
            .iter()
            .flat_map(|(_, l)| route_configs(l))
            .map(|r| json!({ "route_config": entry("envoy.config.route.v3.RouteConfiguration", r), "last_updated": updated }))
            .collect();
        let listeners: Vec<Value> = listeners
            .into_iter()
            .map(|(_, l)| json!({ "listener": entry("envoy.config.listener.v3.Listener", l), "last_updated": updated }))
            .collect();
        let mut configs = vec![json!({ "@type": of("BootstrapConfigDump"), "bootstrap": view.bootstrap(), "last_updated": updated })];
        configs.push(json!({ "@type": of("ClustersConfigDump"), "static_clusters": clusters }));
        if include_eds {
            let snapshot = self.shared.snapshot.load();
            let by_name: BTreeMap<_, _> = snapshot.clusters.iter().collect();
            let endpoints: Vec<Value> = by_name.values().map(|cluster| endpoints(cluster)).collect();
            configs.push(json!({ "@type": of("EndpointsConfigDump"), "static_endpoint_configs": endpoints }));
        }
        configs.push(json!({ "@type": of("ListenersConfigDump"), "static_listeners": listeners }));
        configs.push(json!({ "@type": of("ScopedRoutesConfigDump") }));
        let discovered: Vec<Value> = view
            .routes()
            .map(|(version, updated, routes)| {
                let routes = entry("envoy.config.route.v3.RouteConfiguration", routes);
                let mut shown = json!({ "version_info": version, "route_config": routes, "last_updated": timestamp(updated) });
                if let (true, Some(fields)) = (version.is_empty(), shown.as_object_mut()) {
                    fields.remove("version_info");
                }
                shown
            })
            .collect();
        let mut all = json!({ "@type": of("RoutesConfigDump"), "static_route_configs": routes, "dynamic_route_configs": discovered });
        if let Some(fields) = all.as_object_mut() {
            fields.retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));
        }
        configs.push(all);
        configs.push(json!({ "@type": of("SecretsConfigDump") }));
        configs
    }

    fn server_info(&self) -> ServerInfo {
        ServerInfo {
            version: format!(
                "plenipo/{}/Clean/{}/AWS-LC",
                env!("CARGO_PKG_VERSION"),
                if cfg!(debug_assertions) { "DEBUG" } else { "RELEASE" }
            ),
            uptime: self.shared.started.elapsed(),
            command_line_options: self.shared.options.command_line.clone(),
            node: described(self.shared.view.load().node()),
        }
    }

    fn certificates(&self) -> Vec<Value> {
        Vec::new()
    }

    fn log_levels(&self) -> Vec<(String, LogLevel)> {
        lock(&self.shared.log_levels).iter().map(|(name, level)| (name.clone(), *level)).collect()
    }

    fn set_log_level(&self, logger: Option<&str>, level: LogLevel) {
        for (name, of) in lock(&self.shared.log_levels).iter_mut() {
            if logger.is_none_or(|logger| logger == name) {
                *of = level;
            }
        }
    }

    fn quit(&self) {
        self.shared.emit(&Event::QuitRequested);
    }

    fn drain_listeners(&self, drain: Drain) {
        // Fails only when the proxy has stopped, and there is nothing to drain.
        let _ = self.shared.send(Command::DrainListeners(drain));
    }

    fn reopen_logs(&self) {
        self.files.reopen();
    }

    fn access_logs(&self) -> Vec<AccessLog> {
        self.access_logs.clone()
    }

    fn fail_health_checks(&self, fail: bool) {
        self.shared.health_failed.store(fail, Relaxed);
        self.shared.closing.set_failed(fail);
    }
}

/// The node with what Envoy adds to it: who runs it.
fn described(node: Value) -> Value {
    let [major, minor, patch] = [env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"), env!("CARGO_PKG_VERSION_PATCH")];
    let mut all = json!({
        "id": "",
        "cluster": "",
        "user_agent_name": "plenipo",
        "user_agent_build_version": { "version": {
            "major_number": major.parse::<u32>().unwrap_or(0),
            "minor_number": minor.parse::<u32>().unwrap_or(0),
            "patch": patch.parse::<u32>().unwrap_or(0),
        } },
        "extensions": [],
        "client_features": [],
        "listening_addresses": [],
        "dynamic_parameters": {},
    });
    if let (Value::Object(all), Value::Object(node)) = (&mut all, node) {
        all.extend(node);
    }
    all
}

fn cluster_status(cluster: &Cluster) -> ClusterStatus {
    let thresholds = |priority| {
        let limits = cluster.circuit.limits(priority);
        Thresholds {
            max_connections: limits.connections,
            max_pending_requests: limits.pending,
            max_requests: limits.requests,
            max_retries: limits.retries,
        }
    };
    let hosts = cluster.hosts();
    let hosts = hosts.entries().iter().map(|entry| {
        let (host, stats) = (&entry.host, &entry.host.stats);
        HostStatus {
            hostname: host.hostname.to_string(),
            cx_active: stats.cx_active.load(Relaxed).into(),
            cx_connect_fail: stats.cx_connect_fail.load(Relaxed),
            cx_total: stats.cx_total.load(Relaxed),
            rq_active: stats.rq_active.load(Relaxed).into(),
            rq_error: stats.rq_error.load(Relaxed),
            rq_success: stats.rq_success.load(Relaxed),
            rq_timeout: stats.rq_timeout.load(Relaxed),
            rq_total: stats.rq_total.load(Relaxed),
            weight: entry.weight,
            locality: host.locality().map(|l| [l.region.to_string(), l.zone.to_string(), l.sub_zone.to_string()]).unwrap_or_default(),
            canary: host.is_canary(),
            health_flags: entry.health.flag().into_iter().collect(),
            ..HostStatus::new(host.address())
        }
    });
    ClusterStatus {
        name: cluster.name.to_string(),
        observability_name: cluster.settings.alt_stat_name.as_deref().unwrap_or(&cluster.name).to_owned(),
        default_thresholds: thresholds(Priority::Default),
        high_thresholds: thresholds(Priority::High),
        hosts: hosts.collect(),
        ..ClusterStatus::default()
    }
}

/// The hosts of a cluster as `EndpointsConfigDump` tells them: by locality, with what balancing makes of them.
fn endpoints(cluster: &Cluster) -> Value {
    let hosts = cluster.hosts();
    let mut localities: BTreeMap<Locality, Vec<Value>> = BTreeMap::new();
    for entry in hosts.entries() {
        let host = &entry.host;
        let address = host.address();
        let socket = json!({ "address": address.ip().to_string(), "port_value": address.port() });
        let mut endpoint = json!({ "address": { "socket_address": socket }, "health_check_config": {} });
        if !host.hostname.is_empty() {
            endpoint["hostname"] = host.hostname.as_ref().into();
        }
        let status = match entry.health {
            Health::Healthy => "HEALTHY",
            Health::Degraded => "DEGRADED",
            Health::Unhealthy | Health::Draining => "UNHEALTHY",
        };
        let mut told = json!({ "endpoint": endpoint, "health_status": status });
        match host.metadata() {
            Some(metadata) => told["metadata"] = (&*metadata).into(),
            None if matches!(cluster.settings.discovery, Discovery::Dns(_)) => told["metadata"] = json!({}),
            None => {}
        }
        told["load_balancing_weight"] = entry.weight.into();
        localities.entry(host.locality().map(|l| Locality::clone(&l)).unwrap_or_default()).or_default().push(told);
    }
    let localities = localities.into_iter().map(|(locality, hosts)| {
        let parts = [("region", locality.region), ("zone", locality.zone), ("sub_zone", locality.sub_zone)];
        let parts = parts.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_owned(), Value::from(&*value)));
        json!({ "locality": Value::Object(parts.collect()), "lb_endpoints": hosts, "load_balancing_weight": 0 })
    });
    let mut assignment = json!({
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": &*cluster.name,
    });
    let localities: Vec<Value> = localities.collect();
    if !localities.is_empty() {
        assignment["endpoints"] = localities.into();
    }
    assignment["policy"] = json!({ "overprovisioning_factor": cluster.settings.health.overprovisioning });
    json!({ "endpoint_config": assignment })
}

/// The inline route tables of a listener.
fn route_configs(listener: &Value) -> Vec<Value> {
    let chains = listener["filter_chains"].as_array().into_iter().flatten().chain(listener.get("default_filter_chain"));
    let filters = chains.flat_map(|c| c["filters"].as_array().into_iter().flatten());
    filters.filter_map(|f| f["typed_config"].get("route_config").cloned()).collect()
}

fn timestamp(at: SystemTime) -> String {
    let mut text = Vec::new();
    TimeFormat::default().write(at, &mut text);
    String::from_utf8(text).unwrap_or_default()
}
