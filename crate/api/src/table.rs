//! The field and rule tables of every Envoy message, read lazily from the compact form that build.rs writes.
//!
//! Layout of `table.bin` (integers little-endian, `v` a base-128 varint, `s` a varint length and UTF-8 text):
//! `u32 messages, u32 enums`, then one `u32` offset for each message and enum, sorted by full name, then the bodies.
//! message: `s name, u8 flags, v oneofs, (s name, u8 required)*, v fields, (v number, s name, s json name, u8 type, u8 flags,
//! v oneof + 1, v type index, s deprecated-at, v rules length, rules)*`; enum: `s name, v values, (s name, v number, u8 flags, s deprecated-at)*`.
//! A body is decoded when it is first asked for, so that a process pays only for the messages that it uses.

use std::sync::LazyLock;

use once_cell::sync::OnceCell;

use crate::rules::{self, MessageRules};

static BLOB: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/table.bin"));

/// Index of a message in the table.
pub type MessageId = u32;

/// A protobuf scalar or composite type, numbered as in `FieldDescriptorProto.Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Double,
    Float,
    Int64,
    Uint64,
    Int32,
    Fixed64,
    Fixed32,
    Bool,
    String,
    Message,
    Bytes,
    Uint32,
    Enum,
    Sfixed32,
    Sfixed64,
    Sint32,
    Sint64,
}

impl Kind {
    fn from_number(n: u8) -> Kind {
        match n {
            1 => Kind::Double,
            2 => Kind::Float,
            3 => Kind::Int64,
            4 => Kind::Uint64,
            5 => Kind::Int32,
            6 => Kind::Fixed64,
            7 => Kind::Fixed32,
            8 => Kind::Bool,
            9 => Kind::String,
            12 => Kind::Bytes,
            13 => Kind::Uint32,
            14 => Kind::Enum,
            15 => Kind::Sfixed32,
            16 => Kind::Sfixed64,
            17 => Kind::Sint32,
            18 => Kind::Sint64,
            _ => Kind::Message,
        }
    }

    /// The wire type of one value: 0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes.
    pub fn wire_type(self) -> u8 {
        match self {
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => 1,
            Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => 5,
            Kind::String | Kind::Bytes | Kind::Message => 2,
            _ => 0,
        }
    }
}

/// Messages whose JSON form is not that of their fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WellKnown {
    /// An ordinary message.
    None,
    /// `google.protobuf.Any`
    Any,
    /// `google.protobuf.Duration`
    Duration,
    /// `google.protobuf.Timestamp`
    Timestamp,
    /// `google.protobuf.Struct`
    Struct,
    /// `google.protobuf.Value`
    Value,
    /// `google.protobuf.ListValue`
    ListValue,
    /// `google.protobuf.FieldMask`
    FieldMask,
    /// `google.protobuf.BoolValue` and the other wrappers
    Wrapper,
}

/// One message type.
#[derive(Debug)]
pub struct Message {
    /// Its index in the table.
    pub id: MessageId,
    /// Full name without a leading dot.
    pub name: &'static str,
    /// Whether it stands for the entry of a map field.
    pub map_entry: bool,
    /// The special JSON form, if it has one.
    pub well_known: WellKnown,
    /// protoc-gen-validate's `(validate.disabled)` or `(validate.ignored)`.
    pub rules_disabled: bool,
    /// Its oneofs, without the synthetic ones of `optional`.
    pub oneofs: Box<[Oneof]>,
    /// Its fields, by number.
    pub fields: Box<[Field]>,
    /// (name, index into `fields`) of proto names and JSON names, sorted by length, then text: most comparisons of a search look at lengths only.
    names: Box<[(&'static str, u16)]>,
    rules: OnceCell<MessageRules>,
}

/// One oneof.
#[derive(Debug)]
pub struct Oneof {
    /// Proto name.
    pub name: &'static str,
    /// Whether `(validate.required)` is set.
    pub required: bool,
}

/// One field of a message.
#[derive(Debug)]
pub struct Field {
    /// Field number.
    pub number: u32,
    /// Proto name (`snake_case`).
    pub name: &'static str,
    /// JSON name (`camelCase`).
    pub json_name: &'static str,
    /// Type of one value.
    pub kind: Kind,
    /// A list or a map.
    pub repeated: bool,
    /// Numbers of a list written as one record.
    pub packed: bool,
    /// A map; `target` is its entry message.
    pub map: bool,
    /// Whether an unset field differs from one that holds the default.
    pub explicit: bool,
    /// `[deprecated = true]`
    pub deprecated: bool,
    /// `(envoy.annotations.disallowed_by_default)`: Envoy refuses it unless runtime allows it.
    pub disallowed: bool,
    /// `(udpa.annotations.sensitive)`: never printed.
    pub sensitive: bool,
    /// Index into the message's `oneofs`.
    pub oneof: Option<u16>,
    /// `(envoy.annotations.deprecated_at_minor_version)`, such as `3.0`; empty if it has none.
    pub deprecated_at: &'static str,
    /// `(validate.rules)`, encoded; empty if it has none.
    pub rules: &'static [u8],
    target: u32,
}

impl Field {
    /// The message type of a field of kind `Message`.
    pub fn message(&self) -> &'static Message {
        message(self.target)
    }

    /// The enum type of a field of kind `Enum`.
    pub fn enumeration(&self) -> &'static Enum {
        enumeration(self.target)
    }

