//! Compiles `HttpConnectionManager`.

use std::{sync::Arc, time::Duration};

use plenipo_api::proto::envoy::{
    config::core::v3 as core,
    extensions::filters::{
        http::router::v3::Router as RouterConfig,
        network::http_connection_manager::v3::{
            HttpConnectionManager, HttpFilter,
            http_connection_manager::{
                CodecType, ForwardClientCertDetails, ForwardClientCertFormat, PathWithEscapedSlashesAction, RouteSpecifier,
                ServerHeaderTransformation, StripPortMode, UpgradeConfig,
            },
            http_filter::ConfigType,
        },
    },
};

mod address;
mod identity;

use super::{
    Context, access_log, any, filter,
    issues::{At, Issues},
    local_reply, protocol, rds, route, value,
};
use crate::{
    filter::chain::Link,
    http::{
        client_certificate::{Details, ForwardClientCert},
        header::Known,
        manager::Manager,
        settings::{Codec, ConnectionManager, EscapedSlashes, ForwardProto, Router, ServerHeader, StripPort, Underscores, Upgrade},
    },
    route::Routes,
    stats::{Http1Stats, Http2Stats, Http3Stats, HttpStats, ListenerHttpStats, RouteResolutionStats, RouterStats, TracingStats},
};

/// The type of the network filter.
pub const TYPE: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
/// Envoy's default for HTTP/1 and HTTP/2 alike.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// Compiles an encoded connection manager; `listener` is the prefix of its listener's stats.
pub fn compile(config: &[u8], listener: &str, context: &Context<'_>, at: &At<'_>, issues: &mut Issues) -> Option<Manager> {
    let before = issues.len();
    let (config, tables) = any::decode_without::<HttpConnectionManager>(config, "route_config", at, issues)?;
    let settings = settings(&config, context, at, issues);
    let prefix = format!("http.{}", config.stat_prefix.replace(':', "_"));
    let stats = filter::FilterStats { store: context.stats, manager: &prefix };
    let (filters, router_settings) = chain(&config.http_filters, stats, &at.field("http_filters"), issues);
    let upgrade_filters = upgrade_filters(&config.upgrade_configs, &router_settings, stats, &at.field("upgrade_configs"), issues);
    let routes = routes(&config, &tables, &prefix, context, at, issues)?;
    let local_replies = config.local_reply_config.as_ref().map(|c| local_reply::compile(c, &at.field("local_reply_config"), issues));
    let access_log = access_log::compile(&config.access_log, &at.field("access_log").to_string(), context.files, issues);
    if issues[before..].iter().any(|i| i.severity == plenipo_api::Severity::Error) {
        return None;
    }
    Some(Manager {
        settings,
        routes,
        filters,
        upgrade_filters,
        access_log,
        local_replies,
        log_new_requests: new_requests_are_logged(&config),
        router_settings,
        stats: HttpStats::new(context.stats, &prefix),
        router: RouterStats::new(context.stats, &prefix),
        tracing: TracingStats::new(context.stats, &format!("{prefix}.tracing")),
        http1: Http1Stats::new(context.stats, "http1"),
        http2: Http2Stats::new(context.stats, "http2"),
        http3: Http3Stats::new(context.stats, "http3"),
        route_resolution: config.record_route_resolution_stats.then(|| RouteResolutionStats::new(context.stats, &prefix)),
        listener_stats: ListenerHttpStats::new(context.stats, &format!("{listener}.{prefix}")),
    })
}

/// Compiles the choice between `route_config`, whose encoded parts are `tables`, and `rds`.
fn routes(
    config: &HttpConnectionManager,
    tables: &[&[u8]],
    prefix: &str,
    context: &Context<'_>,
    at: &At<'_>,
    issues: &mut Issues,
) -> Option<Routes> {
    if let Some(RouteSpecifier::Rds(rds)) = &config.route_specifier {
        return rds::compile(rds, prefix, context, &at.field("rds"), issues)
            .map(|source| Routes::Discovered((context.route_source)(source)));
    }
    let at = at.field("route_config");
    // Two of one field are one message in two parts; the reader refuses the other kinds of a route specifier by name.
    let table = route::compile(&tables.concat(), context.stats, &at, &mut filter::compile_route, issues)?;
    if table.settings.validate_clusters.unwrap_or(true) {
        route::unknown_clusters(&table, &at, context.cluster_exists, issues);
    }
    Some(Routes::Own(Arc::new(table)))
}

