//! Against a real kube-apiserver: slices, controllers, RBAC, every kind of credential, closed watches, and an outage.
use std::path::PathBuf;
use std::time::{Duration, Instant};

use plenipo_kube::{Client, Event, Family, KubeError, KubeOptions, Source, Target, Watch, connect, discover, watch};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::time::timeout;

use crate::server::Server;

const LIMIT: Duration = Duration::from_secs(30);

fn reader() -> Value {
    json!([{"apiGroups": [""], "resources": ["services"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]}])
}

fn web() -> Value {
    json!({"ports": [{"name": "http", "port": 80, "targetPort": "web"}]})
}

async fn open(source: Source) -> Client {
    connect(KubeOptions { source, ..KubeOptions::default() }).await.unwrap()
}

async fn admin(server: &Server) -> Client {
    open(Source::File(server.kubeconfig())).await
}

fn kubeconfig(server: &Server, cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{{name: c, cluster: {{server: '{}', certificate-authority: '{}'{cluster}}}}}]\n\
         contexts: [{{name: a, context: {{cluster: c, user: u}}}}]\nusers: [{{name: u, user: {user}}}]\n",
        server.url(),
        server.file("ca.crt").display()
    )
}

async fn with_token(server: &Server, token: &str) -> Client {
    open(Source::Inline(kubeconfig(server, "", &format!("{{token: {token}}}")))).await
}

fn addresses(snapshot: &plenipo_kube::ServiceSnapshot) -> String {
    let all: Vec<_> =
        snapshot.endpoints.iter().map(|e| format!("{}:{}{}", e.address, e.port, if e.terminating { "!" } else { "" })).collect();
    all.join(" ")
}

/// Read events until a snapshot has these addresses; gives how often the watch was stale and fresh on the way.
async fn until(watch: &Watch, wanted: &str) -> (u32, u32) {
    let (mut stale, mut fresh) = (0, 0);
    let mut last = String::new();
    let wait = async {
        loop {
            match watch.next().await.expect("the watch is over").unwrap() {
                Event::Stale { .. } => stale += 1,
                Event::Fresh => fresh += 1,
                Event::Snapshot { snapshot, .. } => {
                    last = addresses(&snapshot);
                    if last == wanted {
                        return;
                    }
                }
            }
        }
    };
    let done = timeout(LIMIT, wait).await;
    assert!(done.is_ok(), "never {wanted:?}, last {last:?}");
    (stale, fresh)
}

#[tokio::test]
async fn slices_by_number_and_by_name_followed_to_the_end() {
    let server = Server::shared().await;
    server.namespace("slices").await;
    server.service("slices", "web", web()).await;
    server.slice("slices", "web", "web-a", 8080, &["192.168.231.2", "192.168.231.3"]).await;
    server.slice("slices", "web", "web-b", 8081, &["192.168.231.3", "192.168.231.4"]).await;
    server.slice("slices", "other", "other-a", 8080, &["192.168.231.9"]).await;
    let client = admin(&server).await;
    let target = || Target::service("web").in_namespace("slices");
    let all = "192.168.231.2:8080 192.168.231.3:8080 192.168.231.3:8081 192.168.231.4:8081";
    for target in [target(), target().port(80), target().port_name("http")] {
        assert_eq!(addresses(&discover(&client, &target).await.unwrap()), all, "{target:?}");
    }
    let error = discover(&client, &target().port(8080)).await.unwrap_err();
    assert!(error.to_string().contains("no TCP port 8080; it has 80 (http)"), "{error}");
    let error = discover(&client, &Target::service("nope").in_namespace("slices")).await.unwrap_err();
    assert_eq!(error.to_string(), "service \"nope\" does not exist in namespace \"slices\"");
    assert!(matches!(error, KubeError::NotFound { .. }));

    let watch = watch(&client, vec![target().port(80)]).unwrap();
    until(&watch, all).await;
    server.slice("slices", "web", "web-b", 8082, &["192.168.231.4"]).await;
    until(&watch, "192.168.231.2:8080 192.168.231.3:8080 192.168.231.4:8082").await;
    server.request("DELETE", "/apis/discovery.k8s.io/v1/namespaces/slices/endpointslices/web-a", json!({})).await;
    until(&watch, "192.168.231.4:8082").await;
    server.request("DELETE", "/api/v1/namespaces/slices/services/web", json!({})).await;
    until(&watch, "").await;
    server.service("slices", "web", web()).await;
    until(&watch, "192.168.231.4:8082").await;
    assert_eq!(watch.stale_ms(), 0);
}

