//! Document to wire bytes: checks names, types, enums and oneofs against the table, takes Envoy's leniences, collects every issue.
//!
//! Fields are written by ascending number and map entries by key, so that equal configurations give equal bytes whatever their order or format.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::{
    document::{Document, Entries, Format, NodeId, View},
    issue::{Issue, IssueCode, nearest, show},
    path::{Path, Step},
    places::Places,
    scalar,
    table::{self, Field, Kind, Message, WellKnown},
    wire,
};

/// What to do with a field that Envoy's API does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum UnknownFields {
    /// Refuse (Envoy's default for static configuration).
    #[default]
    Reject,
    /// Report a warning and leave it out (`--allow-unknown-static-fields`; Envoy's default for dynamic configuration).
    Warn,
    /// Leave it out silently (`--ignore-unknown-dynamic-fields`).
    Ignore,
}

/// How many nodes one load may visit beyond four times those that are written: aliases can make a small text large.
const MAX_EXTRA_VISITS: usize = 1_000_000;
/// How many bytes one load may write.
const MAX_OUTPUT: usize = 1 << 30;
/// More errors than this help nobody.
const MAX_ISSUES: usize = 1000;

/// Encodes a document as a message. Issues carry places; the bytes leave out what could not be encoded.
///
/// `before` holds the inputs that this one is merged over: the elements of a list are counted through all of them.
pub(crate) fn encode(doc: &Document, message: &'static Message, unknown: UnknownFields, before: &Places) -> Encoded {
    let mut encoder = Encoder {
        doc,
        unknown,
        before,
        out: Vec::new(),
        issues: Vec::new(),
        path: Path::default(),
        visits: 0,
        stopped: false,
        hidden: 0,
        meant: Vec::new(),
    };
    match doc.view(doc.root()) {
        // Envoy takes an absent document for a mistake, and so an empty file too.
        View::Null => encoder.fail(doc.root(), "the document is empty", "a mapping"),
        View::Bool(_) | View::Number(_) | View::String(_) if message.well_known == WellKnown::None => {
            encoder.fail(doc.root(), "the document is not a mapping", "a mapping");
        }
        _ => encoder.message(doc.root(), message),
    }
    Encoded { bytes: encoder.out, issues: encoder.issues, meant: encoder.meant }
}

/// What [`encode`] made.
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) issues: Vec<Issue>,
    /// Paths that the author may have meant where an unknown name stands: not to be reported as missing too.
    pub(crate) meant: Vec<String>,
}

struct Encoder<'d> {
    doc: &'d Document,
    unknown: UnknownFields,
    before: &'d Places,
    out: Vec<u8>,
    issues: Vec<Issue>,
    path: Path<'d>,
    visits: usize,
    stopped: bool,
    /// Inside so many sensitive fields: values are not shown.
    hidden: usize,
    /// Paths that the author may have meant where an unknown name stands.
    meant: Vec<String>,
}

type Entry = (u16, NodeId, NodeId);

impl<'d> Encoder<'d> {
    fn issue(&mut self, node: NodeId, mut issue: Issue) {
        if self.issues.len() >= MAX_ISSUES {
            self.stopped = true;
            return;
        }
        self.doc.input().place(&mut issue, self.doc.at(node));
        self.issues.push(issue);
    }

    fn fail(&mut self, node: NodeId, message: &str, expected: &str) {
        let issue = Issue::error(IssueCode::ConfigInvalid, self.path.text(), message).expected(expected).got(self.describe(node));
        self.issue(node, issue);
    }

    fn describe(&self, node: NodeId) -> String {
        if self.hidden > 0 { "(hidden)".to_owned() } else { self.doc.describe(node) }
    }

    /// Counts a visit; false once the load has grown beyond its limits.
    fn visit(&mut self, node: NodeId) -> bool {
        self.visits += 1;
        if !self.stopped && (self.visits > self.doc.len() * 4 + MAX_EXTRA_VISITS || self.out.len() > MAX_OUTPUT) {
            self.stopped = true;
            let issue = Issue::error(IssueCode::ConfigInvalid, self.path.text(), "the configuration is too large")
                .hint("aliases may multiply what they name");
            self.issue(node, issue);
        }
        !self.stopped
    }