/// Compiles `upgrade_configs.filters`; `router` is what the other filters' router is told.
fn upgrade_filters(
    list: &[UpgradeConfig],
    router: &Router,
    stats: filter::FilterStats<'_>,
    at: &At<'_>,
    issues: &mut Issues,
) -> Vec<(Box<str>, Vec<Link>)> {
    let mut chains = Vec::new();
    for (i, config) in list.iter().enumerate() {
        let at = at.index(i);
        if list[..i].iter().any(|other| other.upgrade_type.eq_ignore_ascii_case(&config.upgrade_type)) {
            issues.push(at.field("upgrade_type").invalid("multiple upgrade configs with the same name").got(&*config.upgrade_type));
        }
        if !config.filters.is_empty() {
            let at = at.field("filters");
            let (links, own) = chain(&config.filters, stats, &at, issues);
            if own != *router {
                issues.push(at.unsupported("a router that is told something else than that of http_filters is not implemented"));
            }
            chains.push((config.upgrade_type.as_str().into(), links));
        }
    }
    chains
}

/// Compiles a list of filters whose last is the router.
fn chain(filters: &[HttpFilter], stats: filter::FilterStats<'_>, list: &At<'_>, issues: &mut Issues) -> (Vec<Link>, Router) {
    let mut links = Vec::new();
    let mut settings = Router::default();
    let mut router = false;
    for (i, entry) in filters.iter().enumerate() {
        let at = list.index(i);
        if router {
            issues.push(at.invalid("the router must be the last filter").got(&*entry.name));
            break;
        }
        let typed = match &entry.config_type {
            Some(ConfigType::TypedConfig(typed)) => Some(typed),
            _ => None,
        };
        match typed {
            None if is_router(&entry.name) => {
                router = true;
                issues
                    .push(at.warning("the router has no typed_config").hint(format!("\"@type\": type.googleapis.com/{}", filter::ROUTER)));
            }
            // A filter of Envoy's that is not implemented here is none of these: it would run there.
            _ if entry.is_optional && typed.is_none_or(|typed| !plenipo_api::is_http_filter(typed)) => {
                issues.push(at.warning("nobody knows this optional filter: it is left out").got(&*entry.name));
            }
            None => issues.push(at.field("typed_config").invalid("a filter needs its typed_config").got(&*entry.name)),
            Some(typed) if any::type_name(typed) == filter::ROUTER => {
                router = true;
                let at = at.field("typed_config");
                settings = any::decode::<RouterConfig>(typed, &at, issues).map(|config| router_settings(&config)).unwrap_or_default();
            }
            Some(typed) => {
                let factory = filter::compile(&entry.name, typed, stats, &at.field("typed_config"), issues);
                links.extend(factory.map(|factory| Link { factory, disabled: entry.disabled }));
            }
        }
    }
    if router && filters.last().is_some_and(|last| last.disabled) {
        issues.push(list.index(filters.len() - 1).field("disabled").invalid("the last filter of the chain cannot be disabled by default"));
    }
    if !router {
        issues.push(list.invalid("the last filter must be the router").hint("add envoy.filters.http.router"));
    }
    (links, settings)
}

fn router_settings(config: &RouterConfig) -> Router {
    Router {
        suppress_envoy_headers: config.suppress_envoy_headers,
        respect_expected_rq_timeout: config.respect_expected_rq_timeout,
        // The rules of the API allow five names only, all of them known.
        strict_check_headers: config.strict_check_headers.iter().map(|name| Known::of(name.as_bytes())).collect(),
        no_dynamic_stats: config.dynamic_stats == Some(false),
        suppress_grpc_codes: config.suppress_grpc_request_failure_code_stats,
    }
}

#[allow(deprecated, reason = "the field of old is read as long as Envoy reads it")]
fn new_requests_are_logged(config: &HttpConnectionManager) -> bool {
    config.flush_access_log_on_new_request || config.access_log_options.is_some_and(|o| o.flush_access_log_on_new_request)
}

fn is_router(name: &str) -> bool {
    matches!(name, "envoy.filters.http.router" | "envoy.router")
}

