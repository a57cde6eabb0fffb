//! Envoy's v3 API: message types, the reader of YAML and JSON, and the validate rules. No I/O.
//!
//! # Reading
//!
//! ```
//! use plenipo_api::{Input, Options, read_bootstrap, proto::envoy::config::cluster::v3::Cluster};
//!
//! let yaml = "static_resources: {clusters: [{name: app, connect_timeout: 0.25s, type: strict_dns}]}";
//! let loaded = read_bootstrap(vec![Input::yaml(yaml).named("envoy.yaml")], &Options::default()).unwrap();
//! let cluster: Cluster = loaded.clusters[0].decode().unwrap();
//! assert_eq!(cluster.name, "app");
//! assert_eq!(loaded.places.locate("static_resources.clusters[0].name").unwrap().column, 32);
//!
//! let issues = read_bootstrap(vec![Input::yaml("static_resources: {cluster: []}")], &Options::default()).unwrap_err();
//! assert_eq!(issues[0].hint.as_deref(), Some("did you mean \"clusters\"?"));
//! ```
//!
//! A text goes through two walks. The first (document tree to wire bytes) checks names and types and takes Envoy's leniences: enum
//! names in any letter case, one value for a list, `{seconds: 1}` for a duration, quoted numbers and bools, `!ignore`, only the first YAML document.
//! The second walk reads the wire bytes, so that it serves binary files and xDS too ([`check`]): every protoc-gen-validate rule, deprecated
//! fields, and what the engine does not support. Both collect all issues. Field and rule tables come from the descriptor set through `build.rs`.
//!
//! Two verdicts are kept apart: *invalid* ([`IssueCode::ConfigInvalid`], [`IssueCode::UnknownField`]) and *unsupported*
//! ([`IssueCode::Unsupported`]): valid for Envoy, but not on the engine's [`Support`] list.
//!
//! An extension's configuration comes in an `Any`: [`unpack`] gives its type name and bytes, through a `TypedStruct` where there is one.
//!
//! # Showing
//!
//! [`to_json`] turns wire bytes into JSON in the style of `/config_dump`, with secrets redacted.

mod check;
mod document;
mod encode;
mod issue;
mod json;
mod json_out;
mod load;
mod path;
mod places;
mod rules;
mod scalar;
mod support;
pub mod table;
mod wire;
mod yaml;

pub use document::{Format, Input};
pub use encode::UnknownFields;
pub use issue::{Issue, IssueCode, Severity};
pub use json_out::{NotShown, to_json, to_json_unredacted};
pub use load::{
    Loaded, LoadedBootstrap, Options, Resource, check, is_http_filter, parse, part, read, read_bootstrap, read_message, unpack,
};
pub use places::{Place, Places};
pub use support::{Coverage, Support};

/// Envoy's messages as prost types, in modules that follow the protobuf packages.
#[allow(clippy::all, rustdoc::all, missing_docs)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
}
