//! `/clusters` and `/listeners`, as text and as JSON.

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::{AdminSource, ClusterStatus, HostStatus, Thresholds, handler::Answer, handler::Parameters};

/// `/clusters`
pub(super) fn clusters(source: &dyn AdminSource, parameters: &Parameters) -> Answer {
    let filter = match parameters.regex("filter") {
        Ok(filter) => filter,
        Err(answer) => return answer,
    };
    let mut all = source.clusters();
    all.retain(|c| filter.as_ref().is_none_or(|f| f.is_match(&c.name)));
    match parameters.get("format") {
        Some("json") if all.is_empty() => Answer::json(&json!({})),
        Some("json") => Answer::json(&json!({ "cluster_statuses": all.iter().map(cluster_json).collect::<Vec<_>>() })),
        _ => Answer::text(all.iter().map(cluster_text).collect::<String>()),
    }
}

/// `/listeners`
pub(super) fn listeners(source: &dyn AdminSource, parameters: &Parameters) -> Answer {
    let all = source.listeners();
    match parameters.get("format") {
        Some("json") if all.is_empty() => Answer::json(&json!({})),
        Some("json") => {
            let one = |l: &super::ListenerStatus| json!({ "name": l.name, "local_address": address_json(l.address) });
            Answer::json(&json!({ "listener_statuses": all.iter().map(one).collect::<Vec<_>>() }))
        }
        _ => Answer::text(all.iter().map(|l| format!("{}::{}\n", l.name, l.address)).collect::<String>()),
    }
}

fn cluster_text(cluster: &ClusterStatus) -> String {
    let name = &cluster.name;
    let mut out = format!("{name}::observability_name::{}\n", cluster.observability_name);
    for (priority, thresholds) in [("default", &cluster.default_thresholds), ("high", &cluster.high_thresholds)] {
        for (limit, value) in limits(thresholds) {
            out.push_str(&format!("{name}::{priority}_priority::{limit}::{value}\n"));
        }
    }
    out.push_str(&format!("{name}::added_via_api::{}\n", cluster.added_via_api));
    if let Some(service) = &cluster.eds_service_name {
        out.push_str(&format!("{name}::eds_service_name::{service}\n"));
    }
    for host in &cluster.hosts {
        let mut line = |what: &str, value: &dyn std::fmt::Display| out.push_str(&format!("{name}::{}::{what}::{value}\n", host.address));
        line("cx_active", &host.cx_active);
        line("cx_connect_fail", &host.cx_connect_fail);
        line("cx_total", &host.cx_total);
        line("rq_active", &host.rq_active);
        line("rq_error", &host.rq_error);
        line("rq_pending_active", &host.rq_pending_active);
        line("rq_success", &host.rq_success);
        line("rq_timeout", &host.rq_timeout);
        line("rq_total", &host.rq_total);
        line("hostname", &host.hostname);
        let flags: String = host.health_flags.iter().map(|f| format!("/{f}")).collect();
        line("health_flags", if flags.is_empty() { &"healthy" } else { &flags });
        line("weight", &host.weight);
        let [region, zone, sub_zone] = &host.locality;
        line("region", region);
        line("zone", zone);
        line("sub_zone", sub_zone);
        line("canary", &host.canary);
        line("priority", &host.priority);
        line("success_rate", &host.success_rate);
        line("local_origin_success_rate", &host.local_origin_success_rate);
    }
    out
}

