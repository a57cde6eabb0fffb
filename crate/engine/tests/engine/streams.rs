//! Bytes through the proxy: HTTP/2 with trailers and full duplex, upgrades, pipelining, back-pressure.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;
use http_body_util::BodyExt;
use plenipo_testkit::{
    Upstream,
    config::{Cluster, Listener},
    settled, until,
    upstream::reply,
    within,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Running, start};

/// A connection of HTTP/2 with prior knowledge.
async fn h2(proxy: &Running) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(proxy.at("l")).await.unwrap();
    let (sender, connection) = within(h2::client::handshake(stream)).await.unwrap();
    tokio::spawn(connection);
    within(sender.ready()).await.unwrap()
}

fn request(method: &str, path: &str) -> http::Request<()> {
    http::Request::builder().method(method).uri(format!("http://a{path}")).body(()).unwrap()
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_told_from_http1() {
    let proxy = start(1, &[&Listener::new("l").direct("/", "hi")], &[]).await;
    let (answer, _) = h2(&proxy).await.send_request(request("GET", "/"), true).unwrap();
    let answer = within(answer).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
    assert_eq!(proxy.client("l").await.get("/").await.text(), "hi");
    assert_eq!((proxy.stat("http.l.downstream_cx_http2_total"), proxy.stat("http.l.downstream_cx_http1_total")), (1, 1));
}

/// An upstream of HTTP/2 without hyper: sends back each piece of a body as it comes, then its trailers.
async fn echo() -> Upstream {
    Upstream::raw(|stream, _| async move {
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            tokio::spawn(async move {
                let mut body = request.into_body();
                let mut out = respond.send_response(http::Response::new(()), false).unwrap();
                while let Some(Ok(data)) = body.data().await {
                    let _ = body.flow_control().release_capacity(data.len());
                    let _ = out.send_data(data, false);
                }
                let trailers = body.trailers().await.ok().flatten().unwrap_or_default();
                let _ = out.send_trailers(trailers);
            });
        }
    })
    .await
}

#[tokio::test]
async fn a_stream_of_http2_goes_both_ways_at_once_and_has_trailers() {
    let upstream = echo().await;
    let listener = Listener::new("l").to("/", "app", json!({"timeout": "0s"}));
    let proxy = start(1, &[&listener], &[&Cluster::new("app", &[upstream.address]).http2()]).await;
    let (answer, mut out) = h2(&proxy).await.send_request(request("POST", "/"), false).unwrap();
    let mut body = within(answer).await.unwrap().into_body();
    for n in 0..20 {
        let piece = Bytes::from(format!("message {n}"));
        out.send_data(piece.clone(), false).unwrap();
        // The next piece goes only after this one came back.
        let back = within(body.data()).await.unwrap().unwrap();
        assert_eq!(back, piece);
        body.flow_control().release_capacity(back.len()).unwrap();
    }
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    out.send_trailers(trailers.clone()).unwrap();
    assert!(within(body.data()).await.is_none());
    assert_eq!(within(body.trailers()).await.unwrap(), Some(trailers));
}

#[tokio::test]
async fn a_stream_of_http2_that_its_client_resets_ends_upstream() {
    let upstream = echo().await;
    let listener = Listener::new("l").to("/", "app", json!({"timeout": "0s"}));
    let proxy = start(1, &[&listener], &[&Cluster::new("app", &[upstream.address]).http2()]).await;
    let mut sender = h2(&proxy).await;
    let (answer, mut out) = sender.send_request(request("POST", "/"), false).unwrap();
    let _body = within(answer).await.unwrap();
    assert_eq!(proxy.stat("cluster.app.upstream_rq_active"), 1);
    out.send_reset(h2::Reason::CANCEL);
    proxy.wait_stat("cluster.app.upstream_rq_active", 0).await;
    proxy.wait_stat("http.l.downstream_rq_active", 0).await;
    // The connection goes on.
    let (answer, _) = within(sender.ready()).await.unwrap().send_request(request("GET", "/"), true).unwrap();
    assert_eq!(within(answer).await.unwrap().status(), 200);
    assert_eq!(upstream.connections(), 1);
}

