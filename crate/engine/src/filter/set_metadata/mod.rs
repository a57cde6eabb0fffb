//! `envoy.filters.http.set_metadata`: writes fixed dynamic metadata into every stream.

pub mod config;

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use super::{Filter, FilterFactory, RouteConfig, Verdict};
use crate::{http::stream::Stream, metadata::Struct};

/// One value to write.
#[derive(Clone, Debug)]
pub struct Entry {
    /// `metadata_namespace`
    pub namespace: Box<str>,
    /// `allow_overwrite`: what is there already is merged with; else it stays as it is.
    pub overwrite: bool,
    /// `value`
    pub value: Struct,
}

/// The filter in a chain.
pub struct Factory {
    /// Its name in the chain.
    pub name: String,
    /// What it writes, in order.
    pub entries: Arc<[Entry]>,
}

impl FilterFactory for Factory {
    fn name(&self) -> &str {
        &self.name
    }

    fn create(&self, _route: &[RouteConfig]) -> Option<Box<dyn Filter>> {
        (!self.entries.is_empty()).then(|| Box::new(SetMetadata(self.entries.clone())) as Box<dyn Filter>)
    }
}

struct SetMetadata(Arc<[Entry]>);

impl Filter for SetMetadata {
    fn poll_request(&mut self, _cx: &mut Context<'_>, stream: &mut Stream) -> Poll<Verdict> {
        let metadata = stream.info.metadata_mut();
        for entry in &*self.0 {
            if entry.overwrite || metadata.namespace(&entry.namespace).is_none() {
                metadata.update(&entry.namespace, &entry.value);
            }
        }
        Poll::Ready(Verdict::Continue)
    }
}
