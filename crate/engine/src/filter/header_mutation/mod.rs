//! `envoy.filters.http.header_mutation`: adds and removes headers of requests and answers.

pub mod config;
mod query;

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use super::{Filter, FilterFactory, RouteConfig, Verdict};
use crate::{
    http::{
        header::{HeaderList, HeaderName, Known},
        stream::{Response, Stream},
    },
    route::{HeaderMutations, StringMatch},
    stream_info::StreamInfo,
};
pub use query::QueryStep;

/// One step, in the order of the configuration.
#[derive(Clone, Debug)]
pub enum Step {
    /// `remove` or `append`
    Change(HeaderMutations),
    /// `remove_on_match`: every header whose name matches; pseudo-headers stay.
    RemoveMatching(StringMatch),
}

/// `Mutations`
#[derive(Clone, Debug, Default)]
pub struct Mutations {
    /// `request_mutations`
    pub request: Vec<Step>,
    /// `query_parameter_mutations`
    pub query: Vec<QueryStep>,
    /// `response_mutations`
    pub response: Vec<Step>,
}

/// The filter in a chain.
pub struct Factory {
    /// Its name in the chain.
    pub name: String,
    /// What it does for every route.
    pub mutations: Arc<Mutations>,
    /// `most_specific_header_mutations_wins`: the most specific configuration is applied last.
    pub most_specific_wins: bool,
}

impl FilterFactory for Factory {
    fn name(&self) -> &str {
        &self.name
    }

    fn create(&self, route: &[RouteConfig]) -> Option<Box<dyn Filter>> {
        let mut levels = vec![self.mutations.clone()];
        let of_route = route.iter().filter_map(|config| config.clone().downcast::<Mutations>().ok());
        levels.extend(of_route);
        if self.most_specific_wins {
            levels[1..].reverse();
        }
        Some(Box::new(Mutation { levels }))
    }
}

struct Mutation {
    levels: Vec<Arc<Mutations>>,
}

impl Filter for Mutation {
    fn poll_request(&mut self, _cx: &mut Context<'_>, stream: &mut Stream) -> Poll<Verdict> {
        let (headers, info) = (&mut stream.headers, &stream.info);
        for level in &self.levels {
            mutate_request(&level.request, headers, info);
            query::apply(level.query.iter(), headers, info);
        }
        Poll::Ready(Verdict::Continue)
    }

    fn poll_response(&mut self, _cx: &mut Context<'_>, stream: &mut Stream, response: &mut Response) -> Poll<Verdict> {
        let (request, info): (&HeaderList, &StreamInfo) = (&stream.headers, &stream.info);
        for step in self.levels.iter().flat_map(|level| &level.response) {
            match step {
                Step::Change(mutations) => mutations.apply_to_response(&mut response.headers, Some(request), info),
                Step::RemoveMatching(name) => remove_matching(name, &mut response.headers),
            }
        }
        Poll::Ready(Verdict::Continue)
    }
}

/// Does the steps to a request's headers.
pub fn mutate_request(steps: &[Step], headers: &mut HeaderList, info: &StreamInfo) {
    for step in steps {
        match step {
            Step::Change(mutations) => mutations.apply_to_request(headers, info),
            Step::RemoveMatching(name) => remove_matching(name, headers),
        }
    }
}

fn remove_matching(matcher: &StringMatch, headers: &mut HeaderList) {
    let matching = |(_, name, _): (Known, &[u8], &[u8])| {
        let name = std::str::from_utf8(name).ok().filter(|n| !n.starts_with(':') && matcher.matches(n.as_bytes()))?;
        Some(HeaderName::new(name))
    };
    let names: Vec<HeaderName> = headers.iter().filter_map(matching).collect();
    for name in &names {
        headers.remove_name(name);
    }
}
