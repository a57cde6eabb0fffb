//! `envoy.filters.http.set_filter_state`: leaves objects made of formats in the stream's filter state.

pub mod config;

use std::{
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use super::{Filter, FilterFactory, RouteConfig, Verdict};
use crate::{
    filter_state::{HashableString, Object, StringObject},
    format::{self, Format},
    http::stream::Stream,
};

/// One object to make.
#[derive(Debug)]
pub struct Entry {
    /// `object_key`
    pub key: Box<str>,
    /// `format_string`
    pub value: Format,
    /// `factory_key` is `envoy.hashable_string`, not `envoy.string`.
    pub hashable: bool,
    /// `skip_if_empty`: an empty value makes no object.
    pub skip_if_empty: bool,
}

/// All that one configuration of the filter says.
#[derive(Debug)]
pub struct Settings {
    /// `on_request_headers`
    pub entries: Vec<Entry>,
    /// `clear_route_cache`: the route is chosen anew behind the filter.
    pub clear_route_cache: bool,
}

/// The filter in a chain.
pub struct Factory {
    /// Its name in the chain.
    pub name: String,
    /// What it does for every route.
    pub settings: Arc<Settings>,
}

impl FilterFactory for Factory {
    fn name(&self) -> &str {
        &self.name
    }

    fn create(&self, route: &[RouteConfig]) -> Option<Box<dyn Filter>> {
        let of_route = route.first().and_then(|config| config.clone().downcast::<Settings>().ok());
        Some(Box::new(SetFilterState { of_chain: self.settings.clone(), of_route }))
    }
}

struct SetFilterState {
    of_chain: Arc<Settings>,
    of_route: Option<Arc<Settings>>,
}

impl Filter for SetFilterState {
    fn poll_request(&mut self, _cx: &mut Context<'_>, stream: &mut Stream) -> Poll<Verdict> {
        for settings in [Some(&self.of_chain), self.of_route.as_ref()].into_iter().flatten() {
            for entry in &settings.entries {
                let mut text = Vec::new();
                entry.value.write(&format::Context::new(&stream.info, Some(&stream.headers), None), &mut text);
                if !(text.is_empty() && entry.skip_if_empty) {
                    let text = StringObject(text);
                    let object: Rc<dyn Object> = if entry.hashable { Rc::new(HashableString(text)) } else { Rc::new(text) };
                    stream.info.filter_state_mut().set(&entry.key, object);
                }
            }
            if settings.clear_route_cache {
                stream.clear_route();
            }
        }
        Poll::Ready(Verdict::Continue)
    }
}
