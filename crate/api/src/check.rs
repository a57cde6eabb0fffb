//! The walk over wire bytes: validate rules, deprecations, unknown fields, and what the engine does not support.
//!
//! It works on bytes, not on a document, so that it serves YAML, JSON, binary files and xDS alike, after several inputs were merged.

use std::{borrow::Cow, collections::HashSet, sync::Arc};

use smallvec::SmallVec;

use crate::{
    document::{Document, Input},
    encode::{self, UnknownFields},
    issue::{Issue, IssueCode, Severity, nearest, show},
    path::{Path, Step},
    places::Places,
    rules::{Broken, Check, FieldRule, nanos},
    scalar,
    support::Support,
    table::{self, Field, Kind, Message, WellKnown},
    wire::{Malformed, Reader, Value, unzigzag},
};

/// How deep messages and map entries may nest: the prost decoder's own limit is 100. A value inside an `Any` is decoded apart.
const MAX_DEPTH: usize = 90;
/// How deep messages may nest through every `Any`, for the stack's sake.
const MAX_TOTAL_DEPTH: usize = 300;
const MAX_ISSUES: usize = 1000;

/// Checks an encoded message; issues have paths but no places.
pub(crate) fn check(message: &'static Message, bytes: &[u8], support: Option<&Support>, unknown: UnknownFields) -> Vec<Issue> {
    // Envoy reads the bootstrap before its runtime.
    let lenient = message.name == "envoy.config.bootstrap.v3.Bootstrap";
    let mut checker = Checker {
        support,
        unknown,
        lenient,
        issues: Vec::new(),
        path: Path::default(),
        hidden: 0,
        depth: 0,
        total: 0,
        quiet: 0,
        rules_off: 0,
        optional: false,
    };
    checker.message(message, bytes);
    checker.issues
}

struct Checker<'s> {
    support: Option<&'s Support>,
    unknown: UnknownFields,
    issues: Vec<Issue>,
    path: Path<'static>,
    /// Inside so many sensitive fields: values are not shown.
    hidden: usize,
    depth: usize,
    total: usize,
    /// In the bootstrap itself, which Envoy reads before its runtime: what is deprecated for good is only warned about there.
    lenient: bool,
    /// Inside so many unsupported fields: what is below them is not reported as unsupported again.
    quiet: usize,
    /// Inside so many fields whose rules are skipped.
    rules_off: usize,
    /// In an `HttpFilter` or `FilterConfig` that is left out where nobody knows the filter.
    optional: bool,
}

type Record<'b> = (u16, Value<'b>);

