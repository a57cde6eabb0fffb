//! Compiles the options of HTTP/1, HTTP/2 and HTTP/3, which connection managers and clusters share.

use std::collections::BTreeMap;

use plenipo_api::proto::envoy::{
    config::core::v3 as core,
    extensions::http::header_formatters::preserve_case::v3::{
        PreserveCaseFormatterConfig, preserve_case_formatter_config::FormatterTypeOnEnvoyHeaders,
    },
};

use super::{
    any,
    issues::{At, Issues},
    value,
};
use crate::http::settings::{FloodLimits, HeaderCase, Http1, Http2, Http3, Keepalive, PreserveCase};

const PRESERVE_CASE: &str = "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig";

/// Compiles `Http1ProtocolOptions`, of either side.
pub fn http1(options: &core::Http1ProtocolOptions, at: &At<'_>, issues: &mut Issues) -> Http1 {
    use core::http1_protocol_options::header_key_format::HeaderFormat;
    let format = options.header_key_format.as_ref().and_then(|f| f.header_format.as_ref());
    let ignored = at.field("ignore_http_11_upgrade");
    Http1 {
        allow_absolute_url: options.allow_absolute_url.unwrap_or(true),
        accept_http_10: options.accept_http_10,
        default_host_for_http_10: options.default_host_for_http_10.as_str().into(),
        header_case: match format {
            Some(HeaderFormat::ProperCaseWords(_)) => HeaderCase::ProperWords,
            _ => HeaderCase::Lower,
        },
        preserve_case: match format {
            Some(HeaderFormat::StatefulFormatter(extension)) => {
                preserve_case(extension, &at.field("header_key_format").field("stateful_formatter"), issues)
            }
            _ => None,
        },
        enable_trailers: options.enable_trailers,
        allow_chunked_length: options.allow_chunked_length,
        send_fully_qualified_url: options.send_fully_qualified_url,
        ignored_upgrades: options
            .ignore_http_11_upgrade
            .iter()
            .enumerate()
            .filter_map(|(i, matcher)| value::string_match(matcher, &ignored.index(i), issues))
            .collect(),
        stream_errors: options.override_stream_error_on_invalid_http_message.unwrap_or(false),
        allow_custom_methods: options.allow_custom_methods,
    }
}

fn preserve_case(extension: &core::TypedExtensionConfig, at: &At<'_>, issues: &mut Issues) -> Option<PreserveCase> {
    let at = at.field("typed_config");
    let typed = extension.typed_config.as_ref()?;
    if any::type_name(typed) != PRESERVE_CASE {
        issues.push(at.unsupported("only the preserve_case formatter is implemented").got(any::type_name(typed)));
        return None;
    }
    let config = any::decode::<PreserveCaseFormatterConfig>(typed, &at, issues)?;
    let own = match config.formatter_type_on_envoy_headers() {
        FormatterTypeOnEnvoyHeaders::Default => HeaderCase::Lower,
        FormatterTypeOnEnvoyHeaders::ProperCase => HeaderCase::ProperWords,
    };
    Some(PreserveCase { own, forward_reason: config.forward_reason_phrase })
}

/// Compiles `Http2ProtocolOptions`, of either side.
pub fn http2(options: &core::Http2ProtocolOptions, at: &At<'_>, issues: &mut Issues) -> Http2 {
    let defaults = Http2::default();
    let floods = FloodLimits::default();
    let custom = custom_settings(options, &at.field("custom_settings_parameters"), issues);
    Http2 {
        max_frame_size: custom.get(&MAX_FRAME_SIZE).copied(),
        custom_settings: custom.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect(),
        max_concurrent_streams: options.max_concurrent_streams.unwrap_or(defaults.max_concurrent_streams),
        initial_stream_window_size: options.initial_stream_window_size.unwrap_or(defaults.initial_stream_window_size),
        initial_connection_window_size: options.initial_connection_window_size.unwrap_or(defaults.initial_connection_window_size),
        allow_connect: options.allow_connect,
        hpack_table_size: options.hpack_table_size.unwrap_or(defaults.hpack_table_size),
        keepalive: options.connection_keepalive.as_ref().and_then(|k| keepalive(k, &at.field("connection_keepalive"), issues)),
        floods: FloodLimits {
            outbound_frames: options.max_outbound_frames.unwrap_or(floods.outbound_frames),
            control_frames: options.max_outbound_control_frames.unwrap_or(floods.control_frames),
            empty_frames: options.max_consecutive_inbound_frames_with_empty_payload.unwrap_or(floods.empty_frames),
            priority_frames: options.max_inbound_priority_frames_per_stream.unwrap_or(floods.priority_frames),
            window_updates: options.max_inbound_window_update_frames_per_data_frame_sent.unwrap_or(floods.window_updates),
            reset_burst: options.stream_reset_burst.unwrap_or(floods.reset_burst),
            reset_rate: options.stream_reset_rate.unwrap_or(floods.reset_rate),
            field_size: options.max_header_field_size_kb.map_or(floods.field_size, |kb| kb as usize * 1024),
        },
    }
}

