//! Compiles `Listener`.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use plenipo_api::proto::envoy::{
    config::{
        core::v3::{
            self as core, TrafficDirection, TransportSocket, address, proxy_protocol_config::Version, socket_address,
            transport_socket::ConfigType as SocketConfig,
        },
        listener::v3::{self as proto, listener::connection_balance_config::BalanceType},
    },
    extensions::{
        filters::listener::proxy_protocol::v3::ProxyProtocol as ProxyProtocolConfig, transport_sockets::quic::v3::QuicDownstreamTransport,
    },
};

use super::{
    Context, any,
    issues::{At, Issues},
    manager, metadata, quic, tls, transport, value,
};
use crate::{
    http::settings::Codec,
    listener::{
        BUFFER_LIMIT, FilterChain, Listener, ListenerFilter, SocketOptions,
        balance::Balance,
        filter_chain::{ChainMatch, ChainMatcher, SourceType},
        proxy_protocol::ProxyProtocol,
    },
    stats::{ListenerStats, ListenerWorkerStats, ProxyProtocolStats, ProxyProtocolVersionStats},
    stream_info::Entrance,
};

const PROXY_PROTOCOL: &str = "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol";
const QUIC: &str = "envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport";
const TLS_INSPECTOR: &str = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
/// Envoy's default of `listener_filters_timeout`.
const FILTERS_TIMEOUT: Duration = Duration::from_secs(15);

/// The address of a listener, and how its sockets are made: what binding needs before the rest is compiled.
pub fn address(config: &proto::Listener, context: &Context<'_>, at: &At<'_>, issues: &mut Issues) -> Option<(SocketAddr, SocketOptions)> {
    let at = at.field("address");
    let socket = match config.address.as_ref().and_then(|a| a.address.as_ref()) {
        Some(address::Address::SocketAddress(socket)) => socket,
        Some(_) => {
            issues.push(at.unsupported("only socket_address is implemented"));
            return None;
        }
        None => {
            issues.push(at.invalid("a listener needs an address"));
            return None;
        }
    };
    let datagrams = socket.protocol() == socket_address::Protocol::Udp;
    let place = core::SocketAddress { protocol: socket_address::Protocol::Tcp.into(), ..socket.clone() };
    let resolved = value::socket_address(&place, &at.field("socket_address"), issues)?;
    #[allow(deprecated)]
    let reuse_port = config.enable_reuse_port.unwrap_or(true);
    let options = SocketOptions {
        datagrams,
        reuse_port,
        share_port: context.share_port,
        backlog: config.tcp_backlog_size.unwrap_or(1024),
        freebind: config.freebind.unwrap_or(false),
        ipv4_compat: socket.ipv4_compat,
    };
    Some((resolved, options))
}

/// The name of a listener, or its address where it has none.
pub fn name(config: &proto::Listener, address: SocketAddr) -> Arc<str> {
    if config.name.is_empty() { address.to_string().into() } else { config.name.as_str().into() }
}

