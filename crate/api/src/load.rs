//! The entrances: texts or bytes in, checked wire bytes, messages and places out.

use std::sync::Arc;

use bytes::Bytes;
use prost::{Message as _, Name};

use crate::{
    check::{self, has_error},
    document::{Document, Format, Input},
    encode::{self, UnknownFields},
    issue::{Issue, IssueCode, Severity},
    places::Places,
    proto::envoy::config::bootstrap::v3::{Bootstrap, bootstrap::StaticResources},
    support::Support,
    table,
    wire::{Reader, Value},
};

/// How to read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// What the engine implements; `None` checks Envoy's schema and rules only (`plenipo validate --schema`).
    pub support: Option<&'a Support>,
    /// What to do with fields that Envoy's API does not have.
    pub unknown_fields: UnknownFields,
}

/// A message that was read and checked.
#[derive(Debug)]
pub struct Loaded {
    /// The message in its wire form. Equal configurations in YAML, JSON or from JS give equal bytes (fields by number, map entries by key,
    /// defaults left out), but for several merged inputs.
    pub bytes: Bytes,
    /// What does not stop the load: deprecated fields, fields given twice.
    pub warnings: Vec<Issue>,
    /// Finds the place of a path.
    pub places: Places,
}

/// Reads a message by its full name, such as `envoy.config.cluster.v3.Cluster`.
///
/// Several inputs are merged as Envoy merges `--config-yaml` over `-c`: lists append, single fields override. All issues are returned at once,
/// those of broken syntax, schema, rules and support, in the order of the files. Never panics, whatever the input.
pub fn read(full_name: &str, inputs: Vec<Input>, options: &Options<'_>) -> Result<Loaded, Vec<Issue>> {
    let Some(message) = table::message_by_name(full_name) else {
        return Err(vec![Issue::error(IssueCode::ConfigInvalid, "", format!("Envoy's API has no message {full_name}"))]);
    };
    let inputs: Vec<Arc<Input>> = inputs.into_iter().map(Arc::new).collect();
    let mut bytes = Vec::new();
    let mut issues = Vec::new();
    let mut meant = Vec::new();
    let mut broken_syntax = false;
    for (i, input) in inputs.iter().enumerate() {
        if input.format == Format::Binary {
            bytes.extend_from_slice(&input.bytes);
            continue;
        }
        match Document::parse(Arc::clone(input)) {
            Ok(doc) => {
                let encoded = encode::encode(&doc, message, options.unknown_fields, &Places::new(inputs[..i].to_vec()));
                if bytes.is_empty() {
                    bytes = encoded.bytes;
                } else {
                    bytes.extend_from_slice(&encoded.bytes);
                }
                issues.extend(encoded.issues);
                meant.extend(encoded.meant);
            }
            Err(issue) => {
                broken_syntax = true;
                issues.push(*issue);
            }
        }
    }
    let places = Places::new(inputs);
    // What is missing after broken syntax may stand in the part that could not be read.
    if !broken_syntax {
        meant.extend(issues.iter().filter(|i| i.severity == Severity::Error).map(|i| i.path.clone()));
        let mut found = check::check(message, &bytes, options.support, options.unknown_fields);
        found.retain(|issue| issue.code == IssueCode::Unsupported || !meant.iter().any(|m| related(m, &issue.path)));
        places.annotate_all(&mut found);
        issues.extend(found);
    }
    let order = |i: &Issue| (places.index(i), i.line, i.column);
    issues.sort_by_key(order);
    if has_error(&issues) {
        return Err(issues);
    }
    Ok(Loaded { bytes: bytes.into(), warnings: issues, places })
}

/// Reads names and types of one input and no more: what the messages inside say is not held to any rule, [`check`] does that. For a message
/// that carries others, each of which is judged alone.
pub fn parse(full_name: &str, input: Input, unknown: UnknownFields) -> Result<Loaded, Vec<Issue>> {
    let Some(message) = table::message_by_name(full_name) else {
        return Err(vec![Issue::error(IssueCode::ConfigInvalid, "", format!("Envoy's API has no message {full_name}"))]);
    };
    let input = Arc::new(input);
    let places = Places::new(vec![input.clone()]);
    if input.format == Format::Binary {
        return Ok(Loaded { bytes: Bytes::copy_from_slice(&input.bytes), warnings: Vec::new(), places });
    }
    let doc = Document::parse(input).map_err(|issue| vec![*issue])?;
    let encoded = encode::encode(&doc, message, unknown, &Places::default());
    if has_error(&encoded.issues) {
        return Err(encoded.issues);
    }
    Ok(Loaded { bytes: encoded.bytes.into(), warnings: encoded.issues, places })
}

/// Whether one path is the other or lies inside it.
fn related(a: &str, b: &str) -> bool {
    let inside = |outer: &str, inner: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || outer.is_empty() || rest.starts_with(['.', '[']))
    };
    inside(a, b) || inside(b, a)
}

