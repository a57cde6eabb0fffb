//! Route configurations in YAML: what they compile to, and what is said of the wrong ones.

use plenipo_api::{Input, Options, Severity};

use super::*;
use crate::{
    http::header::{HeaderList, Known},
    route::{Lookup, tests::info},
    stream_info::StreamInfo,
};

fn read(yaml: &str) -> plenipo_api::Loaded {
    plenipo_api::read(&RouteConfiguration::full_name(), vec![Input::yaml(yaml)], &Options::default()).expect("valid by the schema")
}

fn compile_with(yaml: &str) -> (RouteTable, Issues) {
    let mut issues = Issues::new();
    let mut filters = |name: &str, any: &prost_types::Any, _: &At<'_>, _: &mut Issues| -> Option<RouteConfig> {
        Some(Arc::new(format!("{name} {}", any.type_url)))
    };
    let table = compile(&read(yaml).bytes, &crate::stats::Store::new(), &At::Root("route_config"), &mut filters, &mut issues)
        .expect("it can be decoded");
    (table, issues)
}

fn good(yaml: &str) -> Arc<RouteTable> {
    let (table, issues) = compile_with(yaml);
    assert!(issues.is_empty(), "{issues:?}");
    Arc::new(table)
}

/// One virtual host `*` with these routes.
fn routes(yaml: &str) -> String {
    format!("name: r\nvirtual_hosts: [{{name: h, domains: ['*'], routes: {yaml}}}]")
}

fn problems(yaml: &str) -> Vec<String> {
    compile_with(yaml).1.iter().filter(|i| i.severity == Severity::Error).map(ToString::to_string).collect()
}

fn request(host: &str, path: &str) -> HeaderList {
    let mut list = HeaderList::new();
    list.append_known(Known::Authority, host.as_bytes());
    list.append_known(Known::Path, path.as_bytes());
    list.append_known(Known::ForwardedProto, b"http");
    list
}

fn lookup<'r>(headers: &'r HeaderList, info: &'r StreamInfo) -> Lookup<'r> {
    Lookup { headers, info, random: 0 }
}

#[test]
fn the_articles_routes() {
    let table = good(
        "name: local_route
virtual_hosts:
- name: app
  domains: [app.local]
  routes: [{match: {prefix: /}, route: {cluster: app}}]
- name: all
  domains: ['*']
  routes:
  - match: {path: /exact, case_sensitive: false}
    route: {cluster: one, timeout: 0s}
  - match: {safe_regex: {regex: '/[0-9]+'}}
    route: {cluster: two, timeout: 1.5s, idle_timeout: 0s}
  - match: {prefix: /}
    route: {cluster: app}",
    );
    for (host, path, want, timeout) in [
        ("app.local", "/exact", "app", Some(15_000)),
        ("other", "/EXACT", "one", None),
        ("other", "/12", "two", Some(1_500)),
        ("other", "/12a", "app", Some(15_000)),
    ] {
        let list = request(host, path);
        let found = table.find(lookup(&list, &info())).unwrap();
        assert_eq!(found.cluster(&list), want, "{host}{path}");
        assert_eq!(found.forward().unwrap().timeout.map(|t| t.as_millis()), timeout);
    }
}