/// Compiles a listener that is bound to `bound`.
pub fn compile(
    config: &proto::Listener,
    (address, socket): (SocketAddr, SocketOptions),
    bound: SocketAddr,
    hash: u64,
    context: &Context<'_>,
    at: &At<'_>,
    issues: &mut Issues,
) -> Option<Listener> {
    let before = issues.len();
    let prefix = format!("listener.{}", bound.to_string().replace(':', "_"));
    let mut filters = listener_filters(config, context, at, issues);
    let buffer_limit = config.per_connection_buffer_limit_bytes.map_or(BUFFER_LIMIT, |limit| limit as usize);
    // The reader refuses the other kinds by name.
    let exact = config.connection_balance_config.as_ref().is_some_and(|b| matches!(b.balance_type, Some(BalanceType::ExactBalance(_))));
    let balance = exact.then(|| Balance::new(context.workers));
    let mut chains = Vec::new();
    let mut seen: HashMap<ChainMatch, usize> = HashMap::new();
    let list = at.field("filter_chains");
    for (i, chain) in config.filter_chains.iter().enumerate() {
        let at = list.index(i);
        let matched =
            chain.filter_chain_match.as_ref().map(|m| chain_match(m, &at.field("filter_chain_match"), issues)).unwrap_or_default();
        if let Some(other) = seen.insert(matched.clone(), i) {
            issues.push(at.invalid(format!("has the same filter_chain_match as filter chain {other}")));
        }
        let compiled = filter_chain(chain, config, socket.datagrams, &prefix, context, &at, issues);
        chains.extend(compiled.map(|chain| (matched, Arc::new(chain))));
    }
    let default = config.default_filter_chain.as_ref();
    let default = default
        .and_then(|chain| filter_chain(chain, config, socket.datagrams, &prefix, context, &at.field("default_filter_chain"), issues))
        .map(Arc::new);
    if config.filter_chains.is_empty() && config.default_filter_chain.is_none() {
        issues.push(list.invalid("no filter chains specified"));
    }
    let needs_hello = !socket.datagrams && chains.iter().any(|(m, _)| !m.server_names.is_empty() || !m.application_protocols.is_empty());
    if needs_hello && !filters.iter().any(|f| matches!(f, ListenerFilter::TlsInspector)) {
        filters.push(ListenerFilter::TlsInspector);
        issues.push(at.field("listener_filters").warning("server names and ALPN are matched, which needs the tls_inspector; it is added"));
    }
    let quic = if socket.datagrams {
        let mut all = chains.iter().map(|(_, chain)| chain).chain(&default);
        let first = all.next();
        if all.next().is_some() {
            issues.push(list.unsupported("only one filter chain is implemented for QUIC"));
        }
        quic::compile(config, first.map(|chain| &**chain), buffer_limit, at, issues)
    } else {
        if config.udp_listener_config.is_some() {
            let message = "is for a listener of datagrams only";
            issues.push(at.field("udp_listener_config").invalid(message).hint("address.socket_address.protocol: UDP"));
        }
        None
    };
    let filters_timeout =
        value::limit(config.listener_filters_timeout.as_ref(), Some(FILTERS_TIMEOUT), &at.field("listener_filters_timeout"), issues);
    if issues[before..].iter().any(|i| i.severity == plenipo_api::Severity::Error) {
        return None;
    }
    Some(Listener {
        name: name(config, address),
        address,
        socket,
        buffer_limit,
        filters,
        quic,
        balance,
        listener_filters_timeout: filters_timeout.unwrap_or_default(),
        continue_on_listener_filters_timeout: config.continue_on_listener_filters_timeout,
        chains: ChainMatcher::new(chains, default),
        stats: ListenerStats::new(context.stats, &prefix),
        worker_stats: (0..context.workers).map(|n| ListenerWorkerStats::new(context.stats, &format!("{prefix}.worker_{n}"))).collect(),
        inbound: config.traffic_direction() == TrafficDirection::Inbound,
        hash,
    })
}

fn listener_filters(config: &proto::Listener, context: &Context<'_>, at: &At<'_>, issues: &mut Issues) -> Vec<ListenerFilter> {
    use proto::listener_filter::ConfigType;
    let list = at.field("listener_filters");
    let mut filters = Vec::new();
    for (i, filter) in config.listener_filters.iter().enumerate() {
        let at = list.index(i);
        match &filter.config_type {
            Some(ConfigType::TypedConfig(typed)) => match any::type_name(typed) {
                TLS_INSPECTOR => filters.push(ListenerFilter::TlsInspector),
                PROXY_PROTOCOL => {
                    let config = any::decode(typed, &at.field("typed_config"), issues);
                    filters.extend(config.map(|config| ListenerFilter::ProxyProtocol(Box::new(proxy_protocol(&config, context)))));
                }
                _ => issues.push(at.unsupported("this listener filter is not implemented").got(&*filter.name)),
            },
            None if filter.name == "envoy.filters.listener.tls_inspector" => filters.push(ListenerFilter::TlsInspector),
            _ => issues.push(at.unsupported("this listener filter is not implemented").got(&*filter.name)),
        }
    }
    filters
}

fn proxy_protocol(config: &ProxyProtocolConfig, context: &Context<'_>) -> ProxyProtocol {
    let prefix = if config.stat_prefix.is_empty() { "proxy_proto".to_owned() } else { format!("proxy_proto.{}", config.stat_prefix) };
    ProxyProtocol {
        optional: config.allow_requests_without_proxy_protocol,
        pass_through: transport::pass_through(config.pass_through_tlvs.as_ref()),
        allowed: [Version::V1, Version::V2].map(|version| !config.disallowed_versions.contains(&version.into())),
        stats: ProxyProtocolStats::new(context.stats, &prefix),
        versions: [1, 2].map(|n| ProxyProtocolVersionStats::new(context.stats, &format!("{prefix}.versions.v{n}"))),
        errors: context.stats.counter("downstream_cx_proxy_proto_error"),
    }
}