#[tokio::test]
async fn the_endpointslice_controllers_pods() {
    let server = Server::shared().await;
    server.namespace("pods").await;
    server
        .request("POST", "/api/v1/nodes", json!({"metadata": {"name": "pods-node", "labels": {"topology.kubernetes.io/zone": "eu-1a"}}}))
        .await;
    server.service("pods", "app", json!({"selector": {"app": "a"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]})).await;
    let client = admin(&server).await;
    let watch = watch(&client, vec![Target::service("app").in_namespace("pods").port(80)]).unwrap();
    until(&watch, "").await;
    for (name, ip) in [("p1", "192.168.231.2"), ("p2", "192.168.231.3")] {
        let pod = json!({"metadata": {"name": name, "labels": {"app": "a"}}, "spec": {"nodeName": "pods-node", "terminationGracePeriodSeconds": 600,
            "containers": [{"name": "c", "image": "none"}]}});
        server.request("POST", "/api/v1/namespaces/pods/pods", pod).await;
        ready(&server, name, ip, "False").await;
    }
    ready(&server, "p1", "192.168.231.2", "True").await;
    until(&watch, "192.168.231.2:8080").await;
    ready(&server, "p2", "192.168.231.3", "True").await;
    until(&watch, "192.168.231.2:8080 192.168.231.3:8080").await;
    let snapshot = watch.current(0).unwrap();
    assert_eq!(snapshot.endpoints[0].node.as_deref(), Some("pods-node"));
    // Deleted with grace: they still serve. The ready one is preferred; of none, those that drain.
    server.request("DELETE", "/api/v1/namespaces/pods/pods/p1", json!({})).await;
    until(&watch, "192.168.231.3:8080").await;
    server.request("DELETE", "/api/v1/namespaces/pods/pods/p2", json!({})).await;
    until(&watch, "192.168.231.2:8080! 192.168.231.3:8080!").await;
}

async fn ready(server: &Server, pod: &str, ip: &str, ready: &str) {
    let status =
        json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [{"type": "Ready", "status": ready}]}});
    server.request("PATCH", &format!("/api/v1/namespaces/pods/pods/{pod}/status"), status).await;
}

