//! The `%OPERATOR%`s: each reads one thing of a stream and writes it.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant, SystemTime},
};

use super::{Context, escape, put_number, shortest, time::TimeFormat};
use crate::{
    http::{
        header::{HeaderList, HeaderName, Known},
        local_reply,
    },
    metadata::{Struct, Value},
    stream_info::StreamInfo,
};

/// A compiled operator.
#[derive(Clone, Debug)]
pub enum Operator {
    /// `%START_TIME(format)%`
    StartTime(TimeFormat),
    /// `%EMIT_TIME(format)%`: now.
    EmitTime(TimeFormat),
    /// `%REQ(name?alternative):length%` and its like.
    Header(Source, HeaderName, Option<HeaderName>, Option<usize>),
    /// `%REQUEST_HEADERS_BYTES%` and its like.
    HeaderBytes(Source),
    /// `%PATH(query)%`: of the original path where there is one.
    Path {
        /// Keep the query.
        query: bool,
        /// Cut to this many bytes.
        length: Option<usize>,
    },
    /// `%QUERY_PARAM(name)%`
    QueryParam(String, Option<usize>),
    /// Text settled at compile time: `%HOSTNAME%`, `%ENVIRONMENT(name)%`; `None` prints as absent.
    Text(Option<String>),
    /// `%GRPC_STATUS(format)%`
    GrpcStatus(GrpcFormat),
    /// `%METADATA(source:namespace:key:…):length%` and its like; without keys the whole namespace.
    Metadata(MetadataSource, Box<str>, Vec<Box<str>>, Option<usize>),
    /// `%FILTER_STATE(name:form):length%`
    FilterState(Box<str>, StateForm, Option<usize>),
    /// An operator without arguments.
    Plain(Plain),
}

/// Which headers an operator reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The request's headers.
    Request,
    /// The answer's headers.
    Response,
    /// The answer's trailers.
    Trailers,
}

/// Whose metadata an operator reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataSource {
    /// What filters wrote for the stream.
    Dynamic,
    /// The cluster's.
    Cluster,
    /// The route's.
    Route,
    /// The virtual host's.
    VirtualHost,
    /// The upstream host's.
    Host,
    /// The listener's.
    Listener,
    /// The filter chain's.
    Chain,
}

/// How `%FILTER_STATE%` prints an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateForm {
    /// `PLAIN`: its text.
    Plain,
    /// `TYPED`: its message, as JSON.
    Typed,
    /// `FIELD`: one field of it.
    Field(Box<str>),
}

/// How `%GRPC_STATUS%` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrpcFormat {
    /// `DeadlineExceeded`
    Camel,
    /// `DEADLINE_EXCEEDED`
    Snake,
    /// `4`
    Number,
}

/// What an operator found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrote {
    /// Nothing there: `-` in text, `null` in JSON.
    Absent,
    /// Text.
    Text,
    /// JSON, a number in most cases: stays what it is in JSON, and is cut to so many bytes in text.
    Json(Option<usize>),
}

macro_rules! plain {
    ($($variant:ident = $name:literal,)*) => {
        /// Operators without arguments, named after Envoy's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Plain { $($variant,)* }

        impl Plain {
            /// The operator of a name.
            pub fn of(name: &str) -> Option<Plain> {
                match name { $($name => Some(Plain::$variant),)* _ => None }
            }
        }
    };
}

