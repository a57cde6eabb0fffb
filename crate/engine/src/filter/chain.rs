//! Runs the filters of one stream, in order for the request and in reverse order for the answer.

use std::{future::poll_fn, sync::Arc};

use super::{Filter, FilterFactory, Verdict};
use crate::http::stream::{Response, Stream};

/// One place of a connection manager's chain.
pub struct Link {
    /// What makes its filter.
    pub factory: Arc<dyn FilterFactory>,
    /// Whether it is left out where the route says nothing of it (`HttpFilter.disabled`).
    pub disabled: bool,
}

/// The filters of one stream that have seen its request; only these see the answer.
#[derive(Default)]
pub struct Chain {
    filters: Vec<Box<dyn Filter>>,
}

impl Chain {
    /// Shows the request to each filter until one does not continue. A filter is made when its turn comes, with
    /// what the route of that moment says of it.
    pub async fn request(&mut self, links: &[Link], stream: &mut Stream) -> Verdict {
        for Link { factory, disabled } in links {
            let route = stream.route();
            if route.and_then(|route| route.filter_disabled(factory.name())).unwrap_or(*disabled) {
                continue;
            }
            let configs = route.map(|route| route.filter_configs(factory.name())).unwrap_or_default();
            let Some(mut filter) = factory.create(&configs) else { continue };
            let verdict = poll_fn(|cx| filter.poll_request(cx, stream)).await;
            self.filters.push(filter);
            match verdict {
                Verdict::Continue => {}
                other => return other,
            }
        }
        Verdict::Continue
    }

    /// Shows the answer to each filter that saw the request, the last first.
    pub async fn response(&mut self, stream: &mut Stream, response: &mut Response) -> Verdict {
        for filter in self.filters.iter_mut().rev() {
            match poll_fn(|cx| filter.poll_response(cx, stream, response)).await {
                Verdict::Continue => {}
                other => return other,
            }
        }
        Verdict::Continue
    }
}
