//! protoc-gen-validate's rules, deprecations, and the form of issues.

use plenipo_api::{Input, IssueCode, Options, Severity, UnknownFields, check, read, read_bootstrap};

use crate::{cluster, errors, manager, yaml};

#[test]
fn rules_name_the_field() {
    for (text, want) in [
        ("static_resources: {clusters: [{}]}".to_owned(), "static_resources.clusters[0].name: a required field is missing"),
        (cluster("connect_timeout: 0s"), "static_resources.clusters[0].connect_timeout: the value is not allowed here"),
        (
            cluster("outlier_detection: {max_ejection_percent: 101}"),
            "static_resources.clusters[0].outlier_detection.max_ejection_percent: the value is not allowed here",
        ),
        (
            cluster("load_assignment: {cluster_name: ''}"),
            "static_resources.clusters[0].load_assignment.cluster_name: a required field is missing",
        ),
        (
            "static_resources: {listeners: [{address: {socket_address: {address: a, port_value: 70000}}}]}".to_owned(),
            "static_resources.listeners[0].address.socket_address.port_value: the value is not allowed here",
        ),
        (
            "static_resources: {listeners: [{address: {socket_address: {address: a}}}]}".to_owned(),
            "static_resources.listeners[0].address.socket_address: a required choice is missing",
        ),
        (
            "static_resources: {listeners: [{address: {}}]}".to_owned(),
            "static_resources.listeners[0].address: a required choice is missing",
        ),
        (
            manager("route_config: {virtual_hosts: [{name: v, domains: []}]}"),
            "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].domains: a required field is missing",
        ),
        (
            manager(
                "route_config: {virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {safe_regex: {regex: ''}}, redirect: {}}]}]}",
            ),
            "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].match.safe_regex.regex: \
             a required field is missing",
        ),
        (
            manager("route_config: {virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {}}]}]}"),
            "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].match: \
             a required choice is missing\n\
             static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0]: \
             a required choice is missing",
        ),
        (
            manager("route_config: {request_headers_to_remove: [\"a\\nb\"]}"),
            "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.request_headers_to_remove[0]: the value is not allowed here",
        ),
    ] {
        let got = errors(&yaml(&text));
        let (mut got, mut want) = (got.lines().collect::<Vec<_>>(), want.lines().collect::<Vec<_>>());
        got.sort_unstable();
        want.sort_unstable();
        assert_eq!(got, want, "{text}");
    }
}

#[test]
fn all_issues_come_at_once_in_the_order_of_the_file() {
    let text = "\
node: {id: 5}
static_resources:
  clusters:
  - nam: x
    conect_timeout: 1s
    lb_policy: ROUND_ROBBIN
    dns_refresh_rate: 5
  listeners:
  - address: {socket_address: {address: a, port_value: 99999}}
    filter_chains:
    - filters:
      - name: f
        typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxi}
";
    let issues = yaml(text).unwrap_err();
    let lines: Vec<String> = issues.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "f.yaml:1:12: error: node.id: wrong type; expected a string; got 5; put it in quotes [ERR_PLENIPO_CONFIG_INVALID]",
            "f.yaml:4:5: error: static_resources.clusters[0].nam: envoy.config.cluster.v3.Cluster has no field \"nam\"; got \"x\"; \
             did you mean \"name\"? [ERR_PLENIPO_CONFIG_UNKNOWN_FIELD]",
            "f.yaml:5:5: error: static_resources.clusters[0].conect_timeout: envoy.config.cluster.v3.Cluster has no field \"conect_timeout\"; \
             got \"1s\"; did you mean \"connect_timeout\"? [ERR_PLENIPO_CONFIG_UNKNOWN_FIELD]",
            "f.yaml:6:16: error: static_resources.clusters[0].lb_policy: envoy.config.cluster.v3.Cluster.LbPolicy has no value \"ROUND_ROBBIN\"; \
             expected ROUND_ROBIN, LEAST_REQUEST, RING_HASH, RANDOM, MAGLEV, CLUSTER_PROVIDED, LOAD_BALANCING_POLICY_CONFIG; \
             got \"ROUND_ROBBIN\"; did you mean \"ROUND_ROBIN\"? [ERR_PLENIPO_CONFIG_UNKNOWN_FIELD]",
            "f.yaml:7:23: error: static_resources.clusters[0].dns_refresh_rate: a duration needs its unit; \
             expected seconds with the unit s, such as 0.25s; got 5; write 5s for 5 seconds [ERR_PLENIPO_CONFIG_INVALID]",
            "f.yaml:9:44: error: static_resources.listeners[0].address.socket_address.port_value: the value is not allowed here; \
             expected a value <= 65535; got 99999 [ERR_PLENIPO_CONFIG_INVALID]",
            "f.yaml:13:33: error: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.@type: no such type; \
             got \"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxi\"; \
             did you mean \"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy\"? [ERR_PLENIPO_CONFIG_UNKNOWN_FIELD]",
        ]
    );
}

