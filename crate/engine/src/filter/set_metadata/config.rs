//! Compiles `Config` of the set_metadata filter.

// The fields of old are read as long as Envoy reads them.
#![allow(deprecated)]

use std::sync::Arc;

use plenipo_api::proto::envoy::extensions::filters::http::set_metadata::v3 as proto;

use super::{Entry, Factory};
use crate::{
    config::{
        issues::{At, Issues},
        metadata::fields_of,
    },
    filter::FilterFactory,
};

/// The type of the filter's configuration.
pub const TYPE: &str = "envoy.extensions.filters.http.set_metadata.v3.Config";

/// Compiles the filter of a chain.
pub fn compile(name: &str, config: &proto::Config, at: &At<'_>, issues: &mut Issues) -> Option<Arc<dyn FilterFactory>> {
    let mut entries = Vec::new();
    if let (Some(value), false) = (&config.value, config.metadata_namespace.is_empty()) {
        entries.push(Entry { namespace: config.metadata_namespace.as_str().into(), overwrite: true, value: fields_of(value) });
    }
    let list = at.field("metadata");
    for (i, entry) in config.metadata.iter().enumerate() {
        if entry.typed_value.is_some() {
            issues.push(list.index(i).field("typed_value").unsupported("typed metadata is not implemented"));
            continue;
        }
        entries.push(Entry {
            namespace: entry.metadata_namespace.as_str().into(),
            overwrite: entry.allow_overwrite,
            value: entry.value.as_ref().map(fields_of).unwrap_or_default(),
        });
    }
    Some(Arc::new(Factory { name: name.to_owned(), entries: entries.into() }))
}
