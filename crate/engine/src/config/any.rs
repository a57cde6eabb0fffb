//! Opens `Any` messages: tells their type, decodes them, reports what cannot be decoded.

use prost::Message;
use prost_types::Any;

use super::issues::{At, Issues};

/// The full name of the message inside.
pub fn type_name(any: &Any) -> &str {
    any.type_url.rsplit('/').next().unwrap_or_default()
}

/// Decodes the message inside; the reader has checked it, so that a failure is an issue of its own.
pub fn decode<M: Message + Default>(any: &Any, at: &At<'_>, issues: &mut Issues) -> Option<M> {
    match M::decode(any.value.as_slice()) {
        Ok(message) => Some(message),
        Err(e) => {
            issues.push(at.invalid(format!("cannot be decoded as {}: {e}", type_name(any))));
            None
        }
    }
}