const ENABLE_PUSH: u16 = 2;
const MAX_FRAME_SIZE: u16 = 5;
const ENABLE_CONNECT_PROTOCOL: u16 = 8;

/// `custom_settings_parameters`: in the order of their identifiers.
fn custom_settings(options: &core::Http2ProtocolOptions, at: &At<'_>, issues: &mut Issues) -> BTreeMap<u16, u32> {
    let named = [
        (1, "hpack_table_size", options.hpack_table_size.is_some()),
        (3, "max_concurrent_streams", options.max_concurrent_streams.is_some()),
        (4, "initial_stream_window_size", options.initial_stream_window_size.is_some()),
    ];
    let mut settings = BTreeMap::new();
    for (i, parameter) in options.custom_settings_parameters.iter().enumerate() {
        // The message's own rules ask for both, and for an identifier of 16 bits.
        let (Some(Ok(id)), Some(value)) = (parameter.identifier.map(u16::try_from), parameter.value) else { continue };
        let at = at.index(i);
        if let Some((_, name, _)) = named.iter().find(|(named, _, set)| *named == id && *set) {
            issues.push(at.invalid(format!(
                "the {{{name}}} HTTP/2 SETTINGS parameter(s) can not be configured through both named and custom parameters"
            )));
        }
        match id {
            ENABLE_PUSH if value != 0 => {
                issues.push(at.invalid("server push is not supported by Envoy and can not be enabled via a SETTINGS parameter."));
            }
            ENABLE_CONNECT_PROTOCOL => {
                issues.push(at.invalid("the \"allow_connect\" SETTINGS parameter must only be configured through the named field"));
            }
            MAX_FRAME_SIZE if !(16_384..=16_777_215).contains(&value) => {
                issues.push(at.invalid("SETTINGS_MAX_FRAME_SIZE is between 16384 and 16777215 (RFC 9113, 6.5.2)").got(value.to_string()));
            }
            _ => {}
        }
        if settings.insert(id, value).is_some_and(|before| before != value) {
            issues.push(at.invalid(format!("inconsistent HTTP/2 custom SETTINGS parameter(s) detected; identifiers = {{{id:#04x}}}")));
        }
    }
    settings
}

/// Compiles `Http3ProtocolOptions` of a connection manager.
pub fn http3(options: &core::Http3ProtocolOptions, at: &At<'_>, issues: &mut Issues) -> Http3 {
    if options.quic_protocol_options.is_some() {
        let at = at.field("quic_protocol_options");
        issues.push(
            at.unsupported("those of the listener's quic_options are").hint("udp_listener_config.quic_options.quic_protocol_options"),
        );
    }
    Http3 {
        allow_extended_connect: options.allow_extended_connect,
        stream_errors: options.override_stream_error_on_invalid_http_message.unwrap_or(false),
    }
}

fn keepalive(config: &core::KeepaliveSettings, at: &At<'_>, issues: &mut Issues) -> Option<Keepalive> {
    let interval = value::limit(config.interval.as_ref(), None, &at.field("interval"), issues);
    let idle_interval = value::limit(config.connection_idle_interval.as_ref(), None, &at.field("connection_idle_interval"), issues);
    // The message's own rules ask for a timeout.
    let timeout = value::duration(config.timeout.as_ref(), &at.field("timeout"), issues)?;
    let jitter = config.interval_jitter.as_ref().map_or(15.0, |p| p.value);
    Some(Keepalive { interval, timeout, jitter, idle_interval })
}
