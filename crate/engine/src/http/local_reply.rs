//! Answers that the proxy makes itself, as Envoy's `sendLocalReply` makes them.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::{
    h1,
    header::{HeaderList, Known},
    headers::{self, ResponseContext},
    settings::{ConnectionManager, HeaderCase},
};
use crate::{error::Flags, stream_info::Protocol};

/// An answer that no upstream gave.
#[derive(Clone, Debug)]
pub struct LocalReply {
    /// The HTTP status; a gRPC client gets 200 and a `grpc-status` made of it.
    pub status: u16,
    /// The body; a gRPC client gets it as `grpc-message`.
    pub body: Bytes,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub detail: Cow<'static, str>,
    /// Response flags.
    pub flags: Flags,
    /// The gRPC status where it is not the one that follows from `status`.
    pub grpc_status: Option<u32>,
    /// Headers that stand before the others, such as `location`.
    pub headers: HeaderList,
    /// The connection is closed behind the answer (HTTP/1).
    pub close: bool,
}

impl LocalReply {
    /// A reply with this status, body and detail, and nothing else.
    pub fn new(status: u16, body: impl Into<Bytes>, detail: impl Into<Cow<'static, str>>) -> LocalReply {
        LocalReply {
            status,
            body: body.into(),
            detail: detail.into(),
            flags: Flags::default(),
            grpc_status: None,
            headers: HeaderList::new(),
            close: false,
        }
    }

    /// With a response flag.
    pub fn flag(mut self, flag: Flags) -> LocalReply {
        self.flags.insert(flag);
        self
    }

    /// With a header before the others.
    pub fn header(mut self, name: Known, value: &[u8]) -> LocalReply {
        self.headers.append_known(name, value);
        self
    }

    /// With the end of the connection behind it.
    pub fn closing(mut self) -> LocalReply {
        self.close = true;
        self
    }

    /// The answer to `request` (`None` where it could not be read), which came as gRPC or not: its headers, before [`headers::edit_response`], and its body.
    ///
    /// To HEAD there is no body, but the headers that it would have. An empty body leaves `content-length: 0` to the codec, as in Envoy.
    pub fn render(&self, request: Option<&HeaderList>, is_grpc: bool) -> (HeaderList, Bytes) {
        let mut out = HeaderList::with_capacity(8, 192);
        out.set_status(if is_grpc { 200 } else { self.status });
        for (known, name, value) in self.headers.iter() {
            match known {
                Known::Other => out.append(name, value),
                Known::Status => {}
                _ => out.append_known(known, value),
            }
        }
        if is_grpc {
            out.set(Known::ContentType, b"application/grpc");
            let status = self.grpc_status.unwrap_or(grpc_status(self.status));
            headers::set_number(&mut out, Known::GrpcStatus, u64::from(status));
            if !self.body.is_empty() {
                out.set(Known::GrpcMessage, &percent_encode(&self.body));
            }
            return (out, Bytes::new());
        }
        if !self.body.is_empty() {
            headers::set_number(&mut out, Known::ContentLength, self.body.len() as u64);
            if !out.contains(Known::ContentType) {
                out.append_known(Known::ContentType, b"text/plain");
            }
        }
        let to_head = request.is_some_and(|request| request.method() == b"HEAD");
        (out, if to_head { Bytes::new() } else { self.body.clone() })
    }
}

impl From<h1::Reject> for LocalReply {
    fn from(reject: h1::Reject) -> LocalReply {
        LocalReply::new(reject.status, reject.body(), reject.detail).flag(Flags::DOWNSTREAM_PROTOCOL_ERROR).closing()
    }
}

/// Writes the whole answer to a request that the HTTP/1 codec refused; the connection is closed behind it.
pub fn write_reject(reject: h1::Reject, settings: &ConnectionManager, date: &[u8], out: &mut BytesMut) {
    let (mut headers, body) = LocalReply::from(reject).render(None, false);
    headers::edit_response(&mut headers, ResponseContext { settings, request: None, date });
    headers::set_connection(&mut headers, true);
    let case = if settings.http1.header_case == HeaderCase::Preserve { HeaderCase::Lower } else { settings.http1.header_case };
    let encoding = h1::ResponseEncoding { version: Protocol::Http11, end_stream: body.is_empty(), to_head: false, to_connect: false, case };
    h1::encode_response_head(&headers, encoding, out);
    out.extend_from_slice(&body);
}

