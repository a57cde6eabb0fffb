//! The syntax of `%OPERATOR(argument):length%`, and which operators there are.

use super::{
    FormatError,
    operator::{GrpcFormat, MetadataSource, Operator, Plain, Source, StateForm},
    time::TimeFormat,
};
use crate::http::header::HeaderName;

/// A piece of a format.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Text as it is.
    Literal(Vec<u8>),
    /// What an operator writes.
    Operator(Operator),
}

/// Operators of Envoy 1.40 that are not implemented: refused as such, not as typing errors.
const NOT_IMPLEMENTED: &[&str] = &[
    "ACCESS_LOG_TYPE",
    "CEL",
    "COALESCE",
    "COMMON_DURATION",
    "CONNECTION_TERMINATION_DETAILS",
    "DOWNSTREAM_DETECTED_CLOSE_TYPE",
    "DOWNSTREAM_HANDSHAKE_DURATION",
    "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_HEADER_BYTES_SENT",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_LOCAL_DNS_SAN",
    "DOWNSTREAM_LOCAL_EMAIL_SAN",
    "DOWNSTREAM_LOCAL_IP_SAN",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_CERT",
    "DOWNSTREAM_PEER_CERT_V_END",
    "DOWNSTREAM_PEER_CERT_V_START",
    "DOWNSTREAM_PEER_DNS_SAN",
    "DOWNSTREAM_PEER_EMAIL_SAN",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_IP_SAN",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "DOWNSTREAM_WIRE_BYTES_RECEIVED",
    "DOWNSTREAM_WIRE_BYTES_SENT",
    "EMIT_TIME_LOCAL",
    "FILTER_CHAIN_NAME",
    "ROUNDTRIP_DURATION",
    "SPAN_ID",
    "START_TIME_LOCAL",
    "STREAM_ID",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "TRACE_ID",
    "UNIQUE_ID",
    "UPSTREAM_CLUSTER_RAW",
    "UPSTREAM_CONNECTION_ID",
    "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    "UPSTREAM_FILTER_STATE",
    "UPSTREAM_HEADER_BYTES_RECEIVED",
    "UPSTREAM_HEADER_BYTES_SENT",
    "UPSTREAM_HOST_NAME",
    "UPSTREAM_HOST_NAME_WITHOUT_PORT",
    "UPSTREAM_PEER_CERT",
    "UPSTREAM_PEER_CERT_V_END",
    "UPSTREAM_PEER_CERT_V_START",
    "UPSTREAM_PEER_ISSUER",
    "UPSTREAM_PEER_SUBJECT",
    "UPSTREAM_TLS_CIPHER",
    "UPSTREAM_TLS_SESSION_ID",
    "UPSTREAM_TLS_VERSION",
    "UPSTREAM_WIRE_BYTES_RECEIVED",
    "UPSTREAM_WIRE_BYTES_SENT",
    "VIRTUAL_CLUSTER_NAME",
];

/// Parses a whole format.
pub fn parse(format: &str) -> Result<Vec<Piece>, FormatError> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut literal = Vec::new();
    let mut at = 0;
    while at < format.len() {
        let rest = &format[at..];
        if let Some(run) = rest.find('%')
            && run > 0
        {
            literal.extend_from_slice(&rest.as_bytes()[..run]);
            at += run;
        } else if rest.starts_with("%%") {
            literal.push(b'%');
            at += 2;
        } else if rest.starts_with('%') {
            let command = Command::read(rest).ok_or_else(|| FormatError {
                position: at,
                message: "no valid command here: expected %OPERATOR%, %OPERATOR(argument)% or %OPERATOR(argument):length%; write %% for a percent sign".into(),
            })?;
            let operator = command.compile().map_err(|message| FormatError { position: at, message })?;
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Operator(operator));
            at += command.len;
        } else {
            literal.extend_from_slice(rest.as_bytes());
            break;
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

/// `%NAME(argument):length%`, taken apart.
struct Command<'a> {
    name: &'a str,
    argument: Option<&'a str>,
    length: Option<usize>,
    /// Length in the format, both percent signs included.
    len: usize,
}

