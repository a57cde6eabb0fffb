//! Shares by weight, no starvation, and plain rotation, over real host sets.

use std::net::SocketAddr;

use super::{Cursor, Policy, pick, pick_other};
use crate::cluster::{Cluster, Discovery, Endpoint, Settings};

fn cluster(weights: &[u32]) -> Cluster {
    let endpoint =
        |(n, weight): (usize, &u32)| Endpoint { weight: *weight, ..Endpoint::new(SocketAddr::from(([127, 0, 0, 1], 1000 + n as u16))) };
    let discovery = Discovery::Static(weights.iter().enumerate().map(endpoint).collect());
    Cluster::new("c", Settings { discovery, ..Settings::default() }, &crate::stats::Store::with_workers(1), None)
}

/// splitmix64
fn source(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn picks(policy: Policy, cluster: &Cluster, seed: u64, count: usize) -> Vec<usize> {
    let (mut cursor, mut random) = (Cursor::default(), source(seed));
    let hosts = cluster.hosts();
    (0..count).map(|_| usize::from(pick(&policy, &hosts, &mut cursor, &mut random).unwrap().address().port() - 1000)).collect()
}

fn shares(picked: &[usize], hosts: usize) -> Vec<usize> {
    (0..hosts).map(|n| picked.iter().filter(|p| **p == n).count()).collect()
}

const LEAST: Policy = Policy::LeastRequest { choices: 2, bias: 1.0 };

#[test]
fn nothing_to_pick_from() {
    for policy in [Policy::RoundRobin, LEAST, Policy::Random] {
        assert!(pick(&policy, &cluster(&[]).hosts(), &mut Cursor::default(), &mut source(1)).is_none());
    }
}

#[test]
fn equal_weights_rotate_from_a_random_place() {
    let cluster = cluster(&[7, 7, 7]);
    let mut starts = Vec::new();
    for seed in 0..50 {
        let picked = picks(Policy::RoundRobin, &cluster, seed, 7);
        assert!(picked.windows(2).all(|pair| pair[1] == (pair[0] + 1) % 3), "{picked:?}");
        starts.push(picked[0]);
    }
    assert!((0..3).all(|n| starts.contains(&n)), "{starts:?}");
}

#[test]
fn round_robin_shares_by_weight_and_starves_nobody() {
    for weights in [&[1, 2, 3][..], &[1, 1, 8], &[100, 1], &[5, 3, 2, 1, 1]] {
        let cluster = cluster(weights);
        let total: u32 = weights.iter().sum();
        for seed in 0..20 {
            let rounds = 10;
            let picked = picks(Policy::RoundRobin, &cluster, seed, total as usize * rounds);
            for (n, share) in shares(&picked, weights.len()).into_iter().enumerate() {
                let want = weights[n] as usize * rounds;
                assert!(share.abs_diff(want) <= 1, "weights {weights:?} host {n}: {share}, not {want}");
            }
            // Nobody waits for longer than two turns of the whole.
            for n in 0..weights.len() {
                let longest = picked.split(|p| *p == n).map(<[usize]>::len).max().unwrap();
                assert!(longest <= 2 * total as usize, "host {n} waited {longest}");
            }
        }
    }
}

#[test]
fn random_is_even_whatever_the_weights() {
    let picked = picks(Policy::Random, &cluster(&[1, 9]), 3, 10_000);
    assert!(shares(&picked, 2).into_iter().all(|s| (4_700..5_300).contains(&s)));
}

#[test]
fn least_request_avoids_the_busy_host() {
    let cluster = cluster(&[1, 1, 1]);
    let busy: Vec<_> = (0..5).map(|_| cluster.hosts().entries()[0].host.request()).collect();
    let with = shares(&picks(LEAST, &cluster, 1, 9_000), 3);
    // It is picked only when both choices fall on it: one time in nine.
    assert!((800..1_200).contains(&with[0]), "{with:?}");
    drop(busy);
    let without = shares(&picks(LEAST, &cluster, 1, 9_000), 3);
    assert!(without.into_iter().all(|s| s > 2_000));
}

#[test]
fn weighted_least_request_shares_by_weight_over_active() {
    let cluster = cluster(&[1, 3]);
    let idle = shares(&picks(LEAST, &cluster, 1, 4_000), 2);
    assert!((980..1_020).contains(&idle[0]), "{idle:?}");
    let _busy: Vec<_> = (0..2).map(|_| cluster.hosts().entries()[1].host.request()).collect();
    let busy = shares(&picks(LEAST, &cluster, 1, 4_000), 2);
    assert!((1_980..2_020).contains(&busy[0]), "{busy:?}");
}

#[test]
fn the_bias_says_how_much_requests_under_way_count() {
    let share = |bias| {
        let cluster = cluster(&[1, 3]);
        let _busy: Vec<_> = (0..2).map(|_| cluster.hosts().entries()[1].host.request()).collect();
        shares(&picks(Policy::LeastRequest { choices: 2, bias }, &cluster, 1, 4_000), 2)[0]
    };
    // 1 against 3 / 3^bias.
    assert!((980..1_020).contains(&share(0.0)), "{}", share(0.0));
    assert!((2_980..3_020).contains(&share(2.0)), "{}", share(2.0));
}

#[test]
fn a_smaller_set_under_the_same_cursor_is_fine() {
    let big = cluster(&[1, 2, 3, 4]);
    let small = cluster(&[5, 6]);
    let (mut cursor, mut random) = (Cursor::default(), source(9));
    for cluster in [&big, &small, &big, &small] {
        for _ in 0..10 {
            assert!(pick(&Policy::RoundRobin, &cluster.hosts(), &mut cursor, &mut random).is_some());
        }
    }
    small.set_hosts(&[Endpoint::new("127.0.0.1:9".parse().unwrap())]);
    assert!(pick(&Policy::RoundRobin, &small.hosts(), &mut cursor, &mut random).is_some());
}

#[test]
fn retries_go_elsewhere_where_there_is_elsewhere() {
    let cluster = cluster(&[1, 1]);
    let hosts = cluster.hosts();
    let first = hosts.entries()[0].host.clone();
    let (mut cursor, mut random) = (Cursor::default(), source(2));
    for _ in 0..10 {
        let other = pick_other(&Policy::RoundRobin, &hosts, &mut cursor, &mut random, |host| host.id == first.id, 1).unwrap();
        assert_ne!(other.id, first.id);
    }
    assert!(pick_other(&Policy::RoundRobin, &hosts, &mut cursor, &mut random, |_| true, 3).is_some());
}
