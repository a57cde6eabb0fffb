//! Compiles what a listener of datagrams says of QUIC.

use plenipo_api::proto::envoy::config::listener::v3 as proto;

use super::{
    issues::{At, Issues},
    value,
};
use crate::{
    listener::{
        FilterChain,
        quic::{Quic, QuicOptions},
    },
    tls::TlsError,
};

/// Compiles `udp_listener_config` of a listener whose filter chain is `chain`.
pub fn compile(
    config: &proto::Listener,
    chain: Option<&FilterChain>,
    buffer_limit: usize,
    at: &At<'_>,
    issues: &mut Issues,
) -> Option<Quic> {
    if config.connection_balance_config.is_some() {
        let at = at.field("connection_balance_config");
        issues.push(at.invalid("is configured for QUIC listener which doesn't work with connection balancer"));
    }
    if !config.listener_filters.is_empty() {
        issues
            .push(at.field("listener_filters").unsupported("a QUIC listener has none").hint("the server name and ALPN are known without"));
    }
    if config.tcp_backlog_size.is_some() {
        issues.push(at.field("tcp_backlog_size").unsupported("a QUIC listener has no backlog"));
    }
    let at = at.field("udp_listener_config");
    let Some(options) = config.udp_listener_config.as_ref().and_then(|udp| udp.quic_options.as_ref()) else {
        issues.push(at.field("quic_options").unsupported("a UDP listener without QUIC is not implemented"));
        return None;
    };
    let options = options_of(options, &at.field("quic_options"), issues);
    let quic = chain?.tls.as_ref()?.quic();
    quic.map(|crypto| Quic::new(crypto, options, buffer_limit)).map_err(|TlsError(e)| issues.push(at.invalid(e))).ok()
}

fn options_of(config: &proto::QuicProtocolOptions, at: &At<'_>, issues: &mut Issues) -> QuicOptions {
    let defaults = QuicOptions::default();
    let inner = config.quic_protocol_options.clone().unwrap_or_default();
    let handshake = at.field("crypto_handshake_timeout");
    QuicOptions {
        idle_timeout: value::limit(config.idle_timeout.as_ref(), defaults.idle_timeout, &at.field("idle_timeout"), issues),
        handshake_timeout: value::duration(config.crypto_handshake_timeout.as_ref(), &handshake, issues)
            .unwrap_or(defaults.handshake_timeout),
        max_concurrent_streams: inner.max_concurrent_streams.unwrap_or(defaults.max_concurrent_streams),
        stream_window: inner.initial_stream_window_size.unwrap_or(defaults.stream_window),
        connection_window: inner.initial_connection_window_size.unwrap_or(defaults.connection_window),
        rejects: config.reject_new_connections,
    }
}