async fn switch(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await.unwrap();
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

fn upgrades() -> Listener {
    Listener::new("l").to("/", "app", json!({})).manager("upgrade_configs", json!([{"upgrade_type": "websocket"}]))
}

#[tokio::test]
async fn a_websocket_carries_bytes_both_ways_and_its_client_may_end_it() {
    let upstream = Upstream::raw(|mut stream, _| async move {
        switch(&mut stream).await;
        let mut bytes = [0; 5];
        while stream.read_exact(&mut bytes).await.is_ok() {
            bytes.reverse();
            stream.write_all(&bytes).await.unwrap();
        }
    })
    .await;
    let proxy = start(1, &[&upgrades()], &[&Cluster::new("app", &[upstream.address])]).await;
    let mut client = proxy.client("l").await;
    client.send(UPGRADE).await;
    assert_eq!(within(client.head()).await.unwrap().status, 101);
    for _ in 0..3 {
        client.send("hello").await;
        assert_eq!(client.bytes(5).await, b"olleh");
    }
    client.0.get_mut().shutdown().await.unwrap();
    assert!(client.closed().await);
    until("the upstream's connection is closed", || upstream.open() == 0).await;
    proxy.wait_stat("http.l.downstream_cx_upgrades_active", 0).await;
    assert_eq!(proxy.stat("http.l.downstream_cx_upgrades_total"), 1);
}

#[tokio::test]
async fn the_upstream_may_end_a_websocket() {
    let upstream = Upstream::raw(|mut stream, _| async move {
        switch(&mut stream).await;
        stream.write_all(b"bye").await.unwrap();
    })
    .await;
    let proxy = start(1, &[&upgrades()], &[&Cluster::new("app", &[upstream.address])]).await;
    let mut client = proxy.client("l").await;
    client.send(UPGRADE).await;
    assert_eq!(within(client.head()).await.unwrap().status, 101);
    assert_eq!(client.bytes(3).await, b"bye");
    assert!(client.closed().await);
}

#[tokio::test]
async fn requests_sent_at_once_are_answered_in_order() {
    let upstream = Upstream::http1(|request, _| async move { reply(200, request.uri().path().to_owned()) }).await;
    let proxy =
        start(1, &[&Listener::new("l").direct("/d", "direct").to("/", "app", json!({}))], &[&Cluster::new("app", &[upstream.address])])
            .await;
    let mut client = proxy.client("l").await;
    let all: String =
        (0..30).map(|n| format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", if n % 3 == 0 { "d".into() } else { n.to_string() })).collect();
    client.send(all).await;
    for n in 0..30 {
        let wanted = if n % 3 == 0 { "direct".to_owned() } else { format!("/{n}") };
        assert_eq!(client.answer().await.text(), wanted);
    }
}

const LARGE: u64 = 100 << 20;
/// What kernel and proxy may hold of a body that nobody reads; the sockets of loopback take some MiB each.
const HELD: u64 = 24 << 20;

#[tokio::test]
async fn a_client_that_does_not_read_stops_its_upstream() {
    let written = Arc::new(AtomicU64::new(0));
    let count = written.clone();
    let upstream = Upstream::raw(move |mut stream, _| {
        let count = count.clone();
        async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { return };
                head.push(byte);
            }
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n").as_bytes()).await;
            let piece = vec![b'x'; 64 << 10];
            while count.load(Relaxed) < LARGE && stream.write_all(&piece).await.is_ok() {
                count.fetch_add(piece.len() as u64, Relaxed);
            }
        }
    })
    .await;
    let proxy =
        start(1, &[&Listener::new("l").to("/", "app", json!({"timeout": "0s"}))], &[&Cluster::new("app", &[upstream.address])]).await;
    let mut client = proxy.client("l").await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(within(client.head()).await.unwrap().status, 200);
    let held = settled(|| written.load(Relaxed)).await;
    assert!(held < HELD, "{held} bytes were taken");
    let mut buffer = vec![0; 1 << 20];
    let mut seen = 0;
    while seen < LARGE {
        let n = within(client.0.read(&mut buffer)).await.unwrap();
        assert!(n > 0, "the body ends after {seen} bytes");
        seen += n as u64;
    }
    assert_eq!(seen, LARGE);
}

#[tokio::test]
async fn an_upstream_that_does_not_read_stops_its_client() {
    let gate = Arc::new(tokio::sync::Notify::new());
    let go = gate.clone();
    let upstream = Upstream::http1(move |request, _| {
        let go = go.clone();
        async move {
            go.notified().await;
            let mut body = request.into_body();
            let mut seen = 0;
            while let Some(Ok(frame)) = body.frame().await {
                seen += frame.data_ref().map_or(0, |d| d.len() as u64);
            }
            reply(200, seen.to_string())
        }
    })
    .await;
    let proxy =
        start(1, &[&Listener::new("l").to("/", "app", json!({"timeout": "0s"}))], &[&Cluster::new("app", &[upstream.address])]).await;
    let mut client = proxy.client("l").await;
    client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {LARGE}\r\n\r\n")).await;
    let written = Arc::new(AtomicU64::new(0));
    let (mut read, mut write) = client.0.into_inner().into_split();
    let count = written.clone();
    tokio::spawn(async move {
        let piece = vec![b'x'; 64 << 10];
        while count.load(Relaxed) < LARGE && write.write_all(&piece).await.is_ok() {
            count.fetch_add(piece.len() as u64, Relaxed);
        }
        std::future::pending::<()>().await;
    });
    let held = settled(|| written.load(Relaxed)).await;
    assert!(held < HELD, "{held} bytes were taken");
    gate.notify_one();
    let mut answer = Vec::new();
    while !answer.ends_with(LARGE.to_string().as_bytes()) {
        assert!(within(read.read_buf(&mut answer)).await.unwrap() > 0);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    // Pages have 4 KiB on every machine that the tests run on, or more: then the limit is the stricter.
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[tokio::test]
async fn slow_readers_of_large_bodies_cost_bounded_memory() {
    const CLIENTS: usize = 16;
    const BODY: usize = 64 << 20;
    let written = Arc::new(AtomicU64::new(0));
    let count = written.clone();
    let upstream = Upstream::raw(move |mut stream, _| {
        let count = count.clone();
        async move {
            let piece = vec![b'x'; 64 << 10];
            let _ = stream.read(&mut [0; 1024]).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY}\r\n\r\n");
            let mut more = stream.write_all(head.as_bytes()).await.is_ok();
            while more {
                count.fetch_add(piece.len() as u64, Relaxed);
                more = stream.write_all(&piece).await.is_ok();
            }
        }
    })
    .await;
    let proxy = start(2, &[&Listener::new("l").to("/", "app", json!({}))], &[&Cluster::new("app", &[upstream.address])]).await;
    let before = resident();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = proxy.client("l").await;
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        clients.push(client);
    }
    let taken = settled(|| written.load(Relaxed)).await;
    let grown = resident().saturating_sub(before);
    // Most of what was taken lies in the kernel; of 1 GiB the proxy holds no more than its buffers.
    assert!(taken < (CLIENTS * BODY) as u64 / 2, "{taken} bytes were taken");
    assert!(grown < 64 << 20, "memory grew by {grown} bytes for {taken} taken");
}