fn limits(thresholds: &Thresholds) -> [(&'static str, u32); 4] {
    [
        ("max_connections", thresholds.max_connections),
        ("max_pending_requests", thresholds.max_pending_requests),
        ("max_requests", thresholds.max_requests),
        ("max_retries", thresholds.max_retries),
    ]
}

/// `envoy.admin.v3.ClusterStatus`, fields with their default left out as protobuf does.
fn cluster_json(cluster: &ClusterStatus) -> Value {
    let mut out = Map::new();
    out.insert("name".into(), cluster.name.as_str().into());
    if cluster.added_via_api {
        out.insert("added_via_api".into(), true.into());
    }
    if !cluster.hosts.is_empty() {
        out.insert("host_statuses".into(), cluster.hosts.iter().map(host_json).collect());
    }
    let thresholds = |priority: Option<&str>, thresholds: &Thresholds| {
        let mut out = Map::new();
        if let Some(priority) = priority {
            out.insert("priority".into(), priority.into());
        }
        out.extend(limits(thresholds).map(|(name, value)| (name.to_owned(), value.into())));
        Value::Object(out)
    };
    let both = [thresholds(None, &cluster.default_thresholds), thresholds(Some("HIGH"), &cluster.high_thresholds)];
    out.insert("circuit_breakers".into(), json!({ "thresholds": both }));
    out.insert("observability_name".into(), cluster.observability_name.as_str().into());
    if let Some(service) = &cluster.eds_service_name {
        out.insert("eds_service_name".into(), service.as_str().into());
    }
    Value::Object(out)
}

fn host_json(host: &HostStatus) -> Value {
    let mut out = Map::new();
    out.insert("address".into(), address_json(host.address));
    let stat = |gauge: bool, name: &str, value: u64| {
        let mut out = Map::new();
        if gauge {
            out.insert("type".into(), "GAUGE".into());
        }
        if value != 0 {
            out.insert("value".into(), value.to_string().into());
        }
        out.insert("name".into(), name.into());
        Value::Object(out)
    };
    let stats = [
        stat(false, "cx_connect_fail", host.cx_connect_fail),
        stat(false, "cx_total", host.cx_total),
        stat(false, "rq_error", host.rq_error),
        stat(false, "rq_success", host.rq_success),
        stat(false, "rq_timeout", host.rq_timeout),
        stat(false, "rq_total", host.rq_total),
        stat(true, "cx_active", host.cx_active),
        stat(true, "rq_active", host.rq_active),
        stat(true, "rq_pending_active", host.rq_pending_active),
    ];
    out.insert("stats".into(), stats.into_iter().collect());
    out.insert("health_status".into(), health_json(&host.health_flags));
    if host.success_rate >= 0.0 {
        out.insert("success_rate".into(), json!({ "value": host.success_rate }));
    }
    out.insert("weight".into(), host.weight.into());
    if !host.hostname.is_empty() {
        out.insert("hostname".into(), host.hostname.as_str().into());
    }
    if host.priority != 0 {
        out.insert("priority".into(), host.priority.into());
    }
    if host.local_origin_success_rate >= 0.0 {
        out.insert("local_origin_success_rate".into(), json!({ "value": host.local_origin_success_rate }));
    }
    let mut locality = Map::new();
    for (name, value) in ["region", "zone", "sub_zone"].into_iter().zip(&host.locality) {
        if !value.is_empty() {
            locality.insert(name.into(), value.as_str().into());
        }
    }
    out.insert("locality".into(), Value::Object(locality));
    Value::Object(out)
}

/// `envoy.admin.v3.HostHealthStatus`
fn health_json(flags: &[&'static str]) -> Value {
    let mut out = Map::new();
    for (flag, field) in [
        ("failed_active_hc", "failed_active_health_check"),
        ("failed_outlier_check", "failed_outlier_check"),
        ("degraded_active_hc", "failed_active_degraded_check"),
        ("pending_dynamic_removal", "pending_dynamic_removal"),
        ("pending_active_hc", "pending_active_hc"),
        ("excluded_via_immediate_hc_fail", "excluded_via_immediate_hc_fail"),
        ("active_hc_timeout", "active_hc_timeout"),
    ] {
        if flags.contains(&flag) {
            out.insert(field.into(), true.into());
        }
    }
    let eds = if flags.contains(&"failed_eds_health") {
        "UNHEALTHY"
    } else if flags.contains(&"degraded_eds_health") {
        "DEGRADED"
    } else if flags.contains(&"eds_status_draining") {
        "DRAINING"
    } else {
        "HEALTHY"
    };
    out.insert("eds_health_status".into(), eds.into());
    Value::Object(out)
}

fn address_json(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}