#[tokio::test]
async fn families_headless_and_external_names() {
    let server = Server::shared().await;
    server.namespace("kinds").await;
    let client = admin(&server).await;
    let path = "/apis/discovery.k8s.io/v1/namespaces/kinds/endpointslices";
    server.service("kinds", "dual", web()).await;
    server.slice("kinds", "dual", "dual-4", 8080, &["192.168.231.2"]).await;
    let six = json!({"metadata": {"name": "dual-6", "labels": {"kubernetes.io/service-name": "dual"}}, "addressType": "IPv6",
        "ports": [{"name": "http", "port": 8080}], "endpoints": [{"addresses": ["fd00::2"]}]});
    server.request("POST", path, six).await;
    let dual = Target::service("dual").in_namespace("kinds");
    for (family, expected) in
        [(Family::ServiceFirst, "192.168.231.2:8080"), (Family::V6, "fd00::2:8080"), (Family::Both, "192.168.231.2:8080 fd00::2:8080")]
    {
        let options = KubeOptions { source: Source::File(server.kubeconfig()), family, ..KubeOptions::default() };
        let client = connect(options).await.unwrap();
        assert_eq!(addresses(&discover(&client, &dual).await.unwrap()), expected);
    }

    server.service("kinds", "headless", json!({"clusterIP": "None", "ports": [{"name": "http", "port": 80}]})).await;
    server.slice("kinds", "headless", "headless-1", 9090, &["192.168.231.5"]).await;
    assert_eq!(
        addresses(&discover(&client, &Target::service("headless").in_namespace("kinds").port(80)).await.unwrap()),
        "192.168.231.5:9090"
    );

    server.service("kinds", "out", json!({"type": "ExternalName", "externalName": "app.localhost"})).await;
    let out = Target::service("out").in_namespace("kinds").port(80);
    let error = discover(&client, &out).await.unwrap_err();
    assert!(error.code() == "ERR_PLENIPO_KUBE_TARGET" && error.to_string().contains("ExternalName"), "{error}");
    let options = KubeOptions { source: Source::File(server.kubeconfig()), allow_external: true, ..KubeOptions::default() };
    // Whatever the resolver says of it (loopback, or nothing), it is not followed.
    assert_eq!(discover(&connect(options).await.unwrap(), &out).await.unwrap_err().code(), "ERR_PLENIPO_KUBE_TARGET");
}

