//! `envoy.filters.http.grpc_http1_bridge`: lets HTTP/1 clients call gRPC: the status comes in headers, and as the HTTP status.

pub mod config;

use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};

use super::{Filter, FilterFactory, RouteConfig, Verdict, buffer::too_large};
use crate::http::{
    body::{Body, Broken, GatherError, Gathered, PollBody},
    grpc,
    header::{HeaderList, Known},
    headers,
    local_reply::LocalReply,
    stream::{Response, Stream},
};

/// What the filter does beside its job.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// `upgrade_protobuf_to_grpc`: a bare protobuf message becomes a gRPC call, and the message of its answer a bare one.
    pub upgrade_protobuf: bool,
    /// `ignore_query_parameters`: calls go upstream without a query.
    pub ignore_query: bool,
}

/// The filter in a chain.
pub struct Factory {
    /// Its name in the chain.
    pub name: String,
    /// What it does beside its job.
    pub options: Options,
}

impl FilterFactory for Factory {
    fn name(&self) -> &str {
        &self.name
    }

    fn create(&self, _route: &[RouteConfig]) -> Option<Box<dyn Filter>> {
        Some(Box::new(Bridge { options: self.options, bridges: false, bare: false, gathered: Gathered::default() }))
    }
}

struct Bridge {
    options: Options,
    /// The client speaks HTTP/1 and calls gRPC.
    bridges: bool,
    /// Its message has no prefix, and that of the answer shall have none.
    bare: bool,
    gathered: Gathered,
}

impl Filter for Bridge {
    fn poll_request(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<Verdict> {
        let http1 = stream.info.protocol.is_http1();
        if self.options.upgrade_protobuf && stream.headers.get(Known::ContentType) == Some(b"application/x-protobuf") {
            stream.headers.remove(Known::ContentLength);
            stream.headers.set(Known::ContentType, b"application/grpc");
            self.bare = http1;
        }
        if !self.bare {
            self.bridges = http1 && stream.headers.contains(Known::Path) && grpc::is_grpc(&stream.headers);
        }
        if (self.bare || self.bridges) && self.options.ignore_query {
            let path = stream.headers.path();
            if let Some(at) = memchr::memchr(b'?', path) {
                let path = path[..at].to_vec();
                stream.headers.set(Known::Path, &path);
            }
        }
        if !self.bare || stream.body.is_end() {
            self.bridges |= self.bare;
            return Poll::Ready(Verdict::Continue);
        }
        match ready!(self.gathered.poll(cx, &mut stream.body, stream.buffer_limit)) {
            Ok(()) => {
                let Gathered { bytes, trailers } = std::mem::take(&mut self.gathered);
                let mut message = BytesMut::with_capacity(grpc::PREFIX + bytes.len());
                message.put_u8(0);
                // Far below 4 GiB: it fits in a buffer.
                message.put_u32(bytes.len() as u32);
                message.put_slice(&bytes);
                stream.body = Gathered { bytes: message, trailers }.into_body();
            }
            Err(GatherError::TooLarge) => return Poll::Ready(Verdict::Reply(too_large(stream))),
            Err(GatherError::Body(error)) => stream.body = Body::stream(Broken(Some(error))),
        }
        self.bridges = true;
        Poll::Ready(Verdict::Continue)
    }

    fn poll_response(&mut self, cx: &mut Context<'_>, stream: &mut Stream, response: &mut Response) -> Poll<Verdict> {
        if !self.bridges || response.body.is_end() {
            return Poll::Ready(Verdict::Continue);
        }
        match ready!(self.gathered.poll(cx, &mut response.body, stream.buffer_limit)) {
            Ok(()) => {}
            Err(GatherError::TooLarge) => {
                stream.manager.stats.rs_too_large().inc();
                return Poll::Ready(Verdict::Reply(LocalReply::new(500, "Internal Server Error", "response_payload_too_large")));
            }
            Err(GatherError::Body(error)) => {
                response.body = Body::stream(Broken(Some(error)));
                return Poll::Ready(Verdict::Continue);
            }
        }
        let Gathered { mut bytes, trailers } = std::mem::take(&mut self.gathered);
        if let Some(trailers) = trailers {
            if self.bare {
                bytes.advance(bytes.len().min(grpc::PREFIX));
            }
            set_status(&mut response.headers, &trailers, bytes.len());
        }
        response.body = Body::full(bytes);
        Poll::Ready(Verdict::Continue)
    }
}

/// Writes what the trailers say of the call into the headers of the answer, whose body is whole now.
fn set_status(headers: &mut HeaderList, trailers: &HeaderList, length: usize) {
    let is_zero = |status| std::str::from_utf8(status).ok().and_then(|s| s.parse::<u64>().ok()) == Some(0);
    if trailers.get(Known::GrpcStatus).is_some_and(|status| !is_zero(status)) {
        headers.set_status(503);
    }
    for name in [Known::GrpcStatus, Known::GrpcMessage] {
        if let Some(value) = trailers.get(name) {
            headers.set(name, value);
        }
    }
    headers::set_number(headers, Known::ContentLength, length as u64);
}
