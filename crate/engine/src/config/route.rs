//! Compiles `envoy.config.route.v3.RouteConfiguration` into a route table.
//!
//! Fields that are not implemented have been refused before, by the list of supported fields; what is left to refuse here
//! are values that the list cannot tell.

// Deprecated fields are Envoy's, and are read as long as Envoy reads them.
#![allow(deprecated)]

mod action;
pub mod hash_policy;
mod internal_redirect;
mod matching;
pub mod mirror;
mod tree;

use std::{sync::Arc, time::Duration};

use plenipo_api::{
    IssueCode,
    proto::envoy::config::{
        core::v3::{HeaderValueOption, RoutingPriority},
        route::v3::{
            self as proto, FilterConfig, RouteConfiguration,
            route::Action as ProtoAction,
            route_action::{ClusterNotFoundResponseCode, ClusterSpecifier, MaxStreamDuration},
            virtual_host::TlsRequirementType,
        },
    },
};
use prost::{Message, Name};

use super::{
    any, headers,
    issues::{At, Issues},
    metadata, retry, value,
};
use crate::{
    filter::cors,
    http::header::HeaderName,
    route::{
        Action, Choice, Connect, Destination, DomainError, Domains, FilterConfigs, Forward, GrpcTimeout, HeaderMutations, Mirror,
        PathMatch, PerFilter, RequireTls, RetryPolicy, Route, RouteConfig, RouteTable, StreamDuration, TableSettings, Tree, Upgrade,
        VirtualCluster, VirtualHost, Waits,
    },
    stats::{RequestGroupStats, Store},
};

/// Where filters of one level are configured: name of the filter, its configuration, the place.
pub type CompileFilter<'f> = dyn FnMut(&str, &prost_types::Any, &At<'_>, &mut Issues) -> Option<RouteConfig> + 'f;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
const DEFAULT_BODY_LIMIT: u32 = 4096;

/// Compiles an encoded `RouteConfiguration` that stands at `at`; its stats are registered in `stats`. `filters` compiles the per-route configuration of a filter. The
/// table is to be used only if no error was added to `issues`; there is none where the bytes cannot be decoded.
pub fn compile(config: &[u8], stats: &Store, at: &At<'_>, filters: &mut CompileFilter<'_>, issues: &mut Issues) -> Option<RouteTable> {
    let (config, hosts) = any::decode_without::<RouteConfiguration>(config, "virtual_hosts", at, issues)?;
    let body_limit = config.max_direct_response_body_size_bytes.unwrap_or(DEFAULT_BODY_LIMIT);
    let mirrors = mirror::compile(&config.request_mirror_policies, &at.field("request_mirror_policies"), issues);
    let mut compiler = Compiler { filters, issues, stats, body_limit, mirrors };
    compiler.table(&config, &hosts, at)
}

/// Adds an issue for every cluster that a route of `table` names and `known` does not know. `at` is where the table stands.
pub fn unknown_clusters(table: &RouteTable, at: &At<'_>, known: impl Fn(&str) -> bool, issues: &mut Issues) {
    let hosts_at = at.field("virtual_hosts");
    for (h, host) in table.hosts().iter().enumerate().filter(|(_, host)| !host.has_tree()) {
        let host_at = hosts_at.index(h);
        let routes_at = host_at.field("routes");
        unknown_shadows(host.mirrors.as_deref().map(Vec::as_slice), &host_at, &known, issues);
        for (r, route) in host.routes.iter().enumerate() {
            let Action::Forward(forward) = &route.action else { continue };
            let route_at = routes_at.index(r);
            let action_at = route_at.field("route");
            let inherited = forward.mirrors.as_ref().zip(host.mirrors.as_ref()).is_some_and(|(own, host)| Arc::ptr_eq(own, host));
            if !inherited {
                unknown_shadows(forward.mirrors.as_deref().map(Vec::as_slice), &action_at, &known, issues);
            }
            let mut check = |name: &str, at: At<'_>| {
                // A route that forwards nowhere names no cluster.
                if !name.is_empty() && !known(name) {
                    issues.push(at.error(IssueCode::RefNotFound, format!("route: unknown cluster '{name}'")));
                }
            };
            match &forward.destination {
                Destination::Cluster(name) => check(name, action_at.field("cluster")),
                Destination::Header(_) => {}
                Destination::Weighted { clusters, .. } => {
                    let weighted_at = action_at.field("weighted_clusters");
                    let clusters_at = weighted_at.field("clusters");
                    for (c, cluster) in clusters.iter().enumerate() {
                        if let Choice::Name(name) = &cluster.cluster {
                            check(name, clusters_at.index(c).field("name"));
                        }
                    }
                }
            }
        }
    }
}