#[tokio::test]
async fn roles_and_tokens() {
    let server = Server::shared().await;
    server.namespace("roles").await;
    server.namespace("elsewhere").await;
    server.service("roles", "web", web()).await;
    server.slice("roles", "web", "web-a", 8080, &["192.168.231.2"]).await;
    let token = server.account("roles", "reader", reader()).await;
    let client = with_token(&server, &token).await;
    let web = || Target::service("web").in_namespace("roles");
    let begun = Instant::now();
    // The authorizer learns of a new Role from its own watch.
    while discover(&client, &web()).await.is_err() && begun.elapsed() < LIMIT {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(addresses(&discover(&client, &web()).await.unwrap()), "192.168.231.2:8080");
    until(&watch(&client, vec![web()]).unwrap(), "192.168.231.2:8080").await;

    let forbidden = first_error(&client, Target::service("web").in_namespace("elsewhere")).await;
    let KubeError::Auth { status, verb, namespace, .. } = &forbidden else { panic!("{forbidden}") };
    assert_eq!((*status, *verb, namespace.as_str()), (403, "list", "elsewhere"));
    assert!(forbidden.to_string().contains("let us list") && forbidden.to_string().contains("\"elsewhere\" (403)"), "{forbidden}");

    let refused = first_error(&with_token(&server, &format!("{token}x")).await, web()).await;
    assert!(matches!(refused, KubeError::Auth { status: 401, .. }), "{refused}");
    assert!(!refused.to_string().contains(&token) && !format!("{refused:?}").contains(&token));

    let no_watch = json!([{"apiGroups": ["", "discovery.k8s.io"], "resources": ["services", "endpointslices"], "verbs": ["list"]}]);
    let lister = with_token(&server, &server.account("roles", "lister", no_watch).await).await;
    let begun = Instant::now();
    while discover(&lister, &web()).await.is_err() && begun.elapsed() < LIMIT {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let error = first_error(&lister, web()).await;
    assert!(matches!(&error, KubeError::Auth { status: 403, verb: "watch", .. }), "{error}");
}

/// The error that a watch begins with; discover must agree where it needs the same verb.
async fn first_error(client: &Client, target: Target) -> KubeError {
    let watch = watch(client, vec![target]).unwrap();
    let first = timeout(LIMIT, watch.next()).await.expect("nothing told").expect("over");
    let error = first.expect_err("it must be refused");
    assert!(timeout(LIMIT, watch.next()).await.unwrap().is_none(), "an error is the last event");
    error
}

#[tokio::test]
async fn every_kind_of_credential() {
    let server = Server::shared().await;
    server.namespace("creds").await;
    server.service("creds", "web", web()).await;
    server.slice("creds", "web", "web-a", 8080, &["192.168.231.2"]).await;
    let token = server.account("creds", "reader", reader()).await;
    let target = Target::service("web").in_namespace("creds");
    let exec = format!(
        r#"{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: sh, args: ['-c', 'echo "{{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{{\"token\":\"{token}\"}}}}"']}}}}"#
    );
    let env = std::fs::read_to_string(server.file("ca.crt")).unwrap();
    let client_node = json!({"cluster": {"name": "c", "server": server.url(), "caData": base64(env.as_bytes()), "skipTLSVerify": false},
        "user": {"name": "u", "token": token}, "context": {"name": "x", "cluster": "c", "user": "u", "namespace": "creds"}});
    let folder = server.file("account-creds");
    server.write_account(&folder, "creds", &token);
    let in_cluster = |folder: PathBuf| Source::InCluster {
        folder,
        host: "127.0.0.1".into(),
        port: server.url().rsplit(':').next().unwrap().parse().unwrap(),
    };
    let (proxy, proxied) = connect_proxy().await;
    let sources = [
        ("a token", Source::Inline(kubeconfig(&server, "", &format!("{{token: {token}}}")))),
        ("a token file", Source::Inline(kubeconfig(&server, "", &format!("{{tokenFile: '{}'}}", folder.join("token").display())))),
        ("a certificate", Source::File(server.file("admin-cert.kubeconfig"))),
        ("an exec plugin", Source::Inline(kubeconfig(&server, "", &exec))),
        ("client-node", Source::ClientNode(client_node.to_string())),
        ("in-cluster", in_cluster(folder.clone())),
        ("proxy-url", Source::Inline(kubeconfig(&server, &format!(", proxy-url: '{proxy}'"), &format!("{{token: {token}}}")))),
    ];
    for (what, source) in sources {
        let client = open(source).await;
        let begun = Instant::now();
        let found = loop {
            match discover(&client, &target).await {
                Err(KubeError::Auth { status: 403, .. }) if begun.elapsed() < LIMIT => tokio::time::sleep(Duration::from_millis(100)).await,
                found => break found,
            }
        };
        assert_eq!(addresses(&found.unwrap_or_else(|e| panic!("{what}: {e}"))), "192.168.231.2:8080", "{what}");
    }
    assert!(proxied.load(std::sync::atomic::Ordering::Relaxed) > 0, "the proxy was not used");
    // The server's certificate is checked.
    let stranger =
        kubeconfig(&server, "", "{token: x}").replace(&format!(", certificate-authority: '{}'", server.file("ca.crt").display()), "");
    let error = discover(&open(Source::Inline(stranger)).await, &target).await.unwrap_err();
    assert!(error.code() == "ERR_PLENIPO_KUBE_WATCH" && error.to_string().contains("certificate"), "{error}");
}

/// A CONNECT proxy that wants a password; gives its URL and a count of tunnels.
async fn connect_proxy() -> (String, std::sync::Arc<std::sync::atomic::AtomicU32>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://me:pass@{}", listener.local_addr().unwrap());
    let count = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let tunnels = count.clone();
    tokio::spawn(async move {
        while let Ok((mut inner, _)) = listener.accept().await {
            let tunnels = tunnels.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(inner.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                assert!(head.starts_with("CONNECT ") && head.to_lowercase().contains("proxy-authorization: basic bwu6cgfzcw=="), "{head}");
                let mut outer = tokio::net::TcpStream::connect(head.split(' ').nth(1).unwrap()).await.unwrap();
                inner.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                tunnels.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                // Either side may close first.
                let _ = copy_bidirectional(&mut inner, &mut outer).await;
            });
        }
    });
    (url, count)
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let index = (word >> (18 - 6 * i)) as usize & 63;
            text.push(if i <= chunk.len() { ALPHABET[index] as char } else { '=' });
        }
    }
    text
}

