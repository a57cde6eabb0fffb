//! The syntax of `%OPERATOR(argument):length%`, and which operators there are.

use super::{
    FormatError,
    operator::{Fact, GrpcFormat, MetadataSource, Moment, Operator, Plain, Precision, Shown, Side, Source, StateForm, WhichPath},
    time::TimeFormat,
};
use crate::http::header::HeaderName;

/// Formatter extensions that a format may use beside Envoy's own operators.
#[derive(Clone, Copy, Debug, Default)]
pub struct Formatters {
    /// `envoy.formatter.req_without_query`
    pub req_without_query: bool,
}

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
    "CEL",
    "DOWNSTREAM_CX_RTT",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_HEADER_BYTES_SENT",
    "DOWNSTREAM_LOCAL_OTHERNAME_SAN",
    "DOWNSTREAM_PEER_OTHERNAME_SAN",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_WIRE_BYTES_RECEIVED",
    "DOWNSTREAM_WIRE_BYTES_SENT",
    "ROUTE_RESOLUTION_TIME_US",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "UPSTREAM_HEADER_BYTES_RECEIVED",
    "UPSTREAM_HEADER_BYTES_SENT",
    "UPSTREAM_TLS_SESSION_ID",
    "UPSTREAM_WIRE_BYTES_RECEIVED",
    "UPSTREAM_WIRE_BYTES_SENT",
];

