//! Compiles the transport sockets of clusters, and what both sides say of the PROXY protocol.

use std::sync::Arc;

use plenipo_api::proto::envoy::{
    config::core::v3::{
        ProxyProtocolConfig, ProxyProtocolPassThroughTlVs, TlvEntry, TransportSocket, proxy_protocol_config,
        proxy_protocol_pass_through_tl_vs::PassTlVsMatchType, transport_socket::ConfigType,
    },
    extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport,
};

use super::{
    any,
    issues::{At, Issues},
    tls,
};
use crate::{
    cluster::Settings,
    transport::proxy_protocol::{PassThrough, ProxyHeader, Tlv, Version},
};

const RAW_BUFFER: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
const UPSTREAM_TLS: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
const PROXY_PROTOCOL: &str = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport";

/// Compiles the transport socket of a cluster into its settings.
pub fn of_cluster(socket: &TransportSocket, settings: &mut Settings, at: &At<'_>, issues: &mut Issues) {
    let at_config = at.field("typed_config");
    let Some(ConfigType::TypedConfig(typed)) = &socket.config_type else {
        issues.push(at.invalid("a transport socket needs its typed_config").got(&*socket.name));
        return;
    };
    match any::type_name(typed) {
        RAW_BUFFER => {}
        UPSTREAM_TLS => {
            let validate = settings.auto_names.as_ref().is_some_and(|auto| auto.validate);
            let context = any::decode(typed, &at_config, issues);
            settings.tls = context.and_then(|c| tls::client(&c, &settings.protocol, validate, &at_config, issues)).map(Arc::new);
        }
        // Only one header can be the first thing.
        PROXY_PROTOCOL if settings.proxy_header.is_none() => {
            let Some(config) = any::decode::<ProxyProtocolUpstreamTransport>(typed, &at_config, issues) else { return };
            let header = config.config.clone().unwrap_or_default();
            settings.proxy_header = proxy_header(&header, &at_config.field("config"), issues);
            if let Some(inner) = &config.transport_socket {
                of_cluster(inner, settings, &at_config.field("transport_socket"), issues);
            }
        }
        other => issues.push(at_config.unsupported("this transport socket is not implemented here").got(other)),
    }
}

fn proxy_header(config: &ProxyProtocolConfig, at: &At<'_>, issues: &mut Issues) -> Option<ProxyHeader> {
    let list = at.field("added_tlvs");
    let added = config.added_tlvs.iter().enumerate().map(|(i, entry)| tlv(entry, &list.index(i), issues)).collect::<Vec<_>>();
    Some(ProxyHeader {
        version: match config.version() {
            proxy_protocol_config::Version::V1 => Version::V1,
            proxy_protocol_config::Version::V2 => Version::V2,
        },
        added: added.into_iter().collect::<Option<_>>()?,
        pass_through: pass_through(config.pass_through_tlvs.as_ref()),
    })
}

fn tlv(entry: &TlvEntry, at: &At<'_>, issues: &mut Issues) -> Option<Tlv> {
    if entry.value.is_empty() {
        issues.push(at.field("value").invalid("a TLV needs a value"));
        return None;
    }
    // The rules of the API keep it below 256.
    Some(Tlv { kind: entry.r#type as u8, value: entry.value.as_slice().into() })
}

/// Compiles which values are passed on.
pub fn pass_through(config: Option<&ProxyProtocolPassThroughTlVs>) -> PassThrough {
    match config.map(|c| (c.match_type(), &c.tlv_type)) {
        None => PassThrough::None,
        Some((PassTlVsMatchType::IncludeAll, _)) => PassThrough::All,
        Some((PassTlVsMatchType::Include, types)) => PassThrough::Types(types.iter().map(|t| *t as u8).collect()),
    }
}