plain! {
    Protocol = "PROTOCOL", UpstreamProtocol = "UPSTREAM_PROTOCOL",
    ResponseCode = "RESPONSE_CODE", ResponseCodeDetails = "RESPONSE_CODE_DETAILS",
    ResponseFlags = "RESPONSE_FLAGS", ResponseFlagsLong = "RESPONSE_FLAGS_LONG",
    BytesReceived = "BYTES_RECEIVED", BytesSent = "BYTES_SENT",
    Duration = "DURATION", RequestDuration = "REQUEST_DURATION", RequestTxDuration = "REQUEST_TX_DURATION",
    ResponseDuration = "RESPONSE_DURATION", ResponseTxDuration = "RESPONSE_TX_DURATION",
    UpstreamHost = "UPSTREAM_HOST", UpstreamCluster = "UPSTREAM_CLUSTER",
    UpstreamRemoteAddress = "UPSTREAM_REMOTE_ADDRESS", UpstreamRemoteAddressWithoutPort = "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    UpstreamRemotePort = "UPSTREAM_REMOTE_PORT",
    UpstreamLocalAddress = "UPSTREAM_LOCAL_ADDRESS", UpstreamLocalAddressWithoutPort = "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    UpstreamLocalPort = "UPSTREAM_LOCAL_PORT",
    UpstreamTransportFailureReason = "UPSTREAM_TRANSPORT_FAILURE_REASON", UpstreamRequestAttemptCount = "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    DownstreamRemoteAddress = "DOWNSTREAM_REMOTE_ADDRESS", DownstreamRemoteAddressWithoutPort = "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    DownstreamRemotePort = "DOWNSTREAM_REMOTE_PORT",
    DownstreamDirectRemoteAddress = "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    DownstreamDirectRemoteAddressWithoutPort = "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    DownstreamDirectRemotePort = "DOWNSTREAM_DIRECT_REMOTE_PORT",
    DownstreamLocalAddress = "DOWNSTREAM_LOCAL_ADDRESS", DownstreamLocalAddressWithoutPort = "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    DownstreamLocalPort = "DOWNSTREAM_LOCAL_PORT",
    DownstreamDirectLocalAddress = "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
    DownstreamDirectLocalAddressWithoutPort = "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT",
    DownstreamDirectLocalPort = "DOWNSTREAM_DIRECT_LOCAL_PORT",
    DownstreamTlsVersion = "DOWNSTREAM_TLS_VERSION", DownstreamTlsCipher = "DOWNSTREAM_TLS_CIPHER",
    RequestedServerName = "REQUESTED_SERVER_NAME", ConnectionId = "CONNECTION_ID", RouteName = "ROUTE_NAME",
    LocalReplyBody = "LOCAL_REPLY_BODY",
}

impl Operator {
    /// Writes what the stream has behind `out`, and says what that was.
    pub(super) fn write(&self, context: &Context<'_>, out: &mut Vec<u8>) -> Wrote {
        match self {
            Operator::StartTime(format) => {
                format.write(context.info.start, out);
                Wrote::Text
            }
            Operator::EmitTime(format) => {
                format.write(SystemTime::now(), out);
                Wrote::Text
            }
            Operator::Header(source, name, alternative, length) => {
                let value = context
                    .headers(*source)
                    .and_then(|headers| headers.get_name(name).or_else(|| alternative.as_ref().and_then(|other| headers.get_name(other))));
                put_cut(out, value, *length)
            }
            Operator::HeaderBytes(source) => number(out, context.headers(*source).map_or(0, HeaderList::byte_size) as u64),
            Operator::Path { query, length } => {
                let path = context.request.and_then(|h| h.get(Known::EnvoyOriginalPath).or_else(|| h.get(Known::Path)));
                let path = path.map(|p| if *query { p } else { p.split(|b| *b == b'?').next().unwrap_or_default() });
                put_cut(out, path, *length)
            }
            Operator::QueryParam(name, length) => {
                let query = context.request.and_then(|h| h.path().splitn(2, |b| *b == b'?').nth(1));
                let value = query.into_iter().flat_map(|q| q.split(|b| *b == b'&')).find_map(|pair| {
                    let mut parts = pair.splitn(2, |b| *b == b'=');
                    (parts.next() == Some(name.as_bytes())).then(|| parts.next().unwrap_or_default())
                });
                put_cut(out, value, *length)
            }
            Operator::Text(value) => put_cut(out, value.as_deref().map(str::as_bytes), None),
            Operator::GrpcStatus(format) => put_grpc_status(context, *format, out),
            Operator::Metadata(source, namespace, path, length) => metadata(context.info, *source, namespace, path, *length, out),
            Operator::FilterState(name, form, length) => {
                let object = context.info.filter_state.as_deref().and_then(|state| state.get(name));
                match (object, form) {
                    (Some(object), StateForm::Plain) => put_cut(out, object.text().as_deref(), *length),
                    (Some(object), StateForm::Field(field)) => put_cut(out, object.field(field).as_deref(), *length),
                    (Some(object), StateForm::Typed) => object.message().map_or(Wrote::Absent, |message| {
                        put_value(&message, out);
                        Wrote::Json(*length)
                    }),
                    (None, _) => Wrote::Absent,
                }
            }
            Operator::Plain(plain) => plain.write(context, out),
        }
    }
}

