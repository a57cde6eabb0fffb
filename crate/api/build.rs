//! Turns Envoy's descriptor set into prost message types and into one compact table of names, types and rules.
use std::{collections::BTreeMap, env, error::Error, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    let path = "proto/envoy.fds.bin";
    println!("cargo::rerun-if-changed={path}");
    println!("cargo::rerun-if-changed=build.rs");
    let bytes = fs::read(path)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("table.bin"), table(&desc::Set::decode(bytes.as_slice())?)?)?;

    let set = prost_types::FileDescriptorSet::decode(bytes.as_slice())?;
    let mut config = prost_build::Config::new();
    config.include_file("proto.rs");
    // Ordered maps: an equal message always encodes to equal bytes, so that hashes can be compared.
    config.btree_map(["."]);
    config.enable_type_names();
    config.out_dir(out);
    config.compile_fds(set)?;
    Ok(())
}

/// The parts of descriptor.proto that the table needs, with the options that prost-types drops because they are extensions.
mod desc {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Set {
        #[prost(message, repeated, tag = "1")]
        pub files: Vec<File>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct File {
        #[prost(string, tag = "2")]
        pub package: String,
        #[prost(message, repeated, tag = "4")]
        pub messages: Vec<Msg>,
        #[prost(message, repeated, tag = "5")]
        pub enums: Vec<Enum>,
        #[prost(string, tag = "12")]
        pub syntax: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Msg {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(message, repeated, tag = "2")]
        pub fields: Vec<Field>,
        #[prost(message, repeated, tag = "3")]
        pub messages: Vec<Msg>,
        #[prost(message, repeated, tag = "4")]
        pub enums: Vec<Enum>,
        #[prost(message, optional, tag = "7")]
        pub options: Option<MsgOptions>,
        #[prost(message, repeated, tag = "8")]
        pub oneofs: Vec<Oneof>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct MsgOptions {
        #[prost(bool, tag = "7")]
        pub map_entry: bool,
        #[prost(bool, tag = "1071")]
        pub disabled: bool,
        #[prost(bool, tag = "1072")]
        pub ignored: bool,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Field {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(int32, tag = "3")]
        pub number: i32,
        #[prost(int32, tag = "4")]
        pub label: i32,
        #[prost(int32, tag = "5")]
        pub kind: i32,
        #[prost(string, tag = "6")]
        pub type_name: String,
        #[prost(message, optional, tag = "8")]
        pub options: Option<FieldOptions>,
        #[prost(int32, optional, tag = "9")]
        pub oneof: Option<i32>,
        #[prost(string, tag = "10")]
        pub json_name: String,
        #[prost(bool, tag = "17")]
        pub proto3_optional: bool,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct FieldOptions {
        #[prost(bool, optional, tag = "2")]
        pub packed: Option<bool>,
        #[prost(bool, tag = "3")]
        pub deprecated: bool,
        /// `validate.rules`, kept as bytes; decoded on first use at run time.
        #[prost(bytes = "vec", tag = "1071")]
        pub rules: Vec<u8>,
        /// `udpa.annotations.sensitive`
        #[prost(bool, tag = "76569463")]
        pub sensitive: bool,
        /// `envoy.annotations.deprecated_at_minor_version`
        #[prost(string, tag = "157299826")]
        pub deprecated_at: String,
        /// `envoy.annotations.disallowed_by_default`
        #[prost(bool, tag = "189503207")]
        pub disallowed: bool,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Oneof {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(message, optional, tag = "2")]
        pub options: Option<OneofOptions>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct OneofOptions {
        #[prost(bool, tag = "1071")]
        pub required: bool,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Enum {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(message, repeated, tag = "2")]
        pub values: Vec<Value>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Value {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(int32, tag = "2")]
        pub number: i32,
        #[prost(message, optional, tag = "3")]
        pub options: Option<ValueOptions>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ValueOptions {
        #[prost(bool, tag = "1")]
        pub deprecated: bool,
        /// `envoy.annotations.disallowed_by_default_enum`
        #[prost(bool, tag = "70100853")]
        pub disallowed: bool,
        /// `envoy.annotations.deprecated_at_minor_version_enum`
        #[prost(string, tag = "181198657")]
        pub deprecated_at: String,
    }
}

/// The numbers of `FieldDescriptorProto.Type` and `.Label` that matter here.
const TYPE_GROUP: i32 = 10;
const TYPE_MESSAGE: i32 = 11;
const TYPE_STRING: i32 = 9;
const TYPE_BYTES: i32 = 12;
const TYPE_ENUM: i32 = 14;
const LABEL_REPEATED: i32 = 3;

/// Lays out the table; `src/table.rs` reads it and documents the format.
fn table(set: &desc::Set) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut messages = BTreeMap::new();
    let mut enums = BTreeMap::new();
    for file in &set.files {
        let proto3 = file.syntax == "proto3";
        for message in &file.messages {
            collect(&file.package, message, proto3, &mut messages, &mut enums);
        }
        for e in &file.enums {
            enums.insert(join(&file.package, &e.name), e);
        }
    }
    let message_index: BTreeMap<&str, usize> = messages.keys().enumerate().map(|(i, n)| (n.as_str(), i)).collect();
    let enum_index: BTreeMap<&str, usize> = enums.keys().enumerate().map(|(i, n)| (n.as_str(), i)).collect();

    let mut bodies: Vec<Vec<u8>> = Vec::new();
    for (name, (message, proto3)) in &messages {
        let mut b = Vec::new();
        string(&mut b, name);
        let options = message.options.clone().unwrap_or_default();
        b.push(u8::from(options.map_entry) | u8::from(options.disabled) << 1 | u8::from(options.ignored) << 2);
        // Synthetic oneofs of proto3 `optional` come last in a descriptor and have exactly one such field: left out.
        let synthetic: Vec<i32> = message.fields.iter().filter(|f| f.proto3_optional).filter_map(|f| f.oneof).collect();
        let real = message.oneofs.len() - synthetic.len();
        varint(&mut b, real as u64);
        for oneof in &message.oneofs[..real] {
            string(&mut b, &oneof.name);
            b.push(u8::from(oneof.options.as_ref().is_some_and(|o| o.required)));
        }
        varint(&mut b, message.fields.len() as u64);
        let mut fields: Vec<&desc::Field> = message.fields.iter().collect();
        fields.sort_by_key(|f| f.number);
        for field in fields {
            let options = field.options.clone().unwrap_or_default();
            let is_message = field.kind == TYPE_MESSAGE || field.kind == TYPE_GROUP;
            let type_name = field.type_name.trim_start_matches('.');
            let target = if is_message {
                *message_index.get(type_name).ok_or_else(|| format!("{name}.{}: no message {type_name}", field.name))?
            } else if field.kind == TYPE_ENUM {
                *enum_index.get(type_name).ok_or_else(|| format!("{name}.{}: no enum {type_name}", field.name))?
            } else {
                0
            };
            let repeated = field.label == LABEL_REPEATED;
            let map =
                repeated && is_message && messages.get(type_name).is_some_and(|(m, _)| m.options.as_ref().is_some_and(|o| o.map_entry));
            let scalar = !is_message && field.kind != TYPE_STRING && field.kind != TYPE_BYTES;
            let packed = repeated && scalar && options.packed.unwrap_or(*proto3);
            let oneof = if field.proto3_optional { None } else { field.oneof };
            let explicit = !repeated && (is_message || oneof.is_some() || field.proto3_optional || !proto3);
            varint(&mut b, field.number as u64);
            string(&mut b, &field.name);
            string(&mut b, &if field.json_name.is_empty() { camel(&field.name) } else { field.json_name.clone() });
            b.push(field.kind as u8);
            b.push(
                u8::from(repeated)
                    | u8::from(packed) << 1
                    | u8::from(explicit) << 2
                    | u8::from(options.deprecated) << 3
                    | u8::from(options.disallowed) << 4
                    | u8::from(options.sensitive) << 5
                    | u8::from(map) << 6,
            );
            varint(&mut b, oneof.map_or(0, |o| o as u64 + 1));
            varint(&mut b, target as u64);
            string(&mut b, &options.deprecated_at);
            varint(&mut b, options.rules.len() as u64);
            b.extend_from_slice(&options.rules);
        }
        bodies.push(b);
    }
    for (name, e) in &enums {
        let mut b = Vec::new();
        string(&mut b, name);
        varint(&mut b, e.values.len() as u64);
        for value in &e.values {
            let options = value.options.clone().unwrap_or_default();
            string(&mut b, &value.name);
            varint(&mut b, value.number as i64 as u64);
            b.push(u8::from(options.deprecated) | u8::from(options.disallowed) << 1);
            string(&mut b, &options.deprecated_at);
        }
        bodies.push(b);
    }

    let mut out = Vec::new();
    out.extend_from_slice(&u32::try_from(messages.len())?.to_le_bytes());
    out.extend_from_slice(&u32::try_from(enums.len())?.to_le_bytes());
    let mut offset = 8 + 4 * bodies.len();
    for body in &bodies {
        out.extend_from_slice(&u32::try_from(offset)?.to_le_bytes());
        offset += body.len();
    }
    for body in &bodies {
        out.extend_from_slice(body);
    }
    Ok(out)
}

fn collect<'a>(
    scope: &str,
    message: &'a desc::Msg,
    proto3: bool,
    messages: &mut BTreeMap<String, (&'a desc::Msg, bool)>,
    enums: &mut BTreeMap<String, &'a desc::Enum>,
) {
    let name = join(scope, &message.name);
    for nested in &message.messages {
        collect(&name, nested, proto3, messages, enums);
    }
    for e in &message.enums {
        enums.insert(join(&name, &e.name), e);
    }
    messages.insert(name, (message, proto3));
}

fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

fn camel(name: &str) -> String {
    let mut out = String::new();
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else if upper {
            out.push(c.to_ascii_uppercase());
            upper = false;
        } else {
            out.push(c);
        }
    }
    out
}

fn varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

fn string(out: &mut Vec<u8>, s: &str) {
    varint(out, s.len() as u64);
    out.extend_from_slice(s.as_bytes());
}
