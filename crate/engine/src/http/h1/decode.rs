//! Heads of requests and answers, from bytes to a header list.

use bytes::{Buf, BytesMut};
use memchr::{memchr, memchr_iter};

use super::{
    Asked, BODY_DISALLOWED, CODEC_ERROR, CONTENT_LENGTH_NOT_ALLOWED, Framing, HEADERS_TOO_LARGE, INVALID_AUTHORITY, INVALID_CHARACTERS,
    INVALID_TRANSFER_ENCODING, LENGTH_AND_CHUNKED, LOW_VERSION, Reject, RequestHead, ResponseHead, TOO_MANY_HEADERS,
    TRANSFER_ENCODING_NOT_ALLOWED, UNDERSCORE, chars, connection,
    target::{self, Target},
};
use crate::{
    http::{
        casing::Casing,
        header::{HeaderList, Known},
        headers,
        settings::{Http1, Underscores},
    },
    stream_info::Protocol,
};

/// Most trailers of a body.
const MAX_TRAILERS: usize = 100;
/// No known header has a longer name than this.
const LONGEST_KNOWN: usize = 64;

/// Reads the heads of one client connection's requests.
#[derive(Debug, Default)]
pub struct RequestDecoder {
    scan: Scan,
    /// The request line of a head that is not here whole has been found good.
    line_is_good: bool,
}

/// What a request decoder obeys.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits<'a> {
    /// Largest head, in bytes.
    pub max_bytes: usize,
    /// Most headers.
    pub max_headers: usize,
    /// What is done to names with underscores.
    pub underscores: Underscores,
    /// Protocol options.
    pub http1: &'a Http1,
}

/// What a decoder of answers obeys.
#[derive(Clone, Copy, Debug)]
pub struct ResponseLimits<'a> {
    /// Largest head, in bytes.
    pub max_bytes: usize,
    /// Most headers.
    pub max_headers: usize,
    /// Protocol options.
    pub http1: &'a Http1,
}

impl RequestDecoder {
    /// A decoder for a new connection.
    pub fn new() -> RequestDecoder {
        RequestDecoder::default()
    }

    /// Takes one head off the front of `buf` once it is there whole.
    ///
    /// `out` is cleared and gets `:method`, `:path`, `:authority` and, for an absolute URL, `:scheme`, then the headers in order;
    /// `host` is in `:authority` only. Headers that Envoy keeps one entry of are joined with a comma. `None` means that more bytes
    /// are needed. After an error the connection can only be closed.
    pub fn decode_head(&mut self, limits: RequestLimits, buf: &mut BytesMut, out: &mut HeaderList) -> Result<Option<RequestHead>, Reject> {
        if self.scan.at_start() {
            while buf.starts_with(b"\r\n") {
                buf.advance(2);
            }
            match buf.first() {
                None => return Ok(None),
                Some(b'\r') if buf.len() == 1 => return Ok(None),
                // Answered at once, so that a TLS hello on a plain port does not wait for a timeout.
                Some(first) if !can_start_method(*first, limits.http1.allow_custom_methods) => return Err(CODEC_ERROR),
                Some(_) => {}
            }
        }
        let Some(end) = self.scan.find_end(buf, limits.max_bytes)? else {
            if self.scan.line > 0 && !self.line_is_good {
                // A bad request line is answered before the rest of the head is here.
                parse_request_line(first_line(buf).0, limits.http1)?;
                self.line_is_good = true;
            }
            return Ok(None);
        };
        self.line_is_good = false;
        let head = parse_request(limits, &buf[..end - 2], out)?;
        buf.advance(end);
        Ok(Some(head))
    }

    /// Whether a part of a head has been seen.
    pub fn is_partial(&self, buf: &BytesMut) -> bool {
        !buf.is_empty() && buf[..] != b"\r"[..]
    }
}

/// Reads the heads of answers on one upstream connection.
#[derive(Debug, Default)]
pub struct ResponseDecoder {
    scan: Scan,
}

impl ResponseDecoder {
    /// A decoder for a new connection.
    pub fn new() -> ResponseDecoder {
        ResponseDecoder::default()
    }

    /// Takes one head off the front of `buf` once it is there whole; also each informational one.
    ///
    /// `out` is cleared and gets `:status`, then the headers in order. The status of an error is of no meaning here.
    pub fn decode_head(
        &mut self,
        limits: ResponseLimits,
        asked: Asked,
        buf: &mut BytesMut,
        out: &mut HeaderList,
    ) -> Result<Option<ResponseHead>, Reject> {
        if self.scan.at_start() && buf.first().is_some_and(|first| *first != b'H') {
            return Err(CODEC_ERROR);
        }
        let Some(end) = self.scan.find_end(buf, limits.max_bytes)? else { return Ok(None) };
        let head = parse_response(limits, asked, &buf[..end - 2], out)?;
        buf.advance(end);
        Ok(Some(head))
    }
}

