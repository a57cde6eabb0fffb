//! Answers that the proxy makes itself, as Envoy's `sendLocalReply` makes them.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::{
    h1,
    header::{HeaderList, Known},
    headers::{self, ResponseContext},
    settings::ConnectionManager,
};
use crate::{
    access_log::Filter,
    error::Flags,
    format::{Context, Format},
    route::HeaderMutations,
    stream_info::{Protocol, StreamInfo},
};

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

    /// With this body, or what a format makes of it.
    pub fn body(mut self, body: Bytes, format: Option<&BodyFormat>, request: &HeaderList, info: &StreamInfo) -> LocalReply {
        self.body = match format {
            None => body,
            Some(format) => {
                if *format.content_type != *TEXT {
                    self.headers.append_known(Known::ContentType, &format.content_type);
                }
                let mut out = Vec::new();
                format.format.write(&Context { local_reply_body: &body, ..Context::new(info, Some(request), None) }, &mut out);
                out.into()
            }
        };
        self
    }

    /// With the end of the connection behind it.
    pub fn closing(mut self) -> LocalReply {
        self.close = true;
        self
    }

    /// The answer to `request` (`None` where it could not be read), which came as gRPC or not: its headers, before [`headers::edit_response`], and its body.
    ///
    /// `rules` may make another answer of it; status and what they read are taken from and noted in `info`. To HEAD there is no body,
    /// but the headers that it would have. An empty body leaves `content-length: 0` to the codec, as in Envoy.
    pub fn render(
        self,
        request: Option<&HeaderList>,
        is_grpc: bool,
        rules: Option<&LocalReplies>,
        info: &mut StreamInfo,
    ) -> (HeaderList, Bytes) {
        let mut out = HeaderList::with_capacity(8, 192);
        out.set_status(self.status);
        for (known, name, value) in self.headers.iter() {
            match known {
                Known::Other => out.append(name, value),
                Known::Status => {}
                _ => out.append_known(known, value),
            }
        }
        let made = match rules {
            Some(rules) => rules.apply(self.status, self.body, &mut out, request, info),
            None => Made { status: self.status, body: self.body, content_type: TEXT, replaces_type: false },
        };
        let to_head = request.is_some_and(|request| request.method() == b"HEAD");
        if is_grpc {
            out.set_status(200);
            out.set(Known::ContentType, b"application/grpc");
            if !out.contains(Known::GrpcStatus) {
                let status = self.grpc_status.unwrap_or(grpc_status(made.status));
                headers::set_number(&mut out, Known::GrpcStatus, u64::from(status));
            }
            // A line break ends what is JSON; a header has none.
            let message = if made.content_type == JSON { made.body.strip_suffix(b"\n").unwrap_or(&made.body) } else { &made.body };
            if !message.is_empty() && !to_head {
                out.set(Known::GrpcMessage, &percent_encode(message));
            }
            out.remove(Known::ContentLength);
            return (out, Bytes::new());
        }
        if made.body.is_empty() {
            out.remove(Known::ContentLength);
            out.remove(Known::ContentType);
        } else {
            headers::set_number(&mut out, Known::ContentLength, made.body.len() as u64);
            if made.replaces_type || !out.contains(Known::ContentType) {
                out.set(Known::ContentType, made.content_type);
            }
        }
        (out, if to_head { Bytes::new() } else { made.body })
    }
}

const TEXT: &[u8] = b"text/plain";
const JSON: &[u8] = b"application/json";

/// `LocalReplyConfig`: what becomes of local replies.
#[derive(Debug)]
pub struct LocalReplies {
    /// `mappers`; the first whose filter takes a reply changes it.
    pub mappers: Vec<Mapper>,
    /// `body_format`; without one bodies stay as they are.
    pub format: Option<BodyFormat>,
}

/// `ResponseMapper`
#[derive(Debug)]
pub struct Mapper {
    /// `filter`
    pub filter: Filter,
    /// `status_code`
    pub status: Option<u16>,
    /// `body`
    pub body: Option<Bytes>,
    /// `headers_to_add`
    pub headers: HeaderMutations,
    /// `body_format_override`
    pub format: Option<BodyFormat>,
}

/// How the body of a local reply is written.
#[derive(Debug)]
pub struct BodyFormat {
    /// The format; `%LOCAL_REPLY_BODY%` is what the body was.
    pub format: Format,
    /// `content_type`, or what goes with the format: `application/json` or `text/plain`.
    pub content_type: Box<[u8]>,
}

impl BodyFormat {
    /// A format whose `content_type` is empty where none is configured.
    pub fn new(format: Format, content_type: &str) -> BodyFormat {
        let content_type = match (&format, content_type) {
            (Format::Json(_), "") => JSON,
            (Format::Text(_), "") => TEXT,
            (_, configured) => configured.as_bytes(),
        };
        BodyFormat { content_type: content_type.into(), format }
    }
}

/// What rules made of a reply.
struct Made<'a> {
    status: u16,
    body: Bytes,
    content_type: &'a [u8],
    /// The content type takes the place of one that came with the reply.
    replaces_type: bool,
}

