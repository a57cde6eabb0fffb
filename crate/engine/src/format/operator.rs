//! The `%OPERATOR%`s: each reads one thing of a stream and writes it.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    Context, put_number,
    time::TimeFormat,
    write::{Wrote, address, filled, ip, joined, number, port, put_cut, put_object, put_value, since, text, without_spaces},
};
use crate::{
    http::{
        header::{HeaderList, HeaderName, Known},
        headers, local_reply,
    },
    metadata::Value,
    stream_info::StreamInfo,
    tls::Certificate,
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
    /// `%PATH(query:which)%`
    Path {
        /// Which of the two headers.
        which: WhichPath,
        /// Keep the query.
        query: bool,
        /// Cut to this many bytes.
        length: Option<usize>,
    },
    /// `%QUERY_PARAMS(ORIG)%`: the whole query; with what is escaped decoded where it is printable and safe (`DECODED`).
    Query(bool, Option<usize>),
    /// `%REQ_WITHOUT_QUERY(name?alternative):length%`
    WithoutQuery(HeaderName, Option<HeaderName>, Option<usize>),
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
    /// `%COMMON_DURATION(from:to:precision)%`
    Between(Moment, Moment, Precision),
    /// `%DOWNSTREAM_PEER_SUBJECT%` and its like.
    Certificate(Side, Shown, Fact),
    /// `%COALESCE(…):length%`: the first of them that has something.
    First(Vec<Operator>, Option<usize>),
    /// `%UPSTREAM_HOST_NAME%`; with or without the port of an address.
    HostName(bool),
    /// `%UPSTREAM_HOST_NAMES_ATTEMPTED%`: the same of a host that a connection stood to.
    HostNameAttempted(bool),
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

/// Which path an operator reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhichPath {
    /// `ORIG_OR_PATH`: `x-envoy-original-path`, or `:path` where there is none.
    OriginalOrNow,
    /// `ORIG`: `x-envoy-original-path`.
    Original,
    /// `PATH`: `:path`.
    Now,
}

impl WhichPath {
    fn of(self, headers: &HeaderList) -> Option<&[u8]> {
        match self {
            WhichPath::OriginalOrNow => headers.get(Known::EnvoyOriginalPath).or_else(|| headers.get(Known::Path)),
            WhichPath::Original => headers.get(Known::EnvoyOriginalPath),
            WhichPath::Now => headers.get(Known::Path),
        }
    }
}

/// A moment of a stream, by Envoy's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// `DS_RX_BEG`: the request began.
    RequestStart,
    /// `DS_RX_END`: the request was whole.
    RequestEnd,
    /// `DS_RX_HDR_END`: the head of the request was whole.
    HeadEnd,
    /// `DS_CX_BEG`: the client's connection was accepted.
    Accepted,
    /// `DS_HS_BEG`: the handshake with the client began.
    HandshakeStart,
    /// `DS_HS_END`: the handshake with the client was over.
    HandshakeEnd,
    /// `US_CX_BEG`: the connection upstream was begun.
    ConnectStart,
    /// `US_CX_END`: the connection upstream stood.
    ConnectEnd,
    /// `US_HS_END`: the handshake with the upstream was over.
    UpstreamHandshakeEnd,
    /// `US_TX_BEG`: the request began to go upstream.
    UpstreamStart,
    /// `US_TX_END`: the request was whole upstream.
    UpstreamEnd,
    /// `US_RX_BEG`: the answer began to come.
    AnswerStart,
    /// `US_RX_END`: the answer was whole.
    AnswerEnd,
    /// `DS_TX_BEG`: the answer began to go to the client.
    ResponseStart,
    /// `DS_TX_END`: the answer was with the client.
    ResponseEnd,
    /// A name that an extension might have set, and none does; `DS_CX_END` and `US_CX_END` of a connection that lasts longer than its streams.
    Never,
}

