//! `envoy.filters.http.buffer`: holds a request back until its body is whole; answers 413 when that is too large.

pub mod config;

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};

use super::{Filter, FilterFactory, RouteConfig, Verdict};
use crate::http::{
    body::{Body, Frame, PollBody},
    header::{HeaderList, Known},
    headers,
    local_reply::LocalReply,
    stream::Stream,
};

/// What a route says of the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerRoute {
    /// `disabled`
    Disabled,
    /// `buffer`: another limit, in bytes.
    Limit(usize),
}

/// The filter in a chain.
pub struct Factory {
    /// Its name in the chain.
    pub name: String,
    /// `max_request_bytes`
    pub limit: usize,
}

impl FilterFactory for Factory {
    fn name(&self) -> &str {
        &self.name
    }

    fn create(&self, route: &[RouteConfig]) -> Option<Box<dyn Filter>> {
        let limit = match route.first().and_then(|config| config.downcast_ref::<PerRoute>()) {
            None => self.limit,
            Some(PerRoute::Disabled) => return None,
            Some(PerRoute::Limit(limit)) => *limit,
        };
        Some(Box::new(Buffer { limit, held: BytesMut::new(), trailers: None }))
    }
}

struct Buffer {
    limit: usize,
    held: BytesMut,
    trailers: Option<HeaderList>,
}

impl Filter for Buffer {
    fn poll_request(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<Verdict> {
        if stream.body.is_end() || stream.headers.contains(Known::Upgrade) || stream.headers.method() == b"CONNECT" {
            return Poll::Ready(Verdict::Continue);
        }
        loop {
            match std::task::ready!(stream.body.poll_frame(cx)) {
                Some(Ok(Frame::Data(data))) => {
                    if self.held.len() + data.len() > self.limit {
                        let reply = LocalReply::new(413, "Payload Too Large", "request_payload_too_large").closing();
                        stream.manager.stats.downstream_rq_too_large().inc();
                        return Poll::Ready(Verdict::Reply(reply));
                    }
                    self.held.extend_from_slice(&data);
                }
                Some(Ok(Frame::Trailers(trailers))) => self.trailers = Some(trailers),
                // The forwarder will pull the same error and answer it.
                Some(Err(_)) => return Poll::Ready(Verdict::Continue),
                None => break,
            }
        }
        let held = std::mem::take(&mut self.held).freeze();
        // The length is known now; as in Envoy the request then goes on without chunks.
        if !stream.headers.contains(Known::ContentLength) && self.trailers.is_none() {
            headers::set_number(&mut stream.headers, Known::ContentLength, held.len() as u64);
        }
        stream.body = whole(held, self.trailers.take());
        Poll::Ready(Verdict::Continue)
    }
}

fn whole(bytes: Bytes, trailers: Option<HeaderList>) -> Body {
    match trailers {
        None => Body::full(bytes),
        trailers => Body::Full(bytes, trailers),
    }
}

/// The factory as the registry wants it.
pub fn factory(name: &str, limit: usize) -> Arc<dyn FilterFactory> {
    Arc::new(Factory { name: name.to_owned(), limit })
}