    /// Writes the fields of `message`, without key and length.
    fn message(&mut self, node: NodeId, message: &'static Message) {
        if !self.visit(node) {
            return;
        }
        let view = self.doc.view(node);
        match (message.well_known, view) {
            (WellKnown::Any, View::Map(entries)) => self.any(node, entries),
            (WellKnown::Struct, View::Map(entries)) => self.struct_fields(entries),
            (WellKnown::Value, _) => self.value(node),
            (WellKnown::ListValue, View::Seq(items)) => self.list_value(items),
            (WellKnown::Duration, View::String(text)) => match scalar::duration(text) {
                Ok((seconds, nanos)) => self.put_seconds(seconds, nanos),
                Err(hint) => {
                    let mut issue = Issue::error(IssueCode::ConfigInvalid, self.path.text(), "not a duration")
                        .expected("seconds with the unit s, such as 0.25s")
                        .got(show(text));
                    issue.hint = hint;
                    self.issue(node, issue);
                }
            },
            (WellKnown::Duration, View::Number(n)) => {
                let issue = Issue::error(IssueCode::ConfigInvalid, self.path.text(), "a duration needs its unit")
                    .expected("seconds with the unit s, such as 0.25s")
                    .got(n)
                    .hint(format!("write {n}s for {n} seconds"));
                self.issue(node, issue);
            }
            (WellKnown::Timestamp, View::String(text)) => match scalar::timestamp(text) {
                Some((seconds, nanos)) => self.put_seconds(seconds, nanos),
                None => self.fail(node, "not a time", "a time such as 2026-01-02T03:04:05Z"),
            },
            (WellKnown::FieldMask, View::String(text)) => {
                for path in text.split(',').filter(|p| !p.is_empty()) {
                    wire::put_bytes(&mut self.out, 1, scalar::snake(path).as_bytes());
                }
            }
            (WellKnown::Wrapper, View::Bool(_) | View::Number(_) | View::String(_)) => {
                // A wrapper has one field.
                if let Some(field) = message.fields.first() {
                    self.scalar(node, field, false);
                }
            }
            (
                WellKnown::None | WellKnown::Duration | WellKnown::Timestamp | WellKnown::FieldMask | WellKnown::Wrapper,
                View::Map(entries),
            ) => {
                self.fields(message, entries, false);
            }
            _ => self.fail(node, "wrong type", &table::describe_message(message)),
        }
    }

    fn put_seconds(&mut self, seconds: i64, nanos: i32) {
        if seconds != 0 {
            wire::put_key(&mut self.out, 1, 0);
            wire::put_varint(&mut self.out, seconds as u64);
        }
        if nanos != 0 {
            wire::put_key(&mut self.out, 2, 0);
            wire::put_varint(&mut self.out, i64::from(nanos) as u64);
        }
    }

    fn fields(&mut self, message: &'static Message, entries: Entries<'d>, in_any: bool) {
        let mut found: SmallVec<[Entry; 16]> = SmallVec::with_capacity(entries.len());
        for (key, value) in entries.iter() {
            let name = self.doc.key(key);
            match message.field_index(name) {
                // A null leaves a field unset, but for those that can hold it.
                Some(index) if matches!(self.doc.view(value), View::Null) && !holds_null(&message.fields[index]) => {}
                Some(index) => found.push((index as u16, key, value)),
                None if in_any && name == "@type" => {}
                None => self.unknown_field(message, key, value, name),
            }
        }
        if found.len() > 1 {
            if !found.is_sorted_by(|a, b| a.0 < b.0) {
                found.sort_by_key(|e| e.0);
                self.duplicates(message, &mut found);
            }
            self.oneofs(message, &found);
        }
        for (index, _, value) in found {
            let field = &message.fields[usize::from(index)];
            self.path.push(Step::Field(field.name));
            self.hidden += usize::from(field.sensitive);
            self.field(value, field);
            self.hidden -= usize::from(field.sensitive);
            self.path.pop();
        }
    }