/// Where the search for the end of a head stands.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// So many bytes have been searched.
    seen: usize,
    /// The line under way starts here.
    line: usize,
}

impl Scan {
    fn at_start(&self) -> bool {
        self.seen == 0
    }

    /// The length of the head, its empty line included. Every line must end in CR LF.
    pub(super) fn find_end(&mut self, buf: &[u8], max: usize) -> Result<Option<usize>, Reject> {
        let from = self.seen;
        for at in memchr_iter(b'\n', &buf[from..]).map(|at| at + from) {
            if at == 0 || buf[at - 1] != b'\r' {
                return Err(CODEC_ERROR);
            }
            if at == self.line + 1 {
                *self = Scan::default();
                return if at < max { Ok(Some(at + 1)) } else { Err(HEADERS_TOO_LARGE) };
            }
            self.line = at + 1;
        }
        self.seen = buf.len();
        if buf.len() >= max { Err(HEADERS_TOO_LARGE) } else { Ok(None) }
    }
}

fn can_start_method(first: u8, custom: bool) -> bool {
    if custom { chars::TOKEN[usize::from(first)] != 0 } else { b"ABCDGHLMNOPRSTU".contains(&first) }
}

fn is_method(method: &[u8], custom: bool) -> bool {
    const KNOWN: [&[u8]; 32] = [
        b"ACL",
        b"BIND",
        b"CHECKOUT",
        b"CONNECT",
        b"COPY",
        b"LINK",
        b"LOCK",
        b"MERGE",
        b"MKACTIVITY",
        b"MKCALENDAR",
        b"MKCOL",
        b"MOVE",
        b"MSEARCH",
        b"NOTIFY",
        b"OPTIONS",
        b"PATCH",
        b"PROPFIND",
        b"PROPPATCH",
        b"PURGE",
        b"PUT",
        b"REBIND",
        b"REPORT",
        b"SEARCH",
        b"SOURCE",
        b"SUBSCRIBE",
        b"TRACE",
        b"UNBIND",
        b"UNLINK",
        b"UNLOCK",
        b"UNSUBSCRIBE",
        b"DELETE",
        b"HEAD",
    ];
    matches!(method, b"GET" | b"POST") || KNOWN.contains(&method) || custom && chars::is_token(method)
}

fn parse_request_line<'a>(line: &'a [u8], http1: &Http1) -> Result<(&'a [u8], Target<'a>, Protocol), Reject> {
    let Some(method_end) = memchr(b' ', line) else { return Err(CODEC_ERROR) };
    let (method, rest) = (&line[..method_end], &line[method_end + 1..]);
    if !is_method(method, http1.allow_custom_methods) {
        return Err(CODEC_ERROR);
    }
    let Some(target_end) = memchr(b' ', rest) else {
        // HTTP/0.9 has no version in its request line; a version that only lacks the space before it is an error.
        let old = !rest.ends_with(b"HTTP/1.1") && target::parse(method, rest, http1.allow_absolute_url).is_ok();
        return Err(if old { LOW_VERSION } else { CODEC_ERROR });
    };
    let version = match &rest[target_end + 1..] {
        b"HTTP/1.1" => Protocol::Http11,
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Protocol::Http10,
        _ => return Err(CODEC_ERROR),
    };
    Ok((method, target::parse(method, &rest[..target_end], http1.allow_absolute_url)?, version))
}