fn filter_chain(
    chain: &proto::FilterChain,
    listener: &proto::Listener,
    datagrams: bool,
    prefix: &str,
    context: &Context<'_>,
    at: &At<'_>,
    issues: &mut Issues,
) -> Option<FilterChain> {
    use proto::filter::ConfigType;
    let list = at.field("filters");
    let [filter] = chain.filters.as_slice() else {
        let message = if chain.filters.is_empty() { "a filter chain needs a filter" } else { "only one network filter is implemented" };
        issues.push(if chain.filters.is_empty() { list.invalid(message) } else { list.unsupported(message) });
        return None;
    };
    let at_filter = list.index(0);
    let at_config = at_filter.field("typed_config");
    let manager = match &filter.config_type {
        Some(ConfigType::TypedConfig(typed)) if any::type_name(typed) == manager::TYPE => {
            manager::compile(&typed.value, prefix, context, &at_config, issues)
        }
        Some(ConfigType::TypedConfig(typed)) => {
            issues.push(at_config.unsupported("this network filter is not implemented").got(any::type_name(typed)));
            None
        }
        _ => {
            issues.push(at_config.invalid("a filter needs its typed_config").got(&*filter.name));
            None
        }
    };
    let codec = at_config.field("codec_type");
    match manager.as_ref().map(|manager| manager.settings.codec) {
        Some(Codec::Http3) if !datagrams => issues.push(codec.invalid("HTTP/3 codec configured on non-QUIC listener")),
        Some(Codec::Auto | Codec::Http1 | Codec::Http2) if datagrams => {
            issues.push(codec.invalid("non-HTTP/3 codec configured on QUIC listener"));
        }
        _ => {}
    }
    let at_socket = at.field("transport_socket");
    let tls = match &chain.transport_socket {
        None if datagrams => {
            issues.push(at_socket.invalid("no transport socket specified for connection oriented UDP listener"));
            return None;
        }
        None => None,
        Some(socket) => tls_context(socket, datagrams, &at_socket, issues)?,
    };
    let at_handshake = at.field("transport_socket_connect_timeout");
    let handshake = value::limit(chain.transport_socket_connect_timeout.as_ref(), None, &at_handshake, issues);
    if datagrams && chain.transport_socket_connect_timeout.is_some() {
        issues.push(at_handshake.unsupported("not over QUIC").hint("crypto_handshake_timeout of quic_options is the limit there"));
    }
    let entrance = Entrance {
        listener_name: listener.name.as_str().into(),
        listener_metadata: metadata::compile(listener.metadata.as_ref()),
        chain_name: chain.name.clone(),
        chain_metadata: metadata::compile(chain.metadata.as_ref()),
    };
    Some(FilterChain { entrance: Arc::new(entrance), tls, handshake_timeout: handshake.unwrap_or_default(), manager: Arc::new(manager?) })
}

#[allow(clippy::option_option, reason = "the outer tells whether it compiled, the inner whether there is TLS")]
fn tls_context(
    socket: &TransportSocket,
    datagrams: bool,
    at: &At<'_>,
    issues: &mut Issues,
) -> Option<Option<Arc<crate::tls::ServerContext>>> {
    let at = at.field("typed_config");
    match &socket.config_type {
        Some(SocketConfig::TypedConfig(typed)) => match any::type_name(typed) {
            QUIC if datagrams => {
                let config: QuicDownstreamTransport = any::decode(typed, &at, issues)?;
                // The message's own rules ask for a context.
                let context = config.downstream_tls_context.unwrap_or_default();
                tls::quic(&context, &at.field("downstream_tls_context"), issues).map(|c| Some(Arc::new(c)))
            }
            other if datagrams => {
                issues.push(at.invalid("wrong transport socket config specified for quic transport socket").got(other).expected(QUIC));
                None
            }
            "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer" => Some(None),
            "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext" => {
                let config = any::decode(typed, &at, issues)?;
                tls::server(&config, &at, issues).map(|c| Some(Arc::new(c)))
            }
            other => {
                issues.push(at.unsupported("this transport socket is not implemented").got(other));
                None
            }
        },
        None => {
            issues.push(at.invalid("a transport socket needs its typed_config").got(&*socket.name));
            None
        }
    }
}

fn chain_match(config: &proto::FilterChainMatch, at: &At<'_>, issues: &mut Issues) -> ChainMatch {
    use proto::filter_chain_match::ConnectionSourceType;
    let mut ranges = |list: &[_], name| value::ranges(list, &at.field(name), issues);
    let prefix_ranges = ranges(&config.prefix_ranges, "prefix_ranges");
    let source_prefix_ranges = ranges(&config.source_prefix_ranges, "source_prefix_ranges");
    let direct_source_prefix_ranges = ranges(&config.direct_source_prefix_ranges, "direct_source_prefix_ranges");
    let names = at.field("server_names");
    for (i, name) in config.server_names.iter().enumerate() {
        if name.contains('*') && !name.starts_with("*.") {
            issues.push(names.index(i).invalid("partial wildcards are not supported in server_names").got(&**name));
        }
    }
    ChainMatch {
        destination_port: config.destination_port.and_then(|p| u16::try_from(p).ok()),
        prefix_ranges,
        server_names: config.server_names.iter().map(|n| n.to_ascii_lowercase()).collect(),
        transport_protocol: config.transport_protocol.clone(),
        application_protocols: config.application_protocols.clone(),
        direct_source_prefix_ranges,
        source_type: match config.source_type() {
            ConnectionSourceType::Any => SourceType::Any,
            ConnectionSourceType::SameIpOrLoopback => SourceType::SameIpOrLoopback,
            ConnectionSourceType::External => SourceType::External,
        },
        source_prefix_ranges,
        source_ports: config.source_ports.iter().filter_map(|p| u16::try_from(*p).ok()).collect(),
    }
}