    fn unknown_field(&mut self, message: &'static Message, key: NodeId, value: NodeId, name: &'d str) {
        if self.unknown == UnknownFields::Ignore {
            return;
        }
        let path = self.path.child(name);
        let text = format!("{} has no field {}", message.name, show(name));
        let mut issue = if self.unknown == UnknownFields::Warn {
            Issue::warning(IssueCode::UnknownField, path, text)
        } else {
            Issue::error(IssueCode::UnknownField, path, text)
        };
        issue.got = Some(self.describe(value));
        issue.hint = if name == "<<" {
            // What is missing here may stand in what was to be merged.
            self.meant.push(self.path.text());
            Some("Envoy does not know YAML merge keys: write the fields out, or use an alias for a whole value".to_owned())
        } else if let Some(near) = nearest(name, message.fields.iter().map(|f| f.name)) {
            self.meant.push(self.path.child(near));
            Some(format!("did you mean {near:?}?"))
        } else {
            removed(message.name, name).map(str::to_owned)
        };
        self.issue(key, issue);
    }

    /// Settles fields that were given more than once, as yaml-cpp and protobuf do, and warns. `found` is sorted by field.
    fn duplicates(&mut self, message: &'static Message, found: &mut SmallVec<[Entry; 16]>) {
        let yaml = self.doc.input().format == Format::Yaml;
        let mut i = 1;
        while i < found.len() {
            let (before, entry) = (found[i - 1], found[i]);
            if before.0 != entry.0 {
                i += 1;
                continue;
            }
            let field = &message.fields[usize::from(entry.0)];
            let same_key = self.doc.key(before.1) == self.doc.key(entry.1);
            // yaml-cpp keeps the last of equal keys; protobuf's JSON reader merges lists and messages.
            let merges = (field.repeated || field.kind == Kind::Message) && !(yaml && same_key);
            let what = if merges { "both are merged" } else { "the last one counts" };
            let issue = Issue::warning(IssueCode::ConfigInvalid, self.path.child(field.name), format!("the field is given twice; {what}"));
            self.issue(entry.1, issue);
            if merges {
                i += 1;
            } else {
                found.remove(i - 1);
            }
        }
    }

    fn oneofs(&mut self, message: &'static Message, found: &[Entry]) {
        if message.oneofs.is_empty() {
            return;
        }
        for (i, (index, key, _)) in found.iter().enumerate() {
            let field = &message.fields[usize::from(*index)];
            let Some(oneof) = field.oneof else { continue };
            let other =
                found[..i].iter().map(|e| &message.fields[usize::from(e.0)]).find(|f| f.oneof == Some(oneof) && f.number != field.number);
            if let Some(other) = other {
                let name = message.oneofs.get(usize::from(oneof)).map_or("", |o| o.name);
                let issue = Issue::error(
                    IssueCode::ConfigInvalid,
                    self.path.child(field.name),
                    format!("{:?} and {:?} exclude each other ({name})", other.name, field.name),
                )
                .hint(format!("remove {:?} or {:?}", other.name, field.name));
                self.issue(*key, issue);
            }
        }
    }

    fn field(&mut self, node: NodeId, field: &'static Field) {
        if field.map {
            match self.doc.view(node) {
                View::Map(entries) => self.map(entries, field),
                _ => self.fail(node, "wrong type", "a mapping"),
            }
        } else if field.repeated {
            let mut index = if self.before.is_empty() { 0 } else { self.before.count(&self.path.text()) };
            if field.packed && matches!(self.doc.view(node), View::Seq(_)) {
                let start = wire::begin(&mut self.out, field.number);
                self.elements(node, field, &mut index);
                if self.out.len() == start {
                    // An empty list leaves no record: `begin` wrote the key and one byte.
                    let mut key = Vec::new();
                    wire::put_key(&mut key, field.number, 2);
                    self.out.truncate(start - 1 - key.len());
                } else {
                    wire::end(&mut self.out, start);
                }
            } else if field.packed {
                let start = wire::begin(&mut self.out, field.number);
                self.elements(node, field, &mut index);
                wire::end(&mut self.out, start);
            } else {
                self.elements(node, field, &mut index);
            }
        } else {
            self.single(node, field);
        }
    }

