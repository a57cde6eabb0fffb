//! Stats: one writer a shard, names as Envoy composes them, percentiles as Envoy computes them.

use std::time::Duration;

use super::*;

fn names(store: &Store) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    store.visit(|name, reading| all.push((name.to_owned(), reading.value.clone())));
    all
}

#[test]
fn sums_shards_and_survives_the_worker() {
    let store = Store::with_workers(2);
    let stats = ClusterStats::new(&store, "cluster.app");
    std::thread::scope(|scope| {
        // More threads than shards: the last two share one, atomically.
        for _ in 0..4 {
            scope.spawn(|| {
                let _guard = store.register_worker();
                for _ in 0..10_000 {
                    stats.upstream_rq_total().inc();
                    stats.upstream_rq_active().inc();
                }
            });
        }
    });
    for _ in 0..39_999 {
        stats.upstream_rq_active().dec();
    }
    assert_eq!(stats.upstream_rq_total().value(), 40_000);
    assert_eq!(store.value("cluster.app.upstream_rq_active"), Some(1));
}

#[test]
fn a_worker_of_one_store_is_a_stranger_to_another() {
    let (one, two) = (Store::with_workers(1), Store::with_workers(1));
    let _outer = one.register_worker();
    let (a, b) = (one.counter("a"), two.counter("b"));
    {
        let _inner = two.register_worker();
        a.inc();
        b.inc();
    }
    a.inc();
    b.add(2);
    assert_eq!((one.value("a"), two.value("b")), (Some(2), Some(3)));
    assert_eq!((one.value("b"), two.value("a")), (None, None));
}

#[test]
fn same_prefix_is_the_same_block_until_the_last_handle_goes() {
    let store = Store::new();
    let old = ClusterStats::new(&store, "cluster.a:b");
    old.upstream_cx_total().add(7);
    let new = ClusterStats::new(&store, "cluster.a:b");
    drop(old);
    assert_eq!(store.value("cluster.a_b.upstream_cx_total"), Some(7));
    drop(new);
    assert_eq!(names(&store), []);
}

#[test]
fn codes_appear_with_their_first_answer() {
    let store = Store::new();
    let stats = ClusterStats::new(&store, "cluster.app");
    let before = names(&store).len();
    stats.answer(200, false, false);
    stats.answer(204, true, false);
    stats.answer(404, false, false);
    stats.answer(200, false, false);
    let all = names(&store);
    let codes: Vec<_> =
        all.iter().filter(|(n, _)| n.contains("upstream_rq_2") || n.contains("upstream_rq_4") || n.contains("rq_completed")).collect();
    let lines: Vec<String> = codes.iter().map(|(n, v)| format!("{n} {v:?}")).collect();
    assert_eq!(
        lines,
        [
            "cluster.app.external.upstream_rq_200 Counter(2)",
            "cluster.app.external.upstream_rq_2xx Counter(2)",
            "cluster.app.external.upstream_rq_404 Counter(1)",
            "cluster.app.external.upstream_rq_4xx Counter(1)",
            "cluster.app.external.upstream_rq_completed Counter(3)",
            "cluster.app.internal.upstream_rq_204 Counter(1)",
            "cluster.app.internal.upstream_rq_2xx Counter(1)",
            "cluster.app.internal.upstream_rq_completed Counter(1)",
            "cluster.app.upstream_rq_200 Counter(2)",
            "cluster.app.upstream_rq_204 Counter(1)",
            "cluster.app.upstream_rq_2xx Counter(3)",
            "cluster.app.upstream_rq_404 Counter(1)",
            "cluster.app.upstream_rq_4xx Counter(1)",
            "cluster.app.upstream_rq_completed Counter(4)",
        ]
    );
    assert_eq!(all.len(), before + 13);
    store.reset_counters();
    assert_eq!(store.value("cluster.app.upstream_rq_200"), Some(0));
    stats.answer(200, false, false);
    assert_eq!(store.value("cluster.app.upstream_rq_2xx"), Some(1));
    assert_eq!(store.value("cluster.app.upstream_rq_completed"), Some(1));
    stats.answer_in_parts(200, false, false);
    let values = ["external.upstream_rq_200", "external.upstream_rq_2xx", "upstream_rq_200", "upstream_rq_2xx", "upstream_rq_completed"];
    assert_eq!(values.map(|name| store.value(&format!("cluster.app.{name}"))), [2, 2, 1, 1, 2].map(Some));
}

