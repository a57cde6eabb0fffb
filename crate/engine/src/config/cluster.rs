//! Compiles `Cluster`.

// Deprecated fields are Envoy's, and are read as long as Envoy reads them.
#![allow(deprecated)]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use plenipo_api::proto::envoy::{
    config::{
        cluster::v3::{
            CircuitBreakers, Cluster, circuit_breakers,
            cluster::{
                ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, LbConfig, LbPolicy, common_lb_config::LocalityConfigSpecifier,
                ring_hash_lb_config::HashFunction,
            },
        },
        core::v3::{
            Address, BindConfig, HealthStatus, Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions, RoutingPriority,
            SocketAddress, address,
        },
        endpoint::v3::{LbEndpoint, lb_endpoint::HostIdentifier},
    },
    extensions::{
        network::dns_resolver::cares::v3::CaresDnsResolverConfig,
        upstreams::http::v3::{
            HttpProtocolOptions as UpstreamOptions,
            http_protocol_options::{UpstreamProtocolOptions, explicit_http_config::ProtocolConfig},
        },
    },
};

use super::{
    any,
    issues::{At, Issues},
    metadata, protocol, retry, route, transport, value,
};
use crate::{
    balance::{Policy, TableKind, TableRules},
    cluster::{
        AutoNames, Bind, Discovery, DnsEndpoint, DnsSettings, Either, Endpoint, FailureRefresh, Health, HealthRules, Locality,
        LookupFamily, Policies, ResolverConfig, RetryBudget, Settings, TcpKeepalive, Thresholds, UpstreamProtocol,
    },
    http::header::HeaderName,
};

const UPSTREAM_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const CARES: &str = "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig";

/// Envoy's default for `maglev_lb_config.table_size`.
const MAGLEV_SIZE: u64 = 65_537;

/// Compiles the settings of a cluster.
pub fn compile(config: &Cluster, at: &At<'_>, issues: &mut Issues) -> Option<Settings> {
    let before = issues.len();
    let mut settings =
        Settings { alt_stat_name: Some(&*config.alt_stat_name).filter(|n| !n.is_empty()).map(Into::into), ..Settings::default() };
    if let Some(timeout) = value::duration(config.connect_timeout.as_ref(), &at.field("connect_timeout"), issues) {
        settings.connect_timeout = timeout;
    }
    if let Some(limit) = config.per_connection_buffer_limit_bytes {
        settings.per_connection_buffer_limit = limit as usize;
    }
    settings.metadata = metadata::compile(config.metadata.as_ref());
    settings.policy = policy(config, at, issues);
    settings.health = health_rules(config);
    protocol(config, &mut settings, at, issues);
    settings.discovery = discovery(config, at, issues);
    if let Some(breakers) = &config.circuit_breakers {
        thresholds(breakers, &mut settings, &at.field("circuit_breakers"), issues);
    }
    if let Some(keepalive) = config.upstream_connection_options.as_ref().and_then(|o| o.tcp_keepalive) {
        let seconds = |s: Option<u32>| s.map(|s| Duration::from_secs(s.into()));
        settings.tcp_keepalive = Some(TcpKeepalive {
            probes: keepalive.keepalive_probes,
            time: seconds(keepalive.keepalive_time),
            interval: seconds(keepalive.keepalive_interval),
        });
    }
    if let Some(socket) = &config.transport_socket {
        transport::of_cluster(socket, &mut settings, &at.field("transport_socket"), issues);
    }
    settings.bind = config.upstream_bind_config.as_ref().and_then(|bind| bind_config(bind, &at.field("upstream_bind_config"), issues));
    settings.pool_per_client = config.connection_pool_per_downstream_connection;
    let failed = issues[before..].iter().any(|i| i.severity == plenipo_api::Severity::Error);
    (!failed).then_some(settings)
}