/// Reads a message as its Rust type.
///
/// `M` decides the full name: `read_message::<Cluster>(vec![Input::object(json)], &options)`.
pub fn read_message<M: prost::Message + Default + Name>(inputs: Vec<Input>, options: &Options<'_>) -> Result<(M, Loaded), Vec<Issue>> {
    let loaded = read(&M::full_name(), inputs, options)?;
    let message = M::decode(loaded.bytes.clone()).map_err(|e| vec![undecodable(&e)])?;
    Ok((message, loaded))
}

/// Checks a message that is already in its wire form, as xDS delivers it. Returns the warnings, or every issue if there is an error.
pub fn check(full_name: &str, bytes: &[u8], options: &Options<'_>) -> Result<Vec<Issue>, Vec<Issue>> {
    let Some(message) = table::message_by_name(full_name) else {
        return Err(vec![Issue::error(IssueCode::ConfigInvalid, "", format!("Envoy's API has no message {full_name}"))]);
    };
    let issues = check::check(message, bytes, options.support, options.unknown_fields);
    if has_error(&issues) { Err(issues) } else { Ok(issues) }
}

/// The type name and wire bytes of an extension's configuration: those in the `Any`, or, where it holds a `TypedStruct`
/// (`xds.type.v3` or `udpa.type.v1`), those of the message that it stands for. Paths of issues are within that message.
pub fn unpack(any: &prost_types::Any) -> Result<(&'static str, Bytes), Vec<Issue>> {
    let unknown_type = |url: &str| vec![Issue::error(IssueCode::UnknownField, "@type", "no such type").got(crate::issue::show(url))];
    let message = table::message_by_type_url(&any.type_url).ok_or_else(|| unknown_type(&any.type_url))?;
    if !check::is_typed_struct(message) {
        return Ok((message.name, Bytes::copy_from_slice(&any.value)));
    }
    let malformed = |_| vec![Issue::error(IssueCode::ConfigInvalid, "", "not an encoded protobuf message")];
    let (url, structure) = check::any_parts(&any.value).map_err(malformed)?;
    let message = table::message_by_type_url(url).ok_or_else(|| unknown_type(url))?;
    let (bytes, issues) = check::typed_struct_bytes(message, structure, UnknownFields::Reject).map_err(malformed)?;
    if has_error(&issues) { Err(issues) } else { Ok((message.name, bytes.into())) }
}

/// Whether an extension's configuration is that of an HTTP filter of Envoy's API, known to the engine or not.
pub fn is_http_filter(any: &prost_types::Any) -> bool {
    check::is_http_filter(&any.type_url, &any.value)
}

fn undecodable(error: &prost::DecodeError) -> Issue {
    Issue::error(IssueCode::ConfigInvalid, "", format!("the message cannot be decoded: {error}"))
}

/// One static resource in its wire form.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its path in the bootstrap, such as `static_resources.clusters[3]`; put it before the paths of issues found later.
    pub path: String,
    /// The encoded message; a slice of the bootstrap's bytes.
    pub bytes: Bytes,
}

impl Resource {
    /// Decodes it: `Cluster`, `Listener` or `Secret`.
    pub fn decode<M: prost::Message + Default>(&self) -> Result<M, Vec<Issue>> {
        M::decode(self.bytes.clone()).map_err(|e| vec![Issue { path: self.path.clone(), ..undecodable(&e) }])
    }
}

/// A bootstrap that was read and checked, with its static resources apart: ten thousand decoded clusters would take more memory
/// than all the rest, so decode one, compile it, drop it.
#[derive(Debug)]
pub struct LoadedBootstrap {
    /// Everything but `static_resources`, which is `None` here.
    pub bootstrap: Bootstrap,
    /// `static_resources.clusters`
    pub clusters: Vec<Resource>,
    /// `static_resources.listeners`
    pub listeners: Vec<Resource>,
    /// `static_resources.secrets`
    pub secrets: Vec<Resource>,
    /// The bootstrap without `static_resources` in its wire form, for `/config_dump`.
    pub bytes: Bytes,
    /// What does not stop the load.
    pub warnings: Vec<Issue>,
    /// Finds the place of a path.
    pub places: Places,
}

impl LoadedBootstrap {
    /// The whole bootstrap, `static_resources` included.
    pub fn whole(&self) -> Result<Bootstrap, Vec<Issue>> {
        let mut bootstrap = self.bootstrap.clone();
        let mut resources = StaticResources::default();
        for r in &self.clusters {
            resources.clusters.push(r.decode()?);
        }
        for r in &self.listeners {
            resources.listeners.push(r.decode()?);
        }
        for r in &self.secrets {
            resources.secrets.push(r.decode()?);
        }
        bootstrap.static_resources = Some(resources);
        Ok(bootstrap)
    }
}

