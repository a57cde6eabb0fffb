//! Wire bytes, merged inputs, places, and JSON in the style of `/config_dump`.

use plenipo_api::{
    Input, Options,
    proto::envoy::{
        config::{cluster::v3::Cluster, core::v3::TypedExtensionConfig, route::v3::RouteConfiguration},
        extensions::filters::http::router::v3::Router,
    },
    read, read_bootstrap, read_message, to_json, to_json_unredacted, unpack,
};
use serde_json::json;

use crate::{cluster, yaml};

const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";

#[test]
fn order_and_format_do_not_change_the_bytes() {
    let a = "{name: x, connect_timeout: 0.25s, metadata: {filter_metadata: {b: {k: 1}, a: {}}}, lb_policy: ROUND_ROBIN}";
    let b = r#"{"lbPolicy": "ROUND_ROBIN", "metadata": {"filterMetadata": {"a": {}, "b": {"k": 1}}}, "connectTimeout": {"nanos": 250000000}, "name": "x"}"#;
    let read = |input| read("envoy.config.cluster.v3.Cluster", vec![input], &Options::default()).unwrap().bytes;
    assert_eq!(read(Input::yaml(a)), read(Input::object(b)));
}

#[test]
fn messages_decode_to_their_types() {
    let (cluster, loaded) = read_message::<Cluster>(
        vec![Input::object(
            r#"{"name":"app","type":"strict_dns","load_assignment":{"cluster_name":"app","endpoints":[{"lb_endpoints":[
            {"endpoint":{"address":{"socket_address":{"address":"10.0.0.1","port_value":80}}}}]}]}}"#,
        )],
        &Options::default(),
    )
    .unwrap();
    assert_eq!((cluster.name.as_str(), loaded.warnings.len()), ("app", 0));
    let (routes, _) = read_message::<RouteConfiguration>(
        vec![Input::yaml("name: r\nvirtual_hosts:\n- name: v\n  domains: ['*']\n  routes: [{match: {prefix: /}, route: {cluster: app}}]")],
        &Options::default(),
    )
    .unwrap();
    assert_eq!(routes.virtual_hosts[0].routes.len(), 1);
}

#[test]
fn issues_of_objects_have_a_path_but_no_line() {
    let issues = read_message::<Cluster>(vec![Input::object("{\"name\":\"x\",\n\"typ\":1}")], &Options::default()).unwrap_err();
    assert_eq!((issues[0].path.as_str(), issues[0].line, issues[0].file.as_deref()), ("typ", None, None));
}

#[test]
fn config_yaml_is_merged_over_the_file() {
    let file = Input::yaml("node: {id: a, cluster: c}\nstatic_resources: {clusters: [{name: x}]}").named("envoy.yaml");
    let over = Input::yaml("node: {id: b}\nstatic_resources: {clusters: [{name: z, connect_timeout: 0s, lb_policy: 5s}]}\nadmin: {}")
        .named("--config-yaml");
    let issues = read_bootstrap(vec![file, over], &Options::default()).unwrap_err();
    assert_eq!(issues.len(), 2, "{issues:?}");
    assert_eq!(issues[1].path, "static_resources.clusters[1].lb_policy");
    let issue = &issues[0];
    assert_eq!(
        (issue.path.as_str(), issue.file.as_deref(), issue.line),
        ("static_resources.clusters[1].connect_timeout", Some("--config-yaml"), Some(2))
    );

    let file = Input::yaml("node: {id: a, cluster: c}\nstatic_resources: {clusters: [{name: x}]}");
    let over = Input::yaml("node: {id: b}\nstatic_resources: {clusters: [{name: z}]}\nadmin: {}");
    let loaded = read_bootstrap(vec![file, over], &Options::default()).unwrap();
    let node = loaded.bootstrap.node.clone().unwrap();
    assert_eq!((node.id.as_str(), node.cluster.as_str()), ("b", "c"));
    let paths: Vec<&str> = loaded.clusters.iter().map(|c| c.path.as_str()).collect();
    assert_eq!(paths, ["static_resources.clusters[0]", "static_resources.clusters[1]"]);
    let whole = loaded.whole().unwrap();
    assert_eq!(whole.static_resources.unwrap().clusters.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["x", "z"]);
    assert!(loaded.bootstrap.static_resources.is_none());
    // What is required may stand in either.
    let file = Input::yaml("static_resources: {listeners: []}\nlayered_runtime: {layers: []}");
    assert!(read_bootstrap(vec![file, Input::yaml("node: {id: b}")], &Options::default()).is_ok());
}

#[test]
fn later_issues_find_their_place() {
    let loaded =
        yaml("static_resources:\n  clusters:\n  - name: a\n  - name: b\n    metadata:\n      filterMetadata: {\"x.y\": {k: v}}\n").unwrap();
    let at = |path: &str| loaded.places.locate(path).map(|p| (p.line, p.column));
    assert_eq!(at("static_resources.clusters[1].metadata.filter_metadata[\"x.y\"].k"), Some((6, 32)));
    assert_eq!(at("static_resources.clusters[1].nothing"), Some((4, 5)));
    assert_eq!(at(&format!("{}.name", loaded.clusters[1].path)), Some((4, 5)));
}

