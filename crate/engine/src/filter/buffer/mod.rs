//! `envoy.filters.http.buffer`: holds a request back until its body is whole; answers 413 when that is too large.

pub mod config;

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use super::{Filter, FilterFactory, RouteConfig, Verdict};
use crate::http::{
    body::{GatherError, Gathered, PollBody},
    header::Known,
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
        Some(Box::new(Buffer { limit, gathered: Gathered::default() }))
    }
}

struct Buffer {
    limit: usize,
    gathered: Gathered,
}

impl Filter for Buffer {
    fn poll_request(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<Verdict> {
        if stream.body.is_end() || stream.headers.contains(Known::Upgrade) || stream.headers.method() == b"CONNECT" {
            return Poll::Ready(Verdict::Continue);
        }
        match ready!(self.gathered.poll(cx, &mut stream.body, self.limit)) {
            Ok(()) => {}
            Err(GatherError::TooLarge) => return Poll::Ready(Verdict::Reply(too_large(stream))),
            // The forwarder will pull the same error and answer it.
            Err(GatherError::Body(_)) => return Poll::Ready(Verdict::Continue),
        }
        let gathered = std::mem::take(&mut self.gathered);
        // The length is known now; as in Envoy the request then goes on without chunks.
        if !stream.headers.contains(Known::ContentLength) && gathered.trailers.is_none() {
            headers::set_number(&mut stream.headers, Known::ContentLength, gathered.bytes.len() as u64);
        }
        stream.body = gathered.into_body();
        Poll::Ready(Verdict::Continue)
    }
}

/// The answer to a request whose body is larger than may be held.
pub(super) fn too_large(stream: &Stream) -> LocalReply {
    stream.manager.stats.downstream_rq_too_large().inc();
    LocalReply::new(413, "Payload Too Large", "request_payload_too_large").closing()
}

/// The factory as the registry wants it.
pub fn factory(name: &str, limit: usize) -> Arc<dyn FilterFactory> {
    Arc::new(Factory { name: name.to_owned(), limit })
}
