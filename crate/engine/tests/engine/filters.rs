//! The filters `buffer` and `header_mutation`, with their configuration per route.

use plenipo_engine::stats::Value as Stat;
use plenipo_testkit::{
    Upstream,
    config::{Cluster, Listener, any},
    upstream::{reply, whole},
};
use serde_json::{Value, json};

use crate::support::start;

const BUFFER: &str = "envoy.extensions.filters.http.buffer.v3.Buffer";
const BUFFER_ROUTE: &str = "envoy.extensions.filters.http.buffer.v3.BufferPerRoute";
const MUTATION: &str = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation";
const MUTATION_ROUTE: &str = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute";

/// Answers with the request's framing, its `x-` headers and how long its body is.
async fn mirror() -> Upstream {
    Upstream::http1(|request, _| async move {
        let (mut length, mut chunked) = ("-".to_owned(), false);
        let mut own = Vec::new();
        for (name, value) in request.headers() {
            let value = value.to_str().unwrap_or_default().to_owned();
            match name.as_str() {
                "content-length" => length = value,
                "transfer-encoding" => chunked = true,
                name if name.starts_with("x-t-") => own.push(format!("{name}={value}")),
                _ => {}
            }
        }
        let body = whole(request).await;
        let mut answer = reply(200, format!("length={length} chunked={chunked} body={} {}", body.len(), own.join(",")));
        answer.headers_mut().insert("x-t-old", "1".parse().unwrap());
        answer
    })
    .await
}

#[tokio::test]
async fn buffer_holds_a_request_until_it_is_whole_and_knows_its_length() {
    let upstream = mirror().await;
    let off = json!({"match": {"prefix": "/off"}, "route": {"cluster": "app"},
        "typed_per_filter_config": {"buffer": any(BUFFER_ROUTE, json!({"disabled": true}))}});
    let more = json!({"match": {"prefix": "/more"}, "route": {"cluster": "app"},
        "typed_per_filter_config": {"buffer": any(BUFFER_ROUTE, json!({"buffer": {"max_request_bytes": 20}}))}});
    let listener =
        Listener::new("l").filter("buffer", BUFFER, json!({"max_request_bytes": 10})).route(off).route(more).to("/", "app", json!({}));
    let proxy = start(1, &[&listener], &[&Cluster::new("app", &[upstream.address])]).await;
    let chunked = |path: &str, body: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
    };
    let mut client = proxy.client("l").await;
    client.send(chunked("/", "0123456789")).await;
    assert_eq!(client.answer().await.text(), "length=10 chunked=false body=10 ");
    client.send(chunked("/off", "0123456789ab")).await;
    assert_eq!(client.answer().await.text(), "length=- chunked=true body=12 ");
    client.send(chunked("/more", "0123456789ab")).await;
    assert_eq!(client.answer().await.text(), "length=12 chunked=false body=12 ");
    client.send(chunked("/", "0123456789a")).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.text().as_str()), (413, "Payload Too Large"));
    assert_eq!((proxy.stat("http.l.downstream_rq_too_large"), upstream.requests()), (1, 3));
}

fn append(key: &str, value: &str) -> Value {
    json!({"append": {"header": {"key": key, "value": value}, "append_action": "APPEND_IF_EXISTS_OR_ADD"}})
}

#[tokio::test]
async fn header_mutation_changes_requests_and_answers_in_order() {
    let upstream = mirror().await;
    let filter = json!({"mutations": {
        "request_mutations": [append("x-t-a", "1"), {"remove": "x-t-gone"}, append("x-t-a", "2")],
        "response_mutations": [{"remove": "x-t-old"}, append("x-t-new", "all")],
    }});
    let route = json!({"match": {"prefix": "/route"}, "route": {"cluster": "app"}, "typed_per_filter_config": {
        "mutate": any(MUTATION_ROUTE, json!({"mutations": {
            "request_mutations": [{"remove": "x-t-a"}, append("x-t-b", "route")],
            "response_mutations": [append("x-t-new", "route")],
        }})),
    }});
    let listener = Listener::new("l").filter("mutate", MUTATION, filter).route(route).to("/", "app", json!({}));
    let proxy = start(1, &[&listener], &[&Cluster::new("app", &[upstream.address])]).await;
    let mut client = proxy.client("l").await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\nx-t-gone: 1\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.text(), "length=- chunked=false body=0 x-t-a=1,x-t-a=2");
    assert_eq!((answer.header("x-t-old"), answer.header("x-t-new")), (None, Some("all")));
    let answer = client.get("/route").await;
    assert_eq!(answer.text(), "length=- chunked=false body=0 x-t-b=route");
    let new: Vec<_> = answer.headers.iter().filter(|(n, _)| n == "x-t-new").map(|(_, v)| &**v).collect();
    assert_eq!(new, ["all", "route"]);
}

#[tokio::test]
async fn filters_see_requests_in_order_and_answers_in_reverse_order() {
    let upstream = mirror().await;
    let one =
        |name: &str| json!({"mutations": {"request_mutations": [append("x-t-a", name)], "response_mutations": [append("x-t-new", name)]}});
    let listener = Listener::new("l")
        .filter("first", MUTATION, one("first"))
        .filter("buffer", BUFFER, json!({"max_request_bytes": 10}))
        .filter("second", MUTATION, one("second"))
        .to("/", "app", json!({}));
    let proxy = start(1, &[&listener], &[&Cluster::new("app", &[upstream.address])]).await;
    let new = |answer: &plenipo_testkit::Answer| -> Vec<String> {
        answer.headers.iter().filter(|(n, _)| n == "x-t-new").map(|(_, v)| v.clone()).collect()
    };
    let answer = proxy.client("l").await.get("/").await;
    assert_eq!(answer.text(), "length=- chunked=false body=0 x-t-a=first,x-t-a=second");
    assert_eq!(new(&answer), ["second", "first"]);
    // A filter that answers itself: only those that saw the request see the answer.
    let answer = proxy.client("l").await.post("/", b"0123456789a").await;
    assert_eq!((answer.status, new(&answer)), (413, vec!["first".to_owned()]));
}

#[tokio::test]
async fn how_often_routes_were_looked_for_is_recorded() {
    let kind = "envoy.extensions.filters.http.set_filter_state.v3.Config";
    let object = json!({"object_key": "k", "factory_key": "envoy.string", "format_string": {"text_format_source": {"inline_string": "v"}}});
    let listener = Listener::new("l")
        .manager("record_route_resolution_stats", json!(true))
        .filter("set", kind, json!({"on_request_headers": [object], "clear_route_cache": true}))
        .direct("/here", "here");
    let proxy = start(1, &[&listener], &[]).await;
    let mut client = proxy.client("l").await;
    assert_eq!((client.get("/here").await.status, client.get("/there").await.status), (200, 404));
    // Refused before a route was looked for.
    client.send("GET\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 400);
    let (mut lookups, mut times) = ((0, 0), 0);
    proxy.0.stats().visit(|name, reading| match (name, &reading.value) {
        ("http.l.downstream_rq_route_resolutions", Stat::Histogram { total: h, .. }) => lookups = (h.count(), h.sum()),
        ("http.l.downstream_rq_route_resolution_time_us", Stat::Histogram { total: h, .. }) => times = h.count(),
        _ => {}
    });
    assert_eq!((lookups, times), ((3, 4), 3));
}
