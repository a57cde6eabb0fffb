//! Changes of the running configuration: order, conflicts, refusals, warming, hosts.

use std::{net::Ipv4Addr, time::Duration};

use plenipo_engine::{
    cluster::Endpoint,
    control::{Change, Kind},
    engine::Options,
};
use plenipo_testkit::{
    Client, Upstream,
    client::get,
    config::{Cluster, Listener, bootstrap},
    dns::Dns,
    upstream::closed_port,
    within,
};
use serde_json::json;
use tokio::sync::oneshot;

use crate::support::{change, input, options, start, start_with, without_listener};

#[tokio::test]
async fn changes_take_effect_in_the_order_of_the_calls() {
    let proxy = start(2, &[&Listener::new("l").direct("/", "0")], &[]).await;
    let mut pending = Vec::new();
    for n in 1..=20 {
        pending.push(proxy.0.apply_now(change(&[&Listener::new("l").direct("/", &n.to_string())], &[])).unwrap());
    }
    for (n, one) in pending.into_iter().enumerate() {
        assert_eq!(within(one).await.unwrap().unwrap().version, (n + 2).to_string());
    }
    assert_eq!(get(proxy.at("l"), "/").await.text(), "20");
    assert_eq!(proxy.0.version(), "21");
}

#[tokio::test]
async fn replace_removes_only_what_its_owner_added() {
    let proxy = start(1, &[&Listener::new("file").direct("/", "file")], &[]).await;
    proxy.apply(change(&[&Listener::new("a").direct("/", "a"), &Listener::new("b").direct("/", "b")], &[])).await.unwrap();
    let a = proxy.at("a");
    let applied = proxy.apply(Change { replace: true, ..change(&[&Listener::new("a").direct("/", "a")], &[]) }).await.unwrap();
    assert_eq!((applied.removed, applied.unchanged), (vec!["listener/b".to_owned()], 1));
    assert_eq!(proxy.at("a"), a);
    assert_eq!(get(proxy.at("file"), "/").await.text(), "file");
    assert_eq!(get(a, "/").await.text(), "a");
}

#[tokio::test]
async fn a_wrong_version_is_a_conflict_and_the_right_one_is_not() {
    let proxy = start(1, &[&Listener::new("l").direct("/", "1")], &[]).await;
    let two = || change(&[&Listener::new("l").direct("/", "2")], &[]);
    let error = proxy.apply(Change { if_version: Some("7".into()), ..two() }).await.unwrap_err();
    assert_eq!(error.code, "ERR_PLENIPO_VERSION_CONFLICT");
    assert_eq!(get(proxy.at("l"), "/").await.text(), "1");
    proxy.apply(Change { if_version: Some("1".into()), ..two() }).await.unwrap();
    assert_eq!(get(proxy.at("l"), "/").await.text(), "2");
}

#[tokio::test]
async fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let proxy = start(1, &[&Listener::new("l").direct("/", "1")], &[]).await;
    let applied = proxy
        .apply(Change { dry_run: true, ..change(&[&Listener::new("l").direct("/", "2"), &Listener::new("m").direct("/", "m")], &[]) })
        .await
        .unwrap();
    assert_eq!((applied.added, applied.changed), (vec!["listener/m".to_owned()], vec!["listener/l".to_owned()]));
    assert_eq!((get(proxy.at("l"), "/").await.text().as_str(), proxy.0.version().as_str()), ("1", "1"));
    assert_eq!(proxy.0.addresses().len(), 1);
}

#[tokio::test]
async fn a_change_that_fails_keeps_what_runs() {
    let upstream = Upstream::saying("app").await;
    let proxy = start(1, &[&Listener::new("l").to("/", "app", json!({}))], &[&Cluster::new("app", &[upstream.address])]).await;
    let mut client = proxy.client("l").await;
    assert_eq!(client.get("/").await.text(), "app");
    // Does not compile: no such cluster.
    let error = proxy.apply(change(&[&Listener::new("l").to("/", "gone", json!({}))], &[&Cluster::new("new", &[])])).await.unwrap_err();
    assert_eq!(error.issues.len(), 1, "{error}");
    assert!(error.issues[0].path.starts_with("listeners[0]."), "{}", error.issues[0].path);
    // Does not bind.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let error = proxy
        .apply(change(&[&Listener::new("m").direct("/", "m"), &Listener::new("n").at(taken.local_addr().unwrap()).direct("/", "n")], &[]))
        .await
        .unwrap_err();
    assert!(error.code == "ERR_PLENIPO_BIND" && error.message.contains("EADDRINUSE"), "{error}");
    // Takes away what a listener routes to, or what is not there.
    let error = proxy.apply(Change { removals: vec![(Kind::Cluster, "none".into())], ..Change::default() }).await.unwrap_err();
    assert_eq!(error.code, "ERR_PLENIPO_REF_NOT_FOUND");
    assert_eq!((proxy.0.version().as_str(), proxy.0.addresses().len()), ("1", 1));
    // The connection did not drain either.
    let answer = client.get("/").await;
    assert_eq!((answer.text().as_str(), answer.closes()), ("app", false));
}