fn settings(config: &HttpConnectionManager, context: &Context<'_>, at: &At<'_>, issues: &mut Issues) -> ConnectionManager {
    let defaults = ConnectionManager::default();
    let common = config.common_http_protocol_options.unwrap_or_default();
    let common_at = at.field("common_http_protocol_options");
    if config.strip_matching_host_port && matches!(config.strip_port_mode, Some(StripPortMode::StripAnyHostPort(true))) {
        issues.push(at.invalid("only one of strip_matching_host_port and strip_any_host_port can be set"));
    }
    if common.max_response_headers_kb.is_some() {
        let at = common_at.field("max_response_headers_kb");
        issues.push(at.warning("has no effect at a connection manager, as in Envoy: it bounds the answers to a cluster"));
    }
    if config.path_normalization_options.is_some() {
        let at = at.field("path_normalization_options");
        issues.push(at.warning("has no effect, as in Envoy, which does not implement it").hint("normalize_path, merge_slashes"));
    }
    let server_name = if config.server_name.is_empty() { defaults.server_name.clone() } else { config.server_name.as_str().into() };
    let mut limit = |value: &Option<prost_types::Duration>, default, name| value::limit(value.as_ref(), default, &at.field(name), issues);
    let request_timeout = limit(&config.request_timeout, None, "request_timeout");
    let request_headers_timeout = limit(&config.request_headers_timeout, None, "request_headers_timeout");
    let stream_idle_timeout = limit(&config.stream_idle_timeout, defaults.stream_idle_timeout, "stream_idle_timeout");
    let delayed_close_timeout = limit(&config.delayed_close_timeout, defaults.delayed_close_timeout, "delayed_close_timeout");
    let drain_timeout = limit(&config.drain_timeout, Some(defaults.drain_timeout), "drain_timeout").unwrap_or_default();
    let mut http1 =
        config.http_protocol_options.as_ref().map(|o| protocol::http1(o, &at.field("http_protocol_options"), issues)).unwrap_or_default();
    let overridden = config.http_protocol_options.as_ref().is_some_and(|o| o.override_stream_error_on_invalid_http_message.is_some());
    http1.stream_errors |= !overridden && config.stream_error_on_invalid_http_message.unwrap_or(false);
    ConnectionManager {
        codec: match config.codec_type() {
            CodecType::Auto => Codec::Auto,
            CodecType::Http1 => Codec::Http1,
            CodecType::Http2 => Codec::Http2,
            CodecType::Http3 => Codec::Http3,
        },
        proxy_status: identity::proxy_status(config, &server_name, context),
        scheme_header: identity::scheme_header(config),
        early_mutations: identity::early_mutations(
            &config.early_header_mutation_extensions,
            &at.field("early_header_mutation_extensions"),
            issues,
        ),
        pack_trace_reason: identity::pack_trace_reason(config.request_id_extension.as_ref(), &at.field("request_id_extension"), issues),
        server_name,
        server_header: match config.server_header_transformation() {
            ServerHeaderTransformation::Overwrite => ServerHeader::Overwrite,
            ServerHeaderTransformation::AppendIfAbsent => ServerHeader::AppendIfAbsent,
            ServerHeaderTransformation::PassThrough => ServerHeader::PassThrough,
        },
        forward_client_cert: client_certificate(config),
        client_address: address::client(config, at, issues),
        internal_addresses: address::internal(config.internal_address_config.as_ref(), &at.field("internal_address_config"), issues),
        via: config.via.as_str().into(),
        generate_request_id: config.generate_request_id.unwrap_or(true),
        preserve_external_request_id: config.preserve_external_request_id,
        always_set_request_id_in_response: config.always_set_request_id_in_response,
        proxy_100_continue: config.proxy_100_continue,
        user_agent: config.add_user_agent.unwrap_or(false).then(|| context.service_cluster.into()),
        node_name: context.service_node.into(),
        append_x_forwarded_port: config.append_x_forwarded_port,
        forward_proto: config
            .forward_proto_config
            .as_ref()
            .map(|c| ForwardProto { https: c.https_destination_ports.clone(), http: c.http_destination_ports.clone() }),
        request_timeout,
        request_headers_timeout,
        stream_idle_timeout,
        stream_flush_timeout: value::duration(config.stream_flush_timeout.as_ref(), &at.field("stream_flush_timeout"), issues),
        idle_timeout: value::limit(common.idle_timeout.as_ref(), Some(IDLE_TIMEOUT), &common_at.field("idle_timeout"), issues),
        max_connection_duration: value::limit(
            common.max_connection_duration.as_ref(),
            None,
            &common_at.field("max_connection_duration"),
            issues,
        ),
        max_stream_duration: value::limit(common.max_stream_duration.as_ref(), None, &common_at.field("max_stream_duration"), issues),
        max_connection_duration_jitter: common.max_connection_duration_jitter.as_ref().map_or(0.0, |p| p.value),
        http1_safe_max_connection_duration: config.http1_safe_max_connection_duration,
        max_requests_per_connection: common.max_requests_per_connection.unwrap_or(0),
        drain_timeout,
        drain_timeout_jitter: config.drain_timeout_jitter.as_ref().map_or(0.0, |p| p.value),
        delayed_close_timeout,
        max_request_headers_bytes: config.max_request_headers_kb.map_or(defaults.max_request_headers_bytes, |kb| kb as usize * 1024),
        max_headers_count: common.max_headers_count.map_or(defaults.max_headers_count, |n| n as usize),
        underscores: underscores(&common),
        http1,
        http2: config
            .http2_protocol_options
            .as_ref()
            .map(|o| protocol::http2(o, &at.field("http2_protocol_options"), issues))
            .unwrap_or_default(),
        http3: config
            .http3_protocol_options
            .as_ref()
            .map(|o| protocol::http3(o, &at.field("http3_protocol_options"), issues))
            .unwrap_or_default(),
        path: crate::http::settings::PathOptions {
            normalize: config.normalize_path.unwrap_or(false),
            merge_slashes: config.merge_slashes,
            escaped_slashes: match config.path_with_escaped_slashes_action() {
                PathWithEscapedSlashesAction::ImplementationSpecificDefault | PathWithEscapedSlashesAction::KeepUnchanged => {
                    EscapedSlashes::Keep
                }
                PathWithEscapedSlashesAction::RejectRequest => EscapedSlashes::Reject,
                PathWithEscapedSlashesAction::UnescapeAndRedirect => EscapedSlashes::UnescapeAndRedirect,
                PathWithEscapedSlashesAction::UnescapeAndForward => EscapedSlashes::UnescapeAndForward,
            },
        },
        strip_port: match &config.strip_port_mode {
            Some(StripPortMode::StripAnyHostPort(true)) => StripPort::Any,
            _ if config.strip_matching_host_port => StripPort::Matching,
            _ => StripPort::None,
        },
        strip_trailing_host_dot: config.strip_trailing_host_dot,
        upgrades: config
            .upgrade_configs
            .iter()
            .map(|u| Upgrade { kind: u.upgrade_type.as_str().into(), enabled: u.enabled.unwrap_or(true) })
            .collect(),
    }
}