impl Checker<'_> {
    fn issue(&mut self, issue: Issue) {
        if self.issues.len() < MAX_ISSUES {
            self.issues.push(issue);
        }
    }

    fn malformed(&mut self) {
        let issue = Issue::error(IssueCode::ConfigInvalid, self.path.text(), "not an encoded protobuf message");
        self.issue(issue);
    }

    fn message(&mut self, message: &'static Message, bytes: &[u8]) {
        self.depth += 1;
        self.total += 1;
        if self.depth > MAX_DEPTH || self.total > MAX_TOTAL_DEPTH {
            let issue = Issue::error(IssueCode::ConfigInvalid, self.path.text(), "nested too deep")
                .expected("at most 90 messages, of which each level of a Struct takes three");
            self.issue(issue);
        } else if message.well_known == WellKnown::Any {
            self.any(bytes);
        } else if self.fields(message, bytes).is_err() {
            self.malformed();
        }
        self.depth -= 1;
        self.total -= 1;
    }

    fn fields(&mut self, message: &'static Message, bytes: &[u8]) -> Result<(), Malformed> {
        let mut records: SmallVec<[Record<'_>; 16]> = SmallVec::new();
        let mut reader = Reader::new(bytes);
        while let Some((number, value)) = reader.next()? {
            match message.field_by_number(number) {
                Some(index) => records.push((index as u16, value)),
                None => self.unknown_number(message, number),
            }
        }
        if !records.is_sorted_by_key(|r| r.0) {
            records.sort_by_key(|r| r.0);
        }
        self.optional = is_optional(message, &records);
        let rules = message.rules();
        let mut rule_at = 0;
        let mut at = 0;
        while at < records.len() {
            let index = records[at].0;
            let end = at + records[at..].iter().take_while(|r| r.0 == index).count();
            while rule_at < rules.fields.len() && rules.fields[rule_at].0 < index {
                let (absent, rule) = &rules.fields[rule_at];
                self.absent(&message.fields[usize::from(*absent)], rule);
                rule_at += 1;
            }
            let rule = rules.fields.get(rule_at).filter(|r| r.0 == index).map(|r| &r.1);
            rule_at += usize::from(rule.is_some());
            self.field(message, usize::from(index), &records[at..end], rule)?;
            at = end;
        }
        for (absent, rule) in &rules.fields[rule_at..] {
            self.absent(&message.fields[usize::from(*absent)], rule);
        }
        for index in &rules.deprecated_defaults {
            let field = &message.fields[usize::from(*index)];
            if !records.iter().any(|r| r.0 == *index) {
                self.path.push(Step::Field(field.name));
                self.enumeration(field, Value::Varint(0));
                self.path.pop();
            }
        }
        for oneof in &rules.required_oneofs {
            if !records.iter().any(|r| message.fields[usize::from(r.0)].oneof == Some(*oneof)) && self.rules_off == 0 {
                let choices: Vec<&str> =
                    message.fields.iter().filter(|f| f.oneof == Some(*oneof) && !f.deprecated).map(|f| f.name).collect();
                let issue = Issue::error(IssueCode::ConfigInvalid, self.path.text(), "a required choice is missing")
                    .expected(format!("one of {}", choices.join(", ")));
                self.issue(issue);
            }
        }
        Ok(())
    }

    fn unknown_number(&mut self, message: &Message, number: u32) {
        let text = format!("{} has no field number {number}", message.name);
        match self.unknown {
            UnknownFields::Ignore => {}
            UnknownFields::Warn => self.issue(Issue::warning(IssueCode::UnknownField, self.path.text(), text)),
            UnknownFields::Reject => self.issue(Issue::error(IssueCode::UnknownField, self.path.text(), text)),
        }
    }

    /// The rules of a field that is not set: protobuf takes it for its default.
    fn absent(&mut self, field: &'static Field, rule: &FieldRule) {
        // A member of a oneof has rules only while it is the one that is set.
        if self.rules_off > 0 || field.oneof.is_some() {
            return;
        }
        let broken = if rule.required {
            Some(field.describe())
        } else {
            match &rule.check {
                Check::Repeated { min, ignore_empty: false, .. } | Check::Map { min, ignore_empty: false, .. } if *min > 0 => {
                    Some(format!("at least {min} element{}", if *min == 1 { "" } else { "s" }))
                }
                _ if field.explicit || field.repeated => None,
                check => scalar_check(check, field, default(field.kind)).err().map(|b| b.0),
            }
        };
        if let Some(expected) = broken {
            let issue =
                Issue::error(IssueCode::ConfigInvalid, self.path.child(field.name), "a required field is missing").expected(expected);
            self.issue(issue);
        }
    }

    fn field(
        &mut self,
        message: &'static Message,
        index: usize,
        records: &[Record<'_>],
        rule: Option<&FieldRule>,
    ) -> Result<(), Malformed> {
        let field = &message.fields[index];
        // The author of a Struct wrote `a: {b: 1}`, and knows nothing of its inner fields.
        let named = !matches!(message.well_known, WellKnown::Struct | WellKnown::Value | WellKnown::ListValue | WellKnown::Wrapper);
        if named {
            self.path.push(Step::Field(field.name));
        }
        self.hidden += usize::from(field.sensitive);
        if field.deprecated || field.disallowed {
            self.deprecated(message, field);
        }
        let unsupported = self.quiet == 0 && !self.supported(message, index, records);
        self.quiet += usize::from(unsupported);
        let rule = rule.filter(|_| self.rules_off == 0);
        // Envoy checks what stands in an `Any` when it makes the extension; nothing is made of metadata.
        let data = usize::from(
            matches!(message.name, "envoy.config.core.v3.Metadata" | "envoy.extensions.filters.http.set_metadata.v3.Metadata")
                && inner_any(field),
        );
        self.rules_off += data;
        let result = if field.map {
            self.map(field, records, rule)
        } else if field.repeated {
            self.list(field, records, rule)
        } else {
            self.single(field, records, rule)
        };
        self.rules_off -= data;
        self.quiet -= usize::from(unsupported);
        self.hidden -= usize::from(field.sensitive);
        if named {
            self.path.pop();
        }
        result
    }

    fn deprecated(&mut self, message: &Message, field: &Field) {
        let text = format!("{}.{} is deprecated", message.name, field.name);
        let issue = if field.disallowed && !self.lenient {
            Issue::error(IssueCode::ConfigInvalid, self.path.text(), format!("{text} and Envoy refuses it"))
        } else {
            Issue::warning(IssueCode::ConfigInvalid, self.path.text(), text)
        };
        self.issue(issue);
    }

    fn supported(&mut self, message: &'static Message, index: usize, records: &[Record<'_>]) -> bool {
        let Some(support) = self.support else { return true };
        let field = &message.fields[index];
        if !support.field(message, index) {
            let issue =
                Issue::error(IssueCode::Unsupported, self.path.text(), format!("{}.{} is not supported yet", message.name, field.name));
            self.issue(issue);
            return false;
        }
        if let Some(only) = support.only(message, index)
            && let Some(got) = records.last().and_then(|r| value_text(field, r.1))
            && !only.contains(&got)
        {
            let issue = Issue::error(
                IssueCode::Unsupported,
                self.path.text(),
                format!("{}.{} is supported only as {}", message.name, field.name, only.join(", ")),
            );
            let issue = if self.hidden > 0 { issue } else { issue.got(got) };
            self.issue(issue);
        }
        true
    }

    fn broken(&mut self, broken: Broken, got: Option<String>) {
        let mut issue = Issue::error(IssueCode::ConfigInvalid, self.path.text(), "the value is not allowed here").expected(broken.0);
        issue.got = got.filter(|_| self.hidden == 0);
        self.issue(issue);
    }

    fn single(&mut self, field: &'static Field, records: &[Record<'_>], rule: Option<&FieldRule>) -> Result<(), Malformed> {
        // `records` has at least one element: the caller found it.
        let Some((_, last)) = records.last() else { return Ok(()) };
        if field.kind == Kind::Message && records.len() > 1 {
            // Protobuf merges a message that is given in parts.
            let mut merged = Vec::new();
            for (_, value) in records {
                let Value::Bytes(bytes) = value else { return Err(Malformed) };
                merged.extend_from_slice(bytes);
            }
            return self.value(field, Value::Bytes(&merged), rule);
        }
        self.value(field, *last, rule)
    }

    /// One value: its rule, its enum value, its own fields.
    fn value(&mut self, field: &'static Field, value: Value<'_>, rule: Option<&FieldRule>) -> Result<(), Malformed> {
        if !fits(field.kind, value) {
            return Err(Malformed);
        }
        if field.kind == Kind::Enum {
            self.enumeration(field, value);
        }
        if let (Kind::String, Value::Bytes(bytes)) = (field.kind, value)
            && std::str::from_utf8(bytes).is_err()
        {
            let issue = Issue::error(IssueCode::ConfigInvalid, self.path.text(), "the text is not UTF-8");
            self.issue(issue);
            return Ok(());
        }
        if let Some(rule) = rule
            && let Err(broken) = value_check(&rule.check, field, value)?
        {
            self.broken(broken, value_text(field, value).map(|t| if field.kind == Kind::String { show(&t) } else { t }));
        } else if let (Kind::Message, Value::Bytes(bytes)) = (field.kind, value)
            && field.message().well_known == WellKnown::Duration
            && self.rules_off == 0
        {
            // Envoy refuses these where it uses them: nothing of its configuration goes back in time.
            let (s, n) = seconds(bytes)?;
            if s < 0 || n < 0 {
                self.broken(Broken("a duration that is not negative".to_owned()), value_text(field, value));
            }
        }
        if let (Kind::Message, Value::Bytes(bytes)) = (field.kind, value) {
            let skip = usize::from(rule.is_some_and(|r| r.skip));
            self.rules_off += skip;
            self.message(field.message(), bytes);
            self.rules_off -= skip;
        }
        Ok(())
    }

    fn enumeration(&mut self, field: &'static Field, value: Value<'_>) {
        let Value::Varint(raw) = value else { return };
        let values = field.enumeration();
        let Some(found) = values.by_number(raw as i64 as i32) else { return };
        if found.disallowed && !self.lenient {
            let text = format!("{} is deprecated and Envoy refuses it", found.name);
            let issue = Issue::error(IssueCode::ConfigInvalid, self.path.text(), text).got(found.name);
            self.issue(issue);
        } else if found.deprecated {
            let issue = Issue::warning(IssueCode::ConfigInvalid, self.path.text(), format!("{} is deprecated", found.name));
            self.issue(issue);
        }
        if let Some(support) = self.support
            && self.quiet == 0
            && !support.value(values, found.number)
        {
            let text = format!("{}.{} is not supported yet", values.name, found.name);
            let issue = Issue::error(IssueCode::Unsupported, self.path.text(), text).got(found.name);
            self.issue(issue);
        }
    }

    fn list(&mut self, field: &'static Field, records: &[Record<'_>], rule: Option<&FieldRule>) -> Result<(), Malformed> {
        let mut values: SmallVec<[Value<'_>; 16]> = SmallVec::with_capacity(records.len());
        for (_, value) in records {
            match value {
                // Packed or not: a parser takes both.
                Value::Bytes(bytes) if field.kind.wire_type() != 2 => {
                    let mut reader = Reader::new(bytes);
                    while let Some(v) = reader.packed(field.kind.wire_type())? {
                        values.push(v);
                    }
                }
                value => values.push(*value),
            }
        }
        let mut items = None;
        if let Some(FieldRule { check: Check::Repeated { min, max, unique, items: of, ignore_empty }, .. }) = rule {
            let count = values.len() as u64;
            if count < *min && !(count == 0 && *ignore_empty) {
                self.broken(Broken(format!("at least {min} elements")), Some(format!("{count}")));
            }
            if count > *max {
                self.broken(Broken(format!("at most {max} elements")), Some(format!("{count}")));
            }
            if *unique {
                self.unique(field, &values);
            }
            items = of.as_deref();
        }
        for (i, value) in values.iter().enumerate() {
            self.path.push(Step::Index(i));
            let result = self.value(field, *value, items);
            self.path.pop();
            result?;
        }
        Ok(())
    }

    fn unique(&mut self, field: &'static Field, values: &[Value<'_>]) {
        let mut seen = HashSet::new();
        for (i, value) in values.iter().enumerate() {
            let key: Cow<'_, [u8]> = match value {
                Value::Bytes(b) => Cow::Borrowed(*b),
                Value::Varint(n) | Value::Fixed64(n) => Cow::Owned(n.to_le_bytes().to_vec()),
                Value::Fixed32(n) => Cow::Owned(n.to_le_bytes().to_vec()),
            };
            if !seen.insert(key) {
                self.path.push(Step::Index(i));
                self.broken(Broken("no value twice".to_owned()), value_text(field, *value));
                self.path.pop();
            }
        }
    }

    fn map(&mut self, field: &'static Field, records: &[Record<'_>], rule: Option<&FieldRule>) -> Result<(), Malformed> {
        let entry = field.message();
        // build.rs took key and value from the descriptor.
        let (Some(key_field), Some(value_field)) = (entry.fields.first(), entry.fields.get(1)) else { return Ok(()) };
        let (mut key_rule, mut value_rule) = (None, None);
        if let Some(FieldRule { check: Check::Map { min, max, keys, values, ignore_empty }, .. }) = rule {
            let mut distinct = HashSet::new();
            for (_, value) in records {
                let Value::Bytes(bytes) = value else { return Err(Malformed) };
                distinct.insert(map_entry(bytes, key_field)?.0);
            }
            let count = distinct.len() as u64;
            if count < *min && !(count == 0 && *ignore_empty) {
                self.broken(Broken(format!("at least {min} entries")), Some(format!("{count}")));
            }
            if count > *max {
                self.broken(Broken(format!("at most {max} entries")), Some(format!("{count}")));
            }
            (key_rule, value_rule) = (keys.as_deref(), values.as_deref());
        }
        for (_, value) in records {
            let Value::Bytes(bytes) = value else { return Err(Malformed) };
            let (key_text, key, value) = map_entry(bytes, key_field)?;
            self.path.push(Step::Key(Cow::Owned(key_text)));
            self.depth += 1;
            let mut result = self.value(key_field, key, key_rule);
            if result.is_ok() {
                result = match value {
                    Some(value) => self.value(value_field, value, value_rule),
                    None if value_field.kind == Kind::Message => self.value(value_field, Value::Bytes(&[]), value_rule),
                    None => self.value(value_field, default(value_field.kind), value_rule),
                };
            }
            self.depth -= 1;
            self.path.pop();
            result?;
        }
        Ok(())
    }

    fn any(&mut self, bytes: &[u8]) {
        let Ok((url, value)) = any_parts(bytes) else { return self.malformed() };
        if url.is_empty() || std::mem::take(&mut self.optional) && !is_http_filter(url, value) {
            return;
        }
        let Some(message) = table::message_by_type_url(url) else {
            let mut issue = Issue::error(IssueCode::UnknownField, self.path.child("@type"), "no such type").got(show(url));
            issue.hint = nearest(url, table::message_names()).map(|n| format!("did you mean \"type.googleapis.com/{n}\"?"));
            return self.issue(issue);
        };
        let unsupported = self.quiet == 0 && self.support.is_some_and(|s| !s.any_type(message));
        if unsupported {
            let issue = Issue::error(IssueCode::Unsupported, self.path.child("@type"), format!("{} is not supported yet", message.name));
            self.issue(issue);
        }
        self.quiet += usize::from(unsupported);
        let typed_struct = if self.rules_off == 0 && !unsupported && is_typed_struct(message) { Some(value) } else { None };
        if let Some(value) = typed_struct {
            self.typed_struct(value);
        }
        let well_known = message.well_known != WellKnown::None;
        if well_known {
            self.path.push(Step::Field("value"));
        }
        // The bytes inside are decoded by a decoder of their own.
        let outer = (std::mem::take(&mut self.depth), std::mem::take(&mut self.lenient));
        self.message(message, value);
        (self.depth, self.lenient) = outer;
        if well_known {
            self.path.pop();
        }
        self.quiet -= usize::from(unsupported);
    }

    /// The message that a `TypedStruct` stands for: read and checked as if it stood in its place.
    fn typed_struct(&mut self, bytes: &[u8]) {
        // TypedStruct has the fields of an Any, with a Struct for the value.
        let Ok((url, value)) = any_parts(bytes) else { return self.malformed() };
        if url.is_empty() {
            return;
        }
        let Some(message) = table::message_by_type_url(url) else {
            let issue = Issue::error(IssueCode::UnknownField, self.path.child("type_url"), "no such type").got(show(url));
            return self.issue(issue);
        };
        let unsupported = self.quiet == 0 && self.support.is_some_and(|s| !s.any_type(message));
        if unsupported {
            let issue = Issue::error(IssueCode::Unsupported, self.path.child("type_url"), format!("{} is not supported yet", message.name));
            self.issue(issue);
        }
        self.quiet += usize::from(unsupported);
        self.path.push(Step::Field("value"));
        match typed_struct_bytes(message, value, self.unknown) {
            Ok((bytes, issues)) => {
                let broken = has_error(&issues);
                let path = self.path.text();
                for mut issue in issues {
                    issue.path = if issue.path.is_empty() { path.clone() } else { format!("{path}.{}", issue.path) };
                    self.issue(issue);
                }
                if !broken {
                    let outer = (std::mem::take(&mut self.depth), std::mem::take(&mut self.lenient));
                    self.message(message, &bytes);
                    (self.depth, self.lenient) = outer;
                }
            }
            Err(Malformed) => self.malformed(),
        }
        self.path.pop();
        self.quiet -= usize::from(unsupported);
    }
}