#[tokio::test]
async fn a_change_cancelled_before_or_while_it_warms_changes_nothing() {
    let mut dns = Dns::silent().await;
    let proxy = start(1, &[&Listener::new("l").direct("/", "1")], &[]).await;
    let (cancel, cancelled) = oneshot::channel();
    cancel.send(()).unwrap();
    let two = Listener::new("l").direct("/", "2");
    let error = proxy.apply(Change { cancel: Some(cancelled), ..change(&[&two], &[]) }).await.unwrap_err();
    assert!(error.cancelled);

    let (cancel, cancelled) = oneshot::channel();
    let slow = Cluster::dns("slow", "app.test", 80, dns.address);
    let pending = proxy.0.apply_now(Change { cancel: Some(cancelled), ..change(&[&two], &[&slow]) }).unwrap();
    dns.asked().await;
    drop(cancel);
    assert!(within(pending).await.unwrap().unwrap_err().cancelled);
    assert_eq!((get(proxy.at("l"), "/").await.text().as_str(), proxy.0.version().as_str()), ("1", "1"));
}

#[tokio::test]
async fn a_cluster_found_by_dns_is_warm_before_it_is_published() {
    let upstream = Upstream::saying("found").await;
    let mut dns = Dns::silent().await;
    let proxy = start(1, &[&Listener::new("l").direct("/", "before")], &[]).await;
    let cluster = Cluster::dns("app", "app.test", upstream.address.port(), dns.address);
    let mut pending = proxy.0.apply_now(change(&[&Listener::new("l").to("/", "app", json!({}))], &[&cluster])).unwrap();
    dns.asked().await;
    assert!(pending.try_recv().is_err());
    assert_eq!(get(proxy.at("l"), "/").await.text(), "before");
    dns.answer(Ipv4Addr::LOCALHOST);
    within(pending).await.unwrap().unwrap();
    assert_eq!(get(proxy.at("l"), "/").await.text(), "found");
}

#[tokio::test]
async fn warming_ends_with_its_time() {
    let dns = Dns::silent().await;
    let listener = Listener::new("l").to("/", "app", json!({}));
    let config = bootstrap(&[&listener], &[&Cluster::dns("app", "app.test", 80, dns.address)]);
    let begun = std::time::Instant::now();
    let proxy = start_with(Options { warm_timeout: Duration::from_millis(200), ..options(1) }, &config).await.unwrap();
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(200) && took < Duration::from_secs(4), "{took:?}");
    let answer = get(proxy.at("l"), "/").await;
    assert_eq!((answer.status, answer.text().as_str()), (503, "no healthy upstream"));
}

#[tokio::test]
async fn hosts_change_1000_times_a_second_without_a_failed_request() {
    let (one, two) = (Upstream::saying("one").await, Upstream::saying("two").await);
    let proxy = start(2, &[&Listener::new("l").to("/", "app", json!({}))], &[&Cluster::new("app", &[one.address])]).await;
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let address = proxy.at("l");
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                let mut seen = (0, 0);
                let end = tokio::time::Instant::now() + Duration::from_secs(1);
                while tokio::time::Instant::now() < end {
                    let answer = client.get("/").await;
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    if answer.text() == "one" { seen.0 += 1 } else { seen.1 += 1 }
                }
                seen
            })
        })
        .collect();
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    for n in 0..1000 {
        tick.tick().await;
        let host = if n % 2 == 0 { two.address } else { one.address };
        proxy.0.set_endpoints("app", &[Endpoint::new(host)]).unwrap();
    }
    for client in clients {
        let (one, two) = within(client).await.unwrap();
        assert!(one > 0 && two > 0, "{one} {two}");
    }
    assert_eq!(proxy.stat("cluster.app.membership_total"), 1);
}

#[tokio::test]
async fn hosts_of_a_cluster_that_is_not_there_or_found_by_dns_cannot_be_set() {
    let dns = Dns::silent().await;
    dns.answer(Ipv4Addr::LOCALHOST);
    let proxy = start(1, &[], &[&Cluster::dns("found", "app.test", 80, dns.address)]).await;
    let hosts = [Endpoint::new(closed_port())];
    assert_eq!(proxy.0.set_endpoints("none", &hosts).unwrap_err().code, "ERR_PLENIPO_REF_NOT_FOUND");
    assert_eq!(proxy.0.set_endpoints("found", &hosts).unwrap_err().code, "ERR_PLENIPO_STATE");
}

#[tokio::test]
async fn a_listener_that_is_removed_frees_its_port() {
    let proxy = start(2, &[&Listener::new("l").direct("/", "1")], &[]).await;
    proxy.apply(change(&[&Listener::new("m").direct("/", "m")], &[])).await.unwrap();
    let address = proxy.at("m");
    proxy.apply(without_listener("m")).await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    proxy.apply(change(&[&Listener::new("n").at(address).direct("/", "n")], &[])).await.unwrap();
    assert_eq!(get(address, "/").await.text(), "n");
    let twice = Change { listeners: vec![input(&Listener::new("x").json()), input(&Listener::new("x").json())], ..Change::default() };
    assert!(proxy.apply(twice).await.unwrap_err().message.contains("two listeners"));
}
