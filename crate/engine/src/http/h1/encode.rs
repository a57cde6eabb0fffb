//! Heads and bodies to bytes, as Envoy writes them: names, order, framing headers, status lines.

use bytes::{BufMut, BytesMut};

use crate::http::{
    casing::{Casing, Names},
    header::{HeaderList, Known},
    settings::HeaderCase,
};
use crate::stream_info::Protocol;

use super::connection;

/// How the head of a request is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestEncoding {
    /// Nothing follows the head.
    pub end_stream: bool,
    /// Case of the names, where the list does not say how they arrived.
    pub case: HeaderCase,
    /// The first line names scheme and host.
    pub full_url: bool,
}

/// How the head of an answer is written.
#[derive(Clone, Copy, Debug)]
pub struct ResponseEncoding {
    /// The version of the request; HTTP/1.0 is answered in kind and never chunked.
    pub version: Protocol,
    /// Nothing follows the head.
    pub end_stream: bool,
    /// The request was HEAD.
    pub to_head: bool,
    /// The request was CONNECT.
    pub to_connect: bool,
    /// Case of the names, where the list does not say how they arrived.
    pub case: HeaderCase,
}

/// More or fewer bytes than `content-length` said: the message cannot be saved, only its connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthMismatch;

/// Writes the framing of one body; the bytes themselves are written by the caller.
///
/// For each piece: [`begin`](BodyEncoder::begin), the piece, [`end`](BodyEncoder::end); at last [`finish`](BodyEncoder::finish).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEncoder {
    /// No bytes are written, whatever is given (answers to HEAD, 204, 304).
    None,
    /// So many bytes are left.
    Length(u64),
    /// In chunks; the flag says that the last piece still needs its CR LF.
    Chunked(bool),
    /// As they come, until the connection closes; also tunnels.
    Raw,
}

impl BodyEncoder {
    /// Whether pieces are written at all.
    pub fn writes(&self) -> bool {
        *self != BodyEncoder::None
    }

    /// Whether only the end of the connection ends the body.
    pub fn ends_with_connection(&self) -> bool {
        *self == BodyEncoder::Raw
    }

    /// Writes what stands before a piece of `length` bytes, which must not be 0.
    pub fn begin(&mut self, length: usize, out: &mut BytesMut) -> Result<(), LengthMismatch> {
        match self {
            BodyEncoder::None | BodyEncoder::Raw => {}
            BodyEncoder::Length(left) => *left = left.checked_sub(length as u64).ok_or(LengthMismatch)?,
            BodyEncoder::Chunked(open) => {
                debug_assert!(length > 0, "an empty chunk would end the body");
                if std::mem::replace(open, true) {
                    out.put_slice(b"\r\n");
                }
                put_hex(length, out);
                out.put_slice(b"\r\n");
            }
        }
        Ok(())
    }

    /// Writes what stands behind a piece; without it the next `begin` or `finish` does.
    pub fn end(&mut self, out: &mut BytesMut) {
        if let BodyEncoder::Chunked(open) = self
            && std::mem::replace(open, false)
        {
            out.put_slice(b"\r\n");
        }
    }