/// One server whose watches last some 4 s: closed watches, a rotated token, and kill -9 with lost history, one after the other.
#[tokio::test]
async fn closed_watches_rotated_tokens_and_an_outage() {
    let server = Server::start("--min-request-timeout=3", false).await;
    server.namespace("ops").await;
    server.service("ops", "web", web()).await;
    server.slice("ops", "web", "web-a", 8080, &["192.168.231.2"]).await;
    let token = server.account("ops", "reader", reader()).await;
    let folder = server.file("account");
    server.write_account(&folder, "ops", &token);
    let client = open(Source::InCluster {
        folder: folder.clone(),
        host: "127.0.0.1".into(),
        port: server.url().rsplit(':').next().unwrap().parse().unwrap(),
    })
    .await;
    assert_eq!(client.default_namespace(), "ops");
    let begun = Instant::now();
    while discover(&client, &Target::service("web")).await.is_err() && begun.elapsed() < LIMIT {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let watch = watch(&client, vec![Target::service("web").port(80)]).unwrap();
    until(&watch, "192.168.231.2:8080").await;

    // Two generations of watches are closed by the server: no event, nothing stale, and changes still arrive.
    if let Ok(event) = timeout(Duration::from_secs(11), watch.next()).await {
        panic!("a closed watch must not be told: {event:?}");
    }
    server.slice("ops", "web", "web-a", 8080, &["192.168.231.3"]).await;
    assert_eq!(until(&watch, "192.168.231.3:8080").await, (0, 0));

    // The account is made anew: its old tokens are worth nothing. The set stays until the file has a new one.
    server.request("DELETE", "/api/v1/namespaces/ops/serviceaccounts/reader", json!({})).await;
    server.request("POST", "/api/v1/namespaces/ops/serviceaccounts", json!({"metadata": {"name": "reader"}})).await;
    let told = timeout(LIMIT, watch.next()).await.expect("the old token still works").unwrap().unwrap();
    assert!(matches!(&told, Event::Stale { reason, .. } if reason.contains("(401)")), "{told:?}");
    assert_eq!(addresses(&watch.current(0).unwrap()), "192.168.231.3:8080");
    server.write_account(&folder, "ops", &server.token("ops", "reader").await);
    let told = timeout(LIMIT, watch.next()).await.expect("the new token was not read").unwrap().unwrap();
    assert!(matches!(told, Event::Fresh), "{told:?}");

    // kill -9. Other objects' writes take the store's history beyond the slices' version, so that the new server answers 410.
    let slices = "/apis/discovery.k8s.io/v1/namespaces/ops/endpointslices";
    let old = server.request("GET", slices, json!({})).await["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    for i in 0..5 {
        server.request("POST", "/api/v1/namespaces/ops/configmaps", json!({"metadata": {"name": format!("c{i}")}})).await;
    }
    server.kill();
    let told = timeout(LIMIT, watch.next()).await.expect("the outage was not told").unwrap().unwrap();
    assert!(matches!(&told, Event::Stale { .. }), "{told:?}");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(watch.stale_ms() >= 1500 && watch.synced());
    assert_eq!(addresses(&watch.current(0).unwrap()), "192.168.231.3:8080", "the last set stays");
    server.restart().await;
    let gone = server.request("GET", &format!("{slices}?watch=1&resourceVersion={old}&timeoutSeconds=1"), json!({})).await;
    assert_eq!(gone["object"]["code"], 410, "the history must be gone for this test to mean something: {gone}");
    server.slice("ops", "web", "web-a", 8080, &["192.168.231.4"]).await;
    until(&watch, "192.168.231.4:8080").await;
    let begun = Instant::now();
    while watch.stale_ms() > 0 && begun.elapsed() < LIMIT {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(watch.stale_ms(), 0);
    server.slice("ops", "web", "web-a", 8080, &["192.168.231.5"]).await;
    until(&watch, "192.168.231.5:8080").await;
}