fn metadata(
    info: &StreamInfo,
    source: MetadataSource,
    namespace: &str,
    path: &[Box<str>],
    length: Option<usize>,
    out: &mut Vec<u8>,
) -> Wrote {
    let of_host;
    let metadata = match source {
        MetadataSource::Dynamic => info.metadata.as_deref(),
        MetadataSource::Cluster => info.cluster_metadata(),
        MetadataSource::Route => info.route_metadata(),
        MetadataSource::VirtualHost => info.virtual_host_metadata(),
        MetadataSource::Listener => info.listener_metadata(),
        MetadataSource::Chain => info.chain_metadata(),
        MetadataSource::Host => {
            of_host = info.host_metadata();
            of_host.as_deref()
        }
    };
    let Some(metadata) = metadata else { return Wrote::Absent };
    if path.is_empty() {
        let Some(fields) = metadata.namespace(namespace) else { return Wrote::Absent };
        put_object(fields, out);
        return Wrote::Json(length);
    }
    match metadata.value(namespace, path) {
        None | Some(Value::Null) => Wrote::Absent,
        Some(Value::String(text)) => put_cut(out, Some(text.as_bytes()), length),
        Some(value) => {
            put_value(value, out);
            Wrote::Json(length)
        }
    }
}

/// Writes a value as JSON.
fn put_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(b) => out.extend_from_slice(if *b { b"true" } else { b"false" }),
        Value::Number(n) if n.is_finite() => out.extend_from_slice(shortest(*n).as_bytes()),
        // JSON has no other numbers.
        Value::Number(_) => out.extend_from_slice(b"null"),
        Value::String(text) => put_quoted(text.as_bytes(), out),
        Value::Struct(fields) => put_object(fields, out),
        Value::List(values) => {
            out.push(b'[');
            for (i, value) in values.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                put_value(value, out);
            }
            out.push(b']');
        }
    }
}

fn put_object(fields: &Struct, out: &mut Vec<u8>) {
    out.push(b'{');
    for (i, (key, value)) in fields.0.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        put_quoted(key.as_bytes(), out);
        out.push(b':');
        put_value(value, out);
    }
    out.push(b'}');
}

fn put_quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let at = out.len();
    out.extend_from_slice(text);
    escape(out, at);
    out.push(b'"');
}

