//! Host sets across updates, circuit breakers, and DNS against a server of the test's own.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::net::UdpSocket;

use super::*;

fn at(n: u8) -> Endpoint {
    Endpoint::new(SocketAddr::from(([127, 0, 0, n], 80)))
}

fn fixed(endpoints: &[Endpoint]) -> Cluster {
    let settings = Settings { discovery: Discovery::Static(endpoints.to_vec()), ..Settings::default() };
    Cluster::new("a:b", settings, &Store::with_workers(1), None)
}

#[test]
fn kept_hosts_keep_their_state() {
    let cluster = fixed(&[at(1), at(2)]);
    let before = cluster.hosts.load_full();
    let _active = before.entries()[1].host.request();
    assert!(cluster.set_hosts(&[at(3), Endpoint { weight: 5, ..at(2) }]));
    let after = cluster.hosts.load_full();
    assert!(Arc::ptr_eq(&after.entries()[1].host, &before.entries()[1].host));
    assert_eq!(after.entries()[1].weight, 5);
    assert!(after.generation() > before.generation());
    assert!(after.contains(&before.entries()[1].host) && !after.contains(&before.entries()[0].host));
    assert_eq!(after.entries()[1].host.stats.rq_active.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn the_same_hosts_are_no_change() {
    let store = Store::with_workers(1);
    let settings = Settings { discovery: Discovery::Static(vec![at(1)]), ..Settings::default() };
    let cluster = Cluster::new("a:b", settings, &store, None);
    let before = cluster.hosts().generation();
    assert!(!cluster.set_hosts(&[at(1)]));
    assert_eq!(cluster.hosts().generation(), before);
    assert_eq!(store.value("cluster.a_b.membership_change"), Some(1));
    assert!(cluster.set_hosts(&[]));
    assert_eq!(store.value("cluster.a_b.membership_change"), Some(2));
    assert_eq!(store.value("cluster.a_b.membership_total"), Some(0));
}

#[test]
fn a_new_configuration_takes_hosts_over() {
    let old = fixed(&[at(1), at(2)]);
    let settings = Settings { discovery: Discovery::Static(vec![at(2), at(3)]), ..Settings::default() };
    let new = Cluster::new("a:b", settings, &Store::with_workers(1), Some(&old));
    assert_eq!(new.hosts().entries()[0].host.id, old.hosts().entries()[1].host.id);
    assert_ne!(new.hosts().generation(), old.hosts().generation());
}

#[test]
fn circuits_open_and_close() {
    let thresholds = Thresholds { connections: 2, pending: 0, requests: 1, retries: 1, ..Thresholds::default() };
    let store = Store::with_workers(1);
    let settings = Settings { thresholds: [thresholds, Thresholds::default()], ..Settings::default() };
    let cluster = Cluster::new("c", settings, &store, None);
    let (circuit, normal) = (&cluster.circuit, Priority::Default);
    let gauge = |name: &str| store.value(&format!("cluster.c.circuit_breakers.default.{name}"));
    assert!(circuit.try_pending(normal).is_none());
    let first = circuit.try_connection(normal).unwrap();
    assert_eq!(gauge("cx_open"), Some(0));
    let second = circuit.try_connection(normal).unwrap();
    assert_eq!(gauge("cx_open"), Some(1));
    assert!(circuit.try_connection(normal).is_none());
    let forced = circuit.force_connection(normal);
    assert_eq!((circuit.connections(normal), gauge("cx_open")), (3, Some(1)));
    drop(first);
    assert_eq!(gauge("cx_open"), Some(1));
    drop(forced);
    assert_eq!((circuit.connections(normal), gauge("cx_open")), (1, Some(0)));
    drop(second);
    let request = circuit.try_request(normal);
    assert!(request.is_some() && circuit.try_request(normal).is_none() && circuit.try_request(Priority::High).is_some());
    let retry = circuit.try_retry(normal);
    assert!(retry.is_some() && circuit.try_retry(normal).is_none());
}

#[test]
fn a_retry_budget_is_a_share_of_the_requests_under_way() {
    let budget = Some(RetryBudget { percent: 50.0, min_concurrency: 1, interval: None });
    let settings = Settings { thresholds: [Thresholds { retry_budget: budget, ..Thresholds::default() }; 2], ..Settings::default() };
    let cluster = Cluster::new("c", settings, &Store::with_workers(1), None);
    let _least = cluster.circuit.try_retry(Priority::Default).unwrap();
    assert!(cluster.circuit.try_retry(Priority::Default).is_none());
    let _requests: Vec<_> = (0..6).map(|_| cluster.circuit.try_request(Priority::Default)).collect();
    let more: Vec<_> = (0..5).filter_map(|_| cluster.circuit.try_retry(Priority::Default)).collect();
    assert_eq!(more.len(), 2);
}

/// Answers A and AAAA questions from a table; a name without an entry is NXDOMAIN, one with an empty list is dropped.
struct DnsServer {
    address: SocketAddr,
    table: Arc<Mutex<HashMap<&'static str, Vec<IpAddr>>>>,
    questions: Arc<Mutex<Vec<(String, u16)>>>,
    ttl: Arc<Mutex<u32>>,
}

impl DnsServer {
    async fn start(names: &[(&'static str, &[&str])]) -> DnsServer {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = DnsServer {
            address: socket.local_addr().unwrap(),
            table: Arc::default(),
            questions: Arc::default(),
            ttl: Arc::new(Mutex::new(3600)),
        };
        names.iter().for_each(|(name, addresses)| server.set(name, addresses));
        let (table, questions, ttl) = (server.table.clone(), server.questions.clone(), server.ttl.clone());
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((n, from)) = socket.recv_from(&mut buffer).await {
                let (name, kind, end) = question(&buffer[..n]);
                questions.lock().unwrap().push((name.clone(), kind));
                let known = table.lock().unwrap().get(name.as_str()).cloned();
                if known.as_ref().is_some_and(Vec::is_empty) {
                    continue;
                }
                let found: Vec<IpAddr> = known.iter().flatten().filter(|a| (kind == 28) == a.is_ipv6()).copied().collect();
                let mut reply = buffer[..end].to_vec();
                let code = if known.is_some() { 0 } else { 3 };
                reply[2..12].copy_from_slice(&[0x85, 0x80 | code, 0, 1, 0, found.len() as u8, 0, 0, 0, 0]);
                for address in found {
                    reply.extend([0xc0, 12, 0, kind as u8, 0, 1]);
                    reply.extend(ttl.lock().unwrap().to_be_bytes());
                    match address {
                        IpAddr::V4(a) => reply.extend([&[0, 4][..], &a.octets()].concat()),
                        IpAddr::V6(a) => reply.extend([&[0, 16][..], &a.octets()].concat()),
                    }
                }
                socket.send_to(&reply, from).await.unwrap();
            }
        });
        server
    }

    fn set(&self, name: &'static str, addresses: &[&str]) {
        self.table.lock().unwrap().insert(name, addresses.iter().map(|a| a.parse().unwrap()).collect());
    }

    fn asked(&self) -> usize {
        self.questions.lock().unwrap().len()
    }
}

/// Name, type and end of the one question.
fn question(message: &[u8]) -> (String, u16, usize) {
    let (mut at, mut labels) = (12, Vec::new());
    while message[at] != 0 {
        let len = usize::from(message[at]);
        labels.push(String::from_utf8_lossy(&message[at + 1..at + 1 + len]).to_ascii_lowercase());
        at += len + 1;
    }
    (labels.join("."), u16::from_be_bytes([message[at + 1], message[at + 2]]), at + 5)
}

fn dns(server: &DnsServer, names: &[&str]) -> DnsSettings {
    let endpoint = |name: &&str| DnsEndpoint {
        name: (*name).into(),
        port: 80,
        hostname: (*name).into(),
        weight: 1,
        metadata: None,
        locality: None,
        health: Health::Healthy,
    };
    DnsSettings {
        strict: true,
        names: names.iter().map(endpoint).collect(),
        refresh: Duration::from_millis(20),
        jitter: Duration::ZERO,
        respect_ttl: false,
        failure_refresh: None,
        family: LookupFamily::Auto,
        resolver: ResolverConfig {
            servers: vec![server.address],
            no_search: true,
            timeout: Duration::from_millis(200),
            tries: 1,
            tcp: false,
        },
        wait_for_warm_on_init: true,
    }
}

fn start(settings: DnsSettings, previous: Option<&Cluster>) -> (Arc<Cluster>, tokio::task::JoinHandle<()>) {
    let settings = Settings { discovery: Discovery::Dns(Box::new(settings)), ..Settings::default() };
    let cluster = Arc::new(Cluster::new("dns", settings, &Store::with_workers(1), previous));
    let task = tokio::task::spawn_local(run_dns(cluster.clone(), Arc::new(Resolvers::new())));
    (cluster, task)
}

fn addresses(cluster: &Cluster) -> Vec<String> {
    cluster.hosts().entries().iter().map(|e| e.host.address().to_string()).collect()
}

async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    for _ in 0..500 {
        if check() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not seen in time: {what}");
}

fn local(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

#[test]
fn strict_dns_follows_answers_and_keeps_the_last_good_one() {
    local(async {
        let server = DnsServer::start(&[("a.test", &["127.0.0.2", "127.0.0.3"]), ("b.test", &["127.0.0.3", "127.0.0.4"])]).await;
        let (cluster, task) = start(dns(&server, &["a.test", "b.test"]), None);
        assert!(!cluster.is_warm());
        cluster.warm().await;
        assert_eq!(addresses(&cluster), ["127.0.0.2:80", "127.0.0.3:80", "127.0.0.4:80"]);
        let kept = cluster.hosts().entries()[1].host.clone();
        server.set("a.test", &["127.0.0.3"]);
        eventually("an address less", || addresses(&cluster) == ["127.0.0.3:80", "127.0.0.4:80"]).await;
        assert_eq!(cluster.hosts().entries()[0].host.id, kept.id);
        server.table.lock().unwrap().remove("a.test");
        server.set("b.test", &[]);
        let before = server.asked();
        eventually("more questions", || server.asked() > before + 10).await;
        assert_eq!(addresses(&cluster), ["127.0.0.3:80", "127.0.0.4:80"]);
        task.abort();
    });
}

#[test]
fn a_name_that_fails_does_not_keep_the_cluster_cold() {
    local(async {
        let server = DnsServer::start(&[]).await;
        let (cluster, _task) = start(dns(&server, &["gone.test"]), None);
        cluster.warm().await;
        assert!(addresses(&cluster).is_empty());
        server.set("gone.test", &["127.0.0.9"]);
        eventually("the name's address", || addresses(&cluster) == ["127.0.0.9:80"]).await;
    });
}

#[test]
fn a_cluster_that_need_not_wait_is_warm_at_once() {
    local(async {
        let server = DnsServer::start(&[]).await;
        let (cluster, _task) = start(DnsSettings { wait_for_warm_on_init: false, ..dns(&server, &["x.test"]) }, None);
        assert!(cluster.is_warm());
    });
}

#[test]
fn lookup_families() {
    local(async {
        let server = DnsServer::start(&[("both.test", &["127.0.0.1", "::1"]), ("four.test", &["127.0.0.1"])]).await;
        for (family, name, want) in [
            (LookupFamily::Auto, "both.test", &["[::1]:80"][..]),
            (LookupFamily::Auto, "four.test", &["127.0.0.1:80"]),
            (LookupFamily::V4Only, "both.test", &["127.0.0.1:80"]),
            (LookupFamily::V6Only, "both.test", &["[::1]:80"]),
            (LookupFamily::V6Only, "four.test", &[]),
            (LookupFamily::V4Preferred, "both.test", &["127.0.0.1:80"]),
            (LookupFamily::All, "both.test", &["127.0.0.1:80", "[::1]:80"]),
            (LookupFamily::V4Only, "127.0.0.7", &["127.0.0.7:80"]),
            (LookupFamily::V6Only, "127.0.0.7", &[]),
        ] {
            let (cluster, task) = start(DnsSettings { family, ..dns(&server, &[name]) }, None);
            cluster.warm().await;
            assert_eq!(addresses(&cluster), want, "{family:?} {name}");
            task.abort();
        }
    });
}

#[test]
fn time_to_live_is_respected_where_asked() {
    local(async {
        let server = DnsServer::start(&[("t.test", &["127.0.0.1"])]).await;
        let (cluster, _task) = start(DnsSettings { respect_ttl: true, family: LookupFamily::V4Only, ..dns(&server, &["t.test"]) }, None);
        cluster.warm().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(server.asked(), 1);
    });
}

#[test]
fn a_logical_host_moves_and_stays_one() {
    local(async {
        let server = DnsServer::start(&[("l.test", &["127.0.0.2", "127.0.0.3"])]).await;
        let (cluster, _task) = start(DnsSettings { strict: false, ..dns(&server, &["l.test"]) }, None);
        cluster.warm().await;
        assert_eq!(addresses(&cluster), ["127.0.0.2:80"]);
        let (host, generation) = (cluster.hosts().entries()[0].host.clone(), cluster.hosts().generation());
        server.set("l.test", &["127.0.0.4"]);
        eventually("the new address", || addresses(&cluster) == ["127.0.0.4:80"]).await;
        assert_eq!((cluster.hosts().entries()[0].host.id, cluster.hosts().generation()), (host.id, generation));
        assert_eq!(&*host.hostname, "l.test");
        // A cluster of fixed hosts that takes its place at the first address gets a host of its own.
        let fixed = Endpoint { hostname: "l.test".into(), ..Endpoint::new("127.0.0.2:80".parse().unwrap()) };
        let settings = Settings { discovery: Discovery::Static(vec![fixed]), ..Settings::default() };
        assert_eq!(addresses(&Cluster::new("dns", settings, &Store::with_workers(1), Some(&cluster))), ["127.0.0.2:80"]);
    });
}

#[test]
fn a_new_configuration_of_the_same_names_begins_with_the_old_hosts() {
    local(async {
        let server = DnsServer::start(&[("a.test", &["127.0.0.2"]), ("b.test", &["127.0.0.3"])]).await;
        let (old, task) = start(dns(&server, &["a.test", "b.test"]), None);
        old.warm().await;
        task.abort();
        server.set("a.test", &[]);
        let (new, _task) = start(dns(&server, &["a.test", "b.test"]), Some(&old));
        assert_eq!(addresses(&new), ["127.0.0.2:80", "127.0.0.3:80"]);
        new.warm().await;
        let before = server.asked();
        eventually("more questions", || server.asked() > before + 5).await;
        // The silent name keeps what it had.
        assert_eq!(addresses(&new), ["127.0.0.2:80", "127.0.0.3:80"]);
    });
}

#[test]
fn clients_make_a_cluster_count_under_so_many_names_only() {
    let store = Store::new();
    let cluster = Cluster::new("c", Settings::default(), &store, None);
    for n in 0..1000 {
        assert!(cluster.alt_stats(&format!("n{n}")).is_some());
    }
    assert!(cluster.alt_stats("one too many").is_none() && cluster.alt_stats("n7").is_some());
    cluster.alt_stats("n7").unwrap().answer(200, true, false);
    assert_eq!(store.value("cluster.c.n7.internal.upstream_rq_2xx"), Some(1));
    assert_eq!(store.value("cluster.c.n8.upstream_rq_completed"), None, "a name appears with its first answer");
}