/// `head` is the lines of a head without the empty one, each ending in CR LF.
fn parse_request(limits: RequestLimits, head: &[u8], out: &mut HeaderList) -> Result<RequestHead, Reject> {
    let http1 = limits.http1;
    let (line, lines) = first_line(head);
    let (method, target, version) = parse_request_line(line, http1)?;

    out.clear();
    out.append_known(Known::Method, method);
    let mut host = Host::Missing;
    match target {
        Target::Path(path) => {
            out.append_known(Known::Path, path);
            // The place is taken now, and the value written when `host` comes.
            out.append_known(Known::Authority, b"");
        }
        Target::Absolute { https, authority, path } => {
            out.append_known(Known::Path, path);
            out.append_known(Known::Authority, authority);
            out.append_known(Known::Scheme, if https { b"https" } else { b"http" });
            host = Host::OfTarget;
        }
        Target::Authority(authority) => {
            out.append_known(Known::Authority, authority);
            host = Host::OfTarget;
        }
    }
    let mut sink =
        Sink { max: limits.max_headers, underscores: limits.underscores, keep_case: http1.preserve_case.is_some(), ..Sink::default() };
    let mut casing = http1.preserve_case.map(Casing::new);
    parse_headers(lines, &mut sink, |name, known, value, duplicate| {
        if let Some(casing) = &mut casing {
            casing.keep(name);
        }
        if known != Known::Host {
            append(out, name, known, value, duplicate && is_joined_in_request(known));
            return Ok(());
        }
        if duplicate {
            return Err(CODEC_ERROR);
        }
        if !chars::is_host(value) {
            return Err(INVALID_AUTHORITY);
        }
        if host == Host::Missing {
            host = Host::Here;
            out.set(Known::Authority, value);
        }
        Ok(())
    })?;
    out.set_casing(casing);
    if host == Host::Missing {
        match &*http1.default_host_for_http_10 {
            default if version == Protocol::Http10 && !default.is_empty() => out.set(Known::Authority, default.as_bytes()),
            _ => drop(out.remove(Known::Authority)),
        }
    }

    let connect = method == b"CONNECT";
    let upgrade = sink.has(Known::Upgrade)
        && connection::is_upgrade(out)
        && !connection::remove_h2c(out)
        && !connection::remove_ignored(out, &http1.ignored_upgrades);
    if connect && sink.has(Known::ContentLength) {
        if sink.length != Some(0) {
            return Err(BODY_DISALLOWED);
        }
        out.remove(Known::ContentLength);
    }
    let mut framing = sink.framing(out, http1.allow_chunked_length)?;
    if framing == Framing::Chunked && (connect || version == Protocol::Http10) {
        return Err(INVALID_TRANSFER_ENCODING);
    }
    let keep_alive = keeps_alive(version, out, &sink);
    if sink.has(Known::Connection) && !upgrade && !connect {
        connection::sanitize(out)?;
    }
    if version == Protocol::Http10 && !http1.accept_http_10 {
        return Err(LOW_VERSION);
    }
    if upgrade || connect {
        framing = Framing::Tunnel;
    }
    let expect_continue =
        sink.has(Known::Expect) && out.get(Known::Expect).is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
    let head = method == b"HEAD";
    Ok(RequestHead { version, framing, keep_alive, expect_continue, upgrade, connect, head, dropped_underscores: sink.dropped })
}

#[derive(PartialEq, Eq)]
enum Host {
    Missing,
    Here,
    /// An absolute target, or CONNECT's, overrules `host`.
    OfTarget,
}

fn parse_response(limits: ResponseLimits, asked: Asked, head: &[u8], out: &mut HeaderList) -> Result<ResponseHead, Reject> {
    let options = limits.http1;
    let (line, lines) = first_line(head);
    let (version, rest) = match line {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ b'0'..=b'9', b' ', rest @ ..] => {
            (if *minor == b'1' { Protocol::Http11 } else { Protocol::Http10 }, rest)
        }
        _ => return Err(CODEC_ERROR),
    };
    let digits = match rest {
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', reason @ ..]
            if reason.is_empty() || reason[0] == b' ' && chars::is_value(reason) =>
        {
            [*a, *b, *c]
        }
        _ => return Err(CODEC_ERROR),
    };
    let status = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));

    out.clear();
    out.append_known(Known::Status, &digits);
    let mut sink = Sink { max: limits.max_headers, keep_case: options.preserve_case.is_some(), ..Sink::default() };
    let mut casing = options.preserve_case.map(Casing::new);
    parse_headers(lines, &mut sink, |name, known, value, duplicate| {
        if let Some(casing) = &mut casing {
            casing.keep(name);
        }
        append(out, name, known, value, duplicate && is_joined_in_response(known));
        Ok(())
    })?;
    if let (Some(casing), Some(true)) = (&mut casing, options.preserve_case.map(|p| p.forward_reason)) {
        casing.keep_reason(chars::trim(&rest[3..]));
    }
    out.set_casing(casing);

    let informational = status < 200 && status != 101;
    let mut framing = sink.framing(out, options.allow_chunked_length)?;
    if status < 200 || status == 204 {
        if framing == Framing::Chunked {
            return Err(TRANSFER_ENCODING_NOT_ALLOWED);
        }
        if sink.has(Known::ContentLength) {
            if sink.length != Some(0) {
                return Err(CONTENT_LENGTH_NOT_ALLOWED);
            }
            out.remove(Known::ContentLength);
        }
    }
    if framing == Framing::Chunked && version == Protocol::Http10 {
        return Err(INVALID_TRANSFER_ENCODING);
    }
    let switches = status == 101 || asked.connect && (200..300).contains(&status);
    if status == 101 && !asked.upgrade {
        return Err(CODEC_ERROR);
    }
    if switches {
        framing = Framing::Tunnel;
    } else if asked.head || informational || matches!(status, 204 | 304) {
        framing = Framing::None;
    } else if framing == Framing::None && !sink.has(Known::ContentLength) {
        framing = Framing::UntilClose;
    }
    let keep_alive = framing != Framing::UntilClose && framing != Framing::Tunnel && keeps_alive(version, out, &sink);
    Ok(ResponseHead { version, status, informational, framing, keep_alive })
}

