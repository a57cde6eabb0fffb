//! What `/stats` prints: text, JSON, and the query that chooses.

use std::fmt::Write as _;

use regex::Regex;

use super::{Distribution, Store, Value};
use crate::format::shortest;

/// The percentiles that Envoy prints.
pub(super) const QUANTILES: [f64; 10] = [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1.0];
/// The same as percentages.
pub(super) const PERCENTILES: [f64; 10] = [0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0];
/// Upper bounds of the buckets that Envoy prints where none are configured.
pub(super) const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// How histograms print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Buckets {
    /// Percentiles.
    #[default]
    Summary,
    /// Values at or below each bound.
    Cumulative,
    /// Values between the bounds.
    Disjoint,
    /// Every bucket there is, and percentiles.
    Detailed,
}

/// Which kinds of stats print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kinds {
    /// All of them.
    #[default]
    All,
    /// Counters.
    Counters,
    /// Gauges.
    Gauges,
    /// Histograms.
    Histograms,
    /// Text readouts.
    TextReadouts,
}

/// What of the stats is wanted.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Only what was ever written (`usedonly`).
    pub used_only: bool,
    /// Names that this expression finds something in (`filter`).
    pub filter: Option<Regex>,
    /// Names that it does not (`invert_filter`).
    pub invert: bool,
    /// Kinds of stats (`type`).
    pub kinds: Kinds,
    /// How histograms print (`histogram_buckets`).
    pub buckets: Buckets,
}

impl Query {
    /// Whether a stat of this kind and name is wanted.
    fn wants(&self, kind: Kinds, name: &str, used: bool) -> bool {
        (self.kinds == Kinds::All || self.kinds == kind)
            && (used || !self.used_only)
            && self.filter.as_ref().is_none_or(|f| f.is_match(name) != self.invert)
    }

    /// Calls `see` with every text that is wanted; one that is empty was never written.
    fn visit_texts(&self, store: &Store, mut see: impl FnMut(&str, &str)) {
        store.visit_texts(|name, text| {
            if self.wants(Kinds::TextReadouts, name, !text.is_empty()) {
                see(name, text);
            }
        });
    }

    /// Calls `see` for every stat that is wanted.
    pub(super) fn visit(&self, store: &Store, mut see: impl FnMut(&str, &Value)) {
        store.visit(|name, reading| {
            let kind = match reading.value {
                Value::Counter(_) => Kinds::Counters,
                Value::Gauge(_) => Kinds::Gauges,
                Value::Histogram { .. } => Kinds::Histograms,
            };
            if self.wants(kind, name, reading.used) {
                see(name, &reading.value);
            }
        });
    }
}

/// `/stats`
pub fn text(store: &Store, query: &Query) -> String {
    let mut out = String::new();
    // Writing into a String does not fail.
    query.visit_texts(store, |name, text| {
        let _ = writeln!(out, "{name}: \"{text}\"");
    });
    query.visit(store, |name, value| {
        let _ = match value {
            Value::Counter(value) | Value::Gauge(value) => writeln!(out, "{name}: {value}"),
            Value::Histogram { total, interval } => {
                let _ = write!(out, "{name}:");
                text_histogram(&mut out, total, interval, query.buckets);
                out.write_char('\n')
            }
        };
    });
    out
}

fn text_histogram(out: &mut String, total: &Distribution, interval: &Distribution, buckets: Buckets) {
    match buckets {
        Buckets::Summary => text_summary(out, total, interval),
        Buckets::Cumulative | Buckets::Disjoint => {
            let disjoint = buckets == Buckets::Disjoint;
            for ((bound, total), (_, interval)) in counts(total, disjoint).zip(counts(interval, disjoint)) {
                let _ = write!(out, " B{}({interval},{total})", general(bound));
            }
        }
        Buckets::Detailed => {
            for (name, distribution) in [("totals", total), ("intervals", interval)] {
                let _ = write!(out, "\n  {name}=");
                for (i, (lower, width, count)) in distribution.buckets().enumerate() {
                    let separator = if i == 0 { "" } else { ", " };
                    let _ = write!(out, "{separator}{},{}:{count}", general(lower), general(width));
                }
            }
            out.push_str("\n  summary=");
            let mut summary = String::new();
            text_summary(&mut summary, total, interval);
            out.push_str(summary.trim_start());
        }
    }
}