fn policy(config: &Cluster, at: &At<'_>, issues: &mut Issues) -> Policy {
    let hashing = config.common_lb_config.as_ref().and_then(|common| common.consistent_hashing_lb_config.as_ref());
    let by_hostname = hashing.is_some_and(|hashing| hashing.use_hostname_for_hashing);
    if by_hostname && matches!(config.cluster_discovery_type, None | Some(ClusterDiscoveryType::Type(0))) {
        let at = at.field("common_lb_config");
        let at = at.field("consistent_hashing_lb_config");
        let message = "Cannot use hostname for consistent hashing loadbalancing for cluster of type: 'envoy.cluster.static'";
        issues.push(at.field("use_hostname_for_hashing").invalid(message));
    }
    match config.lb_policy() {
        LbPolicy::RoundRobin => Policy::RoundRobin,
        LbPolicy::LeastRequest => {
            let config = match &config.lb_config {
                Some(LbConfig::LeastRequestLbConfig(config)) => config.clone(),
                _ => Default::default(),
            };
            // As in Envoy a bias that is no such number has no effect.
            let bias = config.active_request_bias.map_or(1.0, |bias| bias.default_value);
            let bias = if bias >= 0.0 { bias } else { 1.0 };
            Policy::LeastRequest { choices: config.choice_count.unwrap_or(2).max(2), bias }
        }
        LbPolicy::Random => Policy::Random,
        LbPolicy::RingHash => {
            let config = match &config.lb_config {
                Some(LbConfig::RingHashLbConfig(config)) => *config,
                _ => Default::default(),
            };
            // The rules of the API bound both to 8 Mi.
            let (least, most) = (config.minimum_ring_size.unwrap_or(1024), config.maximum_ring_size.unwrap_or(8 * 1024 * 1024));
            if least > most {
                let message = format!("ring hash: minimum_ring_size ({least}) > maximum_ring_size ({most})");
                issues.push(at.field("ring_hash_lb_config").invalid(message));
            }
            let murmur = config.hash_function() == HashFunction::MurmurHash2;
            Policy::Hashed(TableRules { kind: TableKind::Ring { least: least as u32, most: most as u32, murmur }, by_hostname })
        }
        LbPolicy::Maglev => {
            let size = match &config.lb_config {
                Some(LbConfig::MaglevLbConfig(config)) => config.table_size.unwrap_or(MAGLEV_SIZE),
                _ => MAGLEV_SIZE,
            };
            if !is_prime(size) {
                let at = at.field("maglev_lb_config");
                issues.push(at.field("table_size").invalid("The table size of maglev must be prime number").got(size.to_string()));
            }
            // The rules of the API bound it to 5,000,011.
            Policy::Hashed(TableRules { kind: TableKind::Maglev { size: size as u32 }, by_hostname })
        }
        other => {
            issues.push(at.field("lb_policy").unsupported("this policy is not implemented").got(other.as_str_name()));
            Policy::RoundRobin
        }
    }
}

fn health_rules(config: &Cluster) -> HealthRules {
    let mut rules = HealthRules::default();
    if let Some(common) = &config.common_lb_config {
        if let Some(threshold) = &common.healthy_panic_threshold {
            // As Envoy computes it: what is behind the point is cut off.
            rules.panic_threshold = (100.0 * (threshold.value / 100.0)) as u32;
        }
        rules.fail_on_panic = match &common.locality_config_specifier {
            Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zones)) => zones.fail_traffic_on_panic,
            _ => false,
        };
    }
    if let Some(policy) = config.load_assignment.as_ref().and_then(|a| a.policy.as_ref()) {
        rules.overprovisioning = policy.overprovisioning_factor.unwrap_or(rules.overprovisioning);
        rules.by_weight = policy.weighted_priority_health;
    }
    rules
}

fn is_prime(number: u64) -> bool {
    number > 1 && (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| !number.is_multiple_of(divisor))
}