#[test]
fn a_full_forwarding_route() {
    let table = good(&routes(
        "[{name: r1, match: {prefix: /api, headers: [{name: X-A, string_match: {exact: b, ignore_case: true}}, {name: x-b}],
            query_parameters: [{name: q, present_match: true}], grpc: {}, runtime_fraction: {default_value: {numerator: 5, denominator: MILLION}}},
          request_headers_to_add: [{header: {key: X-New, value: '100%%'}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}],
          response_headers_to_remove: [X-Gone],
          typed_per_filter_config: {f: {'@type': type.googleapis.com/google.protobuf.Empty}},
          route: {weighted_clusters: {clusters: [{name: a, weight: 1}, {cluster_header: x-c, weight: 2, host_rewrite_literal: w}]},
            prefix_rewrite: /, host_rewrite_literal: h, priority: HIGH, cluster_not_found_response_code: NOT_FOUND,
            upgrade_configs: [{upgrade_type: WebSocket, enabled: false}],
            retry_policy: {retry_on: '5xx,reset', num_retries: 3, per_try_timeout: 2s, retriable_status_codes: [418],
              retry_back_off: {base_interval: 0.1s}, host_selection_retry_max_attempts: 5,
              retry_host_predicate: [{name: envoy.retry_host_predicates.previous_hosts}]}}}]",
    ));
    let route = &table.hosts()[0].routes[0];
    assert_eq!(route.name.as_deref(), Some("r1"));
    assert_eq!((route.conditions.headers.len(), route.conditions.query.len(), route.conditions.grpc), (2, 1, true));
    assert_eq!(route.conditions.fraction.map(|f| (f.numerator, f.denominator)), Some((5, 1_000_000)));
    assert!(matches!(&route.request_headers.add[0].value, crate::route::HeaderValue::Literal(v) if **v == *b"100%"));
    assert_eq!(route.response_headers.remove[0].as_str(), "x-gone");
    assert!(route.filters["f"].config.is_some());
    let Action::Forward(forward) = &route.action else { panic!("not a forwarding route") };
    assert!(forward.high_priority && forward.cluster_not_found_status == 404);
    assert_eq!(forward.upgrade_enabled(b"websocket"), Some(false));
    let retry = forward.retry.as_ref().unwrap();
    assert_eq!((retry.num_retries, retry.host_selection_attempts, retry.pass_over.previous), (3, 5, true));
    assert_eq!(retry.back_off.max, Duration::from_secs(1));
    assert_eq!(retry.per_try_timeout, Some(Duration::from_secs(2)));
}

#[test]
fn a_virtual_hosts_retry_policy_is_its_routes() {
    let table = good(
        "virtual_hosts: [{name: h, domains: ['*'], retry_policy: {retry_on: 5xx, num_retries: 7}, require_tls: ALL, routes: [
          {match: {prefix: /a}, route: {cluster: c}}, {match: {prefix: /}, route: {cluster: c, retry_policy: {}}}]}]",
    );
    let retries = |n: usize| match &table.hosts()[0].routes[n].action {
        Action::Forward(forward) => forward.retry.as_ref().map(|r| r.num_retries),
        _ => None,
    };
    assert_eq!((retries(0), retries(1)), (Some(7), Some(1)));
    assert_eq!(table.hosts()[0].require_tls, RequireTls::All);
}

#[test]
fn redirects_and_direct_responses() {
    let table = good(&routes(
        "[{match: {prefix: /r}, redirect: {https_redirect: true, host_redirect: h, port_redirect: 8443, prefix_rewrite: /n,
             response_code: PERMANENT_REDIRECT, strip_query: true}},
          {match: {prefix: /}, direct_response: {status: 404, body: {inline_string: gone}}}]",
    ));
    let list = request("x", "/r/a?q");
    let found = table.find(lookup(&list, &info())).unwrap();
    assert_eq!(found.response_status(), Some(308));
    assert_eq!(found.location(&list, &info()).unwrap(), b"https://h:8443/n/a");
    let Action::DirectResponse(direct) = &table.hosts()[0].routes[1].action else { panic!("not a direct response") };
    assert_eq!((direct.status, &direct.body[..]), (404, &b"gone"[..]));
}

#[test]
fn filters_can_be_left_out() {
    let table = good(&routes(
        "[{match: {prefix: /}, route: {cluster: c}, typed_per_filter_config: {
            a: {'@type': type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true},
            b: {'@type': type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {'@type': type.googleapis.com/google.protobuf.Empty}}}}]",
    ));
    let list = request("x", "/");
    let found = table.find(lookup(&list, &info())).unwrap();
    assert_eq!((found.filter_disabled("a"), found.filter_configs("a").len()), (Some(true), 0));
    assert_eq!(found.filter_configs("b")[0].downcast_ref::<String>().unwrap(), "b type.googleapis.com/google.protobuf.Empty");
}

#[test]
fn every_problem_is_told_with_its_path() {
    let yaml = "name: r
virtual_hosts:
- {name: a, domains: [x.com, '*'], request_headers_to_remove: [':path'], routes: [
    {match: {safe_regex: {regex: '('}}, route: {cluster: c}},
    {match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: a, weight: 0}]}}},
    {match: {prefix: /}, route: {cluster: c, prefix_rewrite: /a, regex_rewrite: {pattern: {regex: a}, substitution: b}}},
    {match: {prefix: /}, route: {cluster: c, regex_rewrite: {pattern: {regex: a}, substitution: '\\1'}}}]}