    /// The elements of a list field. Envoy takes one value for a list of one, and lists within lists for one list.
    fn elements(&mut self, node: NodeId, field: &'static Field, index: &mut usize) {
        let list_type = field.kind == Kind::Message && matches!(field.message().well_known, WellKnown::ListValue | WellKnown::Value);
        match self.doc.view(node) {
            View::Seq(items) if !(list_type && *index > 0) => {
                for item in items {
                    if !self.visit(*item) {
                        return;
                    }
                    if list_type || !matches!(self.doc.view(*item), View::Seq(_)) {
                        self.element(*item, field, index);
                    } else {
                        self.elements(*item, field, index);
                    }
                }
            }
            _ => self.element(node, field, index),
        }
    }

    fn element(&mut self, node: NodeId, field: &'static Field, index: &mut usize) {
        self.path.push(Step::Index(*index));
        *index += 1;
        if field.kind == Kind::Message {
            let start = wire::begin(&mut self.out, field.number);
            if !matches!(self.doc.view(node), View::Null) || field.message().well_known == WellKnown::Value {
                self.message(node, field.message());
            }
            wire::end(&mut self.out, start);
        } else if matches!(self.doc.view(node), View::Null) {
            if !field.packed {
                wire::put_key(&mut self.out, field.number, field.kind.wire_type());
            }
            // The default of every scalar: zero bytes, as many as its wire type has (a length of 0 for text).
            let zeros = match field.kind.wire_type() {
                1 => 8,
                5 => 4,
                _ => 1,
            };
            self.out.resize(self.out.len() + zeros, 0);
        } else {
            self.scalar_value(node, field, true, !field.packed);
        }
        self.path.pop();
    }

    fn single(&mut self, node: NodeId, field: &'static Field) {
        if field.kind == Kind::Message {
            let start = wire::begin(&mut self.out, field.number);
            self.message(node, field.message());
            wire::end(&mut self.out, start);
        } else {
            self.scalar(node, field, field.explicit);
        }
    }

