//! The admin interface: statuses, bodies and headers that a running Envoy 1.40 gave.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    access_log::{Files, Target, flush_thread},
    format::{Format, Program},
    stats::Counter,
};

struct Fake {
    store: Store,
    counter: Counter,
    state: Mutex<State>,
    levels: Mutex<Vec<(String, LogLevel)>>,
    actions: Mutex<Vec<String>>,
    logs: Mutex<Vec<AccessLog>>,
}

impl Fake {
    fn new() -> Arc<Fake> {
        let store = Store::new();
        let counter = store.counter("cluster.app.upstream_rq_total");
        counter.add(3);
        Arc::new(Fake {
            store,
            counter,
            state: Mutex::new(State::Live),
            levels: Mutex::new(vec![("admin".into(), LogLevel::Info), ("http".into(), LogLevel::Info)]),
            actions: Mutex::default(),
            logs: Mutex::default(),
        })
    }

    fn act(&self, what: impl Into<String>) {
        self.actions.lock().unwrap().push(what.into());
    }
}

impl AdminSource for Fake {
    fn stats(&self) -> Store {
        self.store.clone()
    }
    fn state(&self) -> State {
        *self.state.lock().unwrap()
    }
    fn clusters(&self) -> Vec<ClusterStatus> {
        let mut host = HostStatus::new("127.0.0.1:19082".parse().unwrap());
        host.hostname = "127.0.0.1".into();
        (host.cx_connect_fail, host.cx_total, host.rq_error) = (3, 3, 3);
        let app2 = ClusterStatus { name: "app2".into(), observability_name: "app2".into(), hosts: vec![host], ..ClusterStatus::default() };
        let mut sick = HostStatus::new("[::1]:80".parse().unwrap());
        sick.health_flags = vec!["failed_active_hc", "failed_eds_health"];
        sick.locality = ["r".into(), "z".into(), String::new()];
        (sick.priority, sick.weight, sick.cx_active) = (1, 4, 2);
        let eds = ClusterStatus {
            name: "eds".into(),
            observability_name: "alt".into(),
            added_via_api: true,
            eds_service_name: Some("svc".into()),
            hosts: vec![sick],
            ..ClusterStatus::default()
        };
        vec![app2, eds]
    }
    fn listeners(&self) -> Vec<ListenerStatus> {
        vec![ListenerStatus { name: "main".into(), address: "127.0.0.1:19080".parse().unwrap() }]
    }
    fn config_dump(&self, include_eds: bool) -> Vec<Value> {
        let cluster = |name: &str| json!({ "cluster": { "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": name, "connect_timeout": "1s" }, "last_updated": "t" });
        let mut configs = vec![
            json!({ "@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": { "admin": {} }, "last_updated": "t" }),
            json!({ "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "static_clusters": [cluster("app"), cluster("app2")] }),
            json!({ "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump" }),
        ];
        if include_eds {
            configs.push(json!({ "@type": "type.googleapis.com/envoy.admin.v3.EndpointsConfigDump" }));
        }
        configs
    }
    fn server_info(&self) -> ServerInfo {
        let options = json!({ "concurrency": 2 });
        ServerInfo {
            version: "x/1.2.3/Clean".into(),
            uptime: Duration::from_millis(1999),
            command_line_options: options,
            node: json!({ "id": "" }),
        }
    }
    fn certificates(&self) -> Vec<Value> {
        Vec::new()
    }
    fn log_levels(&self) -> Vec<(String, LogLevel)> {
        self.levels.lock().unwrap().clone()
    }
    fn set_log_level(&self, logger: Option<&str>, level: LogLevel) {
        for (name, current) in self.levels.lock().unwrap().iter_mut() {
            if logger.is_none_or(|l| l == name) {
                *current = level;
            }
        }
    }
    fn quit(&self) {
        self.act("quit");
    }
    fn drain_listeners(&self, drain: Drain) {
        self.act(format!("{drain:?}"));
    }
    fn reopen_logs(&self) {
        self.act("reopen");
    }
    fn access_logs(&self) -> Vec<AccessLog> {
        self.logs.lock().unwrap().clone()
    }
    fn fail_health_checks(&self, fail: bool) {
        *self.state.lock().unwrap() = if fail { State::Draining } else { State::Live };
    }
}

fn ask(fake: &Fake, method: &str, target: &str) -> Answer {
    handle(fake, &Request { method: method.into(), target: target.into(), ..Request::default() })
}

fn get(target: &str) -> Answer {
    ask(&Fake::new(), "GET", target)
}

#[test]
fn statuses_and_short_bodies() {
    let fake = Fake::new();
    for (method, target, status, body) in [
        ("GET", "/ready", 200, "LIVE\n"),
        ("PUT", "/ready?x=1", 200, "LIVE\n"),
        ("GET", "//ready", 200, "LIVE\n"),
        ("GET", "/logging", 405, "Method GET not allowed, POST required."),
        ("DELETE", "/quitquitquit", 405, "Method DELETE not allowed, POST required."),
        ("POST", "/healthcheck/fail", 200, "OK\n"),
        ("GET", "/ready", 503, "DRAINING\n"),
        ("POST", "/healthcheck/ok", 200, "OK\n"),
        ("GET", "/ready", 200, "LIVE\n"),
        ("POST", "/reopen_logs", 200, "OK\n"),
        ("POST", "/drain_listeners?graceful&inboundonly", 200, "OK\n"),
        ("POST", "/quitquitquit", 200, "OK\n"),
        ("GET", "/hot_restart_version", 200, "disabled"),
        ("GET", "/listeners", 200, "main::127.0.0.1:19080\n"),
        ("GET", "/certs", 200, "{\n \"certificates\": []\n}\n"),
        ("GET", "/stats", 200, "cluster.app.upstream_rq_total: 3\n"),
        ("POST", "/reset_counters", 200, "OK\n"),
        ("GET", "/stats?usedonly", 200, "cluster.app.upstream_rq_total: 0\n"),
        ("GET", "/stats?filter=%5Eb", 200, ""),
        ("GET", "/stats?format=json", 200, "{\"stats\":[{\"name\":\"cluster.app.upstream_rq_total\",\"value\":0}]}"),
        ("GET", "/stats?type=bad", 400, "invalid &type= param"),
        ("GET", "/stats?histogram_buckets=bad", 400, "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary)\n"),
        ("GET", "/stats?format=html", 400, "usage: /stats?format=(json|prometheus|text)\n\n"),
    ] {
        let answer = ask(&fake, method, target);
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{method} {target}");
    }
    assert_eq!(*fake.actions.lock().unwrap(), ["reopen", "Drain { graceful: true, skip_exit: false, inbound_only: true }", "quit"]);
    fake.counter.inc();
    let prometheus = "# TYPE envoy_cluster_upstream_rq_total counter\nenvoy_cluster_upstream_rq_total{envoy_cluster_name=\"app\"} 1\n";
    assert_eq!(ask(&fake, "GET", "/stats/prometheus").body, prometheus);
    assert_eq!(ask(&fake, "GET", "/stats?format=prometheus").body, prometheus);
}

#[test]
fn unknown_paths_list_the_commands() {
    for target in ["/nope", "/ready/", "/stats/", "", "/hystrix_event_stream"] {
        let answer = get(target);
        assert_eq!((answer.status, answer.content_type), (404, "text/plain; charset=UTF-8"), "{target}");
        assert!(answer.body.starts_with("invalid path. admin commands are:\n  /: Admin home page\n  /certs: print certs on machine\n"));
    }
    let help = get("/help").body;
    assert!(help.starts_with("admin commands are:\n"));
    assert!(help.contains("  /drain_listeners (POST): drain listeners\n      graceful: When draining"));
    let home = get("/");
    assert_eq!((home.status, home.content_type), (200, "text/html; charset=UTF-8"));
    assert!(home.body.contains("<a href=\"/stats\">") && home.body.contains("action=\"/quitquitquit\""));
}

#[test]
fn a_bad_expression_is_a_400() {
    for target in ["/stats?filter=(", "/stats/prometheus?filter=[", "/clusters?filter=(", "/config_dump?name_regex=%5B"] {
        let answer = get(target);
        assert_eq!(answer.status, 400, "{target}");
        assert!(answer.body.starts_with("Invalid re2 regex: "), "{target}: {}", answer.body);
    }
}

#[test]
fn pages_of_other_origins_change_nothing() {
    let fake = Fake::new();
    let post = |host: &str, origin: Option<&str>, site: Option<&str>| {
        let (host, origin, fetch_site) = (Some(host.to_owned()), origin.map(str::to_owned), site.map(str::to_owned));
        handle(&*fake, &Request { method: "POST".into(), target: "/quitquitquit".into(), host, origin, fetch_site }).status
    };
    assert_eq!(post("admin.internal:9901", None, None), 200);
    assert_eq!(post("127.0.0.1:9901", Some("http://127.0.0.1:9901"), Some("same-origin")), 200);
    assert_eq!(post("localhost:9901", Some("http://localhost:9901"), None), 200);
    assert_eq!(post("[::1]:9901", Some("http://[::1]:9901"), None), 200);
    assert_eq!(post("127.0.0.1:9901", Some("http://evil.example"), None), 403);
    assert_eq!(post("127.0.0.1:9901", Some("null"), None), 403);
    assert_eq!(post("127.0.0.1:9901", None, Some("cross-site")), 403);
    // DNS rebinding: the page's own name points here.
    assert_eq!(post("evil.example:9901", Some("http://evil.example:9901"), Some("same-origin")), 403);
    assert_eq!(fake.actions.lock().unwrap().len(), 4);
}

#[test]
fn clusters_as_text() {
    let body = get("/clusters").body;
    let expected = "app2::observability_name::app2\napp2::default_priority::max_connections::1024\napp2::default_priority::max_pending_requests::1024\n\
        app2::default_priority::max_requests::1024\napp2::default_priority::max_retries::3\napp2::high_priority::max_connections::1024\n\
        app2::high_priority::max_pending_requests::1024\napp2::high_priority::max_requests::1024\napp2::high_priority::max_retries::3\n\
        app2::added_via_api::false\napp2::127.0.0.1:19082::cx_active::0\napp2::127.0.0.1:19082::cx_connect_fail::3\n\
        app2::127.0.0.1:19082::cx_total::3\napp2::127.0.0.1:19082::rq_active::0\napp2::127.0.0.1:19082::rq_error::3\n\
        app2::127.0.0.1:19082::rq_pending_active::0\napp2::127.0.0.1:19082::rq_success::0\napp2::127.0.0.1:19082::rq_timeout::0\n\
        app2::127.0.0.1:19082::rq_total::0\napp2::127.0.0.1:19082::hostname::127.0.0.1\napp2::127.0.0.1:19082::health_flags::healthy\n\
        app2::127.0.0.1:19082::weight::1\napp2::127.0.0.1:19082::region::\napp2::127.0.0.1:19082::zone::\napp2::127.0.0.1:19082::sub_zone::\n\
        app2::127.0.0.1:19082::canary::false\napp2::127.0.0.1:19082::priority::0\napp2::127.0.0.1:19082::success_rate::-1\n\
        app2::127.0.0.1:19082::local_origin_success_rate::-1\n";
    assert_eq!(get("/clusters?filter=app").body, expected);
    assert!(body.starts_with(expected));
    assert!(body.contains("eds::added_via_api::true\neds::eds_service_name::svc\neds::[::1]:80::cx_active::2\n"));
    assert!(body.contains("eds::[::1]:80::health_flags::/failed_active_hc/failed_eds_health\n"));
}

#[test]
fn clusters_and_listeners_as_json() {
    let body: Value = serde_json::from_str(&get("/clusters?format=json").body).unwrap();
    assert_eq!(body["cluster_statuses"][0]["name"], "app2");
    assert_eq!(
        serde_json::to_string(&body["cluster_statuses"][0]["host_statuses"][0]).unwrap(),
        r#"{"address":{"socket_address":{"address":"127.0.0.1","port_value":19082}},"stats":[{"value":"3","name":"cx_connect_fail"},{"value":"3","name":"cx_total"},{"value":"3","name":"rq_error"},{"name":"rq_success"},{"name":"rq_timeout"},{"name":"rq_total"},{"type":"GAUGE","name":"cx_active"},{"type":"GAUGE","name":"rq_active"},{"type":"GAUGE","name":"rq_pending_active"}],"health_status":{"eds_health_status":"HEALTHY"},"weight":1,"hostname":"127.0.0.1","locality":{}}"#
    );
    assert_eq!(
        serde_json::to_string(&body["cluster_statuses"][0]["circuit_breakers"]).unwrap(),
        r#"{"thresholds":[{"max_connections":1024,"max_pending_requests":1024,"max_requests":1024,"max_retries":3},{"priority":"HIGH","max_connections":1024,"max_pending_requests":1024,"max_requests":1024,"max_retries":3}]}"#
    );
    let eds = &body["cluster_statuses"][1];
    assert_eq!((&eds["added_via_api"], &eds["eds_service_name"], &eds["observability_name"]), (&json!(true), &json!("svc"), &json!("alt")));
    assert_eq!(eds["host_statuses"][0]["health_status"], json!({ "failed_active_health_check": true, "eds_health_status": "UNHEALTHY" }));
    assert_eq!(eds["host_statuses"][0]["locality"], json!({ "region": "r", "zone": "z" }));
    assert_eq!(
        get("/listeners?format=json").body,
        "{\n \"listener_statuses\": [\n  {\n   \"name\": \"main\",\n   \"local_address\": {\n    \"socket_address\": {\n     \"address\": \"127.0.0.1\",\n     \"port_value\": 19080\n    }\n   }\n  }\n ]\n}\n"
    );
}

#[test]
fn config_dump_whole_and_in_parts() {
    let dump = |query: &str| {
        let answer = get(&format!("/config_dump{query}"));
        assert_eq!((answer.status, answer.content_type), (200, "application/json"), "{query}");
        serde_json::from_str::<Value>(&answer.body).unwrap()
    };
    assert_eq!(dump("")["configs"].as_array().unwrap().len(), 3);
    assert_eq!(dump("?include_eds")["configs"].as_array().unwrap().len(), 4);
    let clusters = dump("?resource=static_clusters&name_regex=app2");
    assert_eq!(
        clusters,
        json!({ "configs": [{ "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump.StaticCluster",
            "cluster": { "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "app2", "connect_timeout": "1s" }, "last_updated": "t" }] })
    );
    assert_eq!(dump("?resource=dynamic_listeners"), json!({}));
    let masked = dump("?resource=static_clusters&mask=cluster.name");
    assert_eq!(masked["configs"][0]["cluster"], json!({ "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "app" }));
    assert!(masked["configs"][0].get("last_updated").is_none());
    let bootstrap = dump("?mask=bootstrap");
    assert_eq!(
        bootstrap,
        json!({ "configs": [{ "@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": { "admin": {} } }] })
    );
    let named = dump("?name_regex=none");
    assert_eq!(named["configs"][1], json!({ "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump" }));
    for (query, status, body) in [
        ("?resource=bootstrap", 400, "bootstrap is not a repeated field. Use ?mask=bootstrap to get only this field"),
        ("?resource=nope", 404, "nope not found in config dump"),
        ("?mask=x", 400, "FieldMask x could not be successfully applied to any configs."),
    ] {
        let answer = get(&format!("/config_dump{query}"));
        assert_eq!((answer.status, answer.body.as_str(), answer.content_type), (status, body, "text/plain"));
    }
}

#[test]
fn logging_changes_all_or_nothing() {
    let fake = Fake::new();
    let post = |query: &str| ask(&fake, "POST", &format!("/logging{query}"));
    assert_eq!(post("").body, "active loggers:\n  admin: info\n  http: info\n\n");
    assert_eq!(post("?level=debug").body, "active loggers:\n  admin: debug\n  http: debug\n\n");
    assert_eq!(post("?http=trace").body, "active loggers:\n  admin: debug\n  http: trace\n\n");
    assert_eq!(post("?paths=http:off,admin:warning").body, "active loggers:\n  admin: warning\n  http: off\n\n");
    for (query, error) in [
        ("?level=warn", "unknown logger level"),
        ("?nope=trace", "unknown logger name"),
        ("?paths=http:debug,nope:info", "unknown logger name"),
        ("?paths=http", "invalid logger name/level pair"),
        ("?a=b&c=d", "invalid number of parameters"),
    ] {
        let answer = post(query);
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.body.starts_with(&format!("error: {error}\n\nusage: /logging?<name>=<level> (change single level)\n")), "{query}");
        assert!(answer.body.ends_with("active loggers:\n  admin: warning\n  http: off\n\n"), "{query}");
    }
}

#[test]
fn server_info_and_memory() {
    let info = get("/server_info").body;
    assert!(info.starts_with("{\n \"version\": \"x/1.2.3/Clean\",\n \"state\": \"LIVE\",\n \"uptime_current_epoch\": \"1s\",\n"), "{info}");
    let memory: Value = serde_json::from_str(&get("/memory").body).unwrap();
    assert!(memory["total_physical_bytes"].as_str().unwrap().parse::<u64>().unwrap() > 100_000);
}

#[test]
fn any_target_is_answered() {
    let fake = Fake::new();
    let paths = ["/", "/stats", "/config_dump", "/logging", "/clusters", "/nope", ""];
    let parts = ["?", "&", "=", "%", "%zz", "%ff", "filter", "mask", "resource", "é", "(", "format=json", "a.b..c", ",", "level", "#", "/"];
    let mut seed = 5u32;
    for _ in 0..5_000 {
        let mut next = |n: usize| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) as usize % n
        };
        let mut target = paths[next(paths.len())].to_owned();
        (0..next(8)).for_each(|_| target.push_str(parts[next(parts.len())]));
        let answer = ask(&fake, "POST", &target);
        assert!([200, 400, 404].contains(&answer.status), "{target}: {answer:?}");
    }
}

/// Sends bytes to a served interface and reads until it closes.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut out = Vec::new();
    stream.read_to_end(&mut out).await.unwrap();
    String::from_utf8(out).unwrap()
}

#[tokio::test]
async fn headers_on_the_wire() {
    let fake = Fake::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener, fake.clone()));
    let answer = exchange(address, b"GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    let date = lines.remove(4);
    assert_eq!(
        lines,
        [
            "HTTP/1.1 200 OK",
            "content-type: text/plain; charset=UTF-8",
            "cache-control: no-cache, max-age=0",
            "x-content-type-options: nosniff",
            "server: envoy",
            "connection: close",
            "transfer-encoding: chunked"
        ]
    );
    assert!(date.starts_with("date: ") && date.ends_with(" GMT"), "{date}");
    assert_eq!(body, "5\r\nLIVE\n\r\n0\r\n\r\n");
    // Two requests on one connection; the second closes it. A body is not waited for.
    let answer = exchange(
        address,
        b"POST /healthcheck/fail HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nabGET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.contains("HTTP/1.1 503 Service Unavailable"), "{answer}");
    let answer = exchange(address, b"HEAD /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("\r\n\r\n"), "{answer}");
    let answer = exchange(address, b"garbage\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(fake.store.value("http.admin.downstream_rq_total"), Some(4));
    assert_eq!(fake.store.value("http.admin.downstream_rq_5xx"), Some(2));
    assert_eq!(fake.store.value("listener.admin.downstream_cx_total"), Some(4));
    server.abort();
}

#[tokio::test]
async fn its_own_requests_are_logged() {
    let path = std::env::temp_dir().join(format!("plenipo-admin-log-{}", std::process::id()));
    let fake = Fake::new();
    let files = Files::start(&fake.store).unwrap();
    let format = Format::Text(
        Program::compile("%REQ(:METHOD)% %REQ(:PATH)% %REQ(:AUTHORITY)% %PROTOCOL% %RESPONSE_CODE% %BYTES_SENT%\n", false).unwrap(),
    );
    *fake.logs.lock().unwrap() = vec![AccessLog { filter: None, format, file: files.open(&Target::Path(path.clone())).unwrap() }];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener, fake.clone()));
    exchange(address, b"GET /ready?x HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").await;
    exchange(address, b"GET /logging HTTP/1.0\r\n\r\n").await;
    flush_thread();
    files.sync();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(text, "GET /ready?x admin HTTP/1.1 200 5\nGET /logging - HTTP/1.0 405 38\n");
    server.abort();
}
