//! The verdict "unsupported" stands apart from "invalid".

use plenipo_api::{Input, IssueCode, Options, Support, read_bootstrap};

use crate::{cluster, manager};

fn codes(list: &str, text: &str) -> Vec<(IssueCode, String)> {
    let support = Support::parse(list).unwrap();
    match read_bootstrap(vec![Input::yaml(text)], &Options { support: Some(&support), ..Options::default() }) {
        Ok(_) => Vec::new(),
        Err(issues) => issues.into_iter().map(|i| (i.code, i.path)).collect(),
    }
}

const BASE: &str = "envoy.config.bootstrap.v3.Bootstrap.static_resources\nenvoy.config.bootstrap.v3.Bootstrap.StaticResources.*\n\
    envoy.config.cluster.v3.Cluster.name\nenvoy.config.cluster.v3.Cluster.type\n";

#[test]
fn a_field_that_is_not_listed_is_refused_by_path() {
    use IssueCode::{ConfigInvalid, Unsupported};
    let path = |p: &str| format!("static_resources.clusters[0].{p}");
    assert_eq!(codes(BASE, &cluster("")), []);
    assert_eq!(codes(BASE, &cluster("connect_timeout: 1s")), [(Unsupported, path("connect_timeout"))]);
    // One issue for a message, not one for each thing in it; rules inside it still count.
    assert_eq!(
        codes(BASE, &cluster("outlier_detection: {interval: 1s, max_ejection_percent: 101}")),
        [(Unsupported, path("outlier_detection")), (ConfigInvalid, path("outlier_detection.max_ejection_percent"))]
    );
    // A default that cannot be told from unset.
    assert_eq!(codes(BASE, &cluster("respect_dns_ttl: false, lb_policy: ROUND_ROBIN")), []);
    assert_eq!(codes(BASE, &cluster("lb_policy: RANDOM")), [(Unsupported, path("lb_policy"))]);
}

#[test]
fn values_and_types_are_listed_too() {
    use IssueCode::Unsupported;
    let path = |p: &str| format!("static_resources.clusters[0].{p}");
    let with_policy = format!("{BASE}envoy.config.cluster.v3.Cluster.lb_policy\nenvoy.config.cluster.v3.Cluster.LbPolicy.RANDOM\n");
    assert_eq!(codes(&with_policy, &cluster("lb_policy: RANDOM")), []);
    assert_eq!(codes(&with_policy, &cluster("lb_policy: MAGLEV")), [(Unsupported, path("lb_policy"))]);
    let only = format!(
        "{BASE}envoy.config.cluster.v3.Cluster.per_connection_buffer_limit_bytes = 5\nenvoy.config.cluster.v3.Cluster.connect_timeout = 1s\n"
    );
    assert_eq!(codes(&only, &cluster("per_connection_buffer_limit_bytes: 5, connect_timeout: 1s")), []);
    assert_eq!(
        codes(&only, &cluster("per_connection_buffer_limit_bytes: 6, connect_timeout: 2s")),
        [(Unsupported, path("per_connection_buffer_limit_bytes")), (Unsupported, path("connect_timeout"))]
    );
    let listener = format!(
        "{BASE}envoy.config.listener.v3.Listener.*\nenvoy.config.core.v3.Address.*\nenvoy.config.core.v3.SocketAddress.*\n\
        envoy.config.listener.v3.FilterChain.*\nenvoy.config.listener.v3.Filter.*\n"
    );
    let typed = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config";
    let manager = manager("route_config: {}");
    assert_eq!(codes(&listener, &manager), [(Unsupported, format!("{typed}.@type"))]);
    let with_type = format!("{listener}@envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n");
    assert_eq!(
        codes(&with_type, &manager),
        [
            (Unsupported, format!("{typed}.stat_prefix")),
            (Unsupported, format!("{typed}.http_filters")),
            (Unsupported, format!("{typed}.route_config"))
        ]
    );
}

#[test]
fn data_needs_no_entry() {
    let list = format!("{BASE}envoy.config.cluster.v3.Cluster.metadata\nenvoy.config.core.v3.Metadata.filter_metadata\n");
    assert_eq!(codes(&list, &cluster("metadata: {filter_metadata: {a: {b: [1, {c: d}]}}}")), []);
}
