//! `envoy.filters.http.grpc_web`: lets browsers call gRPC: trailers come as the body's last message, and text in base64.

pub mod config;
mod text;

use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};

use super::{Filter, FilterFactory, RouteConfig, Verdict};
use crate::{
    cluster::{GrpcCounters, GrpcProtocol},
    http::{
        body::{Body, BodyError, Frame, PollBody},
        grpc,
        header::{HeaderList, Known},
        headers,
        local_reply::{grpc_status, percent_encode},
        stream::{Response, Stream},
    },
};
use text::{FromText, ToText};

/// The filter in a chain.
pub struct Factory {
    /// Its name in the chain.
    pub name: String,
}

impl FilterFactory for Factory {
    fn name(&self) -> &str {
        &self.name
    }

    fn create(&self, _route: &[RouteConfig]) -> Option<Box<dyn Filter>> {
        Some(Box::new(GrpcWeb::default()))
    }
}

#[derive(Default)]
struct GrpcWeb {
    /// The request is gRPC-Web.
    active: bool,
    /// The client wants base64.
    text: bool,
    counters: Option<GrpcCounters>,
    /// The body of an answer that is no gRPC: it becomes `grpc-message`.
    message: Option<BytesMut>,
}

const WEB: &[u8] = b"application/grpc-web";
const WEB_PROTO: &[u8] = b"application/grpc-web+proto";
const TEXT: &[u8] = b"application/grpc-web-text";
const TEXT_PROTO: &[u8] = b"application/grpc-web-text+proto";

/// How much of a body that is no gRPC becomes `grpc-message`, where it comes in several pieces.
const MAX_MESSAGE: usize = 16_384;
/// The flags of a message that holds trailers.
const TRAILERS: u8 = 0x80;

impl Filter for GrpcWeb {
    fn poll_request(&mut self, _cx: &mut Context<'_>, stream: &mut Stream) -> Poll<Verdict> {
        let Some(kind) = stream.headers.get(Known::ContentType).filter(|k| [WEB, WEB_PROTO, TEXT, TEXT_PROTO].contains(k)) else {
            return Poll::Ready(Verdict::Continue);
        };
        if !stream.headers.contains(Known::Path) {
            return Poll::Ready(Verdict::Continue);
        }
        if kind == TEXT || kind == TEXT_PROTO {
            let body = std::mem::take(&mut stream.body);
            stream.body = if body.is_end() { body } else { Body::stream(FromText::new(body)) };
        }
        self.active = true;
        self.text = stream.headers.get(Known::Accept).is_some_and(|accept| accept == TEXT || accept == TEXT_PROTO);
        self.counters = counters(stream);
        let request = &mut stream.headers;
        request.remove(Known::ContentLength);
        request.set(Known::ContentType, b"application/grpc");
        request.set(Known::Te, b"trailers");
        if !request.contains(Known::GrpcAcceptEncoding) {
            request.append_known(Known::GrpcAcceptEncoding, b"identity");
        }
        Poll::Ready(Verdict::Continue)
    }

    fn poll_response(&mut self, cx: &mut Context<'_>, _stream: &mut Stream, response: &mut Response) -> Poll<Verdict> {
        if !self.active {
            return Poll::Ready(Verdict::Continue);
        }
        if self.message.is_none() {
            count(self.counters.as_ref(), &response.headers);
            let end = response.body.is_end();
            let foreign = !end && !grpc::is_grpc_response(&response.headers, end) && !is_web_response(&response.headers);
            response.headers.remove(Known::ContentLength);
            response.headers.set(Known::ContentType, if self.text { TEXT_PROTO } else { WEB_PROTO });
            if !foreign {
                let body = std::mem::take(&mut response.body);
                let body = if end { body } else { Body::stream(WithTrailers { body, counters: self.counters.take() }) };
                response.body = if self.text && !end { Body::stream(ToText::new(body)) } else { body };
                return Poll::Ready(Verdict::Continue);
            }
        }
        let held = self.message.get_or_insert_default();
        while let Some(frame) = ready!(response.body.poll_frame(cx)) {
            match frame {
                Ok(Frame::Data(data)) => held.extend_from_slice(&data[..data.len().min(MAX_MESSAGE - held.len())]),
                Ok(Frame::Trailers(trailers)) => count(self.counters.as_ref(), &trailers),
                Err(_) => break,
            }
        }
        let status = response.headers.status();
        response.headers.set(Known::GrpcMessage, &percent_encode(held));
        headers::set_number(&mut response.headers, Known::GrpcStatus, u64::from(grpc_status(status)));
        headers::set_number(&mut response.headers, Known::ContentLength, 0);
        response.body = Body::Empty;
        Poll::Ready(Verdict::Continue)
    }
}

/// Whether an answer is gRPC-Web already; parameters and the case of the type do not count.
fn is_web_response(headers: &HeaderList) -> bool {
    let kind = headers.get(Known::ContentType).unwrap_or_default();
    let kind = kind.split(|b| *b == b';').next().unwrap_or_default().trim_ascii_end();
    headers.status() == 200 && (kind.eq_ignore_ascii_case(WEB) || kind.eq_ignore_ascii_case(WEB_PROTO))
}

/// The counters of the method that a stream calls; `None` where it goes to no cluster.
fn counters(stream: &mut Stream) -> Option<GrpcCounters> {
    let cluster = stream.cluster()?;
    let method = grpc::service_and_method(stream.headers.path())?;
    Some(cluster.grpc_stats.counters(cluster.stats.block().prefix(), GrpcProtocol::GrpcWeb, Some(method)))
}

/// Counts the status in headers or trailers.
fn count(counters: Option<&GrpcCounters>, headers: &HeaderList) {
    if let (Some(counters), Some(status)) = (counters, headers.get(Known::GrpcStatus)) {
        counters.status(status);
    }
}

/// A body whose trailers become its last message.
struct WithTrailers {
    body: Body,
    counters: Option<GrpcCounters>,
}

impl PollBody for WithTrailers {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        Poll::Ready(match ready!(self.body.poll_frame(cx)) {
            Some(Ok(Frame::Trailers(trailers))) => {
                count(self.counters.as_ref(), &trailers);
                Some(Ok(Frame::Data(message_of(&trailers))))
            }
            frame => frame,
        })
    }

    fn poll_background(&mut self, cx: &mut Context<'_>) {
        self.body.poll_background(cx);
    }
}

fn message_of(trailers: &HeaderList) -> Bytes {
    let length: usize = trailers.iter().map(|(_, name, value)| name.len() + value.len() + 3).sum();
    let mut out = BytesMut::with_capacity(grpc::PREFIX + length);
    out.put_u8(TRAILERS);
    // Header lists are far below 4 GiB: the codecs limit them.
    out.put_u32(length as u32);
    for (_, name, value) in trailers.iter() {
        out.put_slice(name);
        out.put_u8(b':');
        out.put_slice(value);
        out.put_slice(b"\r\n");
    }
    out.freeze()
}