fn client_certificate(config: &HttpConnectionManager) -> ForwardClientCert {
    let set = config.set_current_client_cert_details.unwrap_or_default();
    let details = Details {
        cert: set.cert,
        chain: set.chain,
        subject: set.subject.unwrap_or(false),
        uri: set.uri,
        dns: set.dns,
        issuer: set.issuer,
        json: set.format() == ForwardClientCertFormat::Json,
    };
    match config.forward_client_cert_details() {
        ForwardClientCertDetails::Sanitize => ForwardClientCert::Sanitize,
        ForwardClientCertDetails::ForwardOnly => ForwardClientCert::ForwardOnly,
        ForwardClientCertDetails::AppendForward => ForwardClientCert::AppendForward(details),
        ForwardClientCertDetails::SanitizeSet => ForwardClientCert::SanitizeSet(details),
        ForwardClientCertDetails::AlwaysForwardOnly => ForwardClientCert::AlwaysForwardOnly,
    }
}

fn underscores(common: &core::HttpProtocolOptions) -> Underscores {
    use core::http_protocol_options::HeadersWithUnderscoresAction as Action;
    match common.headers_with_underscores_action() {
        Action::Allow => Underscores::Allow,
        Action::RejectRequest => Underscores::RejectRequest,
        Action::DropHeader => Underscores::DropHeader,
    }
}
