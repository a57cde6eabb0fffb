//! Runs the filters of one stream, in order for the request and in reverse order for the answer.

use std::{future::poll_fn, sync::Arc};

use super::{Filter, FilterFactory, RouteConfig, Verdict};
use crate::http::stream::{Response, Stream};

/// The filters of one stream.
#[derive(Default)]
pub struct Chain {
    filters: Vec<Box<dyn Filter>>,
    /// How many have seen the request; only these see the answer.
    entered: usize,
}

impl Chain {
    /// One filter of each factory that has something to do; `route_configs` tells the per-route configuration of a name.
    pub fn new<'a>(factories: &[Arc<dyn FilterFactory>], route_configs: impl Fn(&str) -> Vec<RouteConfig> + 'a) -> Chain {
        if factories.is_empty() {
            return Chain::default();
        }
        let filters = factories.iter().filter_map(|f| f.create(&route_configs(f.name()))).collect();
        Chain { filters, entered: 0 }
    }

    /// Shows the request to each filter until one does not continue.
    pub async fn request(&mut self, stream: &mut Stream) -> Verdict {
        while self.entered < self.filters.len() {
            let filter = &mut self.filters[self.entered];
            self.entered += 1;
            match poll_fn(|cx| filter.poll_request(cx, stream)).await {
                Verdict::Continue => {}
                other => return other,
            }
        }
        Verdict::Continue
    }

    /// Shows the answer to each filter that saw the request, the last first.
    pub async fn response(&mut self, stream: &mut Stream, response: &mut Response) -> Verdict {
        for filter in self.filters[..self.entered].iter_mut().rev() {
            match poll_fn(|cx| filter.poll_response(cx, stream, response)).await {
                Verdict::Continue => {}
                other => return other,
            }
        }
        Verdict::Continue
    }
}