#[test]
fn lazy_blocks_and_histograms_appear_when_touched() {
    let store = Store::new();
    let codec = Http2Stats::new(&store, "http2");
    assert_eq!(names(&store), []);
    codec.block().touch();
    assert!(names(&store).iter().any(|(n, _)| n == "http2.rx_reset"));
    let cluster = ClusterStats::new(&store, "cluster.x");
    assert!(!names(&store).iter().any(|(n, _)| n.ends_with("upstream_rq_time")));
    cluster.request_time(3, false, false);
    let found: Vec<_> = names(&store).into_iter().map(|(n, _)| n).filter(|n| n.ends_with("upstream_rq_time")).collect();
    assert_eq!(found, ["cluster.x.external.upstream_rq_time", "cluster.x.upstream_rq_time"]);
}

#[test]
fn visits_in_order_of_the_full_name() {
    let store = Store::new();
    let _a =
        (store.counter("cluster.app.zz"), store.counter("cluster.app2.a"), store.counter("cluster.app"), store.counter("cluster.app-x"));
    let _b = (
        ClusterStats::new(&store, "cluster.app"),
        ClusterEndpointStats::new(&store, "cluster.app"),
        ClusterStats::new(&store, "cluster.app2"),
    );
    let all: Vec<String> = names(&store).into_iter().filter(|(_, v)| !matches!(v, Value::Histogram { .. })).map(|(n, _)| n).collect();
    let mut sorted = all.clone();
    sorted.sort();
    assert_eq!(all, sorted);
    assert!(all.len() > 100);
}

#[test]
fn gauges_set_and_usedonly() {
    let store = Store::new();
    let stats = ClusterEndpointStats::new(&store, "cluster.app");
    stats.membership_total().set(3);
    stats.membership_total().set(0);
    let mut used = Vec::new();
    store.visit(|name, reading| {
        if reading.used {
            used.push((name.to_owned(), reading.value.clone()));
        }
    });
    assert_eq!(used, [("cluster.app.membership_total".to_owned(), Value::Gauge(0))]);
}

#[test]
fn percentiles_are_those_of_envoy() {
    // Eighteen ones: values that a running Envoy printed for them.
    let store = Store::new();
    let histogram = store.histogram("h", Unit::Milliseconds);
    (0..18).for_each(|_| histogram.record(1));
    let mut seen = None;
    store.visit(|_, reading| seen = Some(reading.value.clone()));
    let Some(Value::Histogram { total, interval }) = seen else { panic!("no histogram") };
    assert_eq!(
        total.quantiles([0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 1.0]),
        [
            1.0052631578947369,
            1.0263157894736843,
            1.0473684210526315,
            1.0736842105263158,
            1.0894736842105264,
            1.0947368421052632,
            1.0947368421052632
        ]
    );
    assert!(interval.is_empty());
    assert_eq!((total.count(), total.sum(), total.count_to(0.5), total.count_to(1.0)), (18, 18, 0, 18));
}

#[test]
fn every_value_falls_into_the_bucket_that_holds_it() {
    let mut value = 1u64;
    let mut values = vec![0, u64::MAX];
    while value < u64::MAX / 8 {
        values.extend([value, value + 1, value * 2 - 1]);
        value = value * 7 / 4 + 1;
    }
    for value in values {
        let cells = histogram::Cells::default();
        cells.record(value, |cell, n| cell.store(cell.load(Relaxed) + n, Relaxed));
        let mut merged = Distribution::default();
        cells.merge(&mut merged);
        let all: Vec<_> = merged.buckets().collect();
        let [(lower, width, 1)] = all[..] else { panic!("{value}: {all:?}") };
        assert!(lower <= value as f64 && (value as f64) < lower + width || value == 0 || width >= 1e18, "{value} in {lower} + {width}");
        assert!(value == 0 || width <= value as f64 / 9.0);
    }
}

#[test]
fn an_interval_holds_what_came_between_two_flushes() {
    let store = Store::new();
    let histogram = store.histogram("h", Unit::Milliseconds);
    histogram.record(5);
    store.flush();
    histogram.record(5);
    histogram.record(200);
    store.flush();
    let mut seen = None;
    store.visit(|_, reading| seen = Some(reading.value.clone()));
    let Some(Value::Histogram { total, interval }) = seen else { panic!("no histogram") };
    assert_eq!((total.count(), interval.count(), interval.sum()), (3, 2, 205));
    assert_eq!(interval.buckets().collect::<Vec<_>>(), [(5.0, 0.1, 1), (200.0, 10.0, 1)]);
}

