//! Circuit breakers: connections, waiting requests, requests.

use std::sync::Arc;

use plenipo_testkit::{
    Upstream,
    config::{Cluster, Listener},
    until,
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{Running, start};

/// A proxy with these thresholds, whose upstream answers one request for each permit.
async fn with(thresholds: Value) -> (Running, Upstream, Arc<Semaphore>) {
    let (upstream, gate) = Upstream::gated("ok").await;
    let cluster = Cluster::new("app", &[upstream.address]).breakers(thresholds);
    (start(1, &[&Listener::new("l").to("/", "app", json!({}))], &[&cluster]).await, upstream, gate)
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn requests_above_max_connections_wait_and_those_above_max_pending_fail() {
    let (proxy, upstream, gate) = with(json!({"max_connections": 1, "max_pending_requests": 1})).await;
    let mut first = proxy.client("l").await;
    first.send(GET).await;
    until("the request arrives", || upstream.requests() == 1).await;
    let mut second = proxy.client("l").await;
    second.send(GET).await;
    proxy.wait_stat("cluster.app.upstream_rq_pending_active", 1).await;
    let third = proxy.client("l").await.get("/").await;
    assert_eq!((third.status, third.header("x-envoy-overloaded")), (503, Some("true")));
    assert_eq!(proxy.stat("cluster.app.upstream_rq_pending_overflow"), 1);
    assert!(proxy.stat("cluster.app.upstream_cx_overflow") >= 1);
    gate.add_permits(2);
    assert_eq!((first.answer().await.status, second.answer().await.status), (200, 200));
    assert_eq!(upstream.connections(), 1);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_pending_active"), 0);
}

#[tokio::test]
async fn requests_above_max_requests_fail() {
    let (proxy, upstream, gate) = with(json!({"max_requests": 2})).await;
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut client = proxy.client("l").await;
        client.send(GET).await;
        busy.push(client);
    }
    until("the requests arrive", || upstream.requests() == 2).await;
    let third = proxy.client("l").await.get("/").await;
    assert_eq!((third.status, third.header("x-envoy-overloaded")), (503, Some("true")));
    gate.add_permits(3);
    for client in &mut busy {
        assert_eq!(client.answer().await.status, 200);
    }
    assert_eq!(proxy.client("l").await.get("/").await.status, 200);
}