fn unknown_shadows(mirrors: Option<&[Mirror]>, at: &At<'_>, known: &impl Fn(&str) -> bool, issues: &mut Issues) {
    let at = at.field("request_mirror_policies");
    for (i, mirror) in mirrors.into_iter().flatten().enumerate() {
        if let Choice::Name(name) = &mirror.cluster
            && !known(name)
        {
            let at = at.index(i);
            issues.push(at.field("cluster").error(IssueCode::RefNotFound, format!("route: unknown shadow cluster '{name}'")));
        }
    }
}

struct Compiler<'c, 'f> {
    filters: &'c mut CompileFilter<'f>,
    issues: &'c mut Issues,
    stats: &'c Store,
    body_limit: u32,
    mirrors: Option<Arc<Vec<Mirror>>>,
}

/// What routes without their own have from their virtual host.
struct Inherited {
    /// `vhost.<name>`
    stats_prefix: String,
    retry: Option<Arc<RetryPolicy>>,
    hedge: bool,
    mirrors: Option<Arc<Vec<Mirror>>>,
    buffer_limits: BufferLimits,
}

/// `…_headers_to_add` and `…_headers_to_remove` of one direction.
type Edits<'a> = (&'a [HeaderValueOption], &'a [String]);

impl Compiler<'_, '_> {
    /// The header edits of one level: of requests and of responses.
    fn header_edits(&mut self, request: Edits<'_>, response: Edits<'_>, at: &At<'_>) -> [HeaderMutations; 2] {
        const FIELDS: [(&str, &str); 2] =
            [("request_headers_to_add", "request_headers_to_remove"), ("response_headers_to_add", "response_headers_to_remove")];
        [(request, FIELDS[0]), (response, FIELDS[1])]
            .map(|((add, remove), fields)| headers::mutations(add, remove, fields, at, self.issues))
    }

    fn table(&mut self, config: &RouteConfiguration, encoded: &[&[u8]], at: &At<'_>) -> Option<RouteTable> {
        let [request_headers, response_headers] = self.header_edits(
            (&config.request_headers_to_add, &config.request_headers_to_remove),
            (&config.response_headers_to_add, &config.response_headers_to_remove),
            at,
        );
        let settings = TableSettings {
            name: config.name.as_str().into(),
            request_headers,
            response_headers,
            most_specific_wins: config.most_specific_header_mutations_wins,
            vhost_header: (!config.vhost_header.is_empty()).then(|| HeaderName::of_request(&config.vhost_header)),
            ignore_port: config.ignore_port_in_host_matching,
            ignore_path_parameters: config.ignore_path_parameters_in_path_matching,
            internal_only_headers: config.internal_only_headers.iter().map(|name| HeaderName::new(name)).collect(),
            validate_clusters: config.validate_clusters,
            filters: self.filter_configs(&config.typed_per_filter_config, at),
        };
        let (mut domains, mut hosts) = (Domains::default(), Vec::<VirtualHost>::with_capacity(encoded.len()));
        let hosts_at = at.field("virtual_hosts");
        for (h, bytes) in encoded.iter().enumerate() {
            let host_at = hosts_at.index(h);
            let host = any::decode_bytes::<proto::VirtualHost>(bytes, &host_at, self.issues)?;
            let domains_at = host_at.field("domains");
            for (d, domain) in host.domains.iter().enumerate() {
                if let Err(DomainError::Duplicate(first)) = domains.add(domain, h) {
                    let message = match domain.as_str() {
                        "*" => format!("Only a single wildcard domain is permitted in route {}", config.name),
                        _ => format!("Only unique values for domains are permitted. Duplicate entry of domain {domain}"),
                    };
                    let owner = hosts.get(first).map_or(host.name.as_str(), |h| &h.name);
                    let first = format!("{owner:?} has it already");
                    self.issues.push(domains_at.index(d).invalid(message).got(domain).hint(first));
                }
            }
            hosts.push(self.virtual_host(&host, &host_at));
        }
        Some(RouteTable::new(settings, hosts, domains))
    }