/// Encodes an encoded Struct as the message that it stands for. Issues have paths within that message.
pub(crate) fn typed_struct_bytes(
    message: &'static Message,
    structure: &[u8],
    unknown: UnknownFields,
) -> Result<(Vec<u8>, Vec<Issue>), Malformed> {
    let json = crate::json_out::to_json_unredacted("google.protobuf.Struct", structure).map_err(|_| Malformed)?;
    let Ok(doc) = Document::parse(Arc::new(Input::object(json.to_string()))) else { return Err(Malformed) };
    let encoded = encode::encode(&doc, message, unknown, &Places::default());
    Ok((encoded.bytes, encoded.issues))
}

/// Whether a field holds an `Any`, be it in a list or a map.
fn inner_any(field: &Field) -> bool {
    let is_any = |f: &Field| f.kind == Kind::Message && f.message().well_known == WellKnown::Any;
    if field.map { field.message().fields.get(1).is_some_and(is_any) } else { is_any(field) }
}

/// Whether these fields are those of a filter, or of a route's word on one, that `is_optional`.
fn is_optional(message: &Message, records: &[Record<'_>]) -> bool {
    const FILTER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter";
    matches!(message.name, FILTER | "envoy.config.route.v3.FilterConfig")
        && message.field("is_optional").is_some_and(|field| {
            let last = records.iter().rfind(|r| message.fields[usize::from(r.0)].number == field.number);
            matches!(last, Some((_, Value::Varint(set))) if *set != 0)
        })
}

/// Whether a type URL with this value names the configuration of an HTTP filter of Envoy's API, be it in a `TypedStruct`.
pub(crate) fn is_http_filter(url: &str, value: &[u8]) -> bool {
    match table::message_by_type_url(url) {
        Some(message) if is_typed_struct(message) => {
            any_parts(value).is_ok_and(|(url, _)| table::message_by_type_url(url).is_some_and(|m| m.name.starts_with(HTTP_FILTERS)))
        }
        message => message.is_some_and(|m| m.name.starts_with(HTTP_FILTERS)),
    }
}

const HTTP_FILTERS: &str = "envoy.extensions.filters.http.";

/// Whether an extension's configuration comes as a type URL and a Struct.
pub(crate) fn is_typed_struct(message: &Message) -> bool {
    matches!(message.name, "xds.type.v3.TypedStruct" | "udpa.type.v1.TypedStruct")
}

/// Type URL and value of an encoded `Any`.
pub(crate) fn any_parts(bytes: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let (mut url, mut value) = ("", &[][..]);
    let mut reader = Reader::new(bytes);
    while let Some((number, record)) = reader.next()? {
        match (number, record) {
            (1, Value::Bytes(b)) => url = std::str::from_utf8(b).map_err(|_| Malformed)?,
            (2, Value::Bytes(b)) => value = b,
            _ => {}
        }
    }
    Ok((url, value))
}

/// Key as text, key and value of an encoded map entry.
pub(crate) fn map_entry<'b>(bytes: &'b [u8], key_field: &'static Field) -> Result<(String, Value<'b>, Option<Value<'b>>), Malformed> {
    let (mut key, mut value) = (default(key_field.kind), None);
    let mut reader = Reader::new(bytes);
    while let Some((number, record)) = reader.next()? {
        match number {
            1 => key = record,
            2 => value = Some(record),
            _ => {}
        }
    }
    if !fits(key_field.kind, key) {
        return Err(Malformed);
    }
    let text = value_text(key_field, key).unwrap_or_default();
    Ok((text, key, value))
}

