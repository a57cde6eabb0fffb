//! Clusters in YAML: what they compile to, and what is said of the wrong ones.

use plenipo_api::{Input, Options, Severity, read_message};

use super::*;
use crate::cluster::Cluster as Running;

fn compiled(yaml: &str) -> (Option<Settings>, Issues) {
    let (config, _) = read_message::<Cluster>(vec![Input::yaml(yaml)], &Options::default()).expect("valid by the schema");
    let mut issues = Issues::new();
    let settings = compile(&config, &At::Root("cluster"), &mut issues);
    (settings, issues)
}

fn good(yaml: &str) -> Settings {
    let (settings, issues) = compiled(yaml);
    assert!(issues.is_empty(), "{issues:?}");
    settings.expect("no issue, so settings")
}

fn problems(yaml: &str) -> Vec<String> {
    let (settings, issues) = compiled(yaml);
    let errors: Vec<String> = issues.iter().filter(|i| i.severity == Severity::Error).map(ToString::to_string).collect();
    assert_eq!(settings.is_none(), !errors.is_empty());
    errors
}

fn addresses(settings: &Settings) -> Vec<(String, u32)> {
    match &settings.discovery {
        Discovery::Static(list) => list.iter().map(|e| (e.address.to_string(), e.weight)).collect(),
        Discovery::Dns(dns) => dns.names.iter().map(|n| (format!("{}:{}", n.name, n.port), n.weight)).collect(),
    }
}

/// `load_assignment` of one locality.
fn assignment(endpoints: &str) -> String {
    format!("load_assignment: {{cluster_name: c, endpoints: [{{lb_endpoints: [{endpoints}]}}]}}")
}

fn endpoint(address: &str, more: &str) -> String {
    format!("{{endpoint: {{address: {{socket_address: {{address: {address}, port_value: 80}}}}}}{more}}}")
}

#[test]
fn defaults_are_envoys() {
    let settings = good("name: c");
    assert_eq!(settings.connect_timeout, Duration::from_secs(5));
    assert_eq!(settings.per_connection_buffer_limit, 1024 * 1024);
    assert_eq!(settings.idle_timeout, Some(Duration::from_secs(3600)));
    assert_eq!(settings.policy, Policy::RoundRobin);
    assert_eq!(
        settings.thresholds,
        [Thresholds { connections: 1024, pending: 1024, requests: 1024, retries: 3, ..Thresholds::default() }; 2]
    );
    assert!(matches!(settings.protocol, UpstreamProtocol::Http1(_)) && settings.tls.is_none());
}

#[test]
fn the_articles_clusters() {
    let two = [endpoint("10.0.0.1", ""), endpoint("'::1'", ", load_balancing_weight: 3")].join(",");
    let settings = good(&format!("{{name: app, connect_timeout: 0.25s, type: static, lb_policy: round_robin, {}}}", assignment(&two)));
    assert_eq!(settings.connect_timeout, Duration::from_millis(250));
    assert_eq!(addresses(&settings), [("10.0.0.1:80".to_owned(), 1), ("[::1]:80".to_owned(), 3)]);
    let name = endpoint("app-svc.default.svc.cluster.local", "");
    let settings = good(&format!("{{name: app, type: strict_dns, http2_protocol_options: {{}}, {}}}", assignment(&name)));
    assert_eq!(addresses(&settings), [("app-svc.default.svc.cluster.local:80".to_owned(), 1)]);
    let Discovery::Dns(dns) = &settings.discovery else { panic!("not a DNS cluster") };
    assert_eq!((dns.strict, dns.refresh, dns.family, dns.wait_for_warm_on_init), (true, Duration::from_secs(5), LookupFamily::Auto, true));
    assert_eq!(&*dns.names[0].hostname, "app-svc.default.svc.cluster.local");
    assert!(matches!(settings.protocol, UpstreamProtocol::Http2(_)));
    assert!(!Running::new("app", settings, &crate::stats::Store::with_workers(1), None).is_warm());
}

#[test]
fn options_of_every_kind() {
    let settings = good(
        "name: c
lb_policy: LEAST_REQUEST
least_request_lb_config: {choice_count: 4, active_request_bias: {default_value: 0.5, runtime_key: x}}
per_connection_buffer_limit_bytes: 10
circuit_breakers: {thresholds: [{max_connections: 1, max_retries: 9}, {priority: HIGH, max_requests: 2, retry_budget: {budget_percent: {value: 50}}},
  {max_connections: 7}]}
upstream_connection_options: {tcp_keepalive: {keepalive_time: 30}}
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    common_http_protocol_options: {idle_timeout: 0s, max_requests_per_connection: 5}
    explicit_http_config: {http2_protocol_options: {max_concurrent_streams: 7}}",
    );
    assert_eq!(settings.policy, Policy::LeastRequest { choices: 4, bias: 0.5 });
    assert_eq!(settings.per_connection_buffer_limit, 10);
    let [normal, high] = settings.thresholds;
    assert_eq!((normal.connections, normal.requests, normal.retries), (1, 1024, 9));
    assert_eq!((high.connections, high.requests), (1024, 2));
    assert_eq!(high.retry_budget, Some(RetryBudget { percent: 50.0, min_concurrency: 3, interval: None }));
    assert_eq!(settings.tcp_keepalive.unwrap().time, Some(Duration::from_secs(30)));
    assert_eq!((settings.idle_timeout, settings.max_requests_per_connection), (None, 5));
    assert!(matches!(settings.protocol, UpstreamProtocol::Http2(o) if o.max_concurrent_streams == 7));
}

