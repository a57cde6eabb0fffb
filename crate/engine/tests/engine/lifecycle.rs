//! Start and stop: ports, threads, descriptors, several proxies in one process.

use std::{collections::HashSet, process::Command, time::Duration};

use plenipo_engine::engine::{Proxy, State};
use plenipo_testkit::{
    Upstream,
    client::get,
    config::{Cluster, Listener, bootstrap},
    within,
};
use serde_json::json;
use tokio::sync::oneshot;

use crate::support::{input, options, start, start_with};

#[tokio::test]
async fn port_0_becomes_one_real_port_that_all_workers_share() {
    let proxy = start(3, &[&Listener::new("l").direct("/", "hi")], &[]).await;
    let address = proxy.at("l");
    assert_ne!(address.port(), 0);
    // With this many connections, no worker without any is a matter of 3 * (2/3)^200.
    for _ in 0..200 {
        assert_eq!(get(address, "/").await.text(), "hi");
    }
    let served = (0..3).filter(|n| proxy.stat(&format!("listener.127.0.0.1_0.worker_{n}.downstream_cx_total")) > 0).count();
    let served =
        served.max((0..3).filter(|n| proxy.stat(&format!("listener.{}.worker_{n}.downstream_cx_total", dotted(address))) > 0).count());
    assert_eq!(served, 3);
}

fn dotted(address: std::net::SocketAddr) -> String {
    format!("{}_{}", address.ip(), address.port())
}

#[tokio::test]
async fn a_taken_port_is_an_error_and_leaves_nothing_running() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = Listener::new("l").at(taken.local_addr().unwrap()).direct("/", "hi");
    let proxy = Proxy::new(options(2));
    let error = within(proxy.start(vec![input(&bootstrap(&[&listener], &[]))], None)).await.unwrap_err();
    assert_eq!(error.code, "ERR_PLENIPO_BIND");
    assert!(error.message.contains("EADDRINUSE"), "{error}");
    assert_eq!((proxy.state(), proxy.addresses()), (State::Stopped, Vec::new()));
}

#[tokio::test]
async fn a_second_start_is_refused() {
    let config = bootstrap(&[&Listener::new("l").direct("/", "hi")], &[]);
    let proxy = start_with(options(1), &config).await.unwrap();
    let error = within(proxy.0.start(vec![input(&config)], None)).await.unwrap_err();
    assert_eq!(error.code, "ERR_PLENIPO_STATE");
    assert_eq!(get(proxy.at("l"), "/").await.text(), "hi");
    proxy.0.stop(None).await;
    let error = within(proxy.0.start(vec![input(&config)], None)).await.unwrap_err();
    assert_eq!(error.message, "the proxy is stopped");
}

#[tokio::test]
async fn a_cancelled_start_leaves_nothing_running() {
    let (cancel, cancelled) = oneshot::channel();
    drop(cancel);
    let proxy = Proxy::new(options(1));
    let config = bootstrap(&[&Listener::new("l").direct("/", "hi")], &[]);
    let error = within(proxy.start(vec![input(&config)], Some(cancelled))).await.unwrap_err();
    assert!(error.cancelled);
    assert_eq!(proxy.state(), State::Stopped);
}

#[tokio::test]
async fn two_proxies_live_in_one_process() {
    let (one, two) = (Upstream::saying("one").await, Upstream::saying("two").await);
    let listener = Listener::new("l").to("/", "app", serde_json::json!({}));
    let a = start(1, &[&listener], &[&Cluster::new("app", &[one.address])]).await;
    let b = start(1, &[&listener], &[&Cluster::new("app", &[two.address])]).await;
    assert_eq!((get(a.at("l"), "/").await.text(), get(b.at("l"), "/").await.text()), ("one".to_owned(), "two".to_owned()));
    within(a.0.stop(None)).await;
    assert_eq!(get(b.at("l"), "/").await.text(), "two");
    assert_eq!(b.stat("http.l.downstream_rq_total"), 2);
}

