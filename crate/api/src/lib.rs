//! Envoy's v3 API: message types, the reader of YAML and JSON, and the validate rules. No I/O.

/// Envoy's messages as prost types, in modules that follow the protobuf packages.
#[allow(clippy::all, rustdoc::all, missing_docs)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
}
