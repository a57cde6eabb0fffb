//! Drains: of the proxy, of a removed listener, of a listener that changes in place.

use std::{sync::Arc, time::Duration};

use plenipo_engine::{
    admin::Drain,
    engine::{DrainReport, Options, State},
};
use plenipo_testkit::{
    Upstream,
    config::{Cluster, Listener, bootstrap},
    until, within,
};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::{Running, change, options, start, start_with, without_listener};

/// A proxy whose upstream answers a request to `/wait` for each permit.
async fn gated() -> (Running, Upstream, Arc<Semaphore>) {
    let (upstream, gate) = Upstream::gated("late").await;
    let proxy =
        start(2, &[&Listener::new("l").to("/wait", "app", json!({})).direct("/", "hi")], &[&Cluster::new("app", &[upstream.address])])
            .await;
    (proxy, upstream, gate)
}

/// How many of 20 answers ask their clients to close after a graceful drain of listeners began.
async fn asked_to_close(gradual_drain: bool) -> usize {
    let options = Options { gradual_drain, drain_time: Duration::from_secs(3600), ..options(1) };
    let proxy = start_with(options, &bootstrap(&[&Listener::new("l").direct("/", "hi")], &[])).await.unwrap();
    assert!(!proxy.client("l").await.get("/").await.closes());
    proxy.0.drain_listeners(Drain { graceful: true, skip_exit: true, inbound_only: false });
    // The command has its turn before this change.
    proxy.apply(change(&[&Listener::new("m").direct("/", "hi")], &[])).await.unwrap();
    let mut closed = 0;
    for _ in 0..20 {
        closed += usize::from(proxy.client("l").await.get("/").await.closes());
    }
    closed
}

#[tokio::test]
async fn a_gradual_drain_begins_with_few_connections_and_an_immediate_one_with_all() {
    assert_eq!((asked_to_close(true).await, asked_to_close(false).await), (0, 20));
}

#[tokio::test]
async fn a_drain_lets_requests_end_and_closes_idle_connections() {
    let (proxy, upstream, gate) = gated().await;
    let address = proxy.at("l");
    let mut idle = proxy.client("l").await;
    idle.get("/").await;
    let mut busy = proxy.client("l").await;
    busy.send("GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await;
    until("the request arrives", || upstream.requests() == 1).await;
    let handle = proxy.0.clone();
    let drain = tokio::spawn(async move { handle.drain(Duration::from_secs(15)).await });
    assert!(idle.closed().await);
    until("the port is closed", || std::net::TcpStream::connect(address).is_err()).await;
    assert_eq!(proxy.0.state(), State::Draining);
    gate.add_permits(1);
    let answer = busy.answer().await;
    assert_eq!((answer.text().as_str(), answer.closes()), ("late", true));
    assert!(busy.closed().await);
    assert_eq!(within(drain).await.unwrap().unwrap(), DrainReport { completed: 1, reset: 0 });
    assert_eq!(proxy.0.state(), State::Stopped);
    assert!(proxy.0.drain(Duration::ZERO).await.is_err());
}

#[tokio::test]
async fn a_drain_resets_what_is_left_at_its_end() {
    let (proxy, upstream, gate) = gated().await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = proxy.client("l").await;
        client.send("GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await;
        clients.push(client);
    }
    until("the requests arrive", || upstream.requests() == 3).await;
    let mut events = proxy.0.events();
    let handle = proxy.0.clone();
    let drain = tokio::spawn(async move { handle.drain(Duration::from_millis(700)).await });
    within(events.recv()).await.unwrap();
    gate.add_permits(1);
    assert_eq!(within(drain).await.unwrap().unwrap(), DrainReport { completed: 1, reset: 2 });
    let mut answered = 0;
    for client in &mut clients {
        answered += usize::from(client.read().await.is_ok());
    }
    assert_eq!(answered, 1);
}

#[tokio::test]
async fn a_stop_during_a_drain_ends_it() {
    let (proxy, upstream, _gate) = gated().await;
    let mut client = proxy.client("l").await;
    client.send("GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await;
    until("the request arrives", || upstream.requests() == 1).await;
    let mut events = proxy.0.events();
    let handle = proxy.0.clone();
    let drain = tokio::spawn(async move { handle.drain(Duration::from_secs(600)).await });
    within(events.recv()).await.unwrap();
    within(proxy.0.stop(None)).await;
    assert_eq!(within(drain).await.unwrap().unwrap(), DrainReport { completed: 0, reset: 1 });
    assert!(client.read().await.is_err());
}

#[tokio::test]
async fn a_removed_listener_serves_what_it_has_and_no_more() {
    let (proxy, upstream, gate) = gated().await;
    proxy.apply(change(&[&Listener::new("m").to("/", "app", json!({}))], &[])).await.unwrap();
    let address = proxy.at("m");
    let mut busy = proxy.client("m").await;
    busy.send("GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await;
    until("the request arrives", || upstream.requests() == 1).await;
    // These may still be in the queue of the socket when it closes.
    let mut queued = Vec::new();
    for _ in 0..20 {
        let mut client = proxy.client("m").await;
        client.send("GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await;
        queued.push(client);
    }
    let applied = proxy.apply(without_listener("m")).await.unwrap();
    assert_eq!(applied.removed, ["listener/m"]);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    gate.add_permits(21);
    queued.push(busy);
    for client in &mut queued {
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.closes()), (200, true));
    }
    assert_eq!(proxy.client("l").await.get("/").await.text(), "hi");
}

#[tokio::test]
async fn a_changed_listener_keeps_its_socket_and_its_old_connections_close() {
    let (proxy, upstream, gate) = gated().await;
    let address = proxy.at("l");
    let mut idle = proxy.client("l").await;
    idle.get("/").await;
    let mut busy = proxy.client("l").await;
    busy.send("GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await;
    until("the request arrives", || upstream.requests() == 1).await;
    let applied = proxy.apply(change(&[&Listener::new("l").direct("/", "new")], &[])).await.unwrap();
    assert_eq!((proxy.at("l"), &applied.drained[..]), (address, &["l".to_owned()][..]));
    gate.add_permits(1);
    let answer = busy.answer().await;
    assert_eq!((answer.text().as_str(), answer.closes()), ("late", true));
    let answer = proxy.client("l").await.get("/").await;
    assert_eq!((answer.text().as_str(), answer.closes()), ("new", false));
}