impl Plain {
    fn write(self, context: &Context<'_>, out: &mut Vec<u8>) -> Wrote {
        let info = context.info;
        let tls = info.connection.tls.as_ref();
        match self {
            Plain::Protocol => text(out, context.request_seen.then(|| info.protocol.as_str())),
            Plain::UpstreamProtocol => text(out, info.upstream_protocol.map(|p| p.as_str())),
            Plain::ResponseCode => number(out, info.status.into()),
            Plain::ResponseCodeDetails => text(out, info.detail.as_deref()),
            Plain::ResponseFlags => joined(out, info.flags.short_names()),
            Plain::ResponseFlagsLong => joined(out, info.flags.long_names()),
            Plain::BytesReceived => number(out, info.bytes_received),
            Plain::BytesSent => number(out, info.bytes_sent),
            Plain::Duration => number(out, info.duration().as_millis() as u64),
            Plain::RequestDuration => since(out, Some(info.started), info.request_end),
            Plain::RequestTxDuration => since(out, Some(info.started), info.upstream_last_tx),
            Plain::ResponseDuration => since(out, Some(info.started), info.upstream_first_rx),
            Plain::ResponseTxDuration => since(out, info.upstream_first_rx, info.end),
            Plain::UpstreamHost => address(out, info.upstream_host),
            Plain::UpstreamCluster => text(out, info.cluster.as_ref().map(|c| c.settings.alt_stat_name.as_deref().unwrap_or(&c.name))),
            Plain::UpstreamRemoteAddress => address(out, connected(info)),
            Plain::UpstreamRemoteAddressWithoutPort => ip(out, connected(info)),
            Plain::UpstreamRemotePort => port(out, connected(info)),
            Plain::UpstreamLocalAddress => address(out, info.upstream_local),
            Plain::UpstreamLocalAddressWithoutPort => ip(out, info.upstream_local),
            Plain::UpstreamLocalPort => port(out, info.upstream_local),
            Plain::UpstreamTransportFailureReason => without_spaces(out, info.upstream_failure.as_deref()),
            Plain::UpstreamRequestAttemptCount => number(out, info.attempts.into()),
            Plain::DownstreamRemoteAddress => address(out, Some(info.client)),
            Plain::DownstreamRemoteAddressWithoutPort => ip(out, Some(info.client)),
            Plain::DownstreamRemotePort => port(out, Some(info.client)),
            Plain::DownstreamDirectRemoteAddress => address(out, Some(info.connection.peer)),
            Plain::DownstreamDirectRemoteAddressWithoutPort => ip(out, Some(info.connection.peer)),
            Plain::DownstreamDirectRemotePort => port(out, Some(info.connection.peer)),
            Plain::DownstreamLocalAddress | Plain::DownstreamDirectLocalAddress => address(out, Some(info.connection.local)),
            Plain::DownstreamLocalAddressWithoutPort | Plain::DownstreamDirectLocalAddressWithoutPort => {
                ip(out, Some(info.connection.local))
            }
            Plain::DownstreamLocalPort | Plain::DownstreamDirectLocalPort => port(out, Some(info.connection.local)),
            Plain::DownstreamTlsVersion => text(out, tls.map(|t| t.version).filter(|v| !v.is_empty())),
            Plain::DownstreamTlsCipher => text(out, tls.map(|t| t.cipher).filter(|c| !c.is_empty())),
            Plain::RequestedServerName => text(out, tls.and_then(|t| t.sni.as_deref()).filter(|s| !s.is_empty())),
            Plain::ConnectionId => number(out, info.connection.id),
            Plain::RouteName => text(out, info.route.as_ref().and_then(|r| r.route().name.as_deref())),
            Plain::LocalReplyBody => {
                out.extend_from_slice(context.local_reply_body);
                Wrote::Text
            }
        }
    }
}

/// The upstream host, where a connection to it stood.
fn connected(info: &StreamInfo) -> Option<SocketAddr> {
    info.upstream_host.filter(|_| info.upstream_local.is_some())
}

fn text(out: &mut Vec<u8>, value: Option<&str>) -> Wrote {
    put_cut(out, value.map(str::as_bytes), None)
}

fn without_spaces(out: &mut Vec<u8>, value: Option<&str>) -> Wrote {
    let at = out.len();
    let wrote = text(out, value.filter(|v| !v.is_empty()));
    out[at..].iter_mut().filter(|b| **b == b' ').for_each(|b| *b = b'_');
    wrote
}

/// Writes at most `length` bytes of a value.
fn put_cut(out: &mut Vec<u8>, value: Option<&[u8]>, length: Option<usize>) -> Wrote {
    let Some(value) = value else { return Wrote::Absent };
    out.extend_from_slice(&value[..value.len().min(length.unwrap_or(usize::MAX))]);
    Wrote::Text
}