/// What an absent record of a map entry stands for.
pub(crate) fn default(kind: Kind) -> Value<'static> {
    match kind.wire_type() {
        1 => Value::Fixed64(0),
        2 => Value::Bytes(&[]),
        5 => Value::Fixed32(0),
        _ => Value::Varint(0),
    }
}

fn fits(kind: Kind, value: Value<'_>) -> bool {
    matches!((kind.wire_type(), value), (0, Value::Varint(_)) | (1, Value::Fixed64(_)) | (2, Value::Bytes(_)) | (5, Value::Fixed32(_)))
}

/// The integer that a record of an integer, bool or enum field holds.
pub(crate) fn integer(kind: Kind, value: Value<'_>) -> i128 {
    match (kind, value) {
        (Kind::Int32 | Kind::Enum, Value::Varint(v)) => i128::from(v as i64 as i32),
        (Kind::Int64, Value::Varint(v)) => i128::from(v as i64),
        (Kind::Uint32, Value::Varint(v)) => i128::from(v as u32),
        (Kind::Sint32 | Kind::Sint64, Value::Varint(v)) => i128::from(unzigzag(v)),
        (_, Value::Varint(v)) => i128::from(v),
        (Kind::Sfixed64, Value::Fixed64(v)) => i128::from(v as i64),
        (_, Value::Fixed64(v)) => i128::from(v),
        (Kind::Sfixed32, Value::Fixed32(v)) => i128::from(v as i32),
        (_, Value::Fixed32(v)) => i128::from(v),
        (_, Value::Bytes(_)) => 0,
    }
}