    /// What a reader should write here, for error texts.
    pub fn describe(&self) -> String {
        if self.map {
            return "a mapping".to_owned();
        }
        let one = match self.kind {
            Kind::Message => describe_message(self.message()),
            Kind::Enum => format!("a value of {}", self.enumeration().name),
            kind => describe_kind(kind).to_owned(),
        };
        if self.repeated { format!("a list of {one}") } else { one }
    }
}

pub(crate) fn describe_kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Double | Kind::Float => "a number",
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "a 32-bit integer",
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "a 64-bit integer",
        Kind::Uint32 | Kind::Fixed32 => "an integer from 0 to 4294967295",
        Kind::Uint64 | Kind::Fixed64 => "an integer from 0 to 18446744073709551615",
        Kind::Bool => "true or false",
        Kind::String => "a string",
        Kind::Bytes => "base64 text",
        Kind::Enum => "an enum value",
        Kind::Message => "a mapping",
    }
}

pub(crate) fn describe_message(message: &Message) -> String {
    match message.well_known {
        WellKnown::None => format!("a mapping ({})", message.name),
        WellKnown::Any => "a mapping with \"@type\"".to_owned(),
        WellKnown::Duration => "a duration such as 0.25s".to_owned(),
        WellKnown::Timestamp => "a time such as 2026-01-02T03:04:05Z".to_owned(),
        WellKnown::Struct => "a mapping".to_owned(),
        WellKnown::Value => "any value".to_owned(),
        WellKnown::ListValue => "a list".to_owned(),
        WellKnown::FieldMask => "a string of field paths".to_owned(),
        WellKnown::Wrapper => message.fields.first().map_or("a value", |f| describe_kind(f.kind)).to_owned(),
    }
}

impl Message {
    /// The field with this proto name or JSON name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.get(self.field_index(name)?)
    }

    /// The position in `fields` of the field with this proto name or JSON name.
    pub fn field_index(&self, name: &str) -> Option<usize> {
        let at = self.names.binary_search_by(|(n, _)| n.len().cmp(&name.len()).then_with(|| (*n).cmp(name))).ok()?;
        Some(usize::from(self.names.get(at)?.1))
    }

    /// The position in `fields` of the field with this number.
    pub fn field_by_number(&self, number: u32) -> Option<usize> {
        // Most messages number their fields 1, 2, 3...: try that place first.
        let guess = (number as usize).wrapping_sub(1);
        if self.fields.get(guess).is_some_and(|f| f.number == number) {
            return Some(guess);
        }
        self.fields.binary_search_by(|f| f.number.cmp(&number)).ok()
    }

    /// The compiled protoc-gen-validate rules.
    pub fn rules(&self) -> &MessageRules {
        self.rules.get_or_init(|| rules::compile(self))
    }
}

/// One enum type.
#[derive(Debug)]
pub struct Enum {
    /// Full name.
    pub name: &'static str,
    /// Its values in the order of declaration.
    pub values: Box<[EnumValue]>,
}