/// Parses a whole format.
pub fn parse(format: &str, formatters: Formatters) -> Result<Vec<Piece>, FormatError> {
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
            let operator = command.compile(formatters).map_err(|message| FormatError { position: at, message })?;
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

    fn compile(&self, formatters: Formatters) -> Result<Operator, String> {
        let name = self.name;
        let argument = self.argument.filter(|a| !a.is_empty());
        let required = || argument.ok_or_else(|| format!("{name} requires parameters"));
        let no_length = || match self.length {
            Some(_) => Err(format!("{name} does not allow length to be specified")),
            None => Ok(()),
        };
        let source = match name {
            "REQ" | "REQUEST_HEADER" | "REQUEST_HEADERS_BYTES" => Some(Source::Request),
            "RESP" | "RESPONSE_HEADER" | "RESPONSE_HEADERS_BYTES" => Some(Source::Response),
            "TRAILER" | "RESPONSE_TRAILER" | "RESPONSE_TRAILERS_BYTES" => Some(Source::Trailers),
            _ => None,
        };
        match (name, source) {
            ("REQ" | "RESP" | "TRAILER" | "REQUEST_HEADER" | "RESPONSE_HEADER" | "RESPONSE_TRAILER", Some(source)) => {
                let (main, alternative) = header_names(required()?, source)?;
                Ok(Operator::Header(source, main, alternative, self.length))
            }
            ("START_TIME" | "EMIT_TIME" | "START_TIME_LOCAL" | "EMIT_TIME_LOCAL", _) => {
                no_length()?;
                let format = argument.unwrap_or_default();
                let format = if name.ends_with("_LOCAL") { TimeFormat::parse_local(format) } else { TimeFormat::parse(format) }?;
                Ok(if name.starts_with("START") { Operator::StartTime(format) } else { Operator::EmitTime(format) })
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
            ("PATH", _) => {
                let (query, which) = argument.unwrap_or("WQ").split_once(':').unwrap_or((argument.unwrap_or("WQ"), ""));
                let query = match query {
                    "WQ" | "" => true,
                    "NQ" => false,
                    other => return Err(format!("PATH supports WQ and NQ (with and without query), got {other}")),
                };
                Ok(Operator::Path { which: which_path(which)?, query, length: self.length })
            }
            ("QUERY_PARAMS", _) => match argument.unwrap_or("ORIG") {
                "ORIG" => Ok(Operator::Query(false, self.length)),
                "DECODED" => Ok(Operator::Query(true, self.length)),
                other => Err(format!("Invalid QUERY_PARAMS option: '{other}', only 'ORIG'/'DECODED' are allowed")),
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
            // The state of upstream connections: nothing here writes any.
            ("UPSTREAM_FILTER_STATE", _) => filter_state(required()?, self.length).map(|_| Operator::Text(None)),
            ("COMMON_DURATION", _) => {
                no_length()?;
                between(required()?)
            }
            ("COALESCE", _) => coalesce(required()?, self.length, formatters),
            ("UPSTREAM_HOST_NAME" | "UPSTREAM_HOST_NAME_WITHOUT_PORT", _) if self.argument.is_none() && self.length.is_none() => {
                Ok(Operator::HostName(name == "UPSTREAM_HOST_NAME"))
            }
            ("UPSTREAM_HOST_NAMES_ATTEMPTED" | "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT", _)
                if self.argument.is_none() && self.length.is_none() =>
            {
                Ok(Operator::HostNameAttempted(name == "UPSTREAM_HOST_NAMES_ATTEMPTED"))
            }
            ("REQ_WITHOUT_QUERY", _) if formatters.req_without_query => {
                let (main, alternative) = header_names(argument.unwrap_or_default(), Source::Request)?;
                Ok(Operator::WithoutQuery(main, alternative, self.length))
            }
            (_, None) if !NOT_IMPLEMENTED.contains(&name) && certificate(name, "")?.is_some() => {
                no_length()?;
                let fact = certificate(name, argument.unwrap_or_default())?;
                if !name.contains("_CERT_V_") && argument.is_some() {
                    return Err(format!("{name} does not take any parameters"));
                }
                fact.ok_or_else(|| format!("there is no operator {name}"))
            }
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

fn which_path(name: &str) -> Result<WhichPath, String> {
    match name {
        "" | "ORIG_OR_PATH" => Ok(WhichPath::OriginalOrNow),
        "ORIG" => Ok(WhichPath::Original),
        "PATH" => Ok(WhichPath::Now),
        other => Err(format!("Invalid PATH option: {other}, should be one of ORIG, PATH or ORIG_OR_PATH")),
    }
}

/// `from:to:precision`
fn between(argument: &str) -> Result<Operator, String> {
    let parts: Vec<&str> = argument.split(':').collect();
    let (from, to, precision) = match parts[..] {
        [from, to] => (from, to, "ms"),
        [from, to, precision] => (from, to, precision),
        _ => return Err(format!("Invalid common duration configuration: {argument}, expected from:to:precision")),
    };
    let precision = match precision {
        "ms" => Precision::Milliseconds,
        "us" => Precision::Microseconds,
        "ns" => Precision::Nanoseconds,
        other => return Err(format!("Invalid common duration precision: {other}")),
    };
    Ok(Operator::Between(moment(from)?, moment(to)?, precision))
}

fn moment(name: &str) -> Result<Moment, String> {
    Ok(match name {
        "DS_RX_BEG" => Moment::RequestStart,
        "DS_RX_END" => Moment::RequestEnd,
        "US_TX_BEG" => Moment::UpstreamStart,
        "US_TX_END" => Moment::UpstreamEnd,
        "US_RX_BEG" => Moment::AnswerStart,
        "US_RX_END" => Moment::AnswerEnd,
        "DS_TX_BEG" => Moment::ResponseStart,
        "DS_TX_END" => Moment::ResponseEnd,
        "DS_RX_HDR_END" => Moment::HeadEnd,
        "DS_CX_BEG" => Moment::Accepted,
        "DS_HS_BEG" => Moment::HandshakeStart,
        "DS_HS_END" => Moment::HandshakeEnd,
        "US_CX_BEG" => Moment::ConnectStart,
        "US_CX_END" => Moment::ConnectEnd,
        "US_HS_END" => Moment::UpstreamHandshakeEnd,
        "US_RX_BODY_BEG" => return Err(format!("the time point {name} is not implemented")),
        _ => Moment::Never,
    })
}

/// `{"operators": ["NAME", {"command": "NAME", "param": "…", "max_length": 5}, …]}`
fn coalesce(argument: &str, length: Option<usize>, formatters: Formatters) -> Result<Operator, String> {
    let invalid = |what: &str| format!("COALESCE: {what}");
    let json: serde_json::Value = serde_json::from_str(argument).map_err(|e| invalid(&format!("invalid JSON: {e}")))?;
    let list = json.get("operators").and_then(|o| o.as_array()).filter(|o| !o.is_empty());
    let list = list.ok_or_else(|| invalid("a list of operators is needed"))?;
    let one = |entry: &serde_json::Value| {
        let (name, argument, length) = match entry {
            serde_json::Value::String(name) => (name.as_str(), None, None),
            entry => {
                let name = entry.get("command").and_then(|c| c.as_str()).ok_or_else(|| invalid("an operator needs its command"))?;
                let length = entry.get("max_length").and_then(|l| l.as_u64()).and_then(|l| usize::try_from(l).ok());
                (name, entry.get("param").and_then(|p| p.as_str()), length)
            }
        };
        Command { name, argument, length, len: 0 }.compile(formatters)
    };
    Ok(Operator::First(list.iter().map(one).collect::<Result<_, _>>()?, length))
}

/// `DOWNSTREAM_PEER_SUBJECT` and its like; `None` for names of another kind.
fn certificate(name: &str, argument: &str) -> Result<Option<Operator>, String> {
    let (side, rest) = match name.split_once('_') {
        Some(("DOWNSTREAM", rest)) => (Side::Downstream, rest),
        Some(("UPSTREAM", rest)) => (Side::Upstream, rest),
        _ => return Ok(None),
    };
    let Some((shown, fact)) = rest.split_once('_') else { return Ok(None) };
    let fact = match (side, shown, fact) {
        (_, "PEER" | "LOCAL", "DNS_SAN") => Fact::DnsNames,
        (_, "PEER" | "LOCAL", "URI_SAN") => Fact::Uris,
        (_, "PEER" | "LOCAL", "IP_SAN") => Fact::Addresses,
        (Side::Downstream, "PEER" | "LOCAL", "EMAIL_SAN") => Fact::Emails,
        (Side::Downstream, "LOCAL", "SUBJECT") | (_, "PEER", "SUBJECT") => Fact::Subject,
        (_, "PEER", "ISSUER") => Fact::Issuer,
        (_, "PEER", "CERT") => Fact::Pem,
        (_, "PEER", "CERT_V_START") => Fact::ValidFrom(TimeFormat::parse(argument)?),
        (_, "PEER", "CERT_V_END") => Fact::ValidUntil(TimeFormat::parse(argument)?),
        (Side::Downstream, "PEER", "SERIAL") => Fact::Serial,
        (Side::Downstream, "PEER", "FINGERPRINT_1") => Fact::Sha1,
        (Side::Downstream, "PEER", "FINGERPRINT_256") => Fact::Sha256,
        (Side::Downstream, "PEER", "ISSUER_SERIAL") => Fact::IssuerSerial,
        (Side::Downstream, "PEER", "ISSUER_FINGERPRINT_256") => Fact::IssuerSha256,
        (Side::Downstream, "PEER", "CHAIN_FINGERPRINTS_1") => Fact::ChainSha1,
        (Side::Downstream, "PEER", "CHAIN_FINGERPRINTS_256") => Fact::ChainSha256,
        (Side::Downstream, "PEER", "CHAIN_SERIALS") => Fact::ChainSerials,
        _ => return Ok(None),
    };
    Ok(Some(Operator::Certificate(side, if shown == "PEER" { Shown::Peer } else { Shown::Local }, fact)))
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
