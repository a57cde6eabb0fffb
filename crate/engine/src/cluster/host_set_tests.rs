//! Who gets traffic by health: shares, panic, and counters that stay; the numbers are those that Envoy was seen to give.

use std::{net::SocketAddr, sync::atomic::Ordering::Relaxed};

use super::{super::*, *};
use Health::{Degraded, Draining, Healthy, Unhealthy};

fn endpoints(health: &[Health]) -> Vec<Endpoint> {
    let at = |n: usize| SocketAddr::from(([127, 0, 0, 1], 1000 + n as u16));
    health.iter().enumerate().map(|(n, health)| Endpoint { health: *health, ..Endpoint::new(at(n)) }).collect()
}

fn cluster(health: &[Health], rules: HealthRules) -> (Cluster, Store) {
    let store = Store::with_workers(1);
    let settings = Settings { discovery: Discovery::Static(endpoints(health)), health: rules, ..Settings::default() };
    (Cluster::new("c", settings, &store, None), store)
}

/// Panic, percent of the degraded, and the numbers of the hosts that the first group has.
fn shares(health: &[Health], rules: HealthRules) -> (bool, u32, Vec<usize>) {
    let (cluster, _) = cluster(health, rules);
    let set = cluster.hosts();
    let first = set.first.entries().iter().map(|e| usize::from(e.host.address().port()) - 1000).collect();
    (set.panic.is_some(), set.degraded_load, first)
}

#[test]
fn health_decides_who_gets_how_much() {
    let usual = HealthRules::default();
    let threshold = |panic_threshold| HealthRules { panic_threshold, ..usual };
    for (health, rules, want) in [
        (&[][..], usual, (true, 0, vec![])),
        (&[], threshold(0), (false, 0, vec![])),
        (&[Healthy, Healthy], usual, (false, 0, vec![0, 1])),
        (&[Unhealthy, Healthy, Healthy], usual, (false, 0, vec![1, 2])),
        (&[Unhealthy, Healthy], usual, (false, 0, vec![1])),
        (&[Unhealthy, Unhealthy, Healthy], usual, (true, 0, vec![0, 1, 2])),
        (&[Unhealthy, Unhealthy], usual, (true, 0, vec![0, 1])),
        (&[Unhealthy, Unhealthy], threshold(0), (false, 0, vec![])),
        (&[Unhealthy, Unhealthy, Healthy], threshold(0), (false, 0, vec![2])),
        (&[Unhealthy, Unhealthy, Healthy], threshold(30), (false, 0, vec![2])),
        (&[Unhealthy, Healthy, Healthy], threshold(100), (true, 0, vec![0, 1, 2])),
        (&[Healthy, Healthy], threshold(100), (false, 0, vec![0, 1])),
        (&[Draining, Draining], usual, (true, 0, vec![0, 1])),
        // One that drains does not count: the other one is all there is.
        (&[Draining, Draining, Healthy], usual, (false, 0, vec![2])),
        (&[Degraded, Degraded], usual, (false, 100, vec![])),
        (&[Healthy, Healthy, Healthy, Degraded], usual, (false, 0, vec![0, 1, 2])),
        // A quarter is healthy and may get 35 percent.
        (&[Healthy, Degraded, Degraded, Degraded], usual, (false, 65, vec![0])),
        (&[Healthy, Degraded, Degraded, Degraded], HealthRules { overprovisioning: 100, ..usual }, (false, 75, vec![0])),
        // 56 and 28 percent are scaled up to 66 and 33; what rounding leaves over is for the healthy.
        (&[Healthy, Healthy, Degraded, Unhealthy, Unhealthy], usual, (false, 33, vec![0, 1])),
        (&[Unhealthy, Unhealthy, Degraded], usual, (true, 0, vec![0, 1, 2])),
        (&[Unhealthy, Degraded], usual, (false, 100, vec![])),
        (&[Unhealthy, Unhealthy, Healthy], HealthRules { fail_on_panic: true, ..usual }, (true, 0, vec![])),
    ] {
        assert_eq!(shares(health, rules), want, "{health:?} {rules:?}");
    }
}

#[test]
fn hosts_count_by_their_weights_where_the_policy_says_so() {
    let of = |by_weight| {
        let mut list = endpoints(&[Healthy, Degraded]);
        list[0].weight = 3;
        let rules = HealthRules { overprovisioning: 100, by_weight, ..HealthRules::default() };
        let settings = Settings { discovery: Discovery::Static(list), health: rules, ..Settings::default() };
        Cluster::new("c", settings, &Store::with_workers(1), None).hosts().degraded_load
    };
    assert_eq!([of(false), of(true)], [50, 25]);
}

#[test]
fn a_pick_in_a_panic_is_counted_and_degraded_hosts_get_their_share() {
    let (panic, store) = cluster(&[Unhealthy, Unhealthy, Healthy], HealthRules::default());
    for _ in 0..3 {
        assert_eq!(panic.hosts().turn(&mut || 0).0, Turn::First);
    }
    assert_eq!(store.value("cluster.c.lb_healthy_panic"), Some(3));

    let (degraded, store) = cluster(&[Healthy, Degraded, Degraded, Degraded], HealthRules::default());
    let hosts = degraded.hosts();
    let count = (0..100).filter(|n| hosts.turn(&mut || *n).0 == Turn::Degraded).count();
    assert_eq!(count, 65);
    assert_eq!(store.value("cluster.c.lb_healthy_panic"), Some(0));
}

#[test]
fn all_hosts_are_members_and_keep_their_state_when_their_health_changes() {
    let (cluster, store) = cluster(&[Healthy, Healthy, Healthy, Healthy], HealthRules::default());
    let host = cluster.hosts().entries()[1].host.clone();
    let _active = host.request();
    assert!(cluster.set_hosts(&endpoints(&[Healthy, Unhealthy, Degraded, Draining])));
    let hosts = cluster.hosts();
    assert!(Arc::ptr_eq(&hosts.entries()[1].host, &host) && hosts.contains(&host));
    assert_eq!(hosts.entries()[1].host.stats.rq_active.load(Relaxed), 1);
    let gauges = ["total", "healthy", "degraded", "excluded"].map(|what| store.value(&format!("cluster.c.membership_{what}")));
    assert_eq!(gauges, [4, 1, 1, 1].map(Some));
    assert!(!cluster.set_hosts(&endpoints(&[Healthy, Unhealthy, Degraded, Draining])));
    assert!(cluster.set_hosts(&endpoints(&[Healthy, Unhealthy, Degraded, Unhealthy])));
}