/// One value of an enum.
#[derive(Debug)]
pub struct EnumValue {
    /// Name, such as `ROUND_ROBIN`.
    pub name: &'static str,
    /// Number.
    pub number: i32,
    /// `[deprecated = true]`
    pub deprecated: bool,
    /// `(envoy.annotations.disallowed_by_default_enum)`
    pub disallowed: bool,
}

impl Enum {
    /// The value with this name, in any letter case, as Envoy takes it.
    pub fn by_name(&self, name: &str) -> Option<&EnumValue> {
        self.values.iter().find(|v| v.name.eq_ignore_ascii_case(name))
    }

    /// The first value with this number.
    pub fn by_number(&self, number: i32) -> Option<&EnumValue> {
        self.values.iter().find(|v| v.number == number)
    }
}

struct Table {
    messages: Box<[OnceCell<Box<Message>>]>,
    enums: Box<[OnceCell<Box<Enum>>]>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| Table {
    messages: (0..u32_at(0)).map(|_| OnceCell::new()).collect(),
    enums: (0..u32_at(4)).map(|_| OnceCell::new()).collect(),
});

/// How many messages the table holds; their ids are `0..message_count()`, in the order of their full names.
pub fn message_count() -> u32 {
    u32_at(0)
}

/// The message with this id. Panics on an id that the table did not give out.
pub fn message(id: MessageId) -> &'static Message {
    TABLE.messages[id as usize].get_or_init(|| Box::new(decode_message(id)))
}

/// The message with this full name, such as `envoy.config.cluster.v3.Cluster`.
pub fn message_by_name(name: &str) -> Option<&'static Message> {
    find(0, message_count(), name).map(message)
}

/// The enum with this full name, such as `envoy.config.cluster.v3.Cluster.LbPolicy`.
pub fn enum_by_name(name: &str) -> Option<&'static Enum> {
    find(message_count(), u32_at(4), name).map(enumeration)
}

/// The message that an `Any` type URL such as `type.googleapis.com/envoy.config.cluster.v3.Cluster` names.
pub fn message_by_type_url(url: &str) -> Option<&'static Message> {
    message_by_name(url.rsplit_once('/')?.1)
}

fn enumeration(id: u32) -> &'static Enum {
    TABLE.enums[id as usize].get_or_init(|| Box::new(decode_enum(id)))
}

/// Full names of all messages, sorted.
pub fn message_names() -> impl Iterator<Item = &'static str> {
    (0..message_count()).map(|i| body(i).string())
}

fn find(first: u32, count: u32, name: &str) -> Option<u32> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let mid = low + (high - low) / 2;
        match body(first + mid).string().cmp(name) {
            std::cmp::Ordering::Equal => return Some(mid),
            std::cmp::Ordering::Less => low = mid + 1,
            std::cmp::Ordering::Greater => high = mid,
        }
    }
    None
}

// The blob is made by our own build.rs from the same commit: its form is an invariant, so indexing and the
// expects below cannot fail on any input from outside.

fn u32_at(at: usize) -> u32 {
    u32::from_le_bytes([BLOB[at], BLOB[at + 1], BLOB[at + 2], BLOB[at + 3]])
}

fn body(n: u32) -> Cursor {
    Cursor { at: u32_at(8 + 4 * n as usize) as usize }
}

struct Cursor {
    at: usize,
}

impl Cursor {
    fn byte(&mut self) -> u8 {
        let b = BLOB[self.at];
        self.at += 1;
        b
    }

    fn varint(&mut self) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let b = self.byte();
            value |= u64::from(b & 0x7f) << shift;
            if b < 0x80 {
                return value;
            }
            shift += 7;
        }
    }

    fn bytes(&mut self) -> &'static [u8] {
        let len = self.varint() as usize;
        let slice = &BLOB[self.at..self.at + len];
        self.at += len;
        slice
    }

    fn string(&mut self) -> &'static str {
        std::str::from_utf8(self.bytes()).expect("build.rs wrote a str")
    }
}