#[test]
fn v2_is_answered_with_its_successor() {
    let hint = |text: &str| yaml(text).unwrap_err()[0].hint.clone().unwrap_or_default();
    assert!(hint(&cluster("hosts: []")).contains("load_assignment"));
    assert!(hint(&cluster("tls_context: {}")).contains("transport_socket"));
    assert!(hint("static_resources: {listeners: {filter_chains: {filters: {name: f, config: {}}}}}").contains("typed_config"));
    let v2 = "\"@type\": type.googleapis.com/envoy.config.filter.http.router.v2.Router";
    let text = manager("").replace("\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router", v2);
    assert!(hint(&text).contains("envoy.extensions.filters.http.router.v3.Router"), "{}", hint(&text));
}

#[test]
fn deprecated_fields_are_warnings() {
    let loaded = yaml(&cluster("http2_protocol_options: {}")).unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    let warning = &loaded.warnings[0];
    assert_eq!((warning.severity, warning.path.as_str()), (Severity::Warning, "static_resources.clusters[0].http2_protocol_options"));
    assert_eq!((warning.line, warning.column), (Some(1), Some(55)));
}

#[test]
fn unknown_fields_can_be_let_through() {
    let text = cluster("foo: {bar: 1}, lb_policy: NOPE");
    let read = |unknown_fields| read_bootstrap(vec![Input::yaml(text.as_str())], &Options { unknown_fields, ..Options::default() });
    assert_eq!(read(UnknownFields::Reject).unwrap_err().len(), 2);
    assert_eq!(read(UnknownFields::Warn).unwrap().warnings.len(), 2);
    let quiet = read(UnknownFields::Ignore).unwrap();
    assert!(quiet.warnings.is_empty() && quiet.clusters.len() == 1);
}

#[test]
fn wire_bytes_are_checked_too() {
    const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
    let good = read(CLUSTER, vec![Input::json("{\"name\":\"x\"}")], &Options::default()).unwrap();
    assert_eq!(check(CLUSTER, &good.bytes, &Options::default()), Ok(vec![]));
    let issues = check(CLUSTER, &[], &Options::default()).unwrap_err();
    assert_eq!((issues[0].path.as_str(), issues[0].code), ("name", IssueCode::ConfigInvalid));
    let broken = check(CLUSTER, &[0x0a, 0xff], &Options::default()).unwrap_err();
    assert!(broken.iter().any(|i| i.message.contains("not an encoded")), "{broken:?}");
    let mut unknown = good.bytes.to_vec();
    unknown.extend_from_slice(&[0xfa, 0xff, 0x7f, 0]);
    assert_eq!(check(CLUSTER, &unknown, &Options::default()).unwrap_err()[0].code, IssueCode::UnknownField);
    assert!(check("no.such.Message", &[], &Options::default()).is_err());
}

#[test]
fn secrets_are_not_shown() {
    let tls = |secret: &str| {
        cluster(&format!(
            "transport_socket: {{name: t, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, \
             common_tls_context: {{tls_certificates: [{{private_key: {{{secret}}}}}]}}}}}}"
        ))
    };
    for secret in [
        "inline_bytes: 'Pa55!word'",
        "inline_string: [Pa55word]",
        "inline_strin: Pa55word",
        "inline_string: 12345678",
        "filename: Pa55word, inline_string: Pa55word",
    ] {
        let issues = yaml(&tls(secret)).unwrap_err();
        assert!(!format!("{issues:?}").contains("Pa55") && !format!("{issues:?}").contains("12345678"), "{issues:?}");
    }
}