impl LocalReplies {
    fn apply<'a>(
        &'a self,
        mut status: u16,
        original: Bytes,
        out: &mut HeaderList,
        request: Option<&HeaderList>,
        info: &mut StreamInfo,
    ) -> Made<'a> {
        info.status = status;
        let mapper = self.mappers.iter().find(|m| m.filter.takes(&Context::new(info, request, Some(out))));
        let mut body = original.clone();
        let mut type_set = false;
        if let Some(mapper) = mapper {
            body = mapper.body.clone().unwrap_or(body);
            let before = out.get(Known::ContentType).map(<[u8]>::to_vec);
            mapper.headers.apply_to_response(out, request, info);
            type_set = before.as_deref() != out.get(Known::ContentType);
            status = mapper.status.unwrap_or(status);
            out.set_status(status);
            info.status = status;
        }
        let format = mapper.and_then(|m| m.format.as_ref()).or(self.format.as_ref());
        let content_type = format.map_or(TEXT, |f| &f.content_type);
        if let Some(format) = format {
            let mut text = Vec::new();
            let context = Context { local_reply_body: &body, ..Context::new(info, request, Some(out)) };
            format.format.write(&context, &mut text);
            body = text.into();
        }
        Made { status, replaces_type: !type_set && body != original, body, content_type }
    }
}

impl From<h1::Reject> for LocalReply {
    fn from(reject: h1::Reject) -> LocalReply {
        LocalReply::new(reject.status, reject.body(), reject.detail)
    }
}

/// Writes the whole answer to a request of which no head could be read; the connection is closed behind it. Says how many bytes its
/// body has.
pub fn write_refusal(
    reply: LocalReply,
    settings: &ConnectionManager,
    rules: Option<&LocalReplies>,
    info: &mut StreamInfo,
    date: &[u8],
    out: &mut BytesMut,
) -> usize {
    info.detail = Some(reply.detail.clone());
    let (mut headers, body) = reply.render(None, false, rules, info);
    headers::edit_response(&mut headers, ResponseContext { settings, request: None, date });
    headers::set_connection(&mut headers, true);
    info.status = headers.status();
    let case = settings.http1.header_case;
    let encoding = h1::ResponseEncoding { version: Protocol::Http11, end_stream: body.is_empty(), to_head: false, to_connect: false, case };
    h1::encode_response_head(&headers, encoding, out);
    out.extend_from_slice(&body);
    body.len()
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
    use crate::stream_info::ConnectionInfo;

    fn request(pairs: &[(&str, &str)]) -> HeaderList {
        let mut list = HeaderList::new();
        for (name, value) in pairs {
            list.append(name.as_bytes(), value.as_bytes());
        }
        list
    }

    fn info() -> StreamInfo {
        let address = "127.0.0.1:1".parse().unwrap();
        let connection = ConnectionInfo::plain(1, address, address);
        StreamInfo::new(std::rc::Rc::new(connection), Protocol::Http11, 1)
    }

    fn render(reply: &LocalReply, request: Option<&HeaderList>) -> (HeaderList, Bytes) {
        reply.clone().render(request, request.is_some_and(is_grpc), None, &mut info())
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
        let (headers, body) = render(&reply, Some(&request(&[(":method", "GET")])));
        assert_eq!(shown(&headers), ":status=404 location=/x content-length=4 content-type=text/plain");
        assert_eq!(body, "gone");
        let (headers, body) = render(&reply, Some(&request(&[(":method", "HEAD")])));
        assert_eq!(shown(&headers), ":status=404 location=/x content-length=4 content-type=text/plain");
        assert!(body.is_empty());
        let (headers, _) = render(&LocalReply::new(503, "", "no_healthy_upstream"), None);
        assert_eq!(shown(&headers), ":status=503");
    }

    #[test]
    fn grpc_clients_get_a_status_and_no_body() {
        let grpc = request(&[(":method", "POST"), ("content-type", "application/grpc+proto")]);
        let (headers, body) = render(&LocalReply::new(503, "50% é~", "x"), Some(&grpc));
        assert_eq!(shown(&headers), ":status=200 content-type=application/grpc grpc-status=14 grpc-message=50%25 %C3%A9%7E");
        assert!(body.is_empty());
        let (headers, _) = render(&LocalReply::new(301, "", "x").header(Known::Location, b"http://x"), Some(&grpc));
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
        write_refusal(reject.into(), &ConnectionManager::default(), None, &mut info(), b"Tue, 24 Nov 2026 08:51:35 GMT", &mut out);
        assert_eq!(
            out,
            &b"HTTP/1.1 400 Bad Request\r\ncontent-length: 11\r\ncontent-type: text/plain\r\ndate: Tue, 24 Nov 2026 08:51:35 GMT\r\n\
               server: envoy\r\nconnection: close\r\n\r\nBad Request"[..]
        );
        out.clear();
        let settings = ConnectionManager { via: "v".into(), ..ConnectionManager::default() };
        write_refusal(h1::Reject { status: 431, detail: "http1.headers_too_large" }.into(), &settings, None, &mut info(), b"D", &mut out);
        assert_eq!(
            out,
            &b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 31\r\ncontent-type: text/plain\r\ndate: D\r\nserver: envoy\r\n\
               via: v\r\nconnection: close\r\n\r\nRequest Header Fields Too Large"[..]
        );
    }
}