impl Moment {
    fn of(self, info: &StreamInfo) -> Option<Instant> {
        match self {
            Moment::RequestStart => Some(info.started),
            Moment::RequestEnd => info.request_end,
            Moment::HeadEnd => Some(info.head_end.unwrap_or(info.started)),
            Moment::Accepted => info.connection.accepted,
            Moment::HandshakeStart => info.connection.handshake.map(|(begun, _)| begun),
            Moment::HandshakeEnd => info.connection.handshake.map(|(_, over)| over),
            Moment::ConnectStart => info.upstream.as_ref().map(|u| u.begun),
            Moment::ConnectEnd => info.upstream.as_ref().and_then(|u| u.connected),
            Moment::UpstreamHandshakeEnd => info.upstream.as_ref().and_then(|u| u.secured),
            Moment::UpstreamStart => info.upstream_first_tx,
            Moment::UpstreamEnd => info.upstream_last_tx(),
            Moment::AnswerStart => info.upstream_first_rx,
            Moment::AnswerEnd => info.upstream_last_rx(),
            Moment::ResponseStart => info.response_start,
            Moment::ResponseEnd => info.response_start.and(info.end),
            Moment::Never => None,
        }
    }
}

/// The unit of a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// `ms`
    Milliseconds,
    /// `us`
    Microseconds,
    /// `ns`
    Nanoseconds,
}

/// A side of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Towards the client.
    Downstream,
    /// Towards the host.
    Upstream,
}

/// Whose certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// What we were shown.
    Peer,
    /// What we showed.
    Local,
}

