//! SIGTERM and SIGINT: what drains, what is refused, how long it lasts, and what a second one does.

use std::{
    net::{TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use crate::harness::{Folder, Running, Upstream, answer, bootstrap, direct, forwarding, get, send, until};

#[test]
fn a_running_request_ends_and_new_connections_are_refused() {
    for signal in ["TERM", "INT"] {
        let folder = Folder::new();
        let upstream = Upstream::new();
        let mut running = Running::serving(&folder, &forwarding(upstream.address), &[]);
        let (listener, admin) = (running.listener(), running.admin());
        let request = send(listener, "GET", "/");
        upstream.requested();
        running.signal(signal);
        running.wait_for(&format!("caught SIG{signal}"));
        until("new connections are refused", || TcpStream::connect(listener).is_err());
        let ready = get(admin, "/ready");
        assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains("DRAINING\n"), "{ready}");
        assert!(running.runs());
        upstream.answer();
        let answer = answer(request);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("done"), "{answer}");
        assert_eq!(running.ended().code(), Some(0), "{}", running.log());
        let log = running.log();
        assert!(log.contains("draining: no new connections; running requests may take 25 s more"), "{log}");
        assert!(log.contains("drained: 1 requests were under way and ended"), "{log}");
        assert!(log.ends_with("exiting\n"), "{log}");
    }
}

#[test]
fn without_work_the_end_is_quick() {
    let folder = Folder::new();
    let mut running = Running::serving(&folder, &direct(), &[]);
    assert!(get(running.listener(), "/").ends_with("hello"));
    // An idle connection is no work.
    let idle = TcpStream::connect(running.listener()).unwrap();
    let start = Instant::now();
    running.signal("TERM");
    assert_eq!(running.ended().code(), Some(0), "{}", running.log());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    drop(idle);
}

#[test]
fn requests_that_do_not_end_are_reset_at_the_end_of_the_time() {
    for flags in [["--drain-timeout-s", "1"], ["--parent-shutdown-time-s", "1"]] {
        let folder = Folder::new();
        let upstream = Upstream::new();
        let mut running = Running::serving(&folder, &forwarding(upstream.address), &flags);
        let request = send(running.listener(), "GET", "/");
        upstream.requested();
        let start = Instant::now();
        running.signal("TERM");
        assert_eq!(running.ended().code(), Some(0), "{}", running.log());
        let took = start.elapsed();
        assert!((Duration::from_millis(900)..Duration::from_secs(15)).contains(&took), "{took:?}");
        assert!(!answer(request).contains("done"));
        assert!(running.log().contains("0 requests ended, 1 requests were reset"), "{}", running.log());
    }
}

#[test]
fn a_second_signal_does_not_wait() {
    for (first, second) in [("TERM", "TERM"), ("TERM", "INT"), ("INT", "INT")] {
        let folder = Folder::new();
        let upstream = Upstream::new();
        let mut running = Running::serving(&folder, &forwarding(upstream.address), &[]);
        let request = send(running.listener(), "GET", "/");
        upstream.requested();
        running.signal(first);
        running.wait_for("draining: ");
        let start = Instant::now();
        running.signal(second);
        assert_eq!(running.ended().code(), Some(1), "{}", running.log());
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        assert_eq!(answer(request), "");
    }
}

#[test]
fn quitquitquit_ends_a_drain() {
    let folder = Folder::new();
    let upstream = Upstream::new();
    let mut running = Running::serving(&folder, &forwarding(upstream.address), &[]);
    let request = send(running.listener(), "GET", "/");
    upstream.requested();
    running.signal("TERM");
    running.wait_for("draining: ");
    let said = answer(send(running.admin(), "POST", "/quitquitquit"));
    assert!(said.contains("OK\n"), "{said:?}\n{}", running.log());
    assert_eq!(running.ended().code(), Some(0), "{}", running.log());
    assert_eq!(answer(request), "");
}

/// A name server that never answers keeps a cluster warming.
#[test]
fn a_signal_ends_a_start() {
    let folder = Folder::new();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let resolver = format!("{{socket_address: {{address: 127.0.0.1, port_value: {}}}}}", silent.local_addr().unwrap().port());
    let cluster = format!(
        "{{name: app, type: STRICT_DNS, typed_dns_resolver_config: {{name: r, typed_config: \
         {{\"@type\": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig, resolvers: [{resolver}]}}}}, \
         load_assignment: {{cluster_name: app, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: \
         {{address: app.example, port_value: 80}}}}}}}}]}}]}}}}"
    );
    let file = folder.file("envoy.yaml", &bootstrap("route: {cluster: app}", &cluster));
    let mut running = Running::spawn(&["run", "-c", &file, "--concurrency", "1"]);
    let mut query = [0; 512];
    silent.set_read_timeout(Some(crate::harness::LONG)).unwrap();
    silent.recv(&mut query).unwrap();
    let start = Instant::now();
    running.signal("TERM");
    assert_eq!(running.ended().code(), Some(0), "{}", running.log());
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    let log = running.log();
    assert!(log.contains("caught SIGTERM while starting") && !log.contains("starting main dispatch loop"), "{log}");
}