impl Command<'_> {
    /// Reads the command at the start of `text`, which begins with `%`.
    fn read(text: &str) -> Option<Command<'_>> {
        let name_len = text[1..].bytes().take_while(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_').count();
        let name = &text[1..1 + name_len];
        if name.is_empty() {
            return None;
        }
        let behind = 1 + name_len;
        if !text[behind..].starts_with('(') {
            let (length, end) = tail(&text[behind..])?;
            return Some(Command { name, argument: None, length, len: behind + end });
        }
        // An argument may hold parentheses and percent signs: it ends at the first `)` that the rest of a command follows.
        let inner = &text[behind + 1..];
        inner.match_indices(')').find_map(|(close, _)| {
            let (length, end) = tail(&inner[close + 1..])?;
            let argument = &inner[..close];
            Some(Command { name, argument: Some(argument), length, len: behind + 1 + close + 1 + end })
        })
    }

    fn compile(&self) -> Result<Operator, String> {
        let name = self.name;
        let argument = self.argument.filter(|a| !a.is_empty());
        let required = || argument.ok_or_else(|| format!("{name} requires parameters"));
        let no_length = || match self.length {
            Some(_) => Err(format!("{name} does not allow length to be specified")),
            None => Ok(()),
        };
        let source = match name {
            "REQ" | "REQUEST_HEADERS_BYTES" => Some(Source::Request),
            "RESP" | "RESPONSE_HEADERS_BYTES" => Some(Source::Response),
            "TRAILER" | "RESPONSE_TRAILERS_BYTES" => Some(Source::Trailers),
            _ => None,
        };
        match (name, source) {
            ("REQ" | "RESP" | "TRAILER", Some(source)) => {
                let (main, alternative) = header_names(required()?, source)?;
                Ok(Operator::Header(source, main, alternative, self.length))
            }
            ("START_TIME" | "EMIT_TIME", _) => {
                no_length()?;
                let format = TimeFormat::parse(argument.unwrap_or_default())?;
                Ok(if name == "START_TIME" { Operator::StartTime(format) } else { Operator::EmitTime(format) })
            }
            ("GRPC_STATUS", _) => {
                no_length()?;
                Ok(Operator::GrpcStatus(match argument.unwrap_or("CAMEL_STRING") {
                    "CAMEL_STRING" => GrpcFormat::Camel,
                    "SNAKE_STRING" => GrpcFormat::Snake,
                    "NUMBER" => GrpcFormat::Number,
                    other => return Err(format!("GRPC_STATUS only supports CAMEL_STRING, SNAKE_STRING or NUMBER, got {other}")),
                }))
            }
            ("PATH", _) => match argument.unwrap_or("WQ") {
                "WQ" => Ok(Operator::Path { query: true, length: self.length }),
                "NQ" => Ok(Operator::Path { query: false, length: self.length }),
                other => Err(format!("PATH supports WQ and NQ (with and without query), got {other}")),
            },
            ("QUERY_PARAM", _) => Ok(Operator::QueryParam(required()?.into(), self.length)),
            ("ENVIRONMENT", _) => {
                let value = std::env::var(required()?).ok();
                let cut = |v: String| v.chars().take(self.length.unwrap_or(usize::MAX)).collect();
                Ok(Operator::Text(value.map(cut)))
            }
            ("DYNAMIC_METADATA", _) => metadata(MetadataSource::Dynamic, required()?, self.length),
            ("CLUSTER_METADATA", _) => metadata(MetadataSource::Cluster, required()?, self.length),
            ("UPSTREAM_METADATA", _) => metadata(MetadataSource::Host, required()?, self.length),
            ("METADATA", _) => {
                let (source, rest) = required()?.split_once(':').unwrap_or((required()?, ""));
                metadata(metadata_source(source)?, rest, self.length)
            }
            ("FILTER_STATE", _) => filter_state(required()?, self.length),
            // Envoy lets this one take a parameter, to keep white space.
            ("RESPONSE_CODE_DETAILS", _) if self.length.is_none() => Ok(Operator::Plain(Plain::ResponseCodeDetails)),
            _ => self.compile_plain(source),
        }
    }

    fn compile_plain(&self, source: Option<Source>) -> Result<Operator, String> {
        let name = self.name;
        let operator = match (source, Plain::of(name)) {
            (Some(source), _) => Operator::HeaderBytes(source),
            (None, Some(plain)) => Operator::Plain(plain),
            (None, None) if name == "HOSTNAME" => Operator::Text(hostname()),
            (None, None) if name == "GRPC_STATUS_NUMBER" => Operator::GrpcStatus(GrpcFormat::Number),
            (None, None) if NOT_IMPLEMENTED.contains(&name) => return Err(format!("the operator {name} is not implemented")),
            (None, None) => return Err(format!("there is no operator {name}")),
        };
        match (self.argument, self.length) {
            (None, None) => Ok(operator),
            _ => Err(format!("{name} does not take any parameters or length")),
        }
    }
}