/// What of a certificate.
#[derive(Clone, Debug)]
pub enum Fact {
    /// `…_SUBJECT`
    Subject,
    /// `…_ISSUER`
    Issuer,
    /// `…_SERIAL`
    Serial,
    /// `…_FINGERPRINT_1`
    Sha1,
    /// `…_FINGERPRINT_256`
    Sha256,
    /// `…_CERT`: PEM, escaped as for a URL.
    Pem,
    /// `…_CERT_V_START(format)`
    ValidFrom(TimeFormat),
    /// `…_CERT_V_END(format)`
    ValidUntil(TimeFormat),
    /// `…_DNS_SAN`
    DnsNames,
    /// `…_URI_SAN`
    Uris,
    /// `…_IP_SAN`
    Addresses,
    /// `…_EMAIL_SAN`
    Emails,
    /// `…_ISSUER_SERIAL`
    IssuerSerial,
    /// `…_ISSUER_FINGERPRINT_256`
    IssuerSha256,
    /// `…_CHAIN_FINGERPRINTS_1`
    ChainSha1,
    /// `…_CHAIN_FINGERPRINTS_256`
    ChainSha256,
    /// `…_CHAIN_SERIALS`
    ChainSerials,
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
    AccessLogType = "ACCESS_LOG_TYPE", BytesRetransmitted = "BYTES_RETRANSMITTED", PacketsRetransmitted = "PACKETS_RETRANSMITTED",
    ConnectionTerminationDetails = "CONNECTION_TERMINATION_DETAILS", CustomFlags = "CUSTOM_FLAGS",
    DownstreamTransportFailureReason = "DOWNSTREAM_TRANSPORT_FAILURE_REASON", FilterChainName = "FILTER_CHAIN_NAME",
    ListenerName = "LISTENER_NAME", RoundtripDuration = "ROUNDTRIP_DURATION", SpanId = "SPAN_ID", TraceId = "TRACE_ID", StreamId = "STREAM_ID",
    UniqueId = "UNIQUE_ID", UpstreamClusterRaw = "UPSTREAM_CLUSTER_RAW", VirtualClusterName = "VIRTUAL_CLUSTER_NAME",
    UpstreamConnectionPoolReadyDuration = "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    UpstreamTlsVersion = "UPSTREAM_TLS_VERSION", UpstreamTlsCipher = "UPSTREAM_TLS_CIPHER",
    DownstreamLocalAddressEndpointId = "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID",
    DownstreamDirectLocalAddressEndpointId = "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID",
    UpstreamConnectionId = "UPSTREAM_CONNECTION_ID", UpstreamConnectionIdsAttempted = "UPSTREAM_CONNECTION_IDS_ATTEMPTED",
    UpstreamHostsAttempted = "UPSTREAM_HOSTS_ATTEMPTED", UpstreamHostsAttemptedWithoutPort = "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT",
    UpstreamRemoteAddressEndpointId = "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID", UpstreamServerName = "UPSTREAM_SERVER_NAME",
    UpstreamDetectedCloseType = "UPSTREAM_DETECTED_CLOSE_TYPE", DownstreamDetectedCloseType = "DOWNSTREAM_DETECTED_CLOSE_TYPE",
    UpstreamLocalCloseReason = "UPSTREAM_LOCAL_CLOSE_REASON", DownstreamLocalCloseReason = "DOWNSTREAM_LOCAL_CLOSE_REASON",
    UpstreamTlsGroup = "UPSTREAM_TLS_GROUP", DownstreamTlsGroup = "DOWNSTREAM_TLS_GROUP",
    DownstreamHandshakeDuration = "DOWNSTREAM_HANDSHAKE_DURATION", RouteResolutionCount = "ROUTE_RESOLUTION_COUNT",
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
                let value = context.headers(*source).and_then(|headers| either(headers, name, alternative.as_ref()));
                put_cut(out, value, *length)
            }
            Operator::HeaderBytes(source) => number(out, context.headers(*source).map_or(0, HeaderList::byte_size) as u64),
            Operator::Path { which, query, length } => {
                let path = context.request.and_then(|h| which.of(h));
                let path = path.map(|p| if *query { p } else { p.split(|b| *b == b'?').next().unwrap_or_default() });
                put_cut(out, path, *length)
            }
            Operator::Query(decode, length) => {
                let path = context.request.and_then(|h| WhichPath::OriginalOrNow.of(h));
                let query = path.and_then(|p| p.splitn(2, |b| *b == b'?').nth(1));
                match query {
                    Some(query) if *decode => put_cut(out, Some(&decoded(query)), *length),
                    query => put_cut(out, query, *length),
                }
            }
            Operator::WithoutQuery(name, alternative, length) => {
                let value = context.request.and_then(|h| either(h, name, alternative.as_ref()));
                put_cut(out, value.map(|v| v.split(|b| *b == b'?').next().unwrap_or_default()), *length)
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
            Operator::Between(from, to, precision) => match (from.of(context.info), to.of(context.info)) {
                (Some(from), Some(to)) => to.checked_duration_since(from).map_or(Wrote::Absent, |passed| {
                    number(
                        out,
                        match precision {
                            Precision::Milliseconds => passed.as_millis(),
                            Precision::Microseconds => passed.as_micros(),
                            Precision::Nanoseconds => passed.as_nanos(),
                        } as u64,
                    )
                }),
                _ => Wrote::Absent,
            },
            Operator::Certificate(side, shown, fact) => certificate(context.info, *side, *shown, fact, out),
            Operator::First(operators, length) => {
                let at = out.len();
                for operator in operators {
                    let wrote = operator.write(context, out);
                    if wrote != Wrote::Absent {
                        out.truncate(at.saturating_add(length.unwrap_or(usize::MAX)));
                        return wrote;
                    }
                    out.truncate(at);
                }
                Wrote::Absent
            }
            Operator::HostNameAttempted(_) if context.info.upstream.is_none() => Wrote::Absent,
            Operator::HostName(port) | Operator::HostNameAttempted(port) => match (&context.info.host, context.info.upstream_host) {
                (Some(host), _) if !host.hostname.is_empty() => {
                    let (name, behind) = host.hostname.rsplit_once(':').unwrap_or((&host.hostname, ""));
                    let has_port = !behind.is_empty() && behind.bytes().all(|b| b.is_ascii_digit());
                    text(out, Some(if has_port && !port { name } else { &host.hostname }))
                }
                (_, host) if *port => address(out, host),
                (_, host) => ip(out, host),
            },
            Operator::Plain(plain) => plain.write(context, out),
        }
    }
}