/// The protocol and its options: in `typed_extension_protocol_options`, or in the old fields.
fn protocol(config: &Cluster, settings: &mut Settings, at: &At<'_>, issues: &mut Issues) {
    let map = at.field("typed_extension_protocol_options");
    if let Some(typed) = config.typed_extension_protocol_options.get(UPSTREAM_OPTIONS) {
        let at = map.key(UPSTREAM_OPTIONS);
        let Some(options) = any::decode::<UpstreamOptions>(typed, &at, issues) else { return };
        if let Some(common) = &options.common_http_protocol_options {
            common_options(common, settings, &at.field("common_http_protocol_options"), issues);
        }
        if let Some(names) = &options.upstream_http_protocol_options {
            let header = if names.override_auto_sni_header.is_empty() { ":authority" } else { &names.override_auto_sni_header };
            let (send, validate) = (names.auto_sni, names.auto_san_validation);
            settings.auto_names = (send || validate).then(|| AutoNames { header: HeaderName::of_request(header), send, validate });
        }
        let policies = Policies {
            retry: options.retry_policy.as_ref().map(|policy| retry::compile(policy, &at.field("retry_policy"), issues)),
            hash: route::hash_policy::compile(&options.hash_policy, &at.field("hash_policy"), issues),
            mirrors: route::mirror::compile(&options.request_mirror_policies, &at.field("request_mirror_policies"), issues),
        };
        let any = policies.retry.is_some() || policies.hash.is_some() || policies.mirrors.is_some();
        settings.policies = any.then(|| Box::new(policies));
        let either = |http1: Option<&Http1ProtocolOptions>, http2: Option<&Http2ProtocolOptions>, at: &At<'_>, issues: &mut Issues| {
            let default = Either::default();
            let http1 = http1.map_or(default.http1, |o| protocol::http1(o, &at.field("http_protocol_options"), issues));
            let http2 = http2.map_or(default.http2, |o| protocol::http2(o, &at.field("http2_protocol_options"), issues));
            Box::new(Either { http1, http2 })
        };
        settings.protocol = match &options.upstream_protocol_options {
            Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => {
                let at = at.field("explicit_http_config");
                match &explicit.protocol_config {
                    Some(ProtocolConfig::HttpProtocolOptions(o)) => {
                        UpstreamProtocol::Http1(protocol::http1(o, &at.field("http_protocol_options"), issues))
                    }
                    Some(ProtocolConfig::Http2ProtocolOptions(o)) => {
                        UpstreamProtocol::Http2(protocol::http2(o, &at.field("http2_protocol_options"), issues))
                    }
                    Some(ProtocolConfig::Http3ProtocolOptions(_)) | None => {
                        issues.push(at.unsupported("HTTP/3 is not implemented"));
                        return;
                    }
                }
            }
            Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(o)) => {
                let at = at.field("use_downstream_protocol_config");
                UpstreamProtocol::Downstream(either(o.http_protocol_options.as_ref(), o.http2_protocol_options.as_ref(), &at, issues))
            }
            Some(UpstreamProtocolOptions::AutoConfig(o)) => {
                let at = at.field("auto_config");
                if config.transport_socket.is_none() {
                    let message = "ALPN configured for a cluster which has a non-ALPN transport socket";
                    issues.push(at.invalid(message).hint("without TLS nothing can be negotiated: use explicit_http_config"));
                }
                UpstreamProtocol::Negotiated(either(o.http_protocol_options.as_ref(), o.http2_protocol_options.as_ref(), &at, issues))
            }
            None => {
                issues.push(at.invalid("one of explicit_http_config, use_downstream_protocol_config and auto_config is needed"));
                return;
            }
        };
        return;
    }
    if let Some(common) = &config.common_http_protocol_options {
        common_options(common, settings, &at.field("common_http_protocol_options"), issues);
    }
    if let Some(max) = config.max_requests_per_connection {
        settings.max_requests_per_connection = max;
    }
    if let Some(options) = &config.http2_protocol_options {
        settings.protocol = UpstreamProtocol::Http2(protocol::http2(options, &at.field("http2_protocol_options"), issues));
    } else if let Some(options) = &config.http_protocol_options {
        settings.protocol = UpstreamProtocol::Http1(protocol::http1(options, &at.field("http_protocol_options"), issues));
    }
}