#[test]
fn any_prefixes_are_visited_in_order_of_the_full_name() {
    let mut seed = 3u32;
    for _ in 0..300 {
        let store = Store::with_workers(0);
        let mut held: (Vec<Counter>, Vec<RuntimeStats>, Vec<ListenerWorkerStats>) = Default::default();
        for _ in 0..8 {
            let mut next = |n: usize| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 16) as usize % n
            };
            let parts = ["a", "-", ".", "b", ".num_keys", "_", "0"];
            let prefix: String = std::iter::once("a").chain((0..next(4)).map(|_| parts[next(parts.len())])).collect();
            match next(3) {
                0 => held.0.push(store.counter(&prefix)),
                1 => held.1.push(RuntimeStats::new(&store, &prefix)),
                _ => held.2.push(ListenerWorkerStats::new(&store, &prefix)),
            }
        }
        let all: Vec<String> = names(&store).into_iter().map(|(n, _)| n).collect();
        let mut sorted = all.clone();
        sorted.sort();
        assert_eq!(all, sorted);
    }
}

#[test]
fn tls_names_appear_with_their_first_handshake() {
    let store = Store::with_workers(1);
    let _guard = store.register_worker();
    let stats = SslStats::new(&store, "listener.0.0.0.0_443.ssl");
    stats.handshake_done("TLSv1.3", "TLS_AES_128_GCM_SHA256", false, false);
    stats.handshake_done("TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256", true, true);
    stats.handshake_done("TLSv1.3", "TLS_AES_128_GCM_SHA256", true, false);
    stats.curve("X25519");
    for (name, value) in [
        ("handshake", 3),
        ("session_reused", 2),
        ("no_certificate", 2),
        ("versions.TLSv1.3", 2),
        ("versions.TLSv1.2", 1),
        ("ciphers.TLS_AES_128_GCM_SHA256", 2),
        ("curves.X25519", 1),
    ] {
        assert_eq!(store.value(&format!("listener.0.0.0.0_443.ssl.{name}")), Some(value), "{name}");
    }
    store.reset_counters();
    assert_eq!(store.value("listener.0.0.0.0_443.ssl.versions.TLSv1.3"), Some(0));
}

#[test]
fn server_gauges_are_read_when_asked() {
    let store = Store::new();
    let stats = ServerStats::new(&store, "server");
    stats.started(2, Duration::from_millis(16));
    stats.refresh(Duration::from_secs(7), 1, 3);
    stats.refresh(Duration::from_secs(8), 0, 3);
    let value = |name: &str| store.value(&format!("server.{name}"));
    assert_eq!((value("uptime"), value("live"), value("state"), value("concurrency")), (Some(8), Some(1), Some(0), Some(2)));
    assert_eq!((value("days_until_first_cert_expiring"), value("total_connections")), (Some(4_294_967_295), Some(3)));
    assert!(value("memory_physical_size").unwrap() > 100_000);
}

#[test]
fn threads_without_a_shard_lose_nothing() {
    let store = Store::with_workers(1);
    let (counter, histogram) = (store.counter("c"), store.histogram("h", Unit::Milliseconds));
    let start = std::sync::Barrier::new(3);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                start.wait();
                for i in 0..100_000 {
                    counter.inc();
                    histogram.record(i);
                }
            });
        }
    });
    assert_eq!(store.value("c"), Some(300_000));
    store.visit(|_, reading| {
        if let Value::Histogram { total, .. } = &reading.value {
            assert_eq!(total.count(), 300_000);
        }
    });
}

#[test]
fn a_worker_writes_its_own_shard_and_only_in_its_own_store() {
    let (one, two) = (Store::with_workers(1), Store::with_workers(1));
    let (mine, other) = (one.counter("c"), two.counter("c"));
    let _guard = one.register_worker();
    mine.inc();
    other.inc();
    assert_eq!((mine.0.shards_touched(), other.0.shards_touched()), (vec![false, true], vec![true, false]));
}

#[test]
fn nothing_is_kept_of_names_that_went() {
    let store = Store::new();
    for i in 0..100 {
        let stats = ClusterStats::new(&store, &format!("cluster.{i}"));
        stats.upstream_rq_total().inc();
    }
    assert!(lock(&store.0.blocks).is_empty());
}