/// Whether a request is gRPC: `content-type` is `application/grpc`, or that with `+` and more.
pub fn is_grpc(request: &HeaderList) -> bool {
    request
        .get(Known::ContentType)
        .and_then(|kind| kind.strip_prefix(b"application/grpc"))
        .is_some_and(|rest| rest.first().is_none_or(|b| *b == b'+'))
}

/// The gRPC status that stands for an HTTP status.
pub fn grpc_status(status: u16) -> u32 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// The encoding of `grpc-message`.
pub fn percent_encode(text: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'%' | ..b' ' | b'~'.. => out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
            _ => out.push(*byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(pairs: &[(&str, &str)]) -> HeaderList {
        let mut list = HeaderList::new();
        for (name, value) in pairs {
            list.append(name.as_bytes(), value.as_bytes());
        }
        list
    }

    fn shown(headers: &HeaderList) -> String {
        headers
            .iter()
            .map(|(_, n, v)| format!("{}={}", String::from_utf8_lossy(n), String::from_utf8_lossy(v)))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn text_replies_name_length_then_type() {
        let reply = LocalReply::new(404, "gone", "direct_response").header(Known::Location, b"/x");
        let (headers, body) = reply.render(Some(&request(&[(":method", "GET")])), false);
        assert_eq!(shown(&headers), ":status=404 location=/x content-length=4 content-type=text/plain");
        assert_eq!(body, "gone");
        let (headers, body) = reply.render(Some(&request(&[(":method", "HEAD")])), false);
        assert_eq!(shown(&headers), ":status=404 location=/x content-length=4 content-type=text/plain");
        assert!(body.is_empty());
        let (headers, _) = LocalReply::new(503, "", "no_healthy_upstream").render(None, false);
        assert_eq!(shown(&headers), ":status=503");
    }

    #[test]
    fn grpc_clients_get_a_status_and_no_body() {
        let grpc = request(&[(":method", "POST"), ("content-type", "application/grpc+proto")]);
        let (headers, body) = LocalReply::new(503, "50% é~", "x").render(Some(&grpc), true);
        assert_eq!(shown(&headers), ":status=200 content-type=application/grpc grpc-status=14 grpc-message=50%25 %C3%A9%7E");
        assert!(body.is_empty());
        let (headers, _) = LocalReply::new(301, "", "x").header(Known::Location, b"http://x").render(Some(&grpc), true);
        assert_eq!(shown(&headers), ":status=200 location=http://x content-type=application/grpc grpc-status=2");
        for (kind, yes) in
            [("application/grpc", true), ("application/grpc-web", false), ("application/grpc;a", false), ("Application/grpc", false)]
        {
            assert_eq!(is_grpc(&request(&[("content-type", kind)])), yes, "{kind}");
        }
        let mapped = [200, 301, 400, 401, 403, 404, 413, 429, 500, 502, 503, 504].map(grpc_status);
        assert_eq!(mapped, [2, 2, 13, 16, 7, 12, 2, 14, 2, 14, 14, 14]);
    }

    #[test]
    fn a_refused_request_is_answered_byte_by_byte_as_envoy_does() {
        let mut out = BytesMut::new();
        let reject = h1::Reject { status: 400, detail: "http1.codec_error" };
        write_reject(reject, &ConnectionManager::default(), b"Tue, 24 Nov 2026 08:51:35 GMT", &mut out);
        assert_eq!(
            out,
            &b"HTTP/1.1 400 Bad Request\r\ncontent-length: 11\r\ncontent-type: text/plain\r\ndate: Tue, 24 Nov 2026 08:51:35 GMT\r\n\
               server: envoy\r\nconnection: close\r\n\r\nBad Request"[..]
        );
        out.clear();
        let settings = ConnectionManager { via: "v".into(), ..ConnectionManager::default() };
        write_reject(h1::Reject { status: 431, detail: "http1.headers_too_large" }, &settings, b"D", &mut out);
        assert_eq!(
            out,
            &b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 31\r\ncontent-type: text/plain\r\ndate: D\r\nserver: envoy\r\n\
               via: v\r\nconnection: close\r\n\r\nRequest Header Fields Too Large"[..]
        );
    }
}