fn common_options(options: &HttpProtocolOptions, settings: &mut Settings, at: &At<'_>, issues: &mut Issues) {
    settings.idle_timeout = value::limit(options.idle_timeout.as_ref(), settings.idle_timeout, &at.field("idle_timeout"), issues);
    settings.max_stream_duration = value::limit(options.max_stream_duration.as_ref(), None, &at.field("max_stream_duration"), issues);
    settings.max_connection_duration =
        value::limit(options.max_connection_duration.as_ref(), None, &at.field("max_connection_duration"), issues);
    if options.headers_with_underscores_action != 0 {
        let at = at.field("headers_with_underscores_action");
        issues.push(at.warning("has no effect at a cluster, as in Envoy: it is for what clients send"));
    }
    settings.max_connection_duration_jitter = options.max_connection_duration_jitter.as_ref().map_or(0.0, |p| p.value);
    if let Some(max) = options.max_headers_count {
        settings.max_headers_count = max as usize;
    }
    settings.max_response_headers_bytes = options.max_response_headers_kb.map(|kb| kb as usize * 1024);
    if let Some(max) = options.max_requests_per_connection {
        settings.max_requests_per_connection = max;
    }
}

fn discovery(config: &Cluster, at: &At<'_>, issues: &mut Issues) -> Discovery {
    let kind = match config.cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(kind)) => DiscoveryType::try_from(kind).unwrap_or_default(),
        _ => DiscoveryType::Static,
    };
    match kind {
        DiscoveryType::Static => Discovery::Static(static_endpoints(config, at, issues)),
        DiscoveryType::StrictDns | DiscoveryType::LogicalDns => {
            Discovery::Dns(Box::new(dns(config, kind == DiscoveryType::StrictDns, at, issues)))
        }
        other => {
            issues.push(at.field("type").unsupported("this kind of discovery is not implemented").got(other.as_str_name()));
            Discovery::Static(Vec::new())
        }
    }
}

