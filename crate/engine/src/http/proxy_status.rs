//! The `proxy-status` header of answers: why an answer is not the upstream's own (RFC 9209), as Envoy derives it from response flags.

use std::sync::Arc;

use super::header::{HeaderList, Known};
use super::headers::append_value;
use crate::{error::Flags, stream_info::StreamInfo};

/// `proxy_status_config`.
#[derive(Clone, Debug)]
pub struct ProxyStatus {
    /// Who says it: `literal_proxy_name`, the node's id, or the server's name.
    pub name: Arc<str>,
    /// Not `remove_details`: `details` tells the response code's details.
    pub details: bool,
    /// Not `remove_response_flags`: the details end in the response flags.
    pub flags: bool,
    /// `set_recommended_response_code`: the answer gets the status that the RFC recommends for the error.
    pub recommended_status: bool,
}

/// What each flag means, most telling first, and the status that RFC 9209 recommends for it (0: none).
const ERRORS: &[(Flags, &str, u16)] = &[
    (Flags::FAILED_LOCAL_HEALTH_CHECK, "destination_unavailable", 503),
    (Flags::NO_HEALTHY_UPSTREAM, "destination_unavailable", 503),
    (Flags::UPSTREAM_REQUEST_TIMEOUT, "http_response_timeout", 504),
    (Flags::DURATION_TIMEOUT, "connection_timeout", 504),
    (Flags::LOCAL_RESET, "connection_timeout", 504),
    (Flags::UPSTREAM_REMOTE_RESET, "connection_terminated", 502),
    (Flags::UPSTREAM_CONNECTION_FAILURE, "connection_refused", 502),
    (Flags::UNAUTHORIZED, "connection_refused", 502),
    (Flags::UPSTREAM_CONNECTION_TERMINATION, "connection_terminated", 502),
    (Flags::OVERLOAD_MANAGER, "connection_limit_reached", 503),
    (Flags::DROP_OVERLOAD, "connection_limit_reached", 503),
    (Flags::FAULT_INJECTED, "http_request_error", 0),
    (Flags::DOWNSTREAM_CONNECTION_TERMINATION, "connection_terminated", 502),
    (Flags::DOWNSTREAM_REMOTE_RESET, "connection_terminated", 502),
    (Flags::UPSTREAM_OVERFLOW, "connection_limit_reached", 503),
    (Flags::NO_ROUTE_FOUND, "destination_not_found", 500),
    (Flags::RATE_LIMITED, "connection_limit_reached", 503),
    (Flags::RATE_LIMIT_SERVICE_ERROR, "connection_limit_reached", 503),
    (Flags::UPSTREAM_RETRY_LIMIT_EXCEEDED, "destination_unavailable", 503),
    (Flags::STREAM_IDLE_TIMEOUT, "http_response_timeout", 504),
    (Flags::INVALID_ENVOY_REQUEST_HEADERS, "http_request_error", 0),
    (Flags::DOWNSTREAM_PROTOCOL_ERROR, "http_request_error", 0),
    (Flags::UPSTREAM_MAX_STREAM_DURATION, "http_response_timeout", 504),
    (Flags::NO_FILTER_CONFIG_FOUND, "proxy_configuration_error", 500),
    (Flags::UPSTREAM_PROTOCOL_ERROR, "http_protocol_error", 502),
    (Flags::NO_CLUSTER_FOUND, "destination_unavailable", 503),
    (Flags::DNS_FAILURE, "dns_error", 502),
];

impl ProxyStatus {
    /// Appends what went wrong with a stream, if anything did.
    pub fn edit(&self, headers: &mut HeaderList, info: &StreamInfo) {
        let Some((_, error, status)) = ERRORS.iter().find(|(flag, ..)| info.flags.contains(*flag)) else { return };
        let mut value = format!("{}; error={error}", self.name);
        if let Some(detail) = info.detail.as_deref().filter(|_| self.details) {
            let flags: Vec<&str> = if self.flags { info.flags.short_names().collect() } else { Vec::new() };
            let details = if flags.is_empty() { detail.to_owned() } else { format!("{detail}; {}", flags.join(",")) };
            value.push_str("; details=\"");
            for character in details.chars() {
                match character {
                    '\r' => value.push_str("\\r"),
                    '\n' => value.push_str("\\n"),
                    '\t' => value.push_str("\\t"),
                    '"' => value.push_str("\\\""),
                    other => value.push(other),
                }
            }
            value.push('"');
        }
        append_value(headers, Known::ProxyStatus, b", ", value.as_bytes());
        if self.recommended_status && *status != 0 {
            headers.set_status(*status);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(details: bool, flags: bool) -> ProxyStatus {
        ProxyStatus { name: "p".into(), details, flags, recommended_status: true }
    }

    fn edited(config: &ProxyStatus, flags: &[Flags], detail: Option<&'static str>) -> (Option<String>, u16) {
        let connection = crate::stream_info::ConnectionInfo::plain(1, "127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        let mut info = StreamInfo::new(connection.into(), crate::stream_info::Protocol::Http11, 0);
        flags.iter().for_each(|flag| info.flags.insert(*flag));
        info.detail = detail.map(Into::into);
        let mut headers = HeaderList::new();
        headers.set_status(418);
        config.edit(&mut headers, &info);
        (headers.get_str(Known::ProxyStatus).map(str::to_owned), headers.status())
    }

    #[test]
    fn the_most_telling_flag_decides() {
        let both = [Flags::UPSTREAM_RETRY_LIMIT_EXCEEDED, Flags::UPSTREAM_CONNECTION_FAILURE];
        let (value, status_code) = edited(&status(true, true), &both, Some("why \"so\""));
        assert_eq!(value.as_deref(), Some(r#"p; error=connection_refused; details="why \"so\"; URX,UF""#));
        assert_eq!(status_code, 502);
        assert_eq!(edited(&status(true, true), &[], Some("via_upstream")), (None, 418));
    }

    #[test]
    fn details_and_flags_can_be_left_out() {
        let flags = [Flags::DOWNSTREAM_PROTOCOL_ERROR];
        assert_eq!(edited(&status(false, true), &flags, Some("x")), (Some("p; error=http_request_error".into()), 418));
        assert_eq!(edited(&status(true, false), &flags, Some("x")).0.as_deref(), Some("p; error=http_request_error; details=\"x\""));
        assert_eq!(edited(&status(true, true), &flags, None).0.as_deref(), Some("p; error=http_request_error"));
    }
}
