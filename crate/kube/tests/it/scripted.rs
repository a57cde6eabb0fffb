//! What a watch does about each kind of trouble, one at a time, from a scripted server.
use std::time::Duration;

use plenipo_kube::{Client, Event, KubeError, KubeOptions, Source, Target, Watch, connect, discover, watch};
use tokio::time::timeout;

use crate::fake::{Fake, Request, Step, answer, status, watch as watching};

const SERVICE: &str = r#"{"metadata":{"name":"app","namespace":"n","resourceVersion":"5"},"spec":{"ports":[{"name":"http","port":80}],"ipFamilies":["IPv4"]}}"#;

fn slice(name: &str, address: &str, version: u32) -> String {
    format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"n","resourceVersion":"{version}","labels":{{"kubernetes.io/service-name":"app"}}}},"addressType":"IPv4","ports":[{{"name":"http","port":8080}}],"endpoints":[{{"addresses":["{address}"]}}]}}"#
    )
}

fn list(items: &[&str], version: u32, more: &str) -> String {
    format!(
        r#"{{"kind":"List","apiVersion":"v1","metadata":{{"resourceVersion":"{version}","continue":"{more}"}},"items":[{}]}}"#,
        items.join(",")
    )
}

fn event(kind: &str, object: &str) -> String {
    format!(r#"{{"type":"{kind}","object":{object}}}"#)
}

/// A watch whose line comes, and whose end follows, a moment later, so that what was before has been read.
fn slowly(line: String) -> Vec<Step> {
    let pause = || Step::Wait(Duration::from_millis(200));
    let mut steps = watching(&[]);
    steps.extend([pause(), Step::Send(line + "\n"), pause()]);
    steps
}

fn forever(mut steps: Vec<Step>) -> Vec<Step> {
    steps.push(Step::Hang);
    steps
}

/// The answers that every script has in common: one service, one slice, watches that stay open.
fn usual(request: &Request) -> Vec<Step> {
    match (request.resource.as_str(), request.is_watch) {
        (_, true) => forever(watching(&[])),
        ("services", false) => answer(200, &list(&[SERVICE], 5, "")),
        _ => answer(200, &list(&[&slice("s1", "10.0.0.1", 6)], 7, "")),
    }
}

fn kubeconfig(url: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{{name: c, cluster: {{server: '{url}'}}}}]\n\
         contexts: [{{name: a, context: {{cluster: c, user: u, namespace: n}}}}]\nusers: [{{name: u, user: {user}}}]\n"
    )
}

async fn client_with(fake: &Fake, user: &str, change: impl FnOnce(&mut KubeOptions)) -> Client {
    let mut options = KubeOptions { source: Source::Inline(kubeconfig(&fake.url, user)), ..KubeOptions::default() };
    change(&mut options);
    connect(options).await.unwrap()
}

async fn client(fake: &Fake) -> Client {
    client_with(fake, "{token: t}", |_| {}).await
}

fn start(client: &Client) -> Watch {
    watch(client, vec![Target::service("app").port(80)]).unwrap()
}

/// The next event as a word.
async fn next(watch: &Watch) -> String {
    match timeout(Duration::from_secs(15), watch.next()).await.expect("no event within 15 s") {
        None => "end".into(),
        Some(Err(error)) => format!("{} {error}", error.code()),
        Some(Ok(Event::Fresh)) => "fresh".into(),
        Some(Ok(Event::Stale { reason, .. })) => format!("stale {reason}"),
        Some(Ok(Event::Snapshot { snapshot, .. })) => {
            let all: Vec<_> = snapshot.endpoints.iter().map(|e| format!("{}:{}", e.address, e.port)).collect();
            all.join(" ")
        }
    }
}

async fn quiet(watch: &Watch, time: Duration) {
    if let Ok(event) = timeout(time, watch.next()).await {
        panic!("expected nothing, got {event:?}");
    }
}

