//! Wire bytes to JSON, in the style of Envoy's `/config_dump`.

use serde_json::{Map, Number, Value as Json};

use crate::{
    check::{any_parts, default, float, integer, is_typed_struct, map_entry, seconds, typed_struct_bytes, wrapped},
    encode::UnknownFields,
    scalar,
    table::{self, Field, Kind, Message, WellKnown},
    wire::{Malformed, Reader, Value},
};

const MAX_DEPTH: usize = 100;

/// The message cannot be shown: unknown name, broken bytes, or nested too deep.
#[derive(Debug, PartialEq, Eq)]
pub struct NotShown(pub &'static str);

impl std::fmt::Display for NotShown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NotShown {}

impl From<Malformed> for NotShown {
    fn from(_: Malformed) -> NotShown {
        NotShown("not an encoded protobuf message")
    }
}

/// An encoded message as Envoy's `/config_dump` shows it: proto names, enums by name, durations as `0.250s`, an `Any` as its fields beside
/// `"@type"`, 64-bit integers as text, bytes in base64; unset fields are left out; values of fields marked sensitive become `[redacted]`.
pub fn to_json(full_name: &str, bytes: &[u8]) -> Result<Json, NotShown> {
    let message = table::message_by_name(full_name).ok_or(NotShown("no such message"))?;
    Shower { redact: true }.message(message, bytes, false, 0)
}

/// As [`to_json`], with sensitive values shown: for configuration that is handed back to the one who wrote it.
pub fn to_json_unredacted(full_name: &str, bytes: &[u8]) -> Result<Json, NotShown> {
    let message = table::message_by_name(full_name).ok_or(NotShown("no such message"))?;
    Shower { redact: false }.message(message, bytes, false, 0)
}

struct Shower {
    redact: bool,
}

const REDACTED: &str = "[redacted]";

impl Shower {
    fn message(&self, message: &'static Message, bytes: &[u8], hidden: bool, depth: usize) -> Result<Json, NotShown> {
        if depth > MAX_DEPTH {
            return Err(NotShown("nested too deep"));
        }
        match message.well_known {
            WellKnown::None => Ok(Json::Object(self.fields(message, bytes, hidden, depth)?)),
            WellKnown::Any => self.any(bytes, hidden, depth),
            WellKnown::Duration | WellKnown::Timestamp if hidden => Ok(REDACTED.into()),
            WellKnown::Duration => {
                let (s, n) = seconds(bytes)?;
                Ok(scalar::format_duration(s, n).into())
            }
            WellKnown::Timestamp => {
                let (s, n) = seconds(bytes)?;
                Ok(scalar::format_timestamp(s.clamp(-62_135_596_800, 253_402_300_799), n.clamp(0, 999_999_999)).into())
            }
            WellKnown::Struct => self.structure(bytes, hidden, depth),
            WellKnown::Value => self.value(bytes, hidden, depth),
            WellKnown::ListValue => {
                let mut out = Vec::new();
                let mut reader = Reader::new(bytes);
                while let Some((number, record)) = reader.next()? {
                    if let (1, Value::Bytes(b)) = (number, record) {
                        out.push(self.message(value_message()?, b, hidden, depth + 1)?);
                    }
                }
                Ok(Json::Array(out))
            }
            WellKnown::FieldMask => {
                let mut paths = Vec::new();
                let mut reader = Reader::new(bytes);
                while let Some((number, record)) = reader.next()? {
                    if let (1, Value::Bytes(b)) = (number, record) {
                        paths.push(String::from_utf8_lossy(b).into_owned());
                    }
                }
                Ok(paths.join(",").into())
            }
            WellKnown::Wrapper => {
                let field = message.fields.first().ok_or(NotShown("no such message"))?;
                self.scalar(field, wrapped(field, bytes)?, hidden)
            }
        }
    }

    fn fields(&self, message: &'static Message, bytes: &[u8], hidden: bool, depth: usize) -> Result<Map<String, Json>, NotShown> {
        let mut records: Vec<(usize, Value<'_>)> = Vec::new();
        let mut reader = Reader::new(bytes);
        while let Some((number, value)) = reader.next()? {
            // A newer field than the API's is left out.
            if let Some(index) = message.field_by_number(number) {
                records.push((index, value));
            }
        }
        records.sort_by_key(|r| r.0);
        let mut out = Map::new();
        for group in records.chunk_by(|a, b| a.0 == b.0) {
            let field = &message.fields[group[0].0];
            let hidden = hidden || self.redact && field.sensitive;
            let json = if field.map {
                self.map(field, group, hidden, depth)?
            } else if field.repeated {
                self.list(field, group, hidden, depth)?
            } else if field.kind == Kind::Message && group.len() > 1 {
                let mut merged = Vec::new();
                for (_, value) in group {
                    merged.extend_from_slice(payload(*value)?);
                }
                self.message(field.message(), &merged, hidden, depth + 1)?
            } else {
                self.one(field, group[group.len() - 1].1, hidden, depth)?
            };
            out.insert(field.name.to_owned(), json);
        }
        Ok(out)
    }

    fn one(&self, field: &'static Field, value: Value<'_>, hidden: bool, depth: usize) -> Result<Json, NotShown> {
        if field.kind == Kind::Message {
            return self.message(field.message(), payload(value)?, hidden, depth + 1);
        }
        self.scalar(field, value, hidden)
    }

    fn list(&self, field: &'static Field, group: &[(usize, Value<'_>)], hidden: bool, depth: usize) -> Result<Json, NotShown> {
        let mut out = Vec::new();
        for (_, value) in group {
            match value {
                Value::Bytes(bytes) if field.kind.wire_type() != 2 => {
                    let mut reader = Reader::new(bytes);
                    while let Some(v) = reader.packed(field.kind.wire_type())? {
                        out.push(self.scalar(field, v, hidden)?);
                    }
                }
                value => out.push(self.one(field, *value, hidden, depth)?),
            }
        }
        Ok(Json::Array(out))
    }

    fn map(&self, field: &'static Field, group: &[(usize, Value<'_>)], hidden: bool, depth: usize) -> Result<Json, NotShown> {
        let entry = field.message();
        let (Some(key_field), Some(value_field)) = (entry.fields.first(), entry.fields.get(1)) else {
            return Err(NotShown("no such message"));
        };
        let mut out = Map::new();
        for (_, value) in group {
            let (key, _, value) = map_entry(payload(*value)?, key_field)?;
            let json = match value {
                Some(value) => self.one(value_field, value, hidden, depth)?,
                None if value_field.kind == Kind::Message => self.message(value_field.message(), &[], hidden, depth + 1)?,
                None => self.scalar(value_field, default(value_field.kind), hidden)?,
            };
            out.insert(key, json);
        }
        Ok(Json::Object(out))
    }

    fn scalar(&self, field: &'static Field, value: Value<'_>, hidden: bool) -> Result<Json, NotShown> {
        if hidden {
            return Ok(REDACTED.into());
        }
        Ok(match field.kind {
            Kind::String => String::from_utf8_lossy(payload(value)?).into_owned().into(),
            Kind::Bytes => scalar::base64_encode(payload(value)?).into(),
            Kind::Bool => (integer(field.kind, value) != 0).into(),
            Kind::Enum => {
                let number = integer(field.kind, value) as i32;
                let values = field.enumeration();
                if values.name == "google.protobuf.NullValue" {
                    return Ok(Json::Null);
                }
                values.by_number(number).map_or_else(|| number.into(), |v| v.name.into())
            }
            Kind::Float => number(float(value), |f| Number::from_f64(shortest(f as f32))),
            Kind::Double => number(float(value), Number::from_f64),
            Kind::Int64 | Kind::Uint64 | Kind::Sint64 | Kind::Fixed64 | Kind::Sfixed64 => integer(field.kind, value).to_string().into(),
            // A 32-bit value always fits.
            _ => (integer(field.kind, value) as i64).into(),
        })
    }

    fn any(&self, bytes: &[u8], hidden: bool, depth: usize) -> Result<Json, NotShown> {
        let (url, value) = any_parts(bytes)?;
        let mut out = Map::new();
        if url.is_empty() {
            return Ok(Json::Object(out));
        }
        out.insert("@type".to_owned(), url.into());
        match table::message_by_type_url(url) {
            None => {
                let text = if self.redact { REDACTED.to_owned() } else { scalar::base64_encode(value) };
                out.insert("value".to_owned(), text.into());
            }
            Some(message) if self.redact && is_typed_struct(message) => {
                let mut fields = self.fields(message, value, hidden, depth + 1)?;
                // What is secret is known by the fields of the message that the struct stands for.
                let (url, structure) = any_parts(value)?;
                if let Some(real) = table::message_by_type_url(url)
                    && let Ok((bytes, _)) = typed_struct_bytes(real, structure, UnknownFields::Ignore)
                {
                    fields.insert("value".to_owned(), self.message(real, &bytes, hidden, depth + 1)?);
                }
                out.extend(fields);
            }
            Some(message) if message.well_known == WellKnown::None => {
                out.extend(self.fields(message, value, hidden, depth + 1)?);
            }
            Some(message) => {
                out.insert("value".to_owned(), self.message(message, value, hidden, depth + 1)?);
            }
        }
        Ok(Json::Object(out))
    }

    fn structure(&self, bytes: &[u8], hidden: bool, depth: usize) -> Result<Json, NotShown> {
        let mut out = Map::new();
        let mut reader = Reader::new(bytes);
        while let Some((number, record)) = reader.next()? {
            if number != 1 {
                continue;
            }
            let (mut key, mut value) = ("", &[][..]);
            let mut entry = Reader::new(payload(record)?);
            while let Some((number, record)) = entry.next()? {
                match number {
                    1 => key = std::str::from_utf8(payload(record)?).map_err(|_| Malformed)?,
                    2 => value = payload(record)?,
                    _ => {}
                }
            }
            out.insert(key.to_owned(), self.message(value_message()?, value, hidden, depth + 1)?);
        }
        Ok(Json::Object(out))
    }

    fn value(&self, bytes: &[u8], hidden: bool, depth: usize) -> Result<Json, NotShown> {
        let mut out = Json::Null;
        let mut reader = Reader::new(bytes);
        while let Some((field, record)) = reader.next()? {
            out = match (field, record) {
                (2..=4, _) if hidden => REDACTED.into(),
                (2, Value::Fixed64(v)) => number(f64::from_bits(v), whole),
                (3, Value::Bytes(b)) => String::from_utf8_lossy(b).into_owned().into(),
                (4, Value::Varint(v)) => (v != 0).into(),
                (5, Value::Bytes(b)) => self.structure_at(b, hidden, depth + 1)?,
                (6, Value::Bytes(b)) => self.message(list_message()?, b, hidden, depth + 1)?,
                _ => Json::Null,
            };
        }
        Ok(out)
    }

    fn structure_at(&self, bytes: &[u8], hidden: bool, depth: usize) -> Result<Json, NotShown> {
        if depth > MAX_DEPTH {
            return Err(NotShown("nested too deep"));
        }
        self.structure(bytes, hidden, depth)
    }
}