/// The number that a record of a floating-point field holds.
pub(crate) fn float(value: Value<'_>) -> f64 {
    match value {
        Value::Fixed64(v) => f64::from_bits(v),
        Value::Fixed32(v) => f64::from(f32::from_bits(v)),
        _ => 0.0,
    }
}

/// Seconds and nanoseconds of an encoded `Duration` or `Timestamp`.
pub(crate) fn seconds(bytes: &[u8]) -> Result<(i64, i32), Malformed> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut reader = Reader::new(bytes);
    while let Some((number, record)) = reader.next()? {
        match (number, record) {
            (1, Value::Varint(v)) => seconds = v as i64,
            (2, Value::Varint(v)) => nanos = v as i64 as i32,
            _ => {}
        }
    }
    Ok((seconds, nanos))
}

/// The value inside an encoded wrapper.
pub(crate) fn wrapped<'b>(field: &'static Field, bytes: &'b [u8]) -> Result<Value<'b>, Malformed> {
    let mut value = default(field.kind);
    let mut reader = Reader::new(bytes);
    while let Some((number, record)) = reader.next()? {
        if number == field.number && fits(field.kind, record) {
            value = record;
        }
    }
    Ok(value)
}

fn value_check(check: &Check, field: &'static Field, value: Value<'_>) -> Result<Result<(), Broken>, Malformed> {
    if field.kind != Kind::Message {
        return Ok(scalar_check(check, field, value));
    }
    let Value::Bytes(bytes) = value else { return Err(Malformed) };
    let message = field.message();
    Ok(match (check, message.well_known) {
        (Check::Duration(range) | Check::Timestamp(range), _) => {
            let (s, n) = seconds(bytes)?;
            range.check(nanos(s, n))
        }
        (Check::Any { allowed, forbidden }, _) => {
            let (url, _) = any_parts(bytes)?;
            if !allowed.is_empty() && !allowed.iter().any(|a| a == url) {
                Err(Broken(format!("one of {}", allowed.join(", "))))
            } else if forbidden.iter().any(|a| a == url) {
                Err(Broken(format!("none of {}", forbidden.join(", "))))
            } else {
                Ok(())
            }
        }
        (check, WellKnown::Wrapper) => match message.fields.first() {
            Some(inner) => scalar_check(check, inner, wrapped(inner, bytes)?),
            None => Ok(()),
        },
        _ => Ok(()),
    })
}