/// What parsing the header lines found out beside the headers.
#[derive(Default)]
struct Sink {
    max: usize,
    underscores: Underscores,
    keep_case: bool,
    count: usize,
    /// One bit for each known name that was there.
    seen: u128,
    length: Option<u64>,
    dropped: u32,
}

impl Sink {
    fn has(&self, known: Known) -> bool {
        self.seen & 1 << known as u8 != 0
    }

    /// Where the body ends; `Length(0)` is `None`.
    fn framing(&self, headers: &mut HeaderList, allow_chunked_length: bool) -> Result<Framing, Reject> {
        if !self.has(Known::TransferEncoding) {
            return Ok(self.length.filter(|length| *length > 0).map_or(Framing::None, Framing::Length));
        }
        // Several of them were joined to one value, which then is not this one.
        let chunked = headers.get(Known::TransferEncoding).is_some_and(|value| value.eq_ignore_ascii_case(b"chunked"));
        if self.has(Known::ContentLength) {
            if !chunked || !allow_chunked_length {
                return Err(LENGTH_AND_CHUNKED);
            }
            headers.remove(Known::ContentLength);
        }
        if chunked { Ok(Framing::Chunked) } else { Err(INVALID_TRANSFER_ENCODING) }
    }
}

fn first_line(head: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b'\n', head) {
        // `find_end` saw to it that CR stands before every LF.
        Some(end) => (&head[..end.saturating_sub(1)], &head[end + 1..]),
        None => (head, &[]),
    }
}

/// Reads header lines, each ending in CR LF; `add` gets the lower-case name (or the one that arrived, where case is kept),
/// its variant, the value, and whether a known name was there before.
fn parse_headers(
    mut lines: &[u8],
    sink: &mut Sink,
    mut add: impl FnMut(&[u8], Known, &[u8], bool) -> Result<(), Reject>,
) -> Result<(), Reject> {
    while let Some(end) = memchr(b'\n', lines) {
        let line = &lines[..end.saturating_sub(1)];
        lines = &lines[end + 1..];
        let mut lower = [0; LONGEST_KNOWN];
        // Short names, which all known ones are, are checked and lower-cased in one go.
        let length = match lower_case(line, &mut lower) {
            Some(length) => length,
            None => line.iter().position(|b| chars::TOKEN[usize::from(*b)] == 0).unwrap_or(line.len()),
        };
        // A space at the start is a folded line, one before the colon an old way to smuggle; all of it is refused.
        if length == 0 || line.get(length) != Some(&b':') {
            return Err(CODEC_ERROR);
        }
        if length > usize::from(u16::MAX) {
            return Err(HEADERS_TOO_LARGE);
        }
        let value = chars::trim(&line[length + 1..]);
        if !chars::is_value(value) {
            return Err(INVALID_CHARACTERS);
        }
        if sink.underscores != Underscores::Allow && line[..length].contains(&b'_') {
            if sink.underscores == Underscores::RejectRequest {
                return Err(UNDERSCORE);
            }
            sink.dropped += 1;
            continue;
        }
        sink.count += 1;
        if sink.count > sink.max {
            return Err(TOO_MANY_HEADERS);
        }
        let name = lower.get(..length);
        let known = name.map_or(Known::Other, Known::of);
        let duplicate = known != Known::Other && sink.has(known);
        if known == Known::ContentLength {
            if duplicate {
                return Err(CODEC_ERROR);
            }
            sink.length = Some(chars::decimal(value).ok_or(CODEC_ERROR)?);
        }
        sink.seen |= 1 << known as u8;
        add(if sink.keep_case { &line[..length] } else { name.unwrap_or(&line[..length]) }, known, value, duplicate)?;
    }
    Ok(())
}

/// Copies the name at the start of a line in lower case and gives its length; `None` where it does not fit.
fn lower_case(line: &[u8], lower: &mut [u8; LONGEST_KNOWN]) -> Option<usize> {
    for (length, (place, byte)) in lower.iter_mut().zip(line).enumerate() {
        *place = chars::TOKEN[usize::from(*byte)];
        if *place == 0 {
            return Some(length);
        }
    }
    None
}

