//! Opens `Any` messages: tells their type, decodes them, reports what cannot be decoded.

use plenipo_api::table;
use prost::{Message, Name};
use prost_types::Any;

use super::issues::{At, Issues};

/// The full name of the message inside.
pub fn type_name(any: &Any) -> &str {
    any.type_url.rsplit('/').next().unwrap_or_default()
}

/// Decodes the message inside; the reader has checked it, so that a failure is an issue of its own.
pub fn decode<M: Message + Name + Default>(any: &Any, at: &At<'_>, issues: &mut Issues) -> Option<M> {
    decode_bytes(&any.value, at, issues)
}

/// Decodes the only kind of message that an extension at `at` may have here.
pub fn extension<M: Message + Name + Default>(config: Option<&Any>, at: &At<'_>, issues: &mut Issues) -> Option<M> {
    let at = at.field("typed_config");
    match config {
        Some(any) if type_name(any) == M::full_name() => decode(any, &at, issues),
        Some(any) => {
            issues.push(at.unsupported("this extension is not implemented").got(type_name(any)).expected(M::full_name()));
            None
        }
        None => {
            issues.push(at.invalid("an extension needs a typed_config").expected(M::full_name()));
            None
        }
    }
}

/// Decodes a message.
pub fn decode_bytes<M: Message + Name + Default>(bytes: &[u8], at: &At<'_>, issues: &mut Issues) -> Option<M> {
    match M::decode(bytes) {
        Ok(message) => Some(message),
        Err(e) => {
            issues.push(at.invalid(format!("cannot be decoded as {}: {e}", M::full_name())));
            None
        }
    }
}

/// Decodes a message without its field of this name, whose values come still encoded. Ten thousand decoded virtual hosts take more memory
/// than all that is made of them, so such a list is decoded, compiled and dropped one element at a time.
pub fn decode_without<'b, M>(bytes: &'b [u8], field: &str, at: &At<'_>, issues: &mut Issues) -> Option<(M, Vec<&'b [u8]>)>
where
    M: Message + Name + Default,
{
    let number = table::message_by_name(&M::full_name()).and_then(|m| m.field(field)).map(|f| f.number);
    let parts = number.and_then(|number| plenipo_api::part(bytes, number));
    match parts.and_then(|(rest, values)| Some((M::decode(rest.as_slice()).ok()?, values))) {
        Some(parts) => Some(parts),
        None => {
            issues.push(at.invalid(format!("cannot be decoded as {}", M::full_name())));
            None
        }
    }
}