/// Walks the endpoints; each with its address and place.
fn endpoints(
    config: &Cluster,
    at: &At<'_>,
    issues: &mut Issues,
    mut see: impl FnMut(&LbEndpoint, Option<&Arc<Locality>>, &str, &SocketAddress, &At<'_>, &mut Issues),
) {
    let Some(assignment) = &config.load_assignment else { return };
    let at = at.field("load_assignment");
    let localities = at.field("endpoints");
    for (i, locality) in assignment.endpoints.iter().enumerate() {
        let at = localities.index(i);
        if locality.priority != 0 {
            issues.push(at.field("priority").unsupported("priorities are not implemented").got(locality.priority.to_string()));
        }
        let place = locality.locality.as_ref().map(|l| {
            Arc::new(Locality { region: l.region.as_str().into(), zone: l.zone.as_str().into(), sub_zone: l.sub_zone.as_str().into() })
        });
        let list = at.field("lb_endpoints");
        for (i, endpoint) in locality.lb_endpoints.iter().enumerate() {
            let at = list.index(i);
            let Some(HostIdentifier::Endpoint(inner)) = &endpoint.host_identifier else {
                issues.push(at.invalid("an endpoint needs an address"));
                continue;
            };
            let at = at.field("endpoint");
            let at = at.field("address");
            match inner.address.as_ref().and_then(|a| a.address.as_ref()) {
                Some(address::Address::SocketAddress(socket)) => {
                    see(endpoint, place.as_ref(), &inner.hostname, socket, &at.field("socket_address"), issues)
                }
                Some(_) => issues.push(at.unsupported("only socket_address is implemented")),
                None => issues.push(at.invalid("an endpoint needs an address")),
            }
        }
    }
}

/// A number without a name counts as `UNKNOWN`, as in Envoy.
fn health(endpoint: &LbEndpoint) -> Health {
    match endpoint.health_status() {
        HealthStatus::Unknown | HealthStatus::Healthy => Health::Healthy,
        HealthStatus::Degraded => Health::Degraded,
        HealthStatus::Unhealthy | HealthStatus::Timeout => Health::Unhealthy,
        HealthStatus::Draining => Health::Draining,
    }
}

fn static_endpoints(config: &Cluster, at: &At<'_>, issues: &mut Issues) -> Vec<Endpoint> {
    let mut found = Vec::new();
    endpoints(config, at, issues, |endpoint, locality, hostname, socket, at, issues| {
        if let Some(address) = value::socket_address(socket, at, issues) {
            let weight = endpoint.load_balancing_weight.unwrap_or(1);
            let metadata = metadata::compile(endpoint.metadata.as_ref());
            found.push(Endpoint {
                address,
                hostname: hostname.into(),
                weight,
                metadata,
                locality: locality.cloned(),
                health: health(endpoint),
            });
        }
    });
    found
}

fn dns(config: &Cluster, strict: bool, at: &At<'_>, issues: &mut Issues) -> DnsSettings {
    let mut names = Vec::new();
    endpoints(config, at, issues, |endpoint, locality, hostname, socket, at, issues| {
        if let Some(port) = value::port(socket, at, issues) {
            let name: Arc<str> = socket.address.as_str().into();
            let hostname = if hostname.is_empty() { name.clone() } else { hostname.into() };
            let weight = endpoint.load_balancing_weight.unwrap_or(1);
            let metadata = metadata::compile(endpoint.metadata.as_ref());
            names.push(DnsEndpoint { name, port, hostname, weight, metadata, locality: locality.cloned(), health: health(endpoint) });
        }
    });
    if !strict && names.len() != 1 {
        let message = "LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint";
        issues.push(at.field("load_assignment").invalid(message).got(names.len().to_string()));
    }
    let failure_at = at.field("dns_failure_refresh_rate");
    let failure_refresh = config.dns_failure_refresh_rate.as_ref().and_then(|rate| {
        let base = value::duration(rate.base_interval.as_ref(), &failure_at.field("base_interval"), issues)?;
        let max = value::duration(rate.max_interval.as_ref(), &failure_at.field("max_interval"), issues).unwrap_or(base * 10);
        Some(FailureRefresh { base, max })
    });
    DnsSettings {
        strict,
        names,
        refresh: value::duration(config.dns_refresh_rate.as_ref(), &at.field("dns_refresh_rate"), issues).unwrap_or(Duration::from_secs(5)),
        jitter: value::duration(config.dns_jitter.as_ref(), &at.field("dns_jitter"), issues).unwrap_or_default(),
        respect_ttl: config.respect_dns_ttl,
        failure_refresh,
        family: match config.dns_lookup_family() {
            DnsLookupFamily::Auto => LookupFamily::Auto,
            DnsLookupFamily::V4Only => LookupFamily::V4Only,
            DnsLookupFamily::V6Only => LookupFamily::V6Only,
            DnsLookupFamily::V4Preferred => LookupFamily::V4Preferred,
            DnsLookupFamily::All => LookupFamily::All,
        },
        resolver: resolver(config, at, issues),
        wait_for_warm_on_init: config.wait_for_warm_on_init.unwrap_or(true),
    }
}

fn resolver(config: &Cluster, at: &At<'_>, issues: &mut Issues) -> ResolverConfig {
    let mut resolver = ResolverConfig { tcp: config.use_tcp_for_dns_lookups, ..ResolverConfig::default() };
    if let Some(typed) = &config.typed_dns_resolver_config {
        let at = at.field("typed_dns_resolver_config");
        let at = at.field("typed_config");
        let Some(any) = typed.typed_config.as_ref() else { return resolver };
        if any::type_name(any) != CARES {
            issues.push(at.unsupported("only the c-ares resolver's configuration is read").got(any::type_name(any)));
            return resolver;
        }
        let Some(cares) = any::decode::<CaresDnsResolverConfig>(any, &at, issues) else { return resolver };
        resolver.servers = servers(&cares.resolvers, &at.field("resolvers"), issues);
        if let Some(options) = cares.dns_resolver_options {
            resolver.tcp = options.use_tcp_for_dns_lookups;
            resolver.no_search = options.no_default_search_domain;
        }
        if let Some(seconds) = cares.query_timeout_seconds {
            resolver.timeout = Duration::from_secs(seconds);
        }
        resolver.tries = cares.query_tries.unwrap_or(resolver.tries);
    } else if let Some(old) = &config.dns_resolution_config {
        let at = at.field("dns_resolution_config");
        resolver.servers = servers(&old.resolvers, &at.field("resolvers"), issues);
        if let Some(options) = old.dns_resolver_options {
            resolver.tcp = options.use_tcp_for_dns_lookups;
            resolver.no_search = options.no_default_search_domain;
        }
    } else {
        resolver.servers = servers(&config.dns_resolvers, &at.field("dns_resolvers"), issues);
    }
    resolver
}

fn servers(list: &[Address], at: &At<'_>, issues: &mut Issues) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for (i, address) in list.iter().enumerate() {
        let at = at.index(i);
        match &address.address {
            Some(address::Address::SocketAddress(socket)) => {
                found.extend(value::socket_address(socket, &at.field("socket_address"), issues))
            }
            _ => issues.push(at.invalid("a resolver needs a socket_address")),
        }
    }
    found
}