fn append(out: &mut HeaderList, name: &[u8], known: Known, value: &[u8], join: bool) {
    if join {
        headers::append_value(out, known, b",", value);
    } else if known != Known::Other {
        out.append_known(known, value);
    } else {
        out.append(name, value);
    }
}

/// Trailers; those that would change how a message is framed, routed or read are dropped, and all of them where not `wanted`.
pub(super) fn parse_trailers(lines: &[u8], wanted: bool) -> Result<HeaderList, Reject> {
    let mut out = HeaderList::new();
    parse_headers(lines, &mut Sink { max: MAX_TRAILERS, ..Sink::default() }, |name, known, value, _| {
        use Known::*;
        let misplaced = matches!(
            known,
            Authorization
                | CacheControl
                | Connection
                | ContentEncoding
                | ContentLength
                | ContentType
                | Cookie
                | Date
                | Expect
                | Host
                | Http2Settings
                | KeepAlive
                | ProxyConnection
                | SetCookie
                | Te
                | Trailer
                | TransferEncoding
                | Upgrade
        );
        if wanted && !misplaced {
            append(&mut out, name, known, value, false);
        }
        Ok(())
    })?;
    Ok(out)
}

/// Whether the sender of these headers wants to keep the connection.
fn keeps_alive(version: Protocol, headers: &HeaderList, sink: &Sink) -> bool {
    let has = |name, token| sink.has(name) && headers.get_all_known(name).any(|value| chars::has_token(value, token));
    let closes = has(Known::Connection, b"close") || has(Known::ProxyConnection, b"close");
    !closes && (version == Protocol::Http11 || has(Known::Connection, b"keep-alive") || has(Known::ProxyConnection, b"keep-alive"))
}

/// Whether Envoy keeps one entry of this name in a request and joins further values to it.
pub(crate) fn is_joined_in_request(known: Known) -> bool {
    use Known::*;
    matches!(
        known,
        ClientTraceId
            | Accept
            | AcceptEncoding
            | Authorization
            | CacheControl
            | Connection
            | ContentType
            | ContentEncoding
            | Expect
            | GrpcTimeout
            | GrpcAcceptEncoding
            | IfMatch
            | IfNoneMatch
            | IfModifiedSince
            | IfRange
            | KeepAlive
            | Origin
            | ProxyConnection
            | Referer
            | Te
            | TransferEncoding
            | Upgrade
            | UserAgent
            | Via
            | ForwardedFor
            | ForwardedHost
            | ForwardedPort
            | ForwardedProto
            | ForwardedClientCert
            | RequestId
            | EnvoyAttemptCount
            | EnvoyDecoratorOperation
            | EnvoyDownstreamServiceCluster
            | EnvoyDownstreamServiceNode
            | EnvoyExternalAddress
            | EnvoyOriginalPath
            | EnvoyOriginalHost
            | EnvoyIsTimeoutRetry
            | EnvoyExpectedRqTimeoutMs
            | EnvoyHedgeOnPerTryTimeout
            | EnvoyMaxRetries
            | EnvoyRetriableHeaderNames
            | EnvoyRetriableStatusCodes
            | EnvoyRetryGrpcOn
            | EnvoyRetryOn
            | EnvoyUpstreamAltStatName
            | EnvoyUpstreamRqPerTryTimeoutMs
            | EnvoyUpstreamRqTimeoutAltResponse
            | EnvoyUpstreamRqTimeoutMs
            | EnvoyUpstreamStreamDurationMs
            | ProxyStatus
            | AccessControlRequestMethod
            | AccessControlRequestHeaders
            | Pragma
            | CdnLoop
    )
}

/// Whether Envoy keeps one entry of this name in an answer and joins further values to it.
pub(crate) fn is_joined_in_response(known: Known) -> bool {
    use Known::*;
    matches!(
        known,
        CacheControl
            | Connection
            | ContentType
            | ContentEncoding
            | Date
            | GrpcStatus
            | GrpcMessage
            | KeepAlive
            | ProxyConnection
            | Via
            | RequestId
            | Server
            | TransferEncoding
            | Upgrade
            | EnvoyAttemptCount
            | EnvoyDecoratorOperation
            | EnvoyDegraded
            | EnvoyRateLimited
            | EnvoyUpstreamCanary
            | Location
            | Vary
            | Etag
            | ProxyStatus
            | AccessControlAllowOrigin
            | Expires
            | Age
            | EnvoyUpstreamHealthCheckedCluster
            | EnvoyImmediateHealthCheckFail
            | LastModified
    )
}
