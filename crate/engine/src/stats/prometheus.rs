//! `/stats/prometheus`: the text format of Prometheus, with Envoy's names and tags.

use std::{borrow::Cow, collections::HashMap, fmt::Write as _};

use super::{
    Distribution, Store, Value,
    render::{Buckets, QUANTILES, Query, counts},
    tags::extract,
};

/// All stats of one kind and name, tags aside.
struct Group {
    /// 0 counters, 1 gauges, 2 histograms: the order of printing.
    kind: u8,
    /// The name without tags, dots still in it.
    name: String,
    /// The name to print.
    printed: String,
    lines: String,
}

/// All stats that `query` wants. Histograms have buckets unless `summary` asks for quantiles (`histogram_buckets=summary`).
pub fn prometheus(store: &Store, query: &Query, summary: bool) -> String {
    let mut groups: Vec<Group> = Vec::new();
    let mut known: [HashMap<String, usize>; 3] = Default::default();
    let (mut bare, mut labels, mut tags) = (String::new(), String::new(), Vec::new());
    // Stats come by their full name, which is the order inside a group.
    query.visit(store, |full, value| {
        extract(full, &mut bare, &mut tags);
        labels.clear();
        for (tag, value) in &tags {
            let separator = if labels.is_empty() { "" } else { "," };
            // Writing into a String does not fail.
            let _ = write!(labels, "{separator}{tag}=\"{}\"", escape(&full[value.clone()]));
        }
        let kind = match value {
            Value::Counter(_) => 0,
            Value::Gauge(_) => 1,
            Value::Histogram { .. } => 2,
        };
        let at = match known[usize::from(kind)].get(&bare) {
            Some(at) => *at,
            None => {
                groups.push(Group { kind, name: bare.clone(), printed: format!("envoy_{}", sanitize(&bare)), lines: String::new() });
                known[usize::from(kind)].insert(bare.clone(), groups.len() - 1);
                groups.len() - 1
            }
        };
        let Group { printed, lines, .. } = &mut groups[at];
        match value {
            Value::Counter(value) | Value::Gauge(value) => {
                let _ = writeln!(lines, "{printed}{{{labels}}} {value}");
            }
            Value::Histogram { total, interval } if summary => write_summary(lines, printed, &labels, total, interval),
            Value::Histogram { total, .. } => write_histogram(lines, printed, &labels, total),
        }
    });
    groups.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    let mut out = String::with_capacity(groups.iter().map(|g| g.lines.len() + 2 * g.printed.len()).sum());
    for group in groups {
        let kind = ["counter", "gauge", if summary { "summary" } else { "histogram" }][usize::from(group.kind)];
        let _ = writeln!(out, "# TYPE {} {kind}", group.printed);
        out.push_str(&group.lines);
    }
    out
}

/// [`prometheus`] of everything.
pub fn prometheus_all(store: &Store) -> String {
    prometheus(store, &Query { buckets: Buckets::Cumulative, ..Query::default() }, false)
}

fn write_histogram(out: &mut String, name: &str, labels: &str, total: &Distribution) {
    let separator = if labels.is_empty() { "" } else { "," };
    for (bound, count) in counts(total, false) {
        let _ = writeln!(out, "{name}_bucket{{{labels}{separator}le=\"{bound}\"}} {count}");
    }
    let _ = writeln!(out, "{name}_bucket{{{labels}{separator}le=\"+Inf\"}} {}", total.count());
    let _ = writeln!(out, "{name}_sum{{{labels}}} {}", total.sum());
    let _ = writeln!(out, "{name}_count{{{labels}}} {}", total.count());
}

/// Quantiles are those of the last interval, sum and count those of all time, as in Envoy.
fn write_summary(out: &mut String, name: &str, labels: &str, total: &Distribution, interval: &Distribution) {
    let separator = if labels.is_empty() { "" } else { "," };
    for (quantile, value) in QUANTILES.into_iter().zip(interval.quantiles(QUANTILES)) {
        let value = if value.is_nan() { "nan".into() } else { value.to_string() };
        let _ = writeln!(out, "{name}{{{labels}{separator}quantile=\"{quantile}\"}} {value}");
    }
    let _ = writeln!(out, "{name}_sum{{{labels}}} {}", total.sum());
    let _ = writeln!(out, "{name}_count{{{labels}}} {}", total.count());
}

/// A metric's or label's name: what is no letter, digit, colon or underscore becomes an underscore.
fn sanitize(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == ':' { c } else { '_' }).collect()
}