#[tokio::test]
async fn pages_make_one_list() {
    let fake = Fake::start(|r| match (r.resource.as_str(), r.is_watch, r.query.contains("continue=")) {
        ("endpointslices", false, false) => answer(200, &list(&[&slice("s1", "10.0.0.1", 1)], 7, "next")),
        ("endpointslices", false, true) => answer(200, &list(&[&slice("s2", "10.0.0.2", 2)], 7, "")),
        _ => usual(r),
    })
    .await;
    let watch = start(&client(&fake).await);
    assert_eq!(next(&watch).await, "10.0.0.1:8080 10.0.0.2:8080");
    let found = discover(&client(&fake).await, &Target::service("app").port(80)).await.unwrap();
    assert_eq!(found.endpoints.len(), 2);
    assert_eq!(found.version, watch.current(0).unwrap().version);
    let seen = fake.seen.lock().unwrap().clone();
    assert!(seen.iter().any(|r| r.resource == "services" && r.query.contains("fieldSelector=metadata.name%3Dapp")), "{seen:?}");
    assert!(
        seen.iter().any(|r| r.is_watch && r.query.contains("resourceVersion=7") && r.query.contains("allowWatchBookmarks=true")),
        "{seen:?}"
    );
}

#[tokio::test]
async fn lost_history_is_listed_anew_and_the_set_stays() {
    for inside in [true, false] {
        let fake = Fake::start(move |r| match (r.resource.as_str(), r.is_watch, r.nth) {
            ("endpointslices", true, 0) if inside => slowly(event("ERROR", &status(410, "too old resource version"))),
            ("endpointslices", true, 0) => answer(410, &status(410, "too old resource version")),
            ("endpointslices", false, 1) => answer(200, &list(&[&slice("s9", "10.0.0.9", 20)], 21, "")),
            _ => usual(r),
        })
        .await;
        let watch = start(&client(&fake).await);
        if inside {
            assert_eq!(next(&watch).await, "10.0.0.1:8080");
            let told = next(&watch).await;
            assert!(told.starts_with("stale") && told.contains("too old resource version"), "{told}");
            assert!(watch.stale_ms() > 0);
            assert_eq!(watch.current(0).unwrap().endpoints[0].address, "10.0.0.1", "the last set stays");
        } else {
            assert!(next(&watch).await.contains("too old resource version"));
        }
        let mut rest = [next(&watch).await, next(&watch).await];
        rest.sort();
        assert_eq!(rest, ["10.0.0.9:8080", "fresh"]);
        assert_eq!(watch.stale_ms(), 0);
        assert_eq!(fake.count("endpointslices", false), 2);
        assert_eq!(fake.count("services", false), 1, "the other kind is not disturbed");
    }
}