#[test]
fn json_is_that_of_config_dump() {
    let text = cluster(
        "connect_timeout: 0.25s, lb_policy: RANDOM, per_connection_buffer_limit_bytes: 5, respect_dns_ttl: false, \
         common_lb_config: {healthy_panic_threshold: {value: 50}}, \
         metadata: {filter_metadata: {m: {a: [1, 1.5, null, {b: true}], s: t}}, typed_filter_metadata: {d: {\"@type\": \
         type.googleapis.com/google.protobuf.Duration, value: 3s}}}, \
         transport_socket: {name: tls, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, \
         sni: s, common_tls_context: {tls_certificates: [{certificate_chain: {inline_string: C}, private_key: {inline_bytes: a2V5}, password: {filename: p}}]}}}",
    );
    let bytes = read(BOOTSTRAP, vec![Input::yaml(text)], &Options::default()).unwrap().bytes;
    let mut want = json!({"static_resources": {"clusters": [{
        "name": "x",
        "type": "STATIC",
        "connect_timeout": "0.250s",
        "per_connection_buffer_limit_bytes": 5,
        "lb_policy": "RANDOM",
        "transport_socket": {"name": "tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": {"tls_certificates": [{
                "certificate_chain": {"inline_string": "C"},
                "private_key": {"inline_bytes": "[redacted]"},
                "password": {"filename": "[redacted]"},
            }]},
            "sni": "s",
        }},
        // YAML's `1.5` is text for Envoy.
        "metadata": {
            "filter_metadata": {"m": {"a": [1, "1.5", null, {"b": true}], "s": "t"}},
            "typed_filter_metadata": {"d": {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "3s"}},
        },
        "common_lb_config": {"healthy_panic_threshold": {"value": 50}},
    }]}});
    // `type: STATIC` and `respect_dns_ttl: false`: the first is in a oneof and so was set, the second is not to be told from unset.
    assert_eq!(to_json(BOOTSTRAP, &bytes).unwrap(), want);
    let certificate =
        &mut want["static_resources"]["clusters"][0]["transport_socket"]["typed_config"]["common_tls_context"]["tls_certificates"][0];
    certificate["private_key"]["inline_bytes"] = "a2V5".into();
    certificate["password"]["filename"] = "p".into();
    assert_eq!(to_json_unredacted(BOOTSTRAP, &bytes).unwrap(), want);
    assert!(to_json(BOOTSTRAP, &[0xff]).is_err() && to_json("no.such", &[]).is_err());
}

#[test]
fn extensions_are_unpacked_also_from_a_struct() {
    const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
    let unpacked = |typed_config: &str| {
        let text = format!("{{name: x, typed_config: {{{typed_config}}}}}");
        let (extension, _) = read_message::<TypedExtensionConfig>(vec![Input::yaml(text)], &Options::default()).unwrap();
        let (name, bytes) = unpack(&extension.typed_config.unwrap()).unwrap();
        assert_eq!(name, ROUTER);
        <Router as prost::Message>::decode(bytes).unwrap()
    };
    let direct = unpacked(&format!("\"@type\": type.googleapis.com/{ROUTER}, suppress_envoy_headers: true"));
    assert!(direct.suppress_envoy_headers);
    let structure = format!(
        "\"@type\": type.googleapis.com/xds.type.v3.TypedStruct, type_url: type.googleapis.com/{ROUTER}, value: {{suppress_envoy_headers: true}}"
    );
    assert_eq!(unpacked(&structure), direct);
    let issues = unpack(&prost_types::Any { type_url: "a/b".into(), value: Vec::new() }).unwrap_err();
    assert_eq!(issues[0].path, "@type");
}

#[test]
fn secrets_in_a_struct_are_redacted_too() {
    let any = "\"@type\": type.googleapis.com/xds.type.v3.TypedStruct, type_url: \
               type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret, \
               value: {name: s, tls_certificate: {private_key: {inline_string: hunter2}, certificate_chain: {inline_string: C}}}";
    let text = format!("{{name: x, typed_config: {{{any}}}}}");
    const EXTENSION: &str = "envoy.config.core.v3.TypedExtensionConfig";
    let bytes = read(EXTENSION, vec![Input::yaml(text)], &Options::default()).unwrap().bytes;
    let shown = to_json(EXTENSION, &bytes).unwrap();
    assert!(!shown.to_string().contains("hunter2"), "{shown}");
    assert_eq!(shown["typed_config"]["value"]["tls_certificate"]["certificate_chain"]["inline_string"], "C");
    assert!(to_json_unredacted(EXTENSION, &bytes).unwrap().to_string().contains("hunter2"));
}