fn bind_config(config: &BindConfig, at: &At<'_>, issues: &mut Issues) -> Option<Bind> {
    let extra = config.extra_source_addresses.iter().filter_map(|extra| extra.address.as_ref());
    let others: Vec<&SocketAddress> = extra.chain(&config.additional_source_addresses).collect();
    if !config.extra_source_addresses.is_empty() && !config.additional_source_addresses.is_empty() {
        issues.push(at.invalid("extra_source_addresses and additional_source_addresses cannot both be given"));
    }
    let Some(source) = &config.source_address else {
        if !others.is_empty() {
            issues.push(at.field("source_address").invalid("is missing: further addresses cannot be given without it"));
        }
        return None;
    };
    let source = value::socket_address(source, &at.field("source_address"), issues);
    let further = at.field(if config.extra_source_addresses.is_empty() { "additional_source_addresses" } else { "extra_source_addresses" });
    if others.len() > 1 {
        issues.push(further.invalid("only one further address can be given"));
    }
    let other = others.first().and_then(|other| value::socket_address(other, &further.index(0), issues));
    if source.zip(other).is_some_and(|(source, other)| source.is_ipv4() == other.is_ipv4()) {
        issues.push(further.invalid("a further address must be of the other address family"));
    }
    Some(Bind { source: source?, other, freebind: config.freebind.unwrap_or(false) })
}

fn thresholds(config: &CircuitBreakers, settings: &mut Settings, at: &At<'_>, issues: &mut Issues) {
    let slot = |one: &circuit_breakers::Thresholds| match one.priority() {
        RoutingPriority::Default => 0,
        RoutingPriority::High => 1,
    };
    let list = at.field("thresholds");
    // The first of a priority counts, as in Envoy.
    for (i, one) in config.thresholds.iter().enumerate().rev() {
        settings.thresholds[slot(one)] = threshold(one, &list.index(i), issues);
    }
    let list = at.field("per_host_thresholds");
    for (i, one) in config.per_host_thresholds.iter().enumerate().rev() {
        let only = circuit_breakers::Thresholds { priority: one.priority, max_connections: one.max_connections, ..Default::default() };
        if *one != only {
            issues.push(list.index(i).invalid("Unsupported field in per_host_thresholds").expected("only max_connections"));
        }
        settings.thresholds[slot(one)].connections_per_host = one.max_connections;
    }
}

fn threshold(config: &circuit_breakers::Thresholds, at: &At<'_>, issues: &mut Issues) -> Thresholds {
    let defaults = Thresholds::default();
    let budget_at = at.field("retry_budget");
    Thresholds {
        connections: config.max_connections.unwrap_or(defaults.connections),
        pending: config.max_pending_requests.unwrap_or(defaults.pending),
        requests: config.max_requests.unwrap_or(defaults.requests),
        retries: config.max_retries.unwrap_or(defaults.retries),
        retry_budget: config.retry_budget.as_ref().map(|budget| RetryBudget {
            percent: budget.budget_percent.as_ref().map_or(20.0, |p| p.value),
            min_concurrency: budget.min_retry_concurrency.unwrap_or(3),
            interval: value::limit(budget.budget_interval.as_ref(), None, &budget_at.field("budget_interval"), issues),
        }),
        track_remaining: config.track_remaining,
        connections_per_host: None,
    }
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