#[tokio::test]
async fn an_outage_that_ends_in_lost_history_is_told_once() {
    let fake = Fake::start(|r| match (r.resource.as_str(), r.is_watch, r.nth) {
        ("endpointslices", true, 0) => slowly(event("BOOKMARK", r#"{"kind":"E","apiVersion":"v1","metadata":{"resourceVersion":"8"}}"#)),
        ("endpointslices", true, 1) => answer(503, &status(503, "restarting")),
        ("endpointslices", true, 2) => slowly(event("ERROR", &status(410, "too old resource version"))),
        ("endpointslices", false, 1) => answer(200, &list(&[&slice("s9", "10.0.0.9", 20)], 21, "")),
        _ => usual(r),
    })
    .await;
    let watch = start(&client(&fake).await);
    assert_eq!(next(&watch).await, "10.0.0.1:8080");
    assert!(next(&watch).await.contains("restarting"));
    let mut rest = [next(&watch).await, next(&watch).await];
    rest.sort();
    assert_eq!(rest, ["10.0.0.9:8080", "fresh"]);
    quiet(&watch, Duration::from_millis(700)).await;
}

#[tokio::test]
async fn history_that_is_always_lost_is_no_storm_of_lists() {
    let fake = Fake::start(|r| match (r.resource.as_str(), r.is_watch) {
        ("endpointslices", true) => watching(&[event("ERROR", &status(410, "too old resource version"))]),
        _ => usual(r),
    })
    .await;
    let watch = start(&client(&fake).await);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let lists = fake.count("endpointslices", false);
    // Delays of at least 0.1, 0.2, 0.4, 0.8, 1.6 s.
    assert!((3..=6).contains(&lists), "{lists} lists in 3 s");
    assert_eq!(watch.current(0).unwrap().endpoints.len(), 1);
}

#[tokio::test]
async fn a_quiet_watch_is_in_touch_again() {
    let fake = Fake::start(|r| match (r.resource.as_str(), r.is_watch, r.nth) {
        ("endpointslices", true, 0) => slowly(event("BOOKMARK", r#"{"kind":"E","apiVersion":"v1","metadata":{"resourceVersion":"8"}}"#)),
        ("endpointslices", true, 1) => answer(503, &status(503, "restarting")),
        _ => usual(r),
    })
    .await;
    let watch = start(&client(&fake).await);
    assert_eq!(next(&watch).await, "10.0.0.1:8080");
    assert!(next(&watch).await.contains("restarting"));
    assert_eq!(next(&watch).await, "fresh");
    assert_eq!(fake.count("endpointslices", false), 1);
}

#[tokio::test]
async fn a_closed_watch_goes_on_where_it_was() {
    let fake = Fake::start(|r| match (r.resource.as_str(), r.is_watch, r.nth) {
        ("endpointslices", true, 0) => {
            let mut steps = watching(&[event(
                "BOOKMARK",
                r#"{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1","metadata":{"resourceVersion":"40"}}"#,
            )]);
            steps.push(Step::Wait(Duration::from_millis(300)));
            steps
        }
        ("endpointslices", true, 1) => slowly(event("MODIFIED", &slice("s1", "10.0.0.2", 50))),
        ("endpointslices", true, 2) => forever(slowly(event("DELETED", &slice("s1", "10.0.0.2", 60)))),
        _ => usual(r),
    })
    .await;
    let watch = start(&client(&fake).await);
    assert_eq!([next(&watch).await, next(&watch).await, next(&watch).await], ["10.0.0.1:8080", "10.0.0.2:8080", ""]);
    let queries: Vec<String> =
        fake.seen.lock().unwrap().iter().filter(|r| r.is_watch && r.resource == "endpointslices").map(|r| r.query.clone()).collect();
    for (query, version) in queries.iter().zip(["7", "40", "50"]) {
        assert!(query.contains(&format!("resourceVersion={version}")), "{query}");
    }
    assert_eq!(fake.count("endpointslices", false), 1, "nothing was listed again");
    quiet(&watch, Duration::from_millis(300)).await;
}

#[tokio::test]
async fn silence_is_ended_by_the_idle_deadline() {
    let fake = Fake::start(|r| match (r.resource.as_str(), r.is_watch, r.nth) {
        // The connection looks alive for ever, but the change only comes on the next one.
        ("endpointslices", true, 1) => forever(watching(&[event("MODIFIED", &slice("s1", "10.0.0.2", 50))])),
        _ => usual(r),
    })
    .await;
    let client = client_with(&fake, "{token: t}", |o| o.idle_deadline = Duration::from_millis(300)).await;
    let watch = start(&client);
    assert_eq!([next(&watch).await, next(&watch).await], ["10.0.0.1:8080", "10.0.0.2:8080"]);
    assert_eq!(watch.stale_ms(), 0, "a renewed watch is not an outage");
}

#[tokio::test]
async fn trouble_before_the_first_sync() {
    let table = [
        (401, "services", false, "list services in namespace \"n\" (401)"),
        (403, "services", false, "list services in namespace \"n\" (403)"),
        (403, "endpointslices", false, "list endpointslices.discovery.k8s.io in namespace \"n\" (403)"),
        (403, "endpointslices", true, "watch endpointslices.discovery.k8s.io in namespace \"n\" (403)"),
        (401, "services", true, "watch services in namespace \"n\" (401)"),
    ];
    for (code, resource, is_watch, expected) in table {
        let fake = Fake::start(move |r| match r.resource == resource && r.is_watch == is_watch {
            true => answer(code, &status(code, "no")),
            false => usual(r),
        })
        .await;
        let watch = start(&client(&fake).await);
        let told = next(&watch).await;
        assert!(told.starts_with("ERR_PLENIPO_KUBE_AUTH") && told.contains(expected), "{told} lacks {expected}");
        assert_eq!(next(&watch).await, "end");
        assert!(!watch.synced());
        if !is_watch {
            let error = discover(&client(&fake).await, &Target::service("app").port(80)).await.unwrap_err();
            assert!(matches!(error, KubeError::Auth { status, .. } if status == code), "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}

#[tokio::test]
async fn other_trouble_before_the_first_sync_is_waited_out() {
    let fake = Fake::start(|r| match (r.resource.as_str(), r.is_watch, r.nth) {
        ("services", false, 0) => answer(503, &status(503, "starting")),
        ("services", false, 1) => answer(200, "<html>"),
        ("services", false, 2) => vec![Step::Send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".into())],
        _ => usual(r),
    })
    .await;
    let watch = start(&client(&fake).await);
    assert!(next(&watch).await.contains("starting"));
    let mut rest = [next(&watch).await, next(&watch).await];
    rest.sort();
    assert_eq!(rest, ["10.0.0.1:8080", "fresh"]);
}

#[tokio::test]
async fn a_401_loads_the_credentials_again_and_keeps_the_set() {
    let file = std::env::temp_dir().join(format!("plenipo-kube-token-{}", std::process::id()));
    std::fs::write(&file, "old").unwrap();
    let fake = Fake::start(|r| match (r.resource.as_str(), r.is_watch, r.nth) {
        ("endpointslices", true, 0) => watching(&[]),
        ("endpointslices", true, _) if r.token == "old" => answer(401, &status(401, "Unauthorized")),
        ("endpointslices", true, _) => forever(watching(&[event("MODIFIED", &slice("s1", "10.0.0.2", 50))])),
        _ => usual(r),
    })
    .await;
    let client = client_with(&fake, &format!("{{tokenFile: {}}}", file.display()), |_| {}).await;
    let watch = start(&client);
    assert_eq!(next(&watch).await, "10.0.0.1:8080");
    let told = next(&watch).await;
    assert!(told.starts_with("stale") && told.contains("(401)"), "{told}");
    assert!(watch.current(0).is_some_and(|s| s.endpoints.len() == 1));
    std::fs::write(&file, "new").unwrap();
    let mut rest = [next(&watch).await, next(&watch).await];
    rest.sort();
    assert_eq!(rest, ["10.0.0.2:8080", "fresh"]);
    // The first watch, its refusal, and one more if the file was read before it was written anew.
    let old = fake.seen.lock().unwrap().iter().filter(|r| r.resource == "endpointslices" && r.is_watch && r.token == "old").count();
    assert!(old <= 3, "the refused token was used {old} times");
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn limits_end_a_watch() {
    let fake = Fake::start(|r| match (r.is_watch, r.nth) {
        (true, 0) => watching(&[]),
        (true, _) => answer(500, &status(500, "broken")),
        _ => usual(r),
    })
    .await;
    let limited = client_with(&fake, "{token: t}", |o| o.max_stale = Some(Duration::from_millis(600))).await;
    let watch = start(&limited);
    assert_eq!(next(&watch).await, "10.0.0.1:8080");
    assert!(next(&watch).await.starts_with("stale"));
    let told = next(&watch).await;
    assert!(told.starts_with("ERR_PLENIPO_KUBE_WATCH") && told.contains("broken"), "{told}");
    assert_eq!(next(&watch).await, "end");

    // Times beyond every clock are no times at all.
    let patient = client_with(&fake, "{token: t}", |o| {
        (o.max_stale, o.sync_timeout) = (Some(Duration::MAX), Some(Duration::MAX));
        (o.idle_deadline, o.debounce) = (Duration::MAX, Duration::MAX);
    })
    .await;
    let watch = start(&patient);
    assert!(next(&watch).await.starts_with("stale"));
    quiet(&watch, Duration::from_millis(300)).await;

    // Nobody listens there: port 1 of loopback.
    let nobody = connect(KubeOptions {
        source: Source::Inline(kubeconfig("http://127.0.0.1:1", "{token: SECRET}")),
        sync_timeout: Some(Duration::from_millis(700)),
        ..KubeOptions::default()
    })
    .await
    .unwrap();
    let watch = start(&nobody);
    let told = next(&watch).await;
    assert!(told.starts_with("stale") && told.contains("http://127.0.0.1:1"), "{told}");
    let told = next(&watch).await;
    assert!(told.starts_with("ERR_PLENIPO_KUBE_WATCH") && told.contains("refused") && !told.contains("SECRET"), "{told}");
    let error = discover(&nobody, &Target::service("app")).await.unwrap_err();
    assert!(error.retryable() && error.code() == "ERR_PLENIPO_KUBE_WATCH" && error.to_string().contains("127.0.0.1:1"), "{error}");
}

#[tokio::test]
async fn refused_services_and_ports() {
    let external = SERVICE.replace(r#""ports""#, r#""type":"ExternalName","externalName":"localhost","ports""#);
    let fake = Fake::start(move |r| match (r.resource.as_str(), r.is_watch) {
        ("services", false) => answer(200, &list(&[&external], 5, "")),
        _ => usual(r),
    })
    .await;
    let target = Target::service("app").port(80);
    for (open, expected) in [(false, "ExternalName"), (true, "never followed")] {
        let client = client_with(&fake, "{token: t}", |o| o.allow_external = open).await;
        let error = discover(&client, &target).await.unwrap_err();
        assert!(error.code() == "ERR_PLENIPO_KUBE_TARGET" && error.to_string().contains(expected), "{error}");
        let told = next(&start(&client)).await;
        assert!(told.starts_with("ERR_PLENIPO_KUBE_TARGET") && told.contains(expected), "{told}");
    }
    let fake = Fake::start(usual).await;
    let client = client(&fake).await;
    let wrong = watch(&client, vec![Target::service("app").port(81)]).unwrap();
    assert!(next(&wrong).await.contains("no TCP port 81; it has 80 (http)"));
    assert_eq!(watch(&client, vec![Target::service("App")]).unwrap_err().code(), "ERR_PLENIPO_KUBE_TARGET");
}

#[tokio::test]
async fn a_missing_service_is_waited_for() {
    let fake = Fake::start(|r| match (r.resource.as_str(), r.is_watch) {
        ("services", false) => answer(200, &list(&[], 5, "")),
        ("services", true) => {
            let mut steps = watching(&[]);
            steps.push(Step::Wait(Duration::from_millis(400)));
            steps.push(Step::Send(event("ADDED", SERVICE) + "\n"));
            steps.push(Step::Wait(Duration::from_millis(400)));
            steps.push(Step::Send(event("DELETED", SERVICE) + "\n"));
            forever(steps)
        }
        _ => usual(r),
    })
    .await;
    let client = client(&fake).await;
    assert_eq!(discover(&client, &Target::service("app")).await.unwrap_err().code(), "ERR_PLENIPO_KUBE_NOT_FOUND");
    let watch = start(&client);
    quiet(&watch, Duration::from_millis(200)).await;
    assert!(!watch.synced());
    assert_eq!(next(&watch).await, "10.0.0.1:8080");
    assert!(watch.synced());
    assert_eq!(next(&watch).await, "", "a deleted service is an empty set");
}

#[tokio::test]
async fn several_services_share_the_requests_of_a_namespace() {
    let other = SERVICE.replace("app", "api");
    let fake = Fake::start(move |r| match (r.resource.as_str(), r.is_watch) {
        ("services", false) => answer(200, &list(&[SERVICE, &other], 5, "")),
        ("endpointslices", false) => {
            let second = slice("s2", "10.0.0.2", 7).replace("\"app\"", "\"api\"");
            answer(200, &list(&[&slice("s1", "10.0.0.1", 6), &second], 7, ""))
        }
        _ => usual(r),
    })
    .await;
    let client = client(&fake).await;
    let both = watch(&client, vec![Target::service("app"), Target::service("api"), Target::service("app").port_name("http")]).unwrap();
    let mut all = [next(&both).await, next(&both).await, next(&both).await];
    all.sort();
    assert_eq!(all, ["10.0.0.1:8080", "10.0.0.1:8080", "10.0.0.2:8080"]);
    assert_eq!((fake.count("services", false), fake.count("endpointslices", false)), (1, 1));
    let seen = fake.seen.lock().unwrap().clone();
    assert!(seen.iter().any(|r| r.query.contains("service-name+in+%28api%2Capp%29")), "{seen:?}");
}

#[tokio::test]
async fn a_burst_is_one_snapshot_and_dropping_ends_all() {
    let fake = Fake::start(|r| match (r.resource.as_str(), r.is_watch) {
        ("endpointslices", true) => {
            let mut steps = watching(&[]);
            steps.push(Step::Wait(Duration::from_millis(400)));
            steps.extend((1..=50).map(|i| Step::Send(event("MODIFIED", &slice("s1", &format!("10.0.1.{i}"), 100 + i)) + "\n")));
            forever(steps)
        }
        _ => usual(r),
    })
    .await;
    let client = client_with(&fake, "{token: t}", |o| o.debounce = Duration::from_millis(200)).await;
    let watch = start(&client);
    assert_eq!([next(&watch).await, next(&watch).await], ["10.0.0.1:8080", "10.0.1.50:8080"]);
    quiet(&watch, Duration::from_millis(300)).await;
    watch.close();
    assert_eq!(next(&watch).await, "end");
    assert_eq!(watch.current(0).unwrap().endpoints[0].address, "10.0.1.50");
    let before = fake.seen.lock().unwrap().len();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(fake.seen.lock().unwrap().len(), before, "nothing is asked after the end");
}
