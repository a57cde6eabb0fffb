//! `envoy.filters.http.header_mutation`: adds and removes headers of requests and answers.

pub mod config;

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use super::{Filter, FilterFactory, RouteConfig, Verdict};
use crate::{
    http::{
        header::{HeaderList, HeaderName},
        stream::{Response, Stream},
    },
    route::{HeaderAddition, HeaderMutations},
    stream_info::StreamInfo,
};

/// One step, in the order of the configuration.
#[derive(Clone, Debug)]
pub enum Step {
    /// `remove`
    Remove(HeaderName),
    /// `append`
    Add(Box<HeaderAddition>),
}

/// `Mutations`
#[derive(Clone, Debug, Default)]
pub struct Mutations {
    /// `request_mutations`
    pub request: Vec<Step>,
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
        for step in self.levels.iter().flat_map(|level| &level.request) {
            apply(step, |one| one.apply_to_request(&mut stream.headers, &stream.info));
        }
        Poll::Ready(Verdict::Continue)
    }

    fn poll_response(&mut self, _cx: &mut Context<'_>, stream: &mut Stream, response: &mut Response) -> Poll<Verdict> {
        let (request, info): (&HeaderList, &StreamInfo) = (&stream.headers, &stream.info);
        for step in self.levels.iter().flat_map(|level| &level.response) {
            apply(step, |one| one.apply_to_response(&mut response.headers, Some(request), info));
        }
        Poll::Ready(Verdict::Continue)
    }
}

fn apply(step: &Step, apply: impl FnOnce(&HeaderMutations)) {
    let mut one = HeaderMutations::default();
    match step {
        Step::Remove(name) => one.remove.push(name.clone()),
        Step::Add(addition) => one.add.push((**addition).clone()),
    }
    apply(&one);
}