#[tokio::test]
async fn kill_closes_everything_at_once() {
    let proxy = start(2, &[&Listener::new("l").direct("/", "hi")], &[]).await;
    let mut client = proxy.client("l").await;
    assert_eq!(client.get("/").await.status, 200);
    let address = proxy.at("l");
    proxy.0.kill();
    assert_eq!(proxy.0.state(), State::Stopped);
    assert!(client.closed().await);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    proxy.0.kill();
}

const CHILD: &str = "PLENIPO_TEST_COUNTS_ITSELF";

/// Runs in a process of its own: other tests open sockets meanwhile.
#[test]
fn starting_and_stopping_200_times_leaves_no_descriptor_and_no_thread() {
    if std::env::var_os(CHILD).is_some() {
        return count_in_this_process();
    }
    let name = "lifecycle::starting_and_stopping_200_times_leaves_no_descriptor_and_no_thread";
    let child = Command::new(std::env::current_exe().unwrap()).args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().unwrap();
    assert!(child.status.success(), "{}{}", String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
}

fn count_in_this_process() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let upstream = Upstream::saying("hi").await;
        let mut before = None;
        for round in 0..200 {
            let listener = Listener::new("l").to("/", "app", serde_json::json!({}));
            let proxy = start(2, &[&listener], &[&Cluster::new("app", &[upstream.address])]).await;
            assert_eq!(get(proxy.at("l"), "/").await.text(), "hi");
            within(proxy.0.stop((round % 2 == 0).then_some(Duration::from_secs(1)))).await;
            drop(proxy);
            plenipo_testkit::until("the upstream's connections end", || upstream.open() == 0).await;
            if round == 9 {
                before = Some(counts());
            }
        }
        assert_eq!(Some(counts()), before);
    });
}

/// Descriptors and threads of this process.
fn counts() -> (usize, usize) {
    (std::fs::read_dir("/proc/self/fd").unwrap().count(), std::fs::read_dir("/proc/self/task").unwrap().count())
}

#[tokio::test]
async fn the_access_log_has_a_line_for_each_request() {
    let path = std::env::temp_dir().join(format!("plenipo-engine-test-{}.log", std::process::id()));
    let log = serde_json::json!([{"name": "envoy.access_loggers.file", "typed_config": plenipo_testkit::config::any(
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        serde_json::json!({"path": path, "log_format": {"text_format_source": {"inline_string": "%REQ(:PATH)% %RESPONSE_CODE% %BYTES_SENT%\n"}}}),
    )}]);
    let proxy = start(2, &[&Listener::new("l").direct("/", "hello").manager("access_log", log)], &[]).await;
    for n in 0..10 {
        get(proxy.at("l"), &format!("/{n}")).await;
    }
    within(proxy.0.stop(None)).await;
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let lines: HashSet<_> = text.lines().map(str::to_owned).collect();
    assert_eq!(lines, (0..10).map(|n| format!("/{n} 200 5")).collect());
}

/// How many connections each of three workers has of 12 that stay open.
async fn dealt(reuse_port: bool) -> Vec<u64> {
    let listener = Listener::new("l")
        .set("connection_balance_config", json!({"exact_balance": {}}))
        .set("enable_reuse_port", json!(reuse_port))
        .direct("/", "hi");
    let proxy = start(3, &[&listener], &[]).await;
    let mut clients = Vec::new();
    for _ in 0..12 {
        let mut client = proxy.client("l").await;
        assert_eq!(client.get("/").await.text(), "hi");
        clients.push(client);
    }
    let prefix = format!("listener.{}", dotted(proxy.at("l")));
    let stat = |worker: usize| format!("{prefix}.worker_{worker}.downstream_cx_active");
    let counts = (0..3).map(|worker| proxy.stat(&stat(worker))).collect();
    // Places are free again once connections are gone, also those that were handed over.
    drop(clients);
    for worker in 0..3 {
        proxy.wait_stat(&stat(worker), 0).await;
    }
    counts
}

#[tokio::test]
async fn exact_balance_gives_each_worker_as_many_connections() {
    assert_eq!(dealt(true).await, [4, 4, 4]);
    assert_eq!(dealt(false).await, [4, 4, 4]);
}
