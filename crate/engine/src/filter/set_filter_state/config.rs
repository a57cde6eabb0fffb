//! Compiles `Config` of the set_filter_state filter.

use std::sync::Arc;

use plenipo_api::proto::envoy::extensions::filters::{
    common::set_filter_state::v3::{
        FilterStateValue,
        filter_state_value::{Key, Value},
    },
    http::set_filter_state::v3 as proto,
};

use super::{Entry, Factory, Settings};
use crate::{
    config::{
        access_log,
        issues::{At, Issues},
    },
    filter::{FilterFactory, RouteConfig},
};

/// The type of the filter's configuration, in a chain and for a route.
pub const TYPE: &str = "envoy.extensions.filters.http.set_filter_state.v3.Config";
/// The kinds of objects that can be made so far.
const STRING: &str = "envoy.string";
const HASHABLE_STRING: &str = "envoy.hashable_string";

/// Compiles the filter of a chain.
pub fn compile(name: &str, config: &proto::Config, at: &At<'_>, issues: &mut Issues) -> Option<Arc<dyn FilterFactory>> {
    Some(Arc::new(Factory { name: name.to_owned(), settings: Arc::new(settings(config, at, issues)?) }))
}

/// Compiles what a route says of the filter.
pub fn compile_route(config: &proto::Config, at: &At<'_>, issues: &mut Issues) -> Option<RouteConfig> {
    Some(Arc::new(settings(config, at, issues)?))
}

fn settings(config: &proto::Config, at: &At<'_>, issues: &mut Issues) -> Option<Settings> {
    let list = at.field("on_request_headers");
    let entries: Vec<_> = config.on_request_headers.iter().enumerate().map(|(i, value)| entry(value, &list.index(i), issues)).collect();
    Some(Settings { entries: entries.into_iter().collect::<Option<_>>()?, clear_route_cache: config.clear_route_cache })
}

fn entry(config: &FilterStateValue, at: &At<'_>, issues: &mut Issues) -> Option<Entry> {
    let Some(Key::ObjectKey(key)) = &config.key else {
        issues.push(at.field("object_key").invalid("a key is missing"));
        return None;
    };
    let factory = if config.factory_key.is_empty() { key.as_str() } else { config.factory_key.as_str() };
    if ![STRING, HASHABLE_STRING].contains(&factory) {
        let field = if config.factory_key.is_empty() { "object_key" } else { "factory_key" };
        issues.push(at.field(field).unsupported("objects of this kind are not implemented").got(factory).expected(STRING));
        return None;
    }
    let Some(Value::FormatString(format)) = &config.value else {
        issues.push(at.field("format_string").invalid("a format is missing"));
        return None;
    };
    let value = access_log::compile_format(format, &at.field("format_string").to_string(), issues)?;
    Some(Entry { key: key.as_str().into(), value, hashable: factory == HASHABLE_STRING, skip_if_empty: config.skip_if_empty })
}