fn text_summary(out: &mut String, total: &Distribution, interval: &Distribution) {
    if total.is_empty() {
        return out.push_str(" No recorded values");
    }
    let number = |value: f64| if value.is_nan() { "nan".to_owned() } else { value.to_string() };
    for ((percentile, total), interval) in PERCENTILES.into_iter().zip(total.quantiles(QUANTILES)).zip(interval.quantiles(QUANTILES)) {
        let _ = write!(out, " P{percentile}({},{})", number(interval), number(total));
    }
}

/// Bound and count of each of Envoy's buckets.
pub(super) fn counts(distribution: &Distribution, disjoint: bool) -> impl Iterator<Item = (f64, u64)> {
    let mut below = 0;
    BOUNDS.into_iter().map(move |bound| {
        let upto = distribution.count_to(bound);
        let count = if disjoint { upto - below } else { upto };
        below = upto;
        (bound, count)
    })
}

/// C's `%g`: six digits, with an exponent from 1e6 on.
fn general(value: f64) -> String {
    if value != 0.0 && (value.abs() < 1e-4 || value.abs() >= 1e6) {
        let text = format!("{value:.5e}");
        if let Some((mantissa, exponent)) = text.split_once('e') {
            let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
            let (sign, digits) = exponent.strip_prefix('-').map_or(("+", exponent), |digits| ("-", digits));
            return format!("{mantissa}e{sign}{digits:0>2}");
        }
    }
    value.to_string()
}

/// `/stats?format=json`
pub fn json(store: &Store, query: &Query) -> String {
    let mut out = String::from("{\"stats\":[");
    let mut histograms = Vec::new();
    query.visit_texts(store, |name, text| {
        let separator = if out.ends_with('[') { "" } else { "," };
        let _ = write!(out, "{separator}{{\"name\":{},\"value\":{}}}", quoted(name), quoted(text));
    });
    query.visit(store, |name, value| match value {
        Value::Counter(value) | Value::Gauge(value) => {
            let separator = if out.ends_with('[') { "" } else { "," };
            let _ = write!(out, "{separator}{{\"name\":{},\"value\":{value}}}", quoted(name));
        }
        Value::Histogram { total, interval } => histograms.push(json_histogram(name, total, interval, query.buckets)),
    });
    if !histograms.is_empty() {
        let separator = if out.ends_with('[') { "" } else { "," };
        let list = histograms.join(",");
        let _ = match query.buckets {
            Buckets::Summary => {
                write!(out, "{separator}{{\"histograms\":{{\"supported_quantiles\":[{}],\"computed_quantiles\":[{list}]}}}}", percentiles())
            }
            Buckets::Cumulative | Buckets::Disjoint => write!(out, "{separator}{{\"histograms\":[{list}]}}"),
            Buckets::Detailed => {
                write!(out, "{separator}{{\"histograms\":{{\"supported_percentiles\":[{}],\"details\":[{list}]}}}}", percentiles())
            }
        };
    }
    out.push_str("]}");
    out
}

fn percentiles() -> String {
    PERCENTILES.map(shortest).join(",")
}