fn number(out: &mut Vec<u8>, value: u64) -> Wrote {
    put_number(out, value);
    Wrote::Json(None)
}

/// Flags with a comma between; `-` where there is none, in JSON too.
fn joined<'a>(out: &mut Vec<u8>, names: impl Iterator<Item = &'a str>) -> Wrote {
    let at = out.len();
    for name in names {
        if out.len() > at {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
    }
    if out.len() == at {
        out.push(b'-');
    }
    Wrote::Text
}

/// Whole milliseconds between two moments.
fn since(out: &mut Vec<u8>, from: Option<Instant>, to: Option<Instant>) -> Wrote {
    match (from, to) {
        (Some(from), Some(to)) => number(out, to.checked_duration_since(from).unwrap_or(Duration::ZERO).as_millis() as u64),
        _ => Wrote::Absent,
    }
}

fn address(out: &mut Vec<u8>, value: Option<SocketAddr>) -> Wrote {
    let Some(value) = value else { return Wrote::Absent };
    match value.ip() {
        IpAddr::V4(_) => put_ip(out, value.ip()),
        IpAddr::V6(_) => {
            out.push(b'[');
            put_ip(out, value.ip());
            out.push(b']');
        }
    }
    out.push(b':');
    put_number(out, value.port().into());
    Wrote::Text
}

fn ip(out: &mut Vec<u8>, value: Option<SocketAddr>) -> Wrote {
    let Some(value) = value else { return Wrote::Absent };
    put_ip(out, value.ip());
    Wrote::Text
}

fn port(out: &mut Vec<u8>, value: Option<SocketAddr>) -> Wrote {
    value.map_or(Wrote::Absent, |v| number(out, v.port().into()))
}

fn put_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (i, octet) in ip.octets().into_iter().enumerate() {
                if i > 0 {
                    out.push(b'.');
                }
                put_number(out, octet.into());
            }
        }
        IpAddr::V6(ip) => {
            use std::io::Write;
            // Writing into a Vec does not fail.
            let _ = write!(out, "{ip}");
        }
    }
}

/// gRPC's status names, by number: as `CAMEL_STRING` and as `SNAKE_STRING`.
const GRPC: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

/// The gRPC status of an answer: that of its trailers or headers, else the one that stands for its HTTP status. Negative where what the
/// answer says is no status.
pub fn grpc_status(context: &Context<'_>) -> i64 {
    let of = |headers: Option<&HeaderList>| {
        let text = headers?.get(Known::GrpcStatus).filter(|v| !v.is_empty())?;
        Some(std::str::from_utf8(text).ok().and_then(|t| t.parse::<u32>().ok()).map_or(-1, i64::from))
    };
    of(context.trailers).or_else(|| of(context.response)).unwrap_or_else(|| local_reply::grpc_status(context.info.status).into())
}

fn put_grpc_status(context: &Context<'_>, format: GrpcFormat, out: &mut Vec<u8>) -> Wrote {
    let content_type = context.request.and_then(|h| h.get(Known::ContentType)).unwrap_or_default();
    match content_type.strip_prefix(b"application/grpc") {
        Some([] | [b'+' | b';', ..]) => {}
        _ => return Wrote::Absent,
    }
    let status = grpc_status(context);
    let names = usize::try_from(status).ok().and_then(|status| GRPC.get(status));
    match (format, names) {
        (GrpcFormat::Camel, Some(names)) => text(out, Some(names.0)),
        (GrpcFormat::Snake, Some(names)) => text(out, Some(names.1)),
        _ => {
            if status < 0 {
                out.push(b'-');
            }
            put_number(out, status.unsigned_abs());
            if format == GrpcFormat::Number { Wrote::Json(None) } else { Wrote::Text }
        }
    }
}