#[test]
fn file_names_decide_the_format() {
    assert!(Input::file("a.pb_text", "x").is_err());
    let bytes = read("envoy.config.bootstrap.v3.Bootstrap", vec![Input::yaml(cluster(""))], &Options::default()).unwrap().bytes;
    let loaded = read_bootstrap(vec![Input::file("a.pb", bytes).unwrap()], &Options::default()).unwrap();
    assert_eq!(loaded.clusters.len(), 1);
    let issues = read_bootstrap(vec![Input::file("a.pb", "junk").unwrap()], &Options::default()).unwrap_err();
    assert_eq!((issues[0].file.as_deref(), issues[0].line), (Some("a.pb"), None));
    let latin1 = read_bootstrap(vec![Input::file("a.yaml", &b"node: {id: \"\xe9\"}"[..]).unwrap()], &Options::default()).unwrap_err();
    assert_eq!((latin1[0].line, latin1[0].column), (Some(1), Some(13)));
}

#[test]
fn what_envoy_no_longer_takes_is_an_error() {
    let zipkin = "\"@type\": type.googleapis.com/envoy.config.trace.v3.ZipkinConfig, collector_cluster: z, collector_endpoint: /x";
    let tracing =
        |more: &str| manager(&format!("route_config: {{}}, tracing: {{provider: {{name: z, typed_config: {{{zipkin}{more}}}}}}}"));
    let typed = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config";
    // A deprecated default counts where the field is left out.
    let refused = format!(
        "{typed}.tracing.provider.typed_config.collector_endpoint_version: DEPRECATED_AND_UNAVAILABLE_DO_NOT_USE is deprecated and Envoy refuses it"
    );
    assert_eq!(errors(&yaml(&tracing(""))), refused);
    assert_eq!(errors(&yaml(&tracing(", collector_endpoint_version: HTTP_JSON"))), "OK");
    let limit = |action: &str| {
        manager(&format!(
            "route_config: {{virtual_hosts: [{{name: v, domains: ['*'], rate_limits: [{{actions: [{{{action}: \
             {{descriptor_key: a, metadata_key: {{key: k, path: [{{key: x}}]}}}}}}]}}]}}]}}"
        ))
    };
    assert!(errors(&yaml(&limit("dynamic_metadata"))).ends_with("dynamic_metadata is deprecated and Envoy refuses it"));
    assert_eq!(errors(&yaml(&limit("metadata"))), "OK");
    // Outside of extensions, Envoy reads the bootstrap before its runtime and only warns.
    let loaded = yaml("node: {id: a, cluster: b}\nhds_config: {refresh_delay: 1s}").unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    assert_eq!(loaded.warnings[0].path, "hds_config.api_type");
}

#[test]
fn a_typed_struct_is_checked_as_the_message_that_it_stands_for() {
    let with = |package: &str, value: &str| {
        let router = "\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
        manager("route_config: {}").replace(
            router,
            &format!(
                "\"@type\": type.googleapis.com/{package}.TypedStruct, type_url: type.googleapis.com/envoy.extensions.filters.http.router.v3.Router, \
                 value: {value}"
            ),
        )
    };
    assert_eq!(errors(&yaml(&with("xds.type.v3", "{dynamic_stats: true}"))), "OK");
    assert_eq!(errors(&yaml(&with("udpa.type.v1", "{}"))), "OK");
    let path = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters[0].typed_config.value";
    let issues = yaml(&with("xds.type.v3", "{dynamic_statsx: true, strict_check_headers: [nope]}")).unwrap_err();
    let got: Vec<(&str, bool)> = issues.iter().map(|i| (i.path.as_str(), i.line.is_some())).collect();
    assert_eq!(got, [(format!("{path}.dynamic_statsx").as_str(), true)]);
    let issues = yaml(&with("xds.type.v3", "{strict_check_headers: [nope]}")).unwrap_err();
    assert_eq!(issues[0].path, format!("{path}.strict_check_headers[0]"));
}