- {name: b, domains: [X.COM, '*'], response_headers_to_add: [{header: {key: Host, value: v}}], routes: [
    {match: {prefix: /}, direct_response: {status: 200, body: {filename: /nowhere/at/all}}},
    {match: {prefix: /}, filter_action: {}},
    {match: {path_match_policy: {name: t, typed_config: {'@type': type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig,
      path_template: '/{a}/{a}'}}}, route: {cluster: c}},
    {match: {connect_matcher: {}}, route: {cluster: c, upgrade_configs: [{upgrade_type: websocket, connect_config: {}}]}},
    {match: {prefix: /}, route: {cluster: c, upgrade_configs: [{upgrade_type: a}, {upgrade_type: A}]}}]}";
    let told = problems(yaml);
    let expected = [
        "virtual_hosts[0].routes[0].match.safe_regex.regex: not a regular expression",
        "virtual_hosts[0].routes[1].route.weighted_clusters: Sum of weights",
        "virtual_hosts[0].routes[2].route: Specify only one of",
        "virtual_hosts[0].routes[3].route.regex_rewrite.substitution: substitution refers to group 1",
        "virtual_hosts[0].request_headers_to_remove[0]: :-prefixed",
        "virtual_hosts[1].domains[0]: Only unique values",
        "virtual_hosts[1].domains[1]: Only a single wildcard",
        "virtual_hosts[1].routes[0].direct_response.body.filename: cannot read",
        "virtual_hosts[1].routes[1].filter_action: filter actions are not implemented",
        "virtual_hosts[1].routes[2].match.path_match_policy.typed_config.path_template: is invalid: Repeated variable name",
        "virtual_hosts[1].routes[3].route.upgrade_configs[0].connect_config: Non-CONNECT upgrade type websocket has ConnectConfig",
        "virtual_hosts[1].routes[4].route.upgrade_configs[1].upgrade_type: Duplicate upgrade",
        "virtual_hosts[1].response_headers_to_add[0].header.key: :-prefixed",
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for want in expected {
        assert!(told.iter().any(|t| t.starts_with(&format!("error: route_config.{want}"))), "{want} is not in {told:#?}");
    }
}

#[test]
fn bodies_are_bounded() {
    let body = "x".repeat(4097);
    let yaml = routes(&format!("[{{match: {{prefix: /}}, direct_response: {{status: 200, body: {{inline_string: {body}}}}}}}]"));
    assert!(problems(&yaml)[0].contains("response body size is 4097 bytes; maximum is 4096"));
    assert!(problems(&format!("{yaml}\nmax_direct_response_body_size_bytes: 5000")).is_empty());
}

#[test]
fn unknown_retry_conditions_warn() {
    let (_, issues) = compile_with(&routes("[{match: {prefix: /}, route: {cluster: c, retry_policy: {retry_on: '5xx,nonsense'}}}]"));
    assert_eq!(issues.len(), 1);
    assert_eq!((issues[0].severity, issues[0].got.as_deref()), (Severity::Warning, Some("nonsense")));
}

#[test]
fn unknown_clusters_are_named() {
    let table = good(&routes(
        "[{match: {prefix: /a}, route: {cluster: here}}, {match: {prefix: /b}, route: {cluster: gone}},
          {match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: here, weight: 1}, {name: lost, weight: 1}]}}}]",
    ));
    let mut issues = Issues::new();
    unknown_clusters(&table, &At::Root("rc"), |name| name == "here", &mut issues);
    let told: Vec<_> = issues.iter().map(|i| (i.path.as_str(), i.message.as_str())).collect();
    assert_eq!(
        told,
        [
            ("rc.virtual_hosts[0].routes[1].route.cluster", "route: unknown cluster 'gone'"),
            ("rc.virtual_hosts[0].routes[2].route.weighted_clusters.clusters[1].name", "route: unknown cluster 'lost'"),
        ]
    );
}
