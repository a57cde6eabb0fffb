//! Retries and timeouts of a route, and connections that turn out to be stale.

use std::{sync::Arc, time::Duration};

use plenipo_testkit::{
    Upstream,
    config::{Cluster, Listener},
    until,
    upstream::{closed_port, reply, whole},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use crate::support::start;

fn policy(on: &str, n: u32) -> serde_json::Value {
    json!({"retry_policy": {"retry_on": on, "num_retries": n, "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"}}})
}

#[tokio::test]
async fn a_5xx_is_tried_again_with_the_same_body() {
    let upstream = Upstream::http1(|request, n| async move {
        let body = whole(request).await;
        if n < 3 { reply(503, "no") } else { reply(200, body) }
    })
    .await;
    let proxy = start(1, &[&Listener::new("l").to("/", "app", policy("5xx", 3))], &[&Cluster::new("app", &[upstream.address])]).await;
    let body = vec![b'x'; 10_000];
    let answer = proxy.client("l").await.post("/", &body).await;
    assert_eq!((answer.status, answer.body == body, upstream.requests()), (200, true, 3));
    assert_eq!((proxy.stat("cluster.app.upstream_rq_retry"), proxy.stat("cluster.app.upstream_rq_retry_success")), (2, 1));
}

#[tokio::test]
async fn the_last_answer_is_given_when_retries_are_used_up() {
    let upstream = Upstream::http1(|_, n| async move { reply(503, format!("try {n}")) }).await;
    let proxy = start(1, &[&Listener::new("l").to("/", "app", policy("5xx", 2))], &[&Cluster::new("app", &[upstream.address])]).await;
    let answer = proxy.client("l").await.get("/").await;
    assert_eq!((answer.status, answer.text().as_str()), (503, "try 3"));
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry_limit_exceeded"), 1);
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_is_tried_again_elsewhere() {
    let upstream = Upstream::saying("there").await;
    let cluster = Cluster::new("app", &[closed_port(), upstream.address]);
    let proxy = start(1, &[&Listener::new("l").to("/", "app", policy("connect-failure", 1))], &[&cluster]).await;
    let mut client = proxy.client("l").await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.text(), "there");
    }
    assert!(proxy.stat("cluster.app.upstream_cx_connect_fail") >= 1);
}

#[tokio::test]
async fn a_reset_before_the_answer_is_tried_again() {
    let upstream = Upstream::raw(|mut stream, n| async move {
        head(&mut stream).await;
        if n > 1 {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let proxy = start(1, &[&Listener::new("l").to("/", "app", policy("reset", 1))], &[&Cluster::new("app", &[upstream.address])]).await;
    let answer = proxy.client("l").await.get("/").await;
    assert_eq!((answer.status, answer.text().as_str(), upstream.connections()), (200, "ok", 2));
}

#[tokio::test]
async fn a_body_too_large_to_keep_is_not_sent_twice() {
    let upstream = Upstream::http1(|request, _| async move {
        whole(request).await;
        reply(503, "no")
    })
    .await;
    let cluster = Cluster::new("app", &[upstream.address]);
    let listener = Listener::new("l").to("/", "app", policy("5xx", 3)).set("per_connection_buffer_limit_bytes", json!(10_000));
    let proxy = start(1, &[&listener], &[&cluster]).await;
    let answer = proxy.client("l").await.post("/", &vec![b'x'; 200_000]).await;
    assert_eq!((answer.status, upstream.requests()), (503, 1));
    assert_eq!(proxy.client("l").await.post("/", b"small").await.status, 503);
    assert_eq!(upstream.requests(), 5);
}

/// Reads the head of a request.
async fn head(stream: &mut TcpStream) -> Vec<u8> {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => seen.push(byte),
            Err(_) => break,
        }
    }
    seen
}

#[tokio::test]
async fn the_times_of_a_route_and_of_a_try_end_a_request() {
    let upstream = Upstream::http1(|_, _| std::future::pending()).await;
    let tries = json!({"timeout": "5s", "retry_policy": {"retry_on": "5xx", "num_retries": 1, "per_try_timeout": "0.05s",
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"}}});
    let listener = Listener::new("l").to("/try", "app", tries).to("/", "app", json!({"timeout": "0.1s"}));
    let proxy = start(1, &[&listener], &[&Cluster::new("app", &[upstream.address])]).await;
    let answer = proxy.client("l").await.get("/").await;
    assert_eq!((answer.status, answer.text().as_str(), upstream.requests()), (504, "upstream request timeout", 1));
    let answer = proxy.client("l").await.get("/try").await;
    assert_eq!((answer.status, upstream.requests()), (504, 3));
    assert_eq!((proxy.stat("cluster.app.upstream_rq_timeout"), proxy.stat("cluster.app.upstream_rq_per_try_timeout")), (1, 2));
    until("the upstream's connections are closed", || upstream.open() == 0).await;
}

/// An upstream that answers one request a connection and closes the connection when the next one comes.
async fn stale() -> Upstream {
    Upstream::raw(|mut stream, _| async move {
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        // What comes next is never answered, as by a server that was about to close an idle connection.
        let mut one = [0];
        let _ = stream.read(&mut one).await;
    })
    .await
}

#[tokio::test]
async fn a_get_on_a_stale_connection_is_sent_again_and_a_post_is_not() {
    let upstream = stale().await;
    let proxy = start(1, &[&Listener::new("l").to("/", "app", json!({}))], &[&Cluster::new("app", &[upstream.address])]).await;
    let mut client = proxy.client("l").await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!((client.get("/").await.status, upstream.connections()), (200, 2));
    assert_eq!((client.post("/", b"x").await.status, upstream.connections()), (503, 2));
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_upstream_request() {
    let gone = Arc::new(Notify::new());
    let (sender, started) = (gone.clone(), Arc::new(Notify::new()));
    let begun = started.clone();
    let upstream = Upstream::http1(move |_, _| {
        struct OnDrop(Arc<Notify>);
        impl Drop for OnDrop {
            fn drop(&mut self) {
                self.0.notify_one();
            }
        }
        let guard = OnDrop(sender.clone());
        begun.notify_one();
        async move {
            let _guard = guard;
            std::future::pending().await
        }
    })
    .await;
    let proxy =
        start(1, &[&Listener::new("l").to("/", "app", json!({"timeout": "0s"}))], &[&Cluster::new("app", &[upstream.address])]).await;
    let mut client = proxy.client("l").await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    plenipo_testkit::within(started.notified()).await;
    drop(client);
    plenipo_testkit::within(gone.notified()).await;
    proxy.wait_stat("http.l.downstream_rq_active", 0).await;
    assert_eq!(proxy.stat("cluster.app.upstream_rq_active"), 0);
    tokio::time::timeout(Duration::from_secs(5), proxy.wait_stat("cluster.app.upstream_cx_active", 0)).await.unwrap();
}