    fn map(&mut self, entries: Entries<'d>, field: &'static Field) {
        let entry = field.message();
        // A map entry has the fields key and value; build.rs took both from the descriptor.
        let (Some(key_field), Some(value_field)) = (entry.fields.first(), entry.fields.get(1)) else { return };
        let mut sorted: Vec<(&'d str, NodeId, NodeId)> = entries.iter().map(|(k, v)| (self.doc.key(k), k, v)).collect();
        sorted.sort_by_key(|e| e.0);
        for i in 0..sorted.len() {
            let (text, key, value) = sorted[i];
            if sorted.get(i + 1).is_some_and(|next| next.0 == text) {
                let issue = Issue::warning(IssueCode::ConfigInvalid, self.path.text(), format!("the key {} is given twice", show(text)))
                    .hint("the last one counts");
                self.issue(key, issue);
                continue;
            }
            self.path.push(Step::Key(Cow::Borrowed(text)));
            let start = wire::begin(&mut self.out, field.number);
            self.map_key(key, text, key_field);
            if !matches!(self.doc.view(value), View::Null) || holds_null(value_field) {
                if value_field.kind == Kind::Message {
                    self.single(value, value_field);
                } else {
                    self.scalar(value, value_field, false);
                }
            }
            wire::end(&mut self.out, start);
            self.path.pop();
        }
    }

    fn map_key(&mut self, key: NodeId, text: &str, field: &'static Field) {
        let ok = match field.kind {
            Kind::String => {
                wire::put_bytes(&mut self.out, field.number, text.as_bytes());
                true
            }
            Kind::Bool => match text {
                "true" | "false" => {
                    wire::put_key(&mut self.out, field.number, 0);
                    self.out.push(u8::from(text == "true"));
                    true
                }
                _ => false,
            },
            kind => match scalar::integer(text).and_then(|n| scalar::encode_integer(kind, n)) {
                Some(raw) => {
                    self.put_raw(field, raw, true);
                    true
                }
                None => false,
            },
        };
        if !ok {
            let issue = Issue::error(IssueCode::ConfigInvalid, self.path.text(), "wrong type of key")
                .expected(table::describe_kind(field.kind))
                .got(show(text));
            self.issue(key, issue);
        }
    }

    /// Writes a scalar; leaves out a default unless `keep_default`.
    fn scalar(&mut self, node: NodeId, field: &'static Field, keep_default: bool) {
        self.scalar_value(node, field, keep_default, true);
    }

    fn scalar_value(&mut self, node: NodeId, field: &'static Field, keep_default: bool, key: bool) {
        let view = self.doc.view(node);
        match field.kind {
            Kind::String => match view {
                View::String(text) => {
                    if keep_default || !text.is_empty() {
                        wire::put_bytes(&mut self.out, field.number, text.as_bytes());
                    }
                }
                View::Number(_) | View::Bool(_) => {
                    let issue = Issue::error(IssueCode::ConfigInvalid, self.path.text(), "wrong type")
                        .expected("a string")
                        .got(self.describe(node))
                        .hint("put it in quotes");
                    self.issue(node, issue);
                }
                _ => self.fail(node, "wrong type", "a string"),
            },
            Kind::Bytes => match view {
                View::String(text) => match scalar::base64_decode(text) {
                    Some(bytes) => {
                        if keep_default || !bytes.is_empty() {
                            wire::put_bytes(&mut self.out, field.number, &bytes);
                        }
                    }
                    None => self.fail(node, "not base64", "base64 text"),
                },
                _ => self.fail(node, "wrong type", "base64 text"),
            },
            Kind::Bool => {
                let value = match view {
                    View::Bool(b) => Some(b),
                    View::String(text) => scalar::boolean(text),
                    _ => None,
                };
                match value {
                    Some(value) => {
                        if keep_default || value {
                            self.put_raw(field, u64::from(value), key);
                        }
                    }
                    None => self.fail(node, "wrong type", "true or false"),
                }
            }
            Kind::Enum => self.enumeration(node, field, keep_default, key),
            Kind::Double | Kind::Float => {
                let value = match view {
                    View::Number(text) | View::String(text) => scalar::float(text),
                    _ => None,
                };
                match value {
                    Some(v) if field.kind == Kind::Float && v.is_finite() && v.abs() > f64::from(f32::MAX) => {
                        self.fail(node, "out of range", "a 32-bit floating-point number");
                    }
                    Some(v) => {
                        // Only positive zero is the default.
                        if keep_default || v.to_bits() != 0 {
                            let raw = if field.kind == Kind::Float { u64::from((v as f32).to_bits()) } else { v.to_bits() };
                            self.put_raw(field, raw, key);
                        }
                    }
                    None => self.fail(node, "wrong type", "a number"),
                }
            }
            kind => {
                let value = match view {
                    View::Number(text) | View::String(text) => scalar::integer(text),
                    _ => None,
                };
                match value.map(|n| (n, scalar::encode_integer(kind, n))) {
                    Some((n, Some(raw))) => {
                        if keep_default || n != 0 {
                            self.put_raw(field, raw, key);
                        }
                    }
                    Some((_, None)) => self.fail(node, "out of range", table::describe_kind(kind)),
                    None => self.fail(node, "wrong type", table::describe_kind(kind)),
                }
            }
        }
    }

    fn put_raw(&mut self, field: &Field, raw: u64, key: bool) {
        let wire_type = field.kind.wire_type();
        if key {
            wire::put_key(&mut self.out, field.number, wire_type);
        }
        match wire_type {
            1 => self.out.extend_from_slice(&raw.to_le_bytes()),
            5 => self.out.extend_from_slice(&(raw as u32).to_le_bytes()),
            _ => wire::put_varint(&mut self.out, raw),
        }
    }

    fn enumeration(&mut self, node: NodeId, field: &'static Field, keep_default: bool, key: bool) {
        let values = field.enumeration();
        let number = match self.doc.view(node) {
            View::String(text) => values.by_name(text).map(|v| v.number).or_else(|| text.parse().ok()),
            View::Number(text) => scalar::integer(text).and_then(|n| i32::try_from(n).ok()),
            View::Null => Some(0),
            _ => return self.fail(node, "wrong type", &format!("a value of {}", values.name)),
        };
        let Some(number) = number else {
            let text = self.doc.describe(node);
            let names: Vec<&str> = values.values.iter().map(|v| v.name).collect();
            let mut issue =
                Issue::error(IssueCode::UnknownField, self.path.text(), format!("{} has no value {text}", values.name)).got(text.clone());
            issue.hint = nearest(&text, names.iter().copied()).map(|n| format!("did you mean {n:?}?"));
            issue.expected = Some(if names.len() > 12 { format!("{}, …", names[..12].join(", ")) } else { names.join(", ") });
            if self.unknown == UnknownFields::Ignore {
                return;
            }
            if self.unknown == UnknownFields::Warn {
                issue.severity = crate::issue::Severity::Warning;
            }
            return self.issue(node, issue);
        };
        if keep_default || number != 0 {
            self.put_raw(field, i64::from(number) as u64, key);
        }
    }

    fn any(&mut self, node: NodeId, entries: Entries<'d>) {
        let Some((_, url_node)) = entries.iter().filter(|(k, _)| self.doc.key(*k) == "@type").last() else {
            if entries.len() > 0 {
                let issue = Issue::error(IssueCode::ConfigInvalid, self.path.text(), "\"@type\" is missing")
                    .expected("\"@type\" with the type's URL, such as type.googleapis.com/envoy.extensions.filters.http.router.v3.Router");
                self.issue(node, issue);
            }
            return;
        };
        let View::String(url) = self.doc.view(url_node) else {
            self.path.push(Step::Field("@type"));
            self.fail(url_node, "wrong type", "a type URL");
            self.path.pop();
            return;
        };
        let Some(message) = self.any_type(url_node, url) else { return };
        wire::put_bytes(&mut self.out, 1, url.as_bytes());
        let start = wire::begin(&mut self.out, 2);
        if message.well_known == WellKnown::None {
            if self.visit(node) {
                self.fields(message, entries, true);
            }
        } else {
            for (key, value) in entries.iter() {
                match self.doc.key(key) {
                    "@type" => {}
                    "value" => {
                        self.path.push(Step::Field("value"));
                        self.message(value, message);
                        self.path.pop();
                    }
                    name => self.unknown_field(message, key, value, name),
                }
            }
        }
        wire::end(&mut self.out, start);
        if self.out.len() == start {
            // An empty value leaves no record.
            self.out.truncate(start - 2);
        }
    }

    fn any_type(&mut self, node: NodeId, url: &'d str) -> Option<&'static Message> {
        let name = url.rsplit_once('/').filter(|(host, _)| !host.is_empty()).map(|(_, name)| name);
        let found = name.and_then(table::message_by_name);
        if found.is_some() {
            return found;
        }
        let path = self.path.child("@type");
        let issue = match name {
            None => Issue::error(IssueCode::ConfigInvalid, path, "a type URL needs a host and a slash")
                .got(show(url))
                .hint(format!("write \"type.googleapis.com/{}\"", url.trim_start_matches('/'))),
            Some(name) => {
                let mut issue = Issue::error(IssueCode::UnknownField, path, "no such type").got(show(url));
                issue.hint = match removed_type(name) {
                    Some(hint) => Some(hint),
                    None => near_type(name).map(|n| format!("did you mean \"type.googleapis.com/{n}\"?")),
                };
                issue
            }
        };
        self.issue(node, issue);
        None
    }

    fn struct_fields(&mut self, entries: Entries<'d>) {
        let mut sorted: Vec<(&'d str, NodeId)> = entries.iter().map(|(k, v)| (self.doc.key(k), v)).collect();
        sorted.sort_by_key(|e| e.0);
        for i in 0..sorted.len() {
            let (key, value) = sorted[i];
            if sorted.get(i + 1).is_some_and(|next| next.0 == key) {
                continue;
            }
            let start = wire::begin(&mut self.out, 1);
            wire::put_bytes(&mut self.out, 1, key.as_bytes());
            let inner = wire::begin(&mut self.out, 2);
            self.value(value);
            wire::end(&mut self.out, inner);
            wire::end(&mut self.out, start);
        }
    }

    fn list_value(&mut self, items: &'d [NodeId]) {
        for item in items {
            let start = wire::begin(&mut self.out, 1);
            self.value(*item);
            wire::end(&mut self.out, start);
        }
    }

    /// The content of a `google.protobuf.Value`.
    fn value(&mut self, node: NodeId) {
        if !self.visit(node) {
            return;
        }
        match self.doc.view(node) {
            View::Null => self.out.extend_from_slice(&[0x08, 0]),
            View::Number(text) => match scalar::float(text) {
                Some(v) => {
                    self.out.push(0x11);
                    self.out.extend_from_slice(&v.to_le_bytes());
                }
                None => self.fail(node, "out of range", "a number"),
            },
            View::String(text) => wire::put_bytes(&mut self.out, 3, text.as_bytes()),
            View::Bool(b) => self.out.extend_from_slice(&[0x20, u8::from(b)]),
            View::Map(entries) => {
                let start = wire::begin(&mut self.out, 5);
                self.struct_fields(entries);
                wire::end(&mut self.out, start);
            }
            View::Seq(items) => {
                let start = wire::begin(&mut self.out, 6);
                self.list_value(items);
                wire::end(&mut self.out, start);
            }
        }
    }
}

fn holds_null(field: &Field) -> bool {
    match field.kind {
        Kind::Message => !field.repeated && field.message().well_known == WellKnown::Value,
        Kind::Enum => field.enumeration().name == "google.protobuf.NullValue",
        _ => false,
    }
}

/// Advice for fields of Envoy's older API that v3 does not have.
fn removed(message: &str, name: &str) -> Option<&'static str> {
    Some(match (message, name) {
        (_, "config") => "v2's \"config\" became \"typed_config\" with \"@type\"",
        ("envoy.config.cluster.v3.Cluster", "hosts") => "v2's \"hosts\" became \"load_assignment\"",
        ("envoy.config.cluster.v3.Cluster", "tls_context") | ("envoy.config.listener.v3.FilterChain", "tls_context") => {
            "v2's \"tls_context\" became \"transport_socket\""
        }
        ("envoy.config.route.v3.RouteMatch", "regex") => "v2's \"regex\" became \"safe_regex\"",
        ("envoy.config.route.v3.HeaderMatcher", "regex_match") => "v2's \"regex_match\" became \"string_match\" with \"safe_regex\"",
        _ => return None,
    })
}

fn removed_type(name: &str) -> Option<String> {
    let v2 = name.starts_with("envoy.config.filter.") || name.starts_with("envoy.api.v2") || name.ends_with(".v2");
    v2.then(|| match near_type(&name.replace(".v2alpha", ".v3").replace(".v2", ".v3")) {
        Some(near) => format!("Envoy's v2 API is gone; did you mean \"type.googleapis.com/{near}\"?"),
        None => "Envoy's v2 API is gone; use the v3 type".to_owned(),
    })
}

/// The type that ends in the most segments of this name, else one that is written much like it.
fn near_type(name: &str) -> Option<&'static str> {
    let known = || table::message_names().filter(|n| n.starts_with("envoy."));
    let shared = |n: &str| n.rsplit('.').zip(name.rsplit('.')).take_while(|(a, b)| a == b).count();
    let best = known().map(shared).max().filter(|s| *s > 0);
    let mut of_best = known().filter(|n| Some(shared(n)) == best);
    match (best, of_best.next(), of_best.next()) {
        (Some(_), Some(only), None) => Some(only),
        (Some(_), ..) => nearest(name, known().filter(|n| Some(shared(n)) == best)).or_else(|| nearest(name, known())),
        (None, ..) => nearest(name, known()),
    }
}
