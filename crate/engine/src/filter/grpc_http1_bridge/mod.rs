//! `envoy.filters.http.grpc_http1_bridge`: lets HTTP/1 clients call gRPC: the status comes in headers, and as the HTTP status.

pub mod config;

use std::task::{Context, Poll, ready};

use bytes::BytesMut;

use super::{Filter, FilterFactory, RouteConfig, Verdict};
use crate::{
    http::{
        body::{Body, BodyError, Frame, PollBody},
        grpc,
        header::{HeaderList, Known},
        headers,
        local_reply::LocalReply,
        stream::{Response, Stream},
    },
    stream_info::Protocol,
};

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
        Some(Box::new(Bridge { bridges: false, held: BytesMut::new() }))
    }
}

struct Bridge {
    /// The client speaks HTTP/1 and calls gRPC.
    bridges: bool,
    held: BytesMut,
}

impl Filter for Bridge {
    fn poll_request(&mut self, _cx: &mut Context<'_>, stream: &mut Stream) -> Poll<Verdict> {
        self.bridges = stream.info.protocol != Protocol::Http2 && stream.headers.contains(Known::Path) && grpc::is_grpc(&stream.headers);
        Poll::Ready(Verdict::Continue)
    }

    fn poll_response(&mut self, cx: &mut Context<'_>, stream: &mut Stream, response: &mut Response) -> Poll<Verdict> {
        if !self.bridges || response.body.is_end() {
            return Poll::Ready(Verdict::Continue);
        }
        let mut trailers = None;
        while let Some(frame) = ready!(response.body.poll_frame(cx)) {
            match frame {
                Ok(Frame::Data(data)) if self.held.len() + data.len() > stream.buffer_limit => {
                    stream.manager.stats.rs_too_large().inc();
                    return Poll::Ready(Verdict::Reply(LocalReply::new(500, "Internal Server Error", "response_payload_too_large")));
                }
                Ok(Frame::Data(data)) => self.held.extend_from_slice(&data),
                Ok(Frame::Trailers(list)) => trailers = Some(list),
                Err(error) => {
                    response.body = Body::stream(Broken(Some(error)));
                    return Poll::Ready(Verdict::Continue);
                }
            }
        }
        if let Some(trailers) = trailers {
            set_status(&mut response.headers, &trailers, self.held.len());
        }
        response.body = Body::full(std::mem::take(&mut self.held).freeze());
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

/// A body that ends with an error at once.
struct Broken(Option<BodyError>);

impl PollBody for Broken {
    fn poll_frame(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        Poll::Ready(self.0.take().map(Err))
    }
}