/// Reads `envoy.yaml` and what is merged over it.
pub fn read_bootstrap(inputs: Vec<Input>, options: &Options<'_>) -> Result<LoadedBootstrap, Vec<Issue>> {
    let loaded = read("envoy.config.bootstrap.v3.Bootstrap", inputs, options)?;
    split(loaded)
}

/// The field numbers of `Bootstrap.static_resources` and of the lists in it; a test compares them with the table.
const STATIC_RESOURCES: u32 = 2;
const LISTENERS: u32 = 1;
const CLUSTERS: u32 = 2;
const SECRETS: u32 = 3;

fn split(loaded: Loaded) -> Result<LoadedBootstrap, Vec<Issue>> {
    let malformed = || vec![Issue::error(IssueCode::ConfigInvalid, "", "not an encoded bootstrap")];
    let Loaded { bytes, warnings, places } = loaded;
    let (mut clusters, mut listeners, mut secrets) = (Vec::new(), Vec::new(), Vec::new());
    let (rest, parts) = part(&bytes, STATIC_RESOURCES).ok_or_else(malformed)?;
    for resources in parts {
        let mut reader = Reader::new(resources);
        while let Some((number, value)) = reader.next().map_err(|_| malformed())? {
            let Value::Bytes(resource) = value else { return Err(malformed()) };
            let (list, name) = match number {
                LISTENERS => (&mut listeners, "listeners"),
                CLUSTERS => (&mut clusters, "clusters"),
                SECRETS => (&mut secrets, "secrets"),
                _ => continue,
            };
            let path = format!("static_resources.{name}[{}]", list.len());
            list.push(Resource { path, bytes: bytes.slice_ref(resource) });
        }
    }
    let rest = Bytes::from(rest);
    let bootstrap = Bootstrap::decode(rest.clone()).map_err(|e| vec![undecodable(&e)])?;
    Ok(LoadedBootstrap { bootstrap, clusters, listeners, secrets, bytes: rest, warnings, places })
}

/// Takes a message field out of an encoded message: the bytes without it, and each of its values, still encoded. `None` where the bytes are
/// no message. A large list can so be decoded one element at a time.
pub fn part(message: &[u8], field: u32) -> Option<(Vec<u8>, Vec<&[u8]>)> {
    let (mut rest, mut values) = (Vec::new(), Vec::new());
    let mut reader = Reader::new(message);
    while let Some((number, value)) = reader.next().ok()? {
        match value {
            Value::Bytes(bytes) if number == field => values.push(bytes),
            value => put(&mut rest, number, value),
        }
    }
    Some((rest, values))
}

fn put(out: &mut Vec<u8>, number: u32, value: Value<'_>) {
    use crate::wire::{put_bytes, put_key, put_varint};
    match value {
        Value::Varint(v) => {
            put_key(out, number, 0);
            put_varint(out, v);
        }
        Value::Fixed64(v) => {
            put_key(out, number, 1);
            out.extend_from_slice(&v.to_le_bytes());
        }
        Value::Bytes(b) => put_bytes(out, number, b),
        Value::Fixed32(v) => {
            put_key(out, number, 5);
            out.extend_from_slice(&v.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_numbers_are_those_of_the_table() {
        let bootstrap = table::message_by_name("envoy.config.bootstrap.v3.Bootstrap").unwrap();
        let resources = bootstrap.field("static_resources").unwrap();
        assert_eq!(resources.number, STATIC_RESOURCES);
        for (name, number) in [("listeners", LISTENERS), ("clusters", CLUSTERS), ("secrets", SECRETS)] {
            assert_eq!(resources.message().field(name).unwrap().number, number);
        }
        assert_eq!(resources.message().fields.len(), 3);
    }

    #[test]
    fn a_field_is_taken_out() {
        use crate::wire::{put_bytes, put_key, put_varint};
        let mut message = Vec::new();
        put_bytes(&mut message, 1, b"name");
        put_bytes(&mut message, 2, b"first");
        put_key(&mut message, 3, 0);
        put_varint(&mut message, 300);
        put_bytes(&mut message, 2, b"second");
        let (rest, values) = part(&message, 2).unwrap();
        assert_eq!(values, [b"first".as_slice(), b"second"]);
        assert_eq!(part(&rest, 2).unwrap(), (rest.clone(), vec![]));
        assert_eq!(rest.len() + 2 * 2 + 5 + 6, message.len());
        assert!(part(&message[..message.len() - 1], 2).is_none());
    }

    #[test]
    fn relations_of_paths() {
        for (a, b, want) in
            [("a.b", "a.b", true), ("a", "a.b", true), ("a[0]", "a", true), ("a.b", "a.bc", false), ("", "a", true), ("a", "b", false)]
        {
            assert_eq!(related(a, b), want, "{a} {b}");
        }
    }
}