/// `namespace:key:…`
fn metadata(source: MetadataSource, argument: &str, length: Option<usize>) -> Result<Operator, String> {
    let mut parts = argument.split(':').map(Box::from);
    let namespace = parts.next().unwrap_or_default();
    Ok(Operator::Metadata(source, namespace, parts.collect(), length))
}

fn metadata_source(name: &str) -> Result<MetadataSource, String> {
    Ok(match name {
        "DYNAMIC" => MetadataSource::Dynamic,
        "CLUSTER" => MetadataSource::Cluster,
        "ROUTE" => MetadataSource::Route,
        "VIRTUAL_HOST" => MetadataSource::VirtualHost,
        "UPSTREAM_HOST" => MetadataSource::Host,
        "LISTENER" => MetadataSource::Listener,
        "LISTENER_FILTER_CHAIN" => MetadataSource::Chain,
        other => return Err(format!("{other} is not supported type of metadata")),
    })
}

/// `name`, `name:PLAIN`, `name:TYPED` or `name:FIELD:field`
fn filter_state(argument: &str, length: Option<usize>) -> Result<Operator, String> {
    let mut parts = argument.splitn(3, ':');
    let name = parts.next().unwrap_or_default();
    if name.is_empty() {
        return Err("Invalid filter state configuration, key cannot be empty.".into());
    }
    let form = match (parts.next().unwrap_or("TYPED"), parts.next().filter(|f| !f.is_empty())) {
        ("PLAIN", None) => StateForm::Plain,
        ("TYPED" | "", None) => StateForm::Typed,
        ("FIELD", Some(field)) => StateForm::Field(field.into()),
        ("PLAIN" | "TYPED" | "" | "FIELD", _) => {
            return Err("Invalid filter state serialize type, FIELD should be used with the field name.".into());
        }
        _ => return Err("Invalid filter state serialize type, only support PLAIN/TYPED/FIELD.".into()),
    };
    Ok(Operator::FilterState(name.into(), form, length))
}

/// `:length%` or `%`: the length and where the command ends.
fn tail(text: &str) -> Option<(Option<usize>, usize)> {
    if text.starts_with('%') {
        return Some((None, 1));
    }
    let digits = text.strip_prefix(':')?.bytes().take_while(u8::is_ascii_digit).count();
    let length = text[1..1 + digits].parse().ok()?;
    text[1 + digits..].starts_with('%').then_some((Some(length), digits + 2))
}

/// `name?alternative`.
fn header_names(argument: &str, source: Source) -> Result<(HeaderName, Option<HeaderName>), String> {
    let mut parts = argument.split('?');
    let mut next = || {
        let Some(part) = parts.next() else { return Ok(None) };
        if part.bytes().any(|b| b <= b' ' || b == 0x7f) {
            return Err(format!("{part:?} is no header name"));
        }
        Ok(Some(if source == Source::Request { HeaderName::of_request(part) } else { HeaderName::new(part) }))
    };
    let (main, alternative) = (next()?, next()?);
    match (main, parts.next()) {
        (Some(main), None) => Ok((main, alternative)),
        _ => Err(format!("more than 1 alternative header specified in {argument}")),
    }
}

/// The machine's name; `None` where the system does not tell it.
fn hostname() -> Option<String> {
    let from_kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    from_kernel.or_else(|| std::env::var("HOSTNAME").ok()).map(|h| h.trim().to_owned()).filter(|h| !h.is_empty())
}