    fn virtual_host(&mut self, config: &proto::VirtualHost, at: &At<'_>) -> VirtualHost {
        let retry = config.retry_policy.as_ref().map(|policy| Arc::new(retry::compile(policy, &at.field("retry_policy"), self.issues)));
        let stats_prefix = format!("vhost.{}", config.name);
        let virtual_clusters = self.virtual_clusters(&config.virtual_clusters, &stats_prefix, &at.field("virtual_clusters"));
        let inherited = Inherited {
            stats_prefix,
            retry,
            hedge: config.hedge_policy.as_ref().is_some_and(|policy| policy.hedge_on_per_try_timeout),
            mirrors: mirror::compile(&config.request_mirror_policies, &at.field("request_mirror_policies"), self.issues)
                .or_else(|| self.mirrors.clone()),
            buffer_limits: BufferLimits { body: config.request_body_buffer_limit, request: config.per_request_buffer_limit_bytes },
        };
        let routes_at = at.field("routes");
        // Most hosts have one route, and a list that grows starts with room for four.
        let mut routes = Vec::with_capacity(config.routes.len());
        routes.extend(config.routes.iter().enumerate().filter_map(|(i, route)| self.route(route, &inherited, &routes_at.index(i))));
        let mut host = match &config.matcher {
            None => VirtualHost::new(config.name.as_str(), routes),
            Some(matcher) => {
                let at = at.field("matcher");
                if !config.routes.is_empty() {
                    self.issues.push(at.invalid("cannot set both matcher and routes on virtual host"));
                }
                let tree = self.tree(matcher, &inherited, &mut routes, &at).unwrap_or(Tree { parts: None, otherwise: None });
                VirtualHost::with_tree(config.name.as_str(), routes, tree)
            }
        };
        host.require_tls = match TlsRequirementType::try_from(config.require_tls) {
            Ok(TlsRequirementType::ExternalOnly) => RequireTls::ExternalOnly,
            Ok(TlsRequirementType::All) => RequireTls::All,
            Ok(TlsRequirementType::None) | Err(_) => RequireTls::None,
        };
        [host.request_headers, host.response_headers] = self.header_edits(
            (&config.request_headers_to_add, &config.request_headers_to_remove),
            (&config.response_headers_to_add, &config.response_headers_to_remove),
            at,
        );
        host.request_attempt_count = config.include_request_attempt_count;
        host.response_attempt_count = config.include_attempt_count_in_response;
        host.is_timeout_retry_header = config.include_is_timeout_retry_header;
        host.retry = inherited.retry;
        host.mirrors = inherited.mirrors;
        host.filters = self.filter_configs(&config.typed_per_filter_config, at);
        host.metadata = metadata::compile(config.metadata.as_ref());
        host.virtual_clusters = virtual_clusters;
        self.cors(config.cors.as_ref(), &mut host.filters, at);
        host
    }

    fn virtual_clusters(&mut self, list: &[proto::VirtualCluster], host: &str, at: &At<'_>) -> Box<[VirtualCluster]> {
        let mut clusters = Vec::with_capacity(list.len());
        for (i, config) in list.iter().enumerate() {
            let at = at.index(i);
            if config.headers.is_empty() {
                self.issues.push(at.field("headers").invalid("virtual clusters must define 'headers'"));
            }
            clusters.push(VirtualCluster {
                name: Some(config.name.as_str().into()),
                headers: headers::matchers(&config.headers, &at.field("headers"), self.issues),
                stats: RequestGroupStats::new(self.stats, &format!("{host}.vcluster.{}", config.name)),
            });
        }
        if !clusters.is_empty() {
            let stats = RequestGroupStats::new(self.stats, &format!("{host}.vcluster.other"));
            clusters.push(VirtualCluster { name: None, headers: Vec::new(), stats });
        }
        clusters.into()
    }