/// A whole number without a point, as protobuf prints it.
fn whole(f: f64) -> Option<Number> {
    if f.fract() == 0.0 && f.abs() < 9_007_199_254_740_992.0 { Some((f as i64).into()) } else { Number::from_f64(f) }
}

/// The double that prints as briefly as this float.
fn shortest(f: f32) -> f64 {
    f.to_string().parse().unwrap_or_else(|_| f64::from(f))
}

/// JSON has no word for what is not finite: protobuf writes it as text.
fn number(f: f64, finite: impl Fn(f64) -> Option<Number>) -> Json {
    if f.is_nan() {
        "NaN".into()
    } else if f.is_infinite() {
        if f > 0.0 { "Infinity".into() } else { "-Infinity".into() }
    } else {
        finite(f).map_or(Json::Null, |n| whole(f).map_or(Json::Number(n), Json::Number))
    }
}

fn payload(value: Value<'_>) -> Result<&[u8], NotShown> {
    match value {
        Value::Bytes(b) => Ok(b),
        _ => Err(Malformed.into()),
    }
}

fn value_message() -> Result<&'static Message, NotShown> {
    table::message_by_name("google.protobuf.Value").ok_or(NotShown("no such message"))
}

fn list_message() -> Result<&'static Message, NotShown> {
    table::message_by_name("google.protobuf.ListValue").ok_or(NotShown("no such message"))
}