fn escape(value: &str) -> Cow<'_, str> {
    match value.contains(['\\', '"', '\n']) {
        true => value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").into(),
        false => value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{ClusterStats, ListenerWorkerStats, Unit};

    #[test]
    fn lines_as_a_running_envoy_printed_them() {
        let store = Store::new();
        let (a, b) = (ClusterStats::new(&store, "cluster.app"), ClusterStats::new(&store, "cluster.app2"));
        let workers = [
            ListenerWorkerStats::new(&store, "listener.127.0.0.1_19080.worker_0"),
            ListenerWorkerStats::new(&store, "listener.127.0.0.1_19080.worker_1"),
        ];
        workers.iter().for_each(|w| w.downstream_cx_total().add(7));
        (0..3).for_each(|_| a.answer(200, false, false));
        (0..3).for_each(|_| a.answer(404, false, false));
        (0..3).for_each(|_| b.answer(503, false, false));
        a.upstream_rq_active().inc();
        a.upstream_rq_active().dec();
        assert_eq!(
            prometheus(&store, &Query { used_only: true, ..Query::default() }, false),
            "# TYPE envoy_cluster_external_upstream_rq counter\n\
            envoy_cluster_external_upstream_rq{envoy_response_code=\"200\",envoy_cluster_name=\"app\"} 3\n\
            envoy_cluster_external_upstream_rq{envoy_response_code=\"404\",envoy_cluster_name=\"app\"} 3\n\
            envoy_cluster_external_upstream_rq{envoy_response_code=\"503\",envoy_cluster_name=\"app2\"} 3\n\
            # TYPE envoy_cluster_external_upstream_rq_completed counter\n\
            envoy_cluster_external_upstream_rq_completed{envoy_cluster_name=\"app\"} 6\n\
            envoy_cluster_external_upstream_rq_completed{envoy_cluster_name=\"app2\"} 3\n\
            # TYPE envoy_cluster_external_upstream_rq_xx counter\n\
            envoy_cluster_external_upstream_rq_xx{envoy_response_code_class=\"2\",envoy_cluster_name=\"app\"} 3\n\
            envoy_cluster_external_upstream_rq_xx{envoy_response_code_class=\"4\",envoy_cluster_name=\"app\"} 3\n\
            envoy_cluster_external_upstream_rq_xx{envoy_response_code_class=\"5\",envoy_cluster_name=\"app2\"} 3\n\
            # TYPE envoy_cluster_upstream_rq counter\n\
            envoy_cluster_upstream_rq{envoy_response_code=\"200\",envoy_cluster_name=\"app\"} 3\n\
            envoy_cluster_upstream_rq{envoy_response_code=\"404\",envoy_cluster_name=\"app\"} 3\n\
            envoy_cluster_upstream_rq{envoy_response_code=\"503\",envoy_cluster_name=\"app2\"} 3\n\
            # TYPE envoy_cluster_upstream_rq_completed counter\n\
            envoy_cluster_upstream_rq_completed{envoy_cluster_name=\"app\"} 6\n\
            envoy_cluster_upstream_rq_completed{envoy_cluster_name=\"app2\"} 3\n\
            # TYPE envoy_cluster_upstream_rq_xx counter\n\
            envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"2\",envoy_cluster_name=\"app\"} 3\n\
            envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"4\",envoy_cluster_name=\"app\"} 3\n\
            envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"5\",envoy_cluster_name=\"app2\"} 3\n\
            # TYPE envoy_listener_worker_downstream_cx_total counter\n\
            envoy_listener_worker_downstream_cx_total{envoy_worker_id=\"0\",envoy_listener_address=\"127.0.0.1_19080\"} 7\n\
            envoy_listener_worker_downstream_cx_total{envoy_worker_id=\"1\",envoy_listener_address=\"127.0.0.1_19080\"} 7\n\
            # TYPE envoy_cluster_upstream_rq_active gauge\n\
            envoy_cluster_upstream_rq_active{envoy_cluster_name=\"app\"} 0\n"
        );
    }

    #[test]
    fn histograms_have_envoys_buckets_or_a_summary() {
        let store = Store::new();
        let histogram = store.histogram("cluster.app.upstream_rq_time", Unit::Milliseconds);
        let plain = store.histogram("server.initialization_time_ms", Unit::Milliseconds);
        [0, 1, 300].into_iter().for_each(|v| histogram.record(v));
        let text = prometheus_all(&store);
        assert!(text.starts_with("# TYPE envoy_cluster_upstream_rq_time histogram\nenvoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"app\",le=\"0.5\"} 1\n"));
        assert!(text.contains("le=\"250\"} 2\nenvoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"app\",le=\"500\"} 3\n"));
        assert!(text.contains("le=\"3600000\"} 3\nenvoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"app\",le=\"+Inf\"} 3\nenvoy_cluster_upstream_rq_time_sum{envoy_cluster_name=\"app\"} 301\nenvoy_cluster_upstream_rq_time_count{envoy_cluster_name=\"app\"} 3\n"));
        assert!(text.contains("envoy_server_initialization_time_ms_bucket{le=\"0.5\"} 0\n"));
        assert!(text.ends_with("envoy_server_initialization_time_ms_count{} 0\n"));
        drop(plain);
        let summary = prometheus(&store, &Query::default(), true);
        assert!(summary.starts_with(
            "# TYPE envoy_cluster_upstream_rq_time summary\nenvoy_cluster_upstream_rq_time{envoy_cluster_name=\"app\",quantile=\"0\"} nan\n"
        ));
        store.flush();
        assert!(prometheus(&store, &Query::default(), true).contains("quantile=\"0.995\"} 305\n"));
    }
}