fn scalar_check(check: &Check, field: &'static Field, value: Value<'_>) -> Result<(), Broken> {
    match (check, value) {
        (Check::Int(range), _) => {
            let n = integer(field.kind, value);
            if n == 0 && range.ignore_empty { Ok(()) } else { range.check(n) }
        }
        (Check::Float(range), _) => {
            let n = float(value);
            if n == 0.0 && range.ignore_empty { Ok(()) } else { range.check(n) }
        }
        (Check::Bool(want), Value::Varint(v)) if (v != 0) != *want => Err(Broken(want.to_string())),
        (Check::Enum(rule), Value::Varint(v)) if field.kind == Kind::Enum => rule.check(v as i64 as i32, field.enumeration()),
        (Check::Str(rule), Value::Bytes(b)) => {
            if b.is_empty() && rule.ignore_empty {
                return Ok(());
            }
            // Text that is not UTF-8 was reported before.
            rule.check(std::str::from_utf8(b).unwrap_or_default())
        }
        (Check::Bytes(rule), Value::Bytes(b)) => {
            if b.is_empty() && rule.ignore_empty {
                return Ok(());
            }
            rule.check(b)
        }
        _ => Ok(()),
    }
}

/// A value as text, for `got` and for comparing with the support list; `None` for messages without a text form.
fn value_text(field: &'static Field, value: Value<'_>) -> Option<String> {
    Some(match (field.kind, value) {
        (Kind::String, Value::Bytes(b)) => String::from_utf8_lossy(b).into_owned(),
        (Kind::Bytes, Value::Bytes(b)) => format!("{} bytes", b.len()),
        (Kind::Bool, Value::Varint(v)) => (v != 0).to_string(),
        (Kind::Enum, Value::Varint(v)) => {
            let number = v as i64 as i32;
            field.enumeration().by_number(number).map_or_else(|| number.to_string(), |v| v.name.to_owned())
        }
        (Kind::Double | Kind::Float, v) => float(v).to_string(),
        (Kind::Message, Value::Bytes(b)) => {
            let message = field.message();
            match message.well_known {
                WellKnown::Duration => {
                    let (s, n) = seconds(b).ok()?;
                    scalar::format_duration(s, n)
                }
                WellKnown::Wrapper => {
                    let inner = message.fields.first()?;
                    return value_text(inner, wrapped(inner, b).ok()?);
                }
                WellKnown::Any => show(any_parts(b).ok()?.0),
                _ if b.is_empty() => "{}".to_owned(),
                _ => return None,
            }
        }
        (kind, v) => integer(kind, v).to_string(),
    })
}

/// Whether any of these stops a load.
pub(crate) fn has_error(issues: &[Issue]) -> bool {
    issues.iter().any(|i| i.severity == Severity::Error)
}