fn certificate(info: &StreamInfo, side: Side, shown: Shown, fact: &Fact, out: &mut Vec<u8>) -> Wrote {
    let tls = match side {
        Side::Downstream => info.connection.tls.as_ref(),
        Side::Upstream => info.upstream.as_ref().and_then(|c| c.tls.as_ref()),
    };
    let Some(tls) = tls else { return Wrote::Absent };
    let certificate = match shown {
        Shown::Peer => tls.peer.first(),
        Shown::Local => tls.local.as_deref(),
    };
    let Some(certificate) = certificate else { return Wrote::Absent };
    let filled = |text: &str, out: &mut Vec<u8>| {
        out.extend_from_slice(text.as_bytes());
        if text.is_empty() { Wrote::Absent } else { Wrote::Text }
    };
    let time = |format: &TimeFormat, seconds: i64, out: &mut Vec<u8>| {
        let distance = Duration::from_secs(seconds.unsigned_abs());
        let moment = if seconds < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
        moment.map_or(Wrote::Absent, |moment| {
            format.write(moment, out);
            Wrote::Text
        })
    };
    let facts = || certificate.facts();
    match fact {
        Fact::Subject => filled(&facts().subject, out),
        Fact::Issuer => filled(&facts().issuer, out),
        Fact::Serial => filled(&facts().serial, out),
        Fact::Sha1 => filled(&certificate.sha1(), out),
        Fact::Sha256 => filled(&certificate.sha256(), out),
        Fact::Pem => filled(&certificate.url_encoded_pem(), out),
        Fact::ValidFrom(format) => time(format, facts().valid_from, out),
        Fact::ValidUntil(format) => time(format, facts().valid_until, out),
        Fact::DnsNames => filled(&facts().dns_names.join(","), out),
        Fact::Uris => filled(&facts().uris.join(","), out),
        Fact::Emails => filled(&facts().emails.join(","), out),
        Fact::Addresses => filled(&facts().addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(","), out),
        Fact::IssuerSerial => filled(tls.peer.get(1).map_or("", |issuer| &issuer.facts().serial), out),
        Fact::IssuerSha256 => filled(&tls.peer.get(1).map(Certificate::sha256).unwrap_or_default(), out),
        Fact::ChainSha1 => filled(&tls.peer.iter().map(Certificate::sha1).collect::<Vec<_>>().join(","), out),
        Fact::ChainSha256 => filled(&tls.peer.iter().map(Certificate::sha256).collect::<Vec<_>>().join(","), out),
        Fact::ChainSerials => filled(&tls.peer.iter().map(|c| &*c.facts().serial).collect::<Vec<_>>().join(","), out),
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

impl Plain {
    fn write(self, context: &Context<'_>, out: &mut Vec<u8>) -> Wrote {
        let info = context.info;
        let tls = info.connection.tls.as_ref();
        let upstream_tls = info.upstream.as_ref().and_then(|c| c.tls.as_ref());
        let upstream_local = info.upstream.as_ref().map(|c| c.local);
        match self {
            Plain::Protocol => text(out, context.request_seen.then(|| info.protocol.as_str())),
            Plain::UpstreamProtocol => text(out, info.upstream_protocol.map(|p| p.as_str())),
            Plain::AccessLogType => text(out, Some(context.log_type.as_str())),
            // Of HTTP/3 only.
            Plain::BytesRetransmitted | Plain::PacketsRetransmitted => number(out, 0),
            Plain::RoundtripDuration => Wrote::Absent,
            // Nothing here sets one: custom flags and endpoint ids print as nothing, the others as absent.
            Plain::CustomFlags | Plain::DownstreamLocalAddressEndpointId | Plain::DownstreamDirectLocalAddressEndpointId => Wrote::Text,
            Plain::ConnectionTerminationDetails | Plain::DownstreamTransportFailureReason | Plain::SpanId | Plain::TraceId => Wrote::Absent,
            Plain::FilterChainName => filled(out, info.connection.entrance.as_ref().map(|e| &*e.chain_name)),
            Plain::ListenerName => filled(out, info.connection.entrance.as_ref().map(|e| &*e.listener_name)),
            Plain::StreamId => put_cut(out, context.request.and_then(|h| h.get(Known::RequestId)), None),
            Plain::UniqueId => {
                out.extend_from_slice(&headers::uuid(info.random.next(), info.random.next()));
                Wrote::Text
            }
            Plain::UpstreamClusterRaw => text(out, info.cluster.as_ref().map(|c| &*c.name)),
            Plain::UpstreamConnectionPoolReadyDuration => info.pool_wait.map_or(Wrote::Absent, |wait| number(out, wait.as_millis() as u64)),
            Plain::UpstreamTlsVersion => filled(out, upstream_tls.map(|t| t.version)),
            Plain::UpstreamTlsCipher => filled(out, upstream_tls.map(|t| t.cipher)),
            Plain::UpstreamConnectionId => number(out, info.upstream.as_ref().map_or(0, |u| u.id)),
            // As in Envoy of the last attempt only: each one begins a list of its own.
            Plain::UpstreamConnectionIdsAttempted => info.upstream.as_ref().map_or(Wrote::Absent, |u| {
                put_number(out, u.id);
                Wrote::Text
            }),
            Plain::UpstreamHostsAttempted => address(out, connected(info)),
            Plain::UpstreamHostsAttemptedWithoutPort => ip(out, connected(info)),
            Plain::UpstreamRemoteAddressEndpointId => info.upstream.as_ref().map_or(Wrote::Absent, |_| Wrote::Text),
            Plain::UpstreamServerName => filled(out, upstream_tls.and_then(|t| t.sni.as_deref())),
            // A stream's line is written before its connection closes, so that there is nothing to tell of that, as in Envoy.
            Plain::DownstreamDetectedCloseType => text(out, Some("Normal")),
            Plain::UpstreamDetectedCloseType => text(out, info.host.as_ref().map(|_| "Normal")),
            Plain::UpstreamLocalCloseReason | Plain::DownstreamLocalCloseReason => Wrote::Absent,
            Plain::UpstreamTlsGroup => filled(out, upstream_tls.map(|t| t.group)),
            Plain::DownstreamTlsGroup => filled(out, tls.map(|t| t.group)),
            // Reckoned from the begin of the stream, so mostly negative.
            Plain::DownstreamHandshakeDuration => info.connection.handshake.map_or(Wrote::Absent, |(_, over)| {
                let before = info.started.saturating_duration_since(over).as_millis() as u64;
                if before > 0 {
                    out.push(b'-');
                    return number(out, before);
                }
                number(out, over.saturating_duration_since(info.started).as_millis() as u64)
            }),
            Plain::RouteResolutionCount => number(out, info.route_resolutions.into()),
            Plain::ResponseCode => number(out, info.status.into()),
            Plain::ResponseCodeDetails => text(out, info.detail.as_deref()),
            Plain::ResponseFlags => joined(out, info.flags.short_names()),
            Plain::ResponseFlagsLong => joined(out, info.flags.long_names()),
            Plain::BytesReceived => number(out, info.bytes_received),
            Plain::BytesSent => number(out, info.bytes_sent),
            Plain::Duration => number(out, info.duration().as_millis() as u64),
            Plain::RequestDuration => since(out, Some(info.started), info.request_end),
            Plain::RequestTxDuration => since(out, Some(info.started), info.upstream_last_tx()),
            Plain::ResponseDuration => since(out, Some(info.started), info.upstream_first_rx),
            Plain::ResponseTxDuration => since(out, info.upstream_first_rx, info.end),
            Plain::UpstreamHost => address(out, info.upstream_host),
            Plain::UpstreamCluster => text(out, info.cluster.as_ref().map(|c| c.settings.alt_stat_name.as_deref().unwrap_or(&c.name))),
            Plain::UpstreamRemoteAddress => address(out, connected(info)),
            Plain::UpstreamRemoteAddressWithoutPort => ip(out, connected(info)),
            Plain::UpstreamRemotePort => port(out, connected(info)),
            Plain::UpstreamLocalAddress => address(out, upstream_local),
            Plain::UpstreamLocalAddressWithoutPort => ip(out, upstream_local),
            Plain::UpstreamLocalPort => port(out, upstream_local),
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
            Plain::VirtualClusterName => text(out, info.virtual_cluster.as_deref()),
            Plain::LocalReplyBody => {
                out.extend_from_slice(context.local_reply_body);
                Wrote::Text
            }
        }
    }
}

/// The upstream host, where a connection to it stood.
fn connected(info: &StreamInfo) -> Option<SocketAddr> {
    info.upstream_host.filter(|_| info.upstream.is_some())
}

/// A header, or another one where there is none.
fn either<'h>(headers: &'h HeaderList, name: &HeaderName, alternative: Option<&HeaderName>) -> Option<&'h [u8]> {
    headers.get_name(name).or_else(|| headers.get_name(alternative?))
}

/// A query with its escapes decoded as Envoy decodes them: only to what is printable and means nothing in markup; a percent sign that begins none is lost.
fn decoded(query: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|d| d as u8);
    let mut out = Vec::with_capacity(query.len());
    let mut rest = query;
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        match (first, behind) {
            (b'%', [high, low, ..]) => {
                let Some(byte) = digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low) else { continue };
                if matches!(byte, b'!'..=b'~') && !b"\"<>\\^{|}".contains(&byte) {
                    out.push(byte);
                } else {
                    out.extend_from_slice(&[b'%', *high, *low]);
                }
                rest = &behind[2..];
            }
            _ => out.push(first),
        }
    }
    out
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