fn json_histogram(name: &str, total: &Distribution, interval: &Distribution, buckets: Buckets) -> String {
    let name = quoted(name);
    let number = |value: f64| if value.is_nan() { "null".to_owned() } else { shortest(value) };
    let quantiles = || {
        let all = total.quantiles(QUANTILES).into_iter().zip(interval.quantiles(QUANTILES));
        let all: Vec<_> = all.map(|(t, i)| format!("{{\"cumulative\":{},\"interval\":{}}}", number(t), number(i))).collect();
        all.join(",")
    };
    match buckets {
        Buckets::Summary => format!("{{\"name\":{name},\"values\":[{}]}}", quantiles()),
        Buckets::Cumulative | Buckets::Disjoint => {
            let disjoint = buckets == Buckets::Disjoint;
            let all = counts(total, disjoint).zip(counts(interval, disjoint));
            let all: Vec<_> = all
                .map(|((bound, t), (_, i))| format!("{{\"upper_bound\":{},\"interval\":{i},\"cumulative\":{t}}}", shortest(bound)))
                .collect();
            format!("{{\"name\":{name},\"buckets\":[{}]}}", all.join(","))
        }
        Buckets::Detailed => {
            let list = |d: &Distribution| {
                let bucket = |(lower, width, count)| {
                    format!("{{\"lower_bound\":{},\"width\":{},\"count\":{count}}}", shortest(lower), shortest(width))
                };
                d.buckets().map(bucket).collect::<Vec<_>>().join(",")
            };
            format!("{{\"name\":{name},\"totals\":[{}],\"intervals\":[{}],\"percentiles\":[{}]}}", list(total), list(interval), quantiles())
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{ClusterStats, Unit};

    /// Three zeros, a 1, a 41 and a 42, as in the lines below, which a running Envoy printed.
    fn store() -> (Store, impl Sized) {
        let store = Store::new();
        let histogram = store.histogram("cluster.app.upstream_rq_time", Unit::Milliseconds);
        [0, 0, 0, 1, 41, 42].into_iter().for_each(|v| histogram.record(v));
        let counter = store.counter("cluster.app.upstream_rq_timeout");
        (store, (histogram, counter))
    }

    fn with(buckets: Buckets) -> Query {
        Query { buckets, ..Query::default() }
    }

    #[test]
    fn text_in_all_modes() {
        let (store, _held) = store();
        let summary = "P0(nan,0) P25(nan,0) P50(nan,0) P75(nan,41.5) P90(nan,42.5) P95(nan,42.5) P99(nan,42.5) P99.5(nan,42.5) P99.9(nan,42.5) P100(nan,42.5)\n";
        let head = "cluster.app.upstream_rq_timeout: 0\ncluster.app.upstream_rq_time:";
        assert_eq!(text(&store, &with(Buckets::Summary)), format!("{head} {summary}"));
        assert_eq!(
            text(&store, &with(Buckets::Cumulative)),
            format!(
                "{head} B0.5(0,3) B1(0,4) B5(0,4) B10(0,4) B25(0,4) B50(0,6) B100(0,6) B250(0,6) B500(0,6) B1000(0,6) B2500(0,6) B5000(0,6) B10000(0,6) B30000(0,6) B60000(0,6) B300000(0,6) B600000(0,6) B1.8e+06(0,6) B3.6e+06(0,6)\n"
            )
        );
        assert!(
            text(&store, &with(Buckets::Disjoint))
                .starts_with(&format!("{head} B0.5(0,3) B1(0,1) B5(0,0) B10(0,0) B25(0,0) B50(0,2) B100(0,0) "))
        );
        assert_eq!(
            text(&store, &with(Buckets::Detailed)),
            format!("{head}\n  totals=0,0:3, 1,0.1:1, 41,1:1, 42,1:1\n  intervals=\n  summary={summary}")
        );
    }

    #[test]
    fn json_in_all_modes() {
        let (store, _held) = store();
        let head = "{\"stats\":[{\"name\":\"cluster.app.upstream_rq_timeout\",\"value\":0},{\"histograms\":";
        let values = "[{\"cumulative\":0,\"interval\":null},{\"cumulative\":0,\"interval\":null},{\"cumulative\":0,\"interval\":null},{\"cumulative\":41.5,\"interval\":null},{\"cumulative\":42.5,\"interval\":null},{\"cumulative\":42.5,\"interval\":null},{\"cumulative\":42.5,\"interval\":null},{\"cumulative\":42.5,\"interval\":null},{\"cumulative\":42.5,\"interval\":null},{\"cumulative\":42.5,\"interval\":null}]";
        assert_eq!(
            json(&store, &with(Buckets::Summary)),
            format!(
                "{head}{{\"supported_quantiles\":[0,25,50,75,90,95,99,99.5,99.9,100],\"computed_quantiles\":[{{\"name\":\"cluster.app.upstream_rq_time\",\"values\":{values}}}]}}}}]}}"
            )
        );
        let cumulative = json(&store, &with(Buckets::Cumulative));
        assert!(cumulative.starts_with(&format!("{head}[{{\"name\":\"cluster.app.upstream_rq_time\",\"buckets\":[{{\"upper_bound\":0.5,\"interval\":0,\"cumulative\":3}},{{\"upper_bound\":1,\"interval\":0,\"cumulative\":4}},")));
        assert!(cumulative.contains("{\"upper_bound\":3e+05,\"interval\":0,\"cumulative\":6},{\"upper_bound\":6e+05,\"interval\":0,\"cumulative\":6},{\"upper_bound\":1800000,\"interval\":0,\"cumulative\":6}"));
        assert_eq!(
            json(&store, &with(Buckets::Detailed)),
            format!(
                "{head}{{\"supported_percentiles\":[0,25,50,75,90,95,99,99.5,99.9,100],\"details\":[{{\"name\":\"cluster.app.upstream_rq_time\",\"totals\":[{{\"lower_bound\":0,\"width\":0,\"count\":3}},{{\"lower_bound\":1,\"width\":0.1,\"count\":1}},{{\"lower_bound\":41,\"width\":1,\"count\":1}},{{\"lower_bound\":42,\"width\":1,\"count\":1}}],\"intervals\":[],\"percentiles\":{values}}}]}}}}]}}"
            )
        );
    }

    #[test]
    fn queries_choose() {
        let store = Store::new();
        let stats = ClusterStats::new(&store, "cluster.app");
        stats.upstream_cx_active().inc();
        stats.upstream_cx_active().dec();
        stats.upstream_rq_total().inc();
        let used = Query { used_only: true, ..Query::default() };
        assert_eq!(text(&store, &used), "cluster.app.upstream_cx_active: 0\ncluster.app.upstream_rq_total: 1\n");
        assert_eq!(text(&store, &Query { kinds: Kinds::Gauges, ..used.clone() }), "cluster.app.upstream_cx_active: 0\n");
        let version = store.text("http.a.rds.b.version_text");
        let texts = Query { kinds: Kinds::TextReadouts, ..Query::default() };
        assert_eq!(text(&store, &texts), "http.a.rds.b.version_text: \"\"\n");
        assert_eq!(text(&store, &Query { used_only: true, ..texts.clone() }), "");
        version.set("v\"1");
        assert_eq!(
            json(&store, &Query { used_only: true, ..texts.clone() }),
            "{\"stats\":[{\"name\":\"http.a.rds.b.version_text\",\"value\":\"v\\\"1\"}]}"
        );
        drop(version);
        assert_eq!(text(&store, &texts), "");
        let filter = Some(Regex::new("rq_").unwrap());
        assert_eq!(text(&store, &Query { filter: filter.clone(), ..used.clone() }), "cluster.app.upstream_rq_total: 1\n");
        assert_eq!(text(&store, &Query { filter, invert: true, ..used.clone() }), "cluster.app.upstream_cx_active: 0\n");
        assert_eq!(json(&store, &Query { kinds: Kinds::Histograms, ..used }), "{\"stats\":[]}");
        assert!(text(&store, &Query::default()).contains("cluster.app.upstream_rq_per_cx: No recorded values\n"));
    }
}
