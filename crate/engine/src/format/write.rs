//! How operators write what they read: texts, numbers, addresses, JSON.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use super::{escape, put_number, shortest};
use crate::metadata::{Struct, Value};

/// What an operator found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrote {
    /// Nothing there: `-` in text, `null` in JSON.
    Absent,
    /// Text.
    Text,
    /// JSON, a number in most cases: stays what it is in JSON, and is cut to so many bytes in text.
    Json(Option<usize>),
}

pub(super) fn text(out: &mut Vec<u8>, value: Option<&str>) -> Wrote {
    put_cut(out, value.map(str::as_bytes), None)
}

/// Text that is absent where it is empty.
pub(super) fn filled(out: &mut Vec<u8>, value: Option<&str>) -> Wrote {
    text(out, value.filter(|v| !v.is_empty()))
}

pub(super) fn without_spaces(out: &mut Vec<u8>, value: Option<&str>) -> Wrote {
    let at = out.len();
    let wrote = text(out, value.filter(|v| !v.is_empty()));
    out[at..].iter_mut().filter(|b| **b == b' ').for_each(|b| *b = b'_');
    wrote
}

/// Writes at most `length` bytes of a value.
pub(super) fn put_cut(out: &mut Vec<u8>, value: Option<&[u8]>, length: Option<usize>) -> Wrote {
    let Some(value) = value else { return Wrote::Absent };
    out.extend_from_slice(&value[..value.len().min(length.unwrap_or(usize::MAX))]);
    Wrote::Text
}

pub(super) fn number(out: &mut Vec<u8>, value: u64) -> Wrote {
    put_number(out, value);
    Wrote::Json(None)
}

/// Flags with a comma between; `-` where there is none, in JSON too.
pub(super) fn joined<'a>(out: &mut Vec<u8>, names: impl Iterator<Item = &'a str>) -> Wrote {
    let at = out.len();
    for name in names {
        if out.len() > at {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
    }
    if out.len() == at {
        out.push(b'-');
    }
    Wrote::Text
}

/// Whole milliseconds between two moments.
pub(super) fn since(out: &mut Vec<u8>, from: Option<Instant>, to: Option<Instant>) -> Wrote {
    match (from, to) {
        (Some(from), Some(to)) => number(out, to.checked_duration_since(from).unwrap_or(Duration::ZERO).as_millis() as u64),
        _ => Wrote::Absent,
    }
}

pub(super) fn address(out: &mut Vec<u8>, value: Option<SocketAddr>) -> Wrote {
    let Some(value) = value else { return Wrote::Absent };
    match value.ip() {
        IpAddr::V4(_) => put_ip(out, value.ip()),
        IpAddr::V6(_) => {
            out.push(b'[');
            put_ip(out, value.ip());
            out.push(b']');
        }
    }
    out.push(b':');
    put_number(out, value.port().into());
    Wrote::Text
}

pub(super) fn ip(out: &mut Vec<u8>, value: Option<SocketAddr>) -> Wrote {
    let Some(value) = value else { return Wrote::Absent };
    put_ip(out, value.ip());
    Wrote::Text
}

pub(super) fn port(out: &mut Vec<u8>, value: Option<SocketAddr>) -> Wrote {
    value.map_or(Wrote::Absent, |v| number(out, v.port().into()))
}

pub(super) fn put_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (i, octet) in ip.octets().into_iter().enumerate() {
                if i > 0 {
                    out.push(b'.');
                }
                put_number(out, octet.into());
            }
        }
        IpAddr::V6(ip) => {
            use std::io::Write;
            // Writing into a Vec does not fail.
            let _ = write!(out, "{ip}");
        }
    }
}

/// Writes a value as JSON.
pub(super) fn put_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(b) => out.extend_from_slice(if *b { b"true" } else { b"false" }),
        Value::Number(n) if n.is_finite() => out.extend_from_slice(shortest(*n).as_bytes()),
        // JSON has no other numbers.
        Value::Number(_) => out.extend_from_slice(b"null"),
        Value::String(text) => put_quoted(text.as_bytes(), out),
        Value::Struct(fields) => put_object(fields, out),
        Value::List(values) => {
            out.push(b'[');
            for (i, value) in values.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                put_value(value, out);
            }
            out.push(b']');
        }
    }
}

pub(super) fn put_object(fields: &Struct, out: &mut Vec<u8>) {
    out.push(b'{');
    for (i, (key, value)) in fields.0.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        put_quoted(key.as_bytes(), out);
        out.push(b':');
        put_value(value, out);
    }
    out.push(b'}');
}

pub(super) fn put_quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let at = out.len();
    out.extend_from_slice(text);
    escape(out, at);
    out.push(b'"');
}