#[test]
fn dns_options() {
    let settings = good(&format!(
        "{{name: c, type: LOGICAL_DNS, dns_lookup_family: V4_PREFERRED, dns_refresh_rate: 2s, respect_dns_ttl: true, dns_jitter: 1s,
          dns_failure_refresh_rate: {{base_interval: 1s}}, wait_for_warm_on_init: false, {},
          typed_dns_resolver_config: {{name: r, typed_config: {{
            '@type': type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig,
            resolvers: [{{socket_address: {{address: 127.0.0.53, port_value: 53}}}}],
            dns_resolver_options: {{use_tcp_for_dns_lookups: true, no_default_search_domain: true}}}}}}}}",
        assignment(&endpoint("x.test", ""))
    ));
    let Discovery::Dns(dns) = settings.discovery else { panic!("not a DNS cluster") };
    assert_eq!(
        (dns.strict, dns.family, dns.refresh, dns.jitter),
        (false, LookupFamily::V4Preferred, Duration::from_secs(2), Duration::from_secs(1))
    );
    assert_eq!(dns.failure_refresh, Some(FailureRefresh { base: Duration::from_secs(1), max: Duration::from_secs(10) }));
    assert!(dns.respect_ttl && !dns.wait_for_warm_on_init);
    assert_eq!(dns.resolver.servers, ["127.0.0.53:53".parse().unwrap()]);
    assert!(dns.resolver.tcp && dns.resolver.no_search);
}

#[test]
fn every_health_status_and_the_rules_of_health() {
    let states = ["HEALTHY", "UNKNOWN", "77", "DEGRADED", "UNHEALTHY", "TIMEOUT", "DRAINING"];
    let list: Vec<String> = states.iter().map(|state| endpoint("10.0.0.1", &format!(", health_status: {state}"))).collect();
    let settings = good(&format!("{{name: c, {}}}", assignment(&list.join(","))));
    let Discovery::Static(endpoints) = settings.discovery else { panic!("not a static cluster") };
    let health: Vec<Health> = endpoints.iter().map(|e| e.health).collect();
    use Health::{Degraded, Draining, Healthy, Unhealthy};
    assert_eq!(health, [Healthy, Healthy, Healthy, Degraded, Unhealthy, Unhealthy, Draining]);
    assert_eq!(settings.health, HealthRules::default());

    let settings = good(
        "{name: c, common_lb_config: {healthy_panic_threshold: {value: 12.6}, zone_aware_lb_config: {fail_traffic_on_panic: true}},
          load_assignment: {cluster_name: c, policy: {overprovisioning_factor: 200, weighted_priority_health: true}}}",
    );
    assert_eq!(settings.health, HealthRules { panic_threshold: 12, fail_on_panic: true, overprovisioning: 200, by_weight: true });
}

#[test]
fn several_localities_are_one_set_of_hosts() {
    let (one, two) = (endpoint("10.0.0.1", ""), endpoint("10.0.0.2", ""));
    let yaml = format!(
        "{{name: c, load_assignment: {{cluster_name: c, endpoints: [{{lb_endpoints: [{one}]}}, {{locality: {{zone: z}}, lb_endpoints: [{two}]}}]}}}}"
    );
    assert_eq!(addresses(&good(&yaml)).len(), 2);
}

#[test]
fn every_problem_is_told_with_its_path() {
    let (name, pipe) = (endpoint("some.name", ""), "{endpoint: {address: {pipe: {path: /tmp/x}}}}");
    for (yaml, want) in [
        ("{name: c, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED}".into(), "type: this kind of discovery is not implemented"),
        ("{name: c, lb_policy: LOAD_BALANCING_POLICY_CONFIG}".into(), "lb_policy: this policy is not implemented"),
        (
            "{name: c, lb_policy: MAGLEV, maglev_lb_config: {table_size: 1}}".into(),
            "maglev_lb_config.table_size: The table size of maglev must be prime",
        ),
        (
            format!("{{name: c, {}}}", assignment(&name)),
            "load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: malformed IP address",
        ),
        (
            format!("{{name: c, {}}}", assignment(pipe)),
            "load_assignment.endpoints[0].lb_endpoints[0].endpoint.address: only socket_address",
        ),
        (
            format!("{{name: c, type: LOGICAL_DNS, {}}}", assignment(&format!("{name}, {name}"))),
            "load_assignment: LOGICAL_DNS clusters must have a single",
        ),
        (
            format!(
                "{{name: c, load_assignment: {{cluster_name: c, endpoints: [{{priority: 1, lb_endpoints: [{}]}}]}}}}",
                endpoint("10.0.0.1", "")
            ),
            "load_assignment.endpoints[0].priority: priorities are not implemented",
        ),
    ] {
        let told = problems(&yaml);
        assert!(told.iter().any(|t| t.starts_with(&format!("error: cluster.{want}"))), "{want}: {told:?}");
    }
}
