//! Compiles the options of HTTP/1 and HTTP/2, which connection managers and clusters share.

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
use crate::http::settings::{FloodLimits, HeaderCase, Http1, Http2, Keepalive, PreserveCase};

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
    Http2 {
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

fn keepalive(config: &core::KeepaliveSettings, at: &At<'_>, issues: &mut Issues) -> Option<Keepalive> {
    let interval = value::limit(config.interval.as_ref(), None, &at.field("interval"), issues);
    let idle_interval = value::limit(config.connection_idle_interval.as_ref(), None, &at.field("connection_idle_interval"), issues);
    // The message's own rules ask for a timeout.
    let timeout = value::duration(config.timeout.as_ref(), &at.field("timeout"), issues)?;
    let jitter = config.interval_jitter.as_ref().map_or(15.0, |p| p.value);
    Some(Keepalive { interval, timeout, jitter, idle_interval })
}