fn decode_message(id: MessageId) -> Message {
    let mut c = body(id);
    let name = c.string();
    let flags = c.byte();
    let oneofs = (0..c.varint()).map(|_| Oneof { name: c.string(), required: c.byte() != 0 }).collect();
    let fields: Box<[Field]> = (0..c.varint())
        .map(|_| {
            let number = c.varint() as u32;
            let name = c.string();
            let json_name = c.string();
            let kind = Kind::from_number(c.byte());
            let flags = c.byte();
            let oneof = c.varint();
            Field {
                number,
                name,
                json_name,
                kind,
                repeated: flags & 1 != 0,
                packed: flags & 2 != 0,
                explicit: flags & 4 != 0,
                deprecated: flags & 8 != 0,
                disallowed: flags & 16 != 0,
                sensitive: flags & 32 != 0,
                map: flags & 64 != 0,
                oneof: (oneof as u16).checked_sub(1),
                target: c.varint() as u32,
                deprecated_at: c.string(),
                rules: c.bytes(),
            }
        })
        .collect();
    let mut names: Vec<(&'static str, u16)> = Vec::with_capacity(fields.len() * 2);
    for (i, field) in fields.iter().enumerate() {
        names.push((field.name, i as u16));
        if field.json_name != field.name {
            names.push((field.json_name, i as u16));
        }
    }
    names.sort_unstable_by_key(|(n, _)| (n.len(), *n));
    Message {
        id,
        name,
        map_entry: flags & 1 != 0,
        well_known: well_known(name),
        rules_disabled: flags & 6 != 0,
        oneofs,
        fields,
        names: names.into(),
        rules: OnceCell::new(),
    }
}

fn well_known(name: &str) -> WellKnown {
    match name.strip_prefix("google.protobuf.") {
        Some("Any") => WellKnown::Any,
        Some("Duration") => WellKnown::Duration,
        Some("Timestamp") => WellKnown::Timestamp,
        Some("Struct") => WellKnown::Struct,
        Some("Value") => WellKnown::Value,
        Some("ListValue") => WellKnown::ListValue,
        Some("FieldMask") => WellKnown::FieldMask,
        Some(
            "BoolValue" | "BytesValue" | "DoubleValue" | "FloatValue" | "Int32Value" | "Int64Value" | "StringValue" | "UInt32Value"
            | "UInt64Value",
        ) => WellKnown::Wrapper,
        _ => WellKnown::None,
    }
}

fn decode_enum(id: u32) -> Enum {
    let mut c = body(message_count() + id);
    let name = c.string();
    let values = (0..c.varint())
        .map(|_| {
            let name = c.string();
            let number = c.varint() as i64 as i32;
            let flags = c.byte();
            c.string();
            EnumValue { name, number, deprecated: flags & 1 != 0, disallowed: flags & 2 != 0 }
        })
        .collect();
    Enum { name, values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_is_described() {
        let cluster = message_by_name("envoy.config.cluster.v3.Cluster").unwrap();
        let name = cluster.field("name").unwrap();
        assert_eq!((name.number, name.kind, name.explicit), (1, Kind::String, false));
        assert!(!name.rules.is_empty());
        let timeout = cluster.field("connectTimeout").unwrap();
        assert_eq!(timeout.name, "connect_timeout");
        assert_eq!(timeout.message().well_known, WellKnown::Duration);
        assert_eq!(cluster.field("lb_policy").unwrap().enumeration().by_name("round_robin").unwrap().number, 0);
        assert!(cluster.field("http2_protocol_options").unwrap().deprecated);
        assert!(cluster.field("typed_extension_protocol_options").unwrap().map);
        assert!(cluster.field("nothing").is_none());
    }

    #[test]
    fn every_body_decodes_and_names_are_sorted() {
        let names: Vec<&str> = message_names().collect();
        assert!(names.is_sorted() && names.len() > 1800);
        for id in 0..message_count() {
            let m = message(id);
            assert_eq!(message_by_name(m.name).unwrap().id, id);
            assert!(m.fields.is_sorted_by_key(|f| f.number));
            for f in &m.fields {
                assert_eq!(m.field_by_number(f.number).map(|i| m.fields[i].number), Some(f.number));
                if f.kind == Kind::Enum {
                    assert!(!f.enumeration().values.is_empty());
                }
            }
        }
    }

    #[test]
    fn extension_options_survive() {
        let source = message_by_name("envoy.extensions.transport_sockets.tls.v3.TlsCertificate").unwrap();
        assert!(source.field("private_key").unwrap().sensitive);
        let disallowed = (0..message_count()).map(message).flat_map(|m| m.fields.iter()).filter(|f| f.disallowed).count();
        assert!(disallowed > 0);
    }
}
