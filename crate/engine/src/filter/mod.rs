//! HTTP filters: the trait, the chain that runs them, and the registry by type URL. One folder a filter.
//!
//! A filter can pause (return `Pending`), buffer (pull the body itself), answer locally, change headers, wrap the body
//! (to rewrite it or add trailers) and recreate the stream. A JS hook is a filter that pauses.

use std::{
    any::Any,
    sync::Arc,
    task::{Context, Poll},
};

use crate::http::{
    local_reply::LocalReply,
    stream::{Response, Stream},
};

pub mod buffer;
pub mod chain;
pub mod cors;
pub mod grpc_http1_bridge;
pub mod grpc_stats;
pub mod grpc_web;
pub mod header_mutation;
pub mod set_filter_state;
pub mod set_metadata;

/// Configuration of one filter for one route, virtual host or route table, made by the filter's own `config.rs`.
pub type RouteConfig = Arc<dyn Any + Send + Sync>;

/// What becomes of a stream after a filter has seen it.
#[derive(Debug)]
pub enum Verdict {
    /// The next filter's turn.
    Continue,
    /// Answer the client; no further filter sees the request.
    Reply(LocalReply),
    /// Run the stream again from route matching, with the request as the filter left it (internal redirects).
    Recreate,
}

/// One filter at work on one stream.
pub trait Filter {
    /// Sees the request before it is routed on. Pending pauses the stream.
    fn poll_request(&mut self, _cx: &mut Context<'_>, _stream: &mut Stream) -> Poll<Verdict> {
        Poll::Ready(Verdict::Continue)
    }

    /// Sees the answer, local replies included, before it goes to the client. A `Reply` takes its place.
    fn poll_response(&mut self, _cx: &mut Context<'_>, _stream: &mut Stream, _response: &mut Response) -> Poll<Verdict> {
        Poll::Ready(Verdict::Continue)
    }
}

/// A filter of a compiled chain: makes one [`Filter`] a stream.
pub trait FilterFactory: Send + Sync {
    /// The name of the filter in the chain, which `typed_per_filter_config` refers to.
    fn name(&self) -> &str;

    /// A filter for one stream, or `None` when it has nothing to do there. `route` holds the per-route configurations
    /// under this filter's name, the most specific first.
    fn create(&self, route: &[RouteConfig]) -> Option<Box<dyn Filter>>;
}
