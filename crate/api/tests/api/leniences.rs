//! What Envoy 1.40 takes and refuses beyond protobuf's JSON mapping; each case was run through `envoy --mode validate`.

use plenipo_api::proto::envoy::config::{bootstrap::v3::Bootstrap, cluster::v3::Cluster};

use crate::{cluster, errors, json, manager, yaml};

const OK: bool = true;
const NO: bool = false;

fn node(id: &str) -> String {
    format!("node: {{id: {id}, cluster: c}}")
}

fn table(cases: &[(String, bool)]) {
    let wrong: Vec<String> = cases
        .iter()
        .filter(|(text, ok)| yaml(text).is_ok() != *ok)
        .map(|(text, ok)| format!("want {ok}: {text}: {}", errors(&yaml(text))))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn strings() {
    table(
        &[
            ("10", NO),
            ("yes", NO),
            ("1.50", OK),
            ("010", NO),
            ("4294967296", OK),
            ("\"10\"", OK),
            ("null", OK),
            ("~", OK),
            ("[a]", NO),
            ("{}", NO),
            ("!!str 10", NO),
            ("! 10", OK),
        ]
        .map(|(id, ok)| (node(id), ok)),
    );
    let Bootstrap { node: Some(n), .. } = yaml(&node("1.50")).unwrap().bootstrap else { panic!("no node") };
    assert_eq!(n.id, "1.50");
}

#[test]
fn durations() {
    table(
        &[
            ("0.25s", OK),
            ("{seconds: 1, nanos: 2}", OK),
            ("{seconds: 1.5}", NO),
            ("null", OK),
            ("5", NO),
            ("1m", NO),
            ("\"1\"", NO),
            ("+1s", NO),
            (".5s", NO),
            ("1.s", NO),
            ("-1s", NO),
            ("0s", NO),
            ("1.0000000001s", NO),
            ("1e3s", NO),
            ("\"1 s\"", NO),
            ("315576000001s", NO),
            ("[]", NO),
            ("[1s]", NO),
        ]
        .map(|(v, ok)| (cluster(&format!("connect_timeout: {v}")), ok)),
    );
}

#[test]
fn enums() {
    table(
        &[
            ("round_robin", OK),
            ("Round_Robin", OK),
            ("1", OK),
            ("\"1\"", OK),
            ("null", OK),
            ("round-robin", NO),
            ("' ROUND_ROBIN'", NO),
            ("99", NO),
            ("nope", NO),
            ("true", NO),
            ("[ROUND_ROBIN]", NO),
            ("1.0", NO),
            ("1.5", NO),
        ]
        .map(|(v, ok)| (cluster(&format!("lb_policy: {v}")), ok)),
    );
}

#[test]
fn bools() {
    table(
        &[
            ("\"true\"", OK),
            ("\"yes\"", OK),
            ("\"1\"", OK),
            ("\"True\"", OK),
            ("\"t\"", OK),
            ("yes", OK),
            ("on", OK),
            ("y", OK),
            ("True", OK),
            ("tRue", OK),
            ("1", NO),
            ("\"2\"", NO),
            ("nope", NO),
        ]
        .map(|(v, ok)| (cluster(&format!("respect_dns_ttl: {v}")), ok)),
    );
}

#[test]
fn integers() {
    table(
        &[
            ("5", OK),
            ("\"5\"", OK),
            ("5.0", OK),
            ("\"5.0\"", OK),
            ("1e3", OK),
            ("\"1e3\"", OK),
            ("4294967295", OK),
            ("0x10", OK),
            ("\"0x10\"", OK),
            ("010", OK),
            ("08", OK),
            ("+5", OK),
            ("\"+5\"", OK),
            ("{value: 5}", OK),
            ("{}", OK),
            ("null", OK),
            ("5.5", NO),
            ("-1", NO),
            ("4294967296", NO),
            ("\" 5\"", NO),
            ("true", NO),
            ("\"\"", NO),
            ("1_000", NO),
            ("[5]", NO),
        ]
        .map(|(v, ok)| (cluster(&format!("per_connection_buffer_limit_bytes: {v}")), ok)),
    );
    let limit = |text: &str| {
        let cluster: Cluster = yaml(&cluster(&format!("per_connection_buffer_limit_bytes: {text}"))).unwrap().clusters[0].decode().unwrap();
        cluster.per_connection_buffer_limit_bytes
    };
    for (text, want) in [("010", Some(8)), ("08", Some(8)), ("0x10", Some(16)), ("1e3", Some(1000)), ("{}", Some(0)), ("null", None)] {
        assert_eq!(limit(text), want, "{text}");
    }
}

#[test]
fn floating_point_numbers() {
    table(
        &[("50.5", OK), ("\"50.5\"", OK), ("0x10", OK), (".5", OK), ("\"5.\"", OK), ("150", NO), (".nan", NO), ("inf", NO), ("true", NO)]
            .map(|(v, ok)| (cluster(&format!("common_lb_config: {{healthy_panic_threshold: {{value: {v}}}}}")), ok)),
    );
}

#[test]
fn lists_and_mappings() {
    table(&[
        ("static_resources: {clusters: {name: x}}".into(), OK),
        ("static_resources: {clusters: [[{name: x}]]}".into(), OK),
        ("static_resources: {clusters: null}".into(), OK),
        ("static_resources: {clusters: [null]}".into(), NO),
        ("static_resources: {clusters: 5}".into(), NO),
        ("static_resources: {clusters: \"\"}".into(), NO),
        ("static_resources: {clusters: [x]}".into(), NO),
        ("static_resources: [{clusters: []}]".into(), NO),
        ("static_resources: []".into(), NO),
        ("static_resources: 5".into(), NO),
        ("static_resources: true".into(), NO),
        (manager("route_config: {name: r, virtual_hosts: {name: v, domains: \"*\"}}"), OK),
        (manager("route_config: {name: r, virtual_hosts: {name: v, domains: [[\"*\"]]}}"), OK),
        (manager("route_config: {name: r, virtual_hosts: {name: v, domains: []}}"), NO),
        (manager("route_config: {name: r, virtual_hosts: {name: v, domains: [5]}}"), NO),
        (manager("route_config: {name: r, virtual_hosts: {name: v, domains: {a: b}}}"), NO),
        (cluster("typed_extension_protocol_options: []"), NO),
        (cluster("typed_extension_protocol_options: [{}]"), NO),
        (cluster("typed_extension_protocol_options: 5"), NO),
        (cluster("typed_extension_protocol_options: null"), OK),
        ("node: {id: a, cluster: b, metadata: {1: x, true: y, 1.5: z}}".into(), OK),
        ("node: {id: a, cluster: b, metadata: {a: 1.5, b: 10, c: null, d: true, e: [1, null]}}".into(), OK),
    ]);
}

#[test]
fn names() {
    table(&[
        ("staticResources: {clusters: []}".into(), OK),
        ("static-resources: {}".into(), NO),
        ("Static_Resources: {}".into(), NO),
        ("static_Resources: {}".into(), NO),
        ("foo: 1".into(), NO),
        (cluster("hidden_envoy_deprecated_hosts: []"), NO),
        (cluster("ring_hash_lb_config: {}, maglev_lb_config: {}"), NO),
        (cluster("ring_hash_lb_config: {}, maglev_lb_config: null"), OK),
    ]);
}

#[test]
fn keys_given_twice() {
    for text in [
        "node: {id: a, id: b}",
        "static_resources: {clusters: [{name: x, connect_timeout: 1s, connectTimeout: 2s}]}",
        "static_resources: {clusters: [], clusters: [{name: x}]}",
    ] {
        let loaded = yaml(text).unwrap_or_else(|e| panic!("{text}: {}", e[0]));
        assert_eq!(loaded.warnings.len(), 1, "{text}: {:?}", loaded.warnings);
    }
    // yaml-cpp keeps the last of equal keys, protobuf's JSON reader merges.
    let two = "{\"static_resources\": {\"clusters\": [{\"name\": \"x\"}], \"clusters\": [{\"name\": \"y\"}]}}";
    assert_eq!(json(two).unwrap().clusters.len(), 2);
    assert_eq!(yaml(two).unwrap().clusters.len(), 1);
    assert_eq!(json("{\"node\": {\"id\": \"a\", \"id\": \"\"}}").unwrap().bootstrap.node.unwrap().id, "");
}

#[test]
fn documents() {
    table(&[
        ("node: {id: a}\n---\nfoo: bar".into(), OK),
        ("---\nnode: {id: a}\n---\nfoo: [".into(), OK),
        ("node:\r\n  id: a\r\n  cluster: b\r\n".into(), OK),
        ("\u{feff}node: {id: a}".into(), OK),
        ("".into(), NO),
        ("null".into(), NO),
        ("[]".into(), NO),
        ("[{node: {id: a}}]".into(), NO),
        ("5".into(), NO),
        ("---\n".into(), NO),
        ("node:\n\tid: a".into(), NO),
        ("node: {id: a".into(), NO),
    ]);
}

#[test]
fn tags_anchors_and_merge_keys() {
    table(&[
        ("!ignore foo: {a: b}\nnode: {id: a}".into(), OK),
        ("!ignore foo:\n - &a {name: x}\nstatic_resources: {clusters: [*a]}".into(), OK),
        ("!ignore a: [&x 1, &x 2]\nnode: {id: a}".into(), OK),
        ("static_resources: {clusters: [{<<: {name: x}}]}".into(), NO),
        ("!ignore a: &a {name: x}\nstatic_resources: {clusters: [{<<: *a, connect_timeout: 1s}]}".into(), NO),
        ("node: {id: *x}".into(), NO),
        // Envoy crashes here.
        ("node: &a {metadata: {x: *a}}".into(), NO),
        ("? [a]\n: b".into(), NO),
    ]);
    let merge = yaml("static_resources: {clusters: [{<<: {name: x}}]}").unwrap_err();
    assert!(merge[0].hint.as_deref().is_some_and(|h| h.contains("merge keys")), "{merge:?}");
}

#[test]
fn any() {
    let any = |inner: &str| cluster(&format!("metadata: {{typed_filter_metadata: {{a: {{{inner}}}}}}}"));
    const WKT: &str = "\"@type\": type.googleapis.com/google.protobuf";
    table(&[
        (any(""), OK),
        (any(&format!("{WKT}.Duration")), OK),
        (any(&format!("{WKT}.Duration, value: 1s")), OK),
        (any(&format!("{WKT}.Duration, value: 1m")), NO),
        (any(&format!("{WKT}.Struct, value: {{a: b}}")), OK),
        (any(&format!("{WKT}.Struct, a: b")), NO),
        (any(&format!("{WKT}.Empty")), OK),
        (any(&format!("{WKT}.Empty, value: {{}}")), NO),
        (any(&format!("{WKT}.UInt32Value, value: 5")), OK),
        (any(&format!("{WKT}.Any, value: {{{WKT}.Duration, value: 1s}}")), OK),
        (any(&format!("{WKT}.UInt32Value, {WKT}.BoolValue, value: true")), OK),
        (any("\"@type\": null"), NO),
        (any("b: c"), NO),
        (any("\"@type\": type.googleapis.com/foo.Bar"), NO),
        (any("\"@type\": foo.com/google.protobuf.Empty"), OK),
        (any("\"@type\": /google.protobuf.Empty"), NO),
        (any("\"@type\": google.protobuf.Empty"), NO),
        (any("type_url: type.googleapis.com/google.protobuf.Empty"), NO),
        // Nothing is made of metadata, so the rules of what it holds do not count.
        (any("\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster"), OK),
        (manager("foo: 1"), NO),
        (manager("max_request_headers_kb: 0"), NO),
        (manager("xff_num_trusted_hops: -1"), NO),
    ]);
}

#[test]
fn json_beyond_the_standard() {
    for (text, ok) in [
        ("{\"node\":{\"id\":\"a\",}}", OK),
        ("{'node':{'id':'a'}}", OK),
        ("{node:{id:\"a\"}}", OK),
        ("{\"node\":{\"id\":\"a\tb\"}}", OK),
        ("{\"node\":{\"id\":\"a\"}/*x*/}", NO),
        ("{\"node\":{\"id\":\"a\"}} x", NO),
        ("{\"node\":{\"id\":\"\\x\"}}", NO),
        ("{\"node\":{\"id\":\"\\ud800\"}}", NO),
        ("{\"node\":{\"id\":1.5}}", NO),
        ("{\"static_resources\":{\"clusters\":[{\"name\":\"x\",\"per_connection_buffer_limit_bytes\":5.0}]}}", OK),
    ] {
        assert_eq!(json(text).is_ok(), ok, "{text}: {}", errors(&json(text)));
    }
}

#[test]
fn depth_is_limited() {
    let deep = |n: usize| format!("node: {{id: a, cluster: b, metadata: {}{{}}{}}}", "{a: ".repeat(n), "}".repeat(n));
    assert!(yaml(&deep(20)).is_ok());
    for n in [60, 97, 120, 100_000] {
        assert!(yaml(&deep(n)).is_err(), "{n}");
    }
    assert!(json(&"[".repeat(1_000_000)).is_err());
    // Aliases that multiply: a few hundred bytes that would become 10^12 nodes.
    let mut bomb = String::from("!ignore a0: &a0 {k: v}\n");
    for i in 1..=12 {
        bomb += &format!("!ignore a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(","));
    }
    bomb += "node: {metadata: {x: *a12}}";
    let issues = yaml(&bomb).unwrap_err();
    assert!(issues[0].message.contains("too large"), "{}", issues[0]);
}