    fn route(&mut self, config: &proto::Route, inherited: &Inherited, at: &At<'_>) -> Option<Route> {
        let match_at = at.field("match");
        let Some(condition) = &config.r#match else {
            self.issues.push(match_at.invalid("a route needs a match"));
            return None;
        };
        let conditions = self.conditions(condition, &match_at);
        let action = self.action(config, conditions.as_ref().map(|c| &c.path), inherited, at);
        let mut filters = self.filter_configs(&config.typed_per_filter_config, at);
        if let Some(ProtoAction::Route(action)) = &config.action {
            self.cors(action.cors.as_ref(), &mut filters, &at.field("route"));
        }
        let [request_headers, response_headers] = self.header_edits(
            (&config.request_headers_to_add, &config.request_headers_to_remove),
            (&config.response_headers_to_add, &config.response_headers_to_remove),
            at,
        );
        Some(Route {
            name: (!config.name.is_empty()).then(|| config.name.as_str().into()),
            request_headers,
            response_headers,
            buffer_limit: BufferLimits { body: config.request_body_buffer_limit, request: config.per_request_buffer_limit_bytes }
                .within(inherited.buffer_limits),
            filters,
            metadata: metadata::compile(config.metadata.as_ref()),
            stats: (!config.stat_prefix.is_empty())
                .then(|| RequestGroupStats::new(self.stats, &format!("{}.route.{}", inherited.stats_prefix, config.stat_prefix))),
            ..Route::new(conditions?, action?)
        })
    }

    fn action(&mut self, config: &proto::Route, path: Option<&PathMatch>, inherited: &Inherited, at: &At<'_>) -> Option<Action> {
        match &config.action {
            Some(ProtoAction::Route(route)) => self.forward(route, path, inherited, &at.field("route")).map(Action::Forward),
            Some(ProtoAction::Redirect(redirect)) => self.redirect(redirect, path, &at.field("redirect")).map(Action::Redirect),
            Some(ProtoAction::DirectResponse(direct)) => {
                self.direct_response(direct, &at.field("direct_response")).map(Action::DirectResponse)
            }
            Some(ProtoAction::FilterAction(_)) => {
                self.issues.push(at.field("filter_action").unsupported("filter actions are not implemented"));
                None
            }
            // It is for servers; a proxy that has it looks for a cluster without a name, and answers 503.
            Some(ProtoAction::NonForwardingAction(_)) => {
                let nowhere =
                    proto::RouteAction { cluster_specifier: Some(ClusterSpecifier::Cluster(String::new())), ..Default::default() };
                self.forward(&nowhere, path, inherited, at).map(Action::Forward)
            }
            None => {
                self.issues.push(at.invalid("a route needs an action").expected("route, redirect or direct_response"));
                None
            }
        }
    }

    fn forward(&mut self, config: &proto::RouteAction, path: Option<&PathMatch>, inherited: &Inherited, at: &At<'_>) -> Option<Forward> {
        let destination = self.destination(config, at);
        let path_rewrite = self.path_rewrite(config, path, at)?;
        let own = config.retry_policy.as_ref().map(|policy| Arc::new(retry::compile(policy, &at.field("retry_policy"), self.issues)));
        Some(Forward {
            timeout: value::limit(config.timeout.as_ref(), Some(DEFAULT_TIMEOUT), &at.field("timeout"), self.issues),
            waits: self.waits(config, at),
            stream_duration: config
                .max_stream_duration
                .as_ref()
                .map(|d| Box::new(self.stream_duration(d, &at.field("max_stream_duration")))),
            grpc_timeout: value::duration(config.max_grpc_timeout.as_ref(), &at.field("max_grpc_timeout"), self.issues).map(|max| {
                let offset = value::duration(config.grpc_timeout_offset.as_ref(), &at.field("grpc_timeout_offset"), self.issues);
                Box::new(GrpcTimeout { max, offset: offset.unwrap_or_default() })
            }),
            hash: hash_policy::compile(&config.hash_policy, &at.field("hash_policy"), self.issues),
            retry: own.or_else(|| inherited.retry.clone()),
            mirrors: mirror::compile(&config.request_mirror_policies, &at.field("request_mirror_policies"), self.issues)
                .or_else(|| inherited.mirrors.clone()),
            internal_redirect: internal_redirect::compile(config, at, self.issues),
            hedge: config.hedge_policy.as_ref().map_or(inherited.hedge, |policy| policy.hedge_on_per_try_timeout),
            path_rewrite,
            host_rewrite: self.host_rewrite(config, at),
            append_x_forwarded_host: config.append_x_forwarded_host,
            cluster_not_found_status: match ClusterNotFoundResponseCode::try_from(config.cluster_not_found_response_code) {
                Ok(ClusterNotFoundResponseCode::NotFound) => 404,
                Ok(ClusterNotFoundResponseCode::InternalServerError) => 500,
                Ok(ClusterNotFoundResponseCode::ServiceUnavailable) | Err(_) => 503,
            },
            upgrades: self.upgrades(&config.upgrade_configs, &at.field("upgrade_configs")).into(),
            high_priority: config.priority == RoutingPriority::High as i32,
            destination: destination?,
        })
    }

    fn waits(&mut self, config: &proto::RouteAction, at: &At<'_>) -> Option<Box<Waits>> {
        let mut field = |value: &Option<prost_types::Duration>, name| value::duration(value.as_ref(), &at.field(name), self.issues);
        let waits = Waits { idle: field(&config.idle_timeout, "idle_timeout"), flush: field(&config.flush_timeout, "flush_timeout") };
        (waits != Waits::default()).then(|| Box::new(waits))
    }

    fn stream_duration(&mut self, config: &MaxStreamDuration, at: &At<'_>) -> StreamDuration {
        let mut field = |value: &Option<prost_types::Duration>, name| value::duration(value.as_ref(), &at.field(name), self.issues);
        StreamDuration {
            max: field(&config.max_stream_duration, "max_stream_duration"),
            grpc_max: field(&config.grpc_timeout_header_max, "grpc_timeout_header_max"),
            grpc_offset: field(&config.grpc_timeout_header_offset, "grpc_timeout_header_offset").unwrap_or_default(),
        }
    }

    fn upgrades(&mut self, list: &[proto::route_action::UpgradeConfig], at: &At<'_>) -> Vec<Upgrade> {
        let mut upgrades: Vec<Upgrade> = Vec::with_capacity(list.len());
        for (i, config) in list.iter().enumerate() {
            let kind = config.upgrade_type.to_ascii_lowercase().into_boxed_str();
            if upgrades.iter().any(|u| u.kind == kind) {
                self.issues.push(at.index(i).field("upgrade_type").invalid(format!("Duplicate upgrade {}", config.upgrade_type)));
            }
            let connect = config.connect_config.as_ref().map(|c| Connect { allow_post: c.allow_post });
            if connect.is_some() && *kind != *"connect" {
                let message = format!("Non-CONNECT upgrade type {} has ConnectConfig", config.upgrade_type);
                self.issues.push(at.index(i).field("connect_config").invalid(message));
            }
            upgrades.push(Upgrade { kind, enabled: config.enabled.unwrap_or(true), connect });
        }
        upgrades
    }

    fn filter_configs(&mut self, configs: &std::collections::BTreeMap<String, prost_types::Any>, at: &At<'_>) -> FilterConfigs {
        let mut compiled = FilterConfigs::new();
        let at = at.field("typed_per_filter_config");
        for (name, any) in configs {
            let at = at.key(name);
            let per_filter = if type_name(any) == FilterConfig::full_name() {
                self.wrapped(name, any, &at)
            } else {
                (self.filters)(name, any, &at, self.issues).map(|config| PerFilter { config: Some(config), disabled: false })
            };
            if let Some(per_filter) = per_filter {
                compiled.insert(name.as_str().into(), per_filter);
            }
        }
        compiled
    }

    /// The deprecated field for the CORS filter, beside what is said under the filter's name.
    fn cors(&mut self, config: Option<&proto::CorsPolicy>, filters: &mut FilterConfigs, at: &At<'_>) {
        if let Some(config) = config {
            let config = cors::config::compile_field(config, &at.field("cors"), self.issues);
            filters.insert(cors::ROUTE_FIELD.into(), PerFilter { config, disabled: false });
        }
    }

    fn wrapped(&mut self, name: &str, any: &prost_types::Any, at: &At<'_>) -> Option<PerFilter> {
        let wrapper = match FilterConfig::decode(any.value.as_slice()) {
            Ok(wrapper) => wrapper,
            Err(error) => {
                self.issues.push(at.invalid(format!("not a FilterConfig: {error}")));
                return None;
            }
        };
        if wrapper.disabled {
            return Some(PerFilter { config: None, disabled: true });
        }
        let Some(inner) = wrapper.config.as_ref().filter(|inner| !inner.type_url.is_empty()) else {
            self.issues.push(at.field("config").invalid("a configuration, or disabled: true, is missing"));
            return None;
        };
        if wrapper.is_optional && !plenipo_api::is_http_filter(inner) {
            self.issues.push(at.field("config").warning("nobody knows this optional filter: it is left out").got(name));
            return None;
        }
        let config = (self.filters)(name, inner, &at.field("config"), self.issues)?;
        Some(PerFilter { config: Some(config), disabled: false })
    }
}

/// How much of a request's body may be kept, as a route or a virtual host says.
#[derive(Clone, Copy)]
struct BufferLimits {
    /// `request_body_buffer_limit`; that of a virtual host counts more than the other of a route.
    body: Option<u64>,
    /// `per_request_buffer_limit_bytes`
    request: Option<u32>,
}

impl BufferLimits {
    fn within(self, host: BufferLimits) -> Option<u64> {
        self.body.or(host.body).or(self.request.or(host.request).map(u64::from))
    }
}

fn type_name(any: &prost_types::Any) -> &str {
    any.type_url.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