    /// Writes what stands behind the last piece; trailers only where the body is chunked.
    pub fn finish(&mut self, trailers: Option<&HeaderList>, out: &mut BytesMut) -> Result<(), LengthMismatch> {
        self.end(out);
        match self {
            BodyEncoder::Length(1..) => Err(LengthMismatch),
            BodyEncoder::Chunked(_) => {
                out.put_slice(b"0\r\n");
                if let Some(trailers) = trailers {
                    for (_, name, value) in trailers.iter().filter(|(_, name, _)| !name.starts_with(b":")) {
                        put_header(name, value, Names::Rule(HeaderCase::Lower), out);
                    }
                }
                out.put_slice(b"\r\n");
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Writes the head of a request; `:authority` becomes `host`, which stands first.
///
/// Without `content-length` a body is chunked, an upgrade or CONNECT is raw, and a request without a body that by its method could have one
/// gets `content-length: 0`. `:method` must be there, and `:path` unless the method is CONNECT.
pub fn encode_request_head(headers: &HeaderList, encoding: RequestEncoding, out: &mut BytesMut) -> BodyEncoder {
    let method = headers.method();
    let connect = method == b"CONNECT";
    let target = if connect { headers.authority() } else { headers.path() };
    out.reserve(headers.byte_size() + headers.len() * 4 + 64);
    out.put_slice(method);
    out.put_u8(b' ');
    if encoding.full_url && !connect {
        out.reserve(headers.authority().len() + 16);
        out.put_slice(headers.get(Known::Scheme).unwrap_or(b"http"));
        out.put_slice(b"://");
        out.put_slice(headers.authority());
    }
    out.put_slice(target);
    out.put_slice(b" HTTP/1.1\r\n");
    let names = names(headers, encoding.case);
    if let Some(host) = headers.get(Known::Authority) {
        put_header(b"host", host, names, out);
    }
    let seen = put_headers(headers, names, out);
    let body = if connect || seen.upgrade && connection::is_upgrade(headers) {
        BodyEncoder::Raw
    } else if let Some(length) = seen.length {
        length.map_or(BodyEncoder::Raw, BodyEncoder::Length)
    } else if encoding.end_stream {
        if !matches!(method, b"GET" | b"HEAD" | b"DELETE" | b"TRACE" | b"CONNECT") {
            put_header(b"content-length", b"0", names, out);
        }
        BodyEncoder::None
    } else {
        put_header(b"transfer-encoding", b"chunked", names, out);
        BodyEncoder::Chunked(false)
    };
    out.put_slice(b"\r\n");
    body
}

/// Writes the head of a final answer, or of a 101.
///
/// Without `content-length`: nothing where the status has no body, `content-length: 0` where nothing follows, else chunked; an answer to an HTTP/1.0
/// request goes on until the connection closes, which the caller has to do ([`BodyEncoder::ends_with_connection`]).
pub fn encode_response_head(headers: &HeaderList, encoding: ResponseEncoding, out: &mut BytesMut) -> BodyEncoder {
    out.reserve(headers.byte_size() + headers.len() * 4 + 96);
    let status = put_status_line(headers, encoding.version, out);
    let names = names(headers, encoding.case);
    let seen = put_headers(headers, names, out);
    let tunnel = status == 101 || encoding.to_connect && status < 300;
    let bodyless = status < 200 || matches!(status, 204 | 304);
    let body = if tunnel {
        BodyEncoder::Raw
    } else if let Some(length) = seen.length {
        if encoding.to_head || bodyless { BodyEncoder::None } else { length.map_or(BodyEncoder::Raw, BodyEncoder::Length) }
    } else if bodyless {
        BodyEncoder::None
    } else if encoding.end_stream && !encoding.to_head {
        put_header(b"content-length", b"0", names, out);
        BodyEncoder::None
    } else if encoding.version == Protocol::Http10 {
        if encoding.to_head { BodyEncoder::None } else { BodyEncoder::Raw }
    } else {
        // To HEAD it tells how the answer to GET would be framed, as far as is known here.
        put_header(b"transfer-encoding", b"chunked", names, out);
        if encoding.to_head { BodyEncoder::None } else { BodyEncoder::Chunked(false) }
    };
    out.put_slice(b"\r\n");
    body
}

/// Writes the head of an informational answer (100, 102, 103).
pub fn encode_informational(headers: &HeaderList, version: Protocol, case: HeaderCase, out: &mut BytesMut) {
    put_status_line(headers, version, out);
    put_headers(headers, names(headers, case), out);
    out.put_slice(b"\r\n");
}

/// The reason phrase that Envoy writes for a status.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Payload Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Entity",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        510 => "Not Extended",
        511 => "Network Authentication Required",
        599 => "Last Unassigned Server Error Code",
        _ => "Unknown",
    }
}

fn put_status_line(headers: &HeaderList, version: Protocol, out: &mut BytesMut) -> u16 {
    let status = headers.status();
    out.put_slice(if version == Protocol::Http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.put_slice(headers.get(Known::Status).unwrap_or(b"000"));
    out.put_u8(b' ');
    out.put_slice(headers.casing().and_then(Casing::reason).unwrap_or_else(|| reason(status).as_bytes()));
    out.put_slice(b"\r\n");
    status
}

#[derive(Default)]
struct Seen {
    upgrade: bool,
    /// `content-length` is there; inside, its value where that is a number.
    length: Option<Option<u64>>,
}

/// Writes all headers but pseudo-headers, `host` (which stands first) and `transfer-encoding`, which only the encoder may decide on.
fn put_headers(headers: &HeaderList, names: Names<'_>, out: &mut BytesMut) -> Seen {
    let mut seen = Seen::default();
    for (known, name, value) in headers.iter() {
        match known {
            Known::Host | Known::TransferEncoding => continue,
            Known::Upgrade => seen.upgrade = true,
            Known::ContentLength => seen.length = Some(super::chars::decimal(value)),
            _ if name.first() == Some(&b':') => continue,
            _ => {}
        }
        put_header(name, value, names, out);
    }
    seen
}

fn put_header(name: &[u8], value: &[u8], names: Names<'_>, out: &mut BytesMut) {
    out.reserve(name.len() + value.len() + 4);
    names.write(name, out);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// As they arrived, where the list knows that; else by the rule.
fn names(headers: &HeaderList, rule: HeaderCase) -> Names<'_> {
    headers.casing().map_or(Names::Rule(rule), Names::Kept)
}

fn put_hex(number: usize, out: &mut BytesMut) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        out.put_u8(DIGITS[number >> (place * 4) & 15]);
    }
}
