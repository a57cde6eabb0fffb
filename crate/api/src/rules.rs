//! protoc-gen-validate's rules, compiled from the table on first use and checked on wire values.

use std::{
    fmt::{Debug, Display},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use prost::Message as _;
use regex::Regex;

use crate::{
    issue::show,
    proto::validate::{FieldRules, KnownRegex, bytes_rules, field_rules::Type, string_rules::WellKnown},
    scalar,
    table::{Enum, Field, Kind, Message, WellKnown as MessageKind},
};

/// The rules of one message.
#[derive(Debug)]
pub struct MessageRules {
    /// (position in `Message::fields`, its rule); fields without rules are left out.
    pub(crate) fields: Box<[(u16, FieldRule)]>,
    /// Positions of oneofs of which one field must be set.
    pub(crate) required_oneofs: Box<[u16]>,
    /// Positions of enum fields whose default value is deprecated: leaving them out counts as using it.
    pub(crate) deprecated_defaults: Box<[u16]>,
}

/// The rules of one field.
#[derive(Debug, Default)]
pub(crate) struct FieldRule {
    pub(crate) required: bool,
    /// The message's own rules do not count here.
    pub(crate) skip: bool,
    pub(crate) check: Check,
}

/// What a value must fulfil.
#[derive(Debug, Default)]
pub(crate) enum Check {
    #[default]
    None,
    Int(Range<i128>),
    Float(Range<f64>),
    Bool(bool),
    Str(Box<StrRule>),
    Bytes(Box<BytesRule>),
    Enum(EnumRule),
    Duration(Range<Nanos>),
    Timestamp(Range<Nanos>),
    Any {
        allowed: Vec<String>,
        forbidden: Vec<String>,
    },
    Repeated {
        min: u64,
        max: u64,
        unique: bool,
        items: Option<Box<FieldRule>>,
        ignore_empty: bool,
    },
    Map {
        min: u64,
        max: u64,
        keys: Option<Box<FieldRule>>,
        values: Option<Box<FieldRule>>,
        ignore_empty: bool,
    },
}

/// A broken rule: what was wanted.
pub(crate) struct Broken(pub(crate) String);

/// Nanoseconds, shown as a duration.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) struct Nanos(pub(crate) i128);

impl Display for Nanos {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The remainder is below a billion.
        f.write_str(&scalar::format_duration((self.0 / 1_000_000_000) as i64, (self.0 % 1_000_000_000) as i32))
    }
}

#[derive(Debug)]
pub(crate) struct Range<T> {
    exact: Option<T>,
    lt: Option<T>,
    lte: Option<T>,
    gt: Option<T>,
    gte: Option<T>,
    allowed: Vec<T>,
    forbidden: Vec<T>,
    pub(crate) ignore_empty: bool,
}

impl<T: PartialOrd + Copy + Display> Range<T> {
    pub(crate) fn check(&self, v: T) -> Result<(), Broken> {
        if let Some(exact) = self.exact
            && v != exact
        {
            return Err(Broken(exact.to_string()));
        }
        let below = self.lt.is_none_or(|l| v < l) && self.lte.is_none_or(|l| v <= l);
        let above = self.gt.is_none_or(|l| v > l) && self.gte.is_none_or(|l| v >= l);
        // With the upper bound under the lower one, the rule asks for a value outside of both.
        let upper = self.lt.or(self.lte);
        let lower = self.gt.or(self.gte);
        let outside = matches!((upper, lower), (Some(u), Some(l)) if u < l);
        let fits = if outside { below || above } else { below && above };
        if !fits {
            let mut parts = Vec::new();
            for (sign, bound) in [("> ", self.gt), (">= ", self.gte), ("< ", self.lt), ("<= ", self.lte)] {
                parts.extend(bound.map(|b| format!("{sign}{b}")));
            }
            return Err(Broken(format!("a value {}", parts.join(if outside { " or " } else { " and " }))));
        }
        if !self.allowed.is_empty() && !self.allowed.contains(&v) {
            return Err(Broken(format!("one of {}", list(&self.allowed))));
        }
        if self.forbidden.contains(&v) {
            return Err(Broken(format!("none of {}", list(&self.forbidden))));
        }
        Ok(())
    }
}

fn list<T: Display>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

#[derive(Debug, Default)]
pub(crate) struct EnumRule {
    exact: Option<i32>,
    defined_only: bool,
    allowed: Vec<i32>,
    forbidden: Vec<i32>,
}

impl EnumRule {
    pub(crate) fn check(&self, v: i32, of: &Enum) -> Result<(), Broken> {
        let names = |numbers: &[i32]| {
            numbers.iter().map(|n| of.by_number(*n).map_or_else(|| n.to_string(), |v| v.name.to_owned())).collect::<Vec<_>>().join(", ")
        };
        if self.exact.is_some_and(|e| e != v) {
            return Err(Broken(names(self.exact.as_slice())));
        }
        if self.defined_only && of.by_number(v).is_none() {
            return Err(Broken(format!("a value of {}", of.name)));
        }
        if !self.allowed.is_empty() && !self.allowed.contains(&v) {
            return Err(Broken(format!("one of {}", names(&self.allowed))));
        }
        if self.forbidden.contains(&v) {
            return Err(Broken(format!("none of {}", names(&self.forbidden))));
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
pub(crate) struct StrRule {
    exact: Option<String>,
    min_chars: Option<u64>,
    max_chars: Option<u64>,
    min_bytes: Option<u64>,
    max_bytes: Option<u64>,
    pattern: Option<Regex>,
    prefix: String,
    suffix: String,
    contains: String,
    not_contains: Option<String>,
    allowed: Vec<String>,
    forbidden: Vec<String>,
    well_known: Option<WellKnown>,
    strict: bool,
    pub(crate) ignore_empty: bool,
}

impl StrRule {
    pub(crate) fn check(&self, s: &str) -> Result<(), Broken> {
        let fail = |text: String| Err(Broken(text));
        if let Some(exact) = &self.exact
            && s != exact
        {
            return fail(show(exact));
        }
        if self.min_bytes.is_some_and(|n| (s.len() as u64) < n) {
            return fail(at_least(self.min_bytes, "byte"));
        }
        if self.max_bytes.is_some_and(|n| s.len() as u64 > n) {
            return fail(at_most(self.max_bytes, "byte"));
        }
        if self.min_chars.is_some() || self.max_chars.is_some() {
            let chars = s.chars().count() as u64;
            if self.min_chars.is_some_and(|n| chars < n) {
                return fail(at_least(self.min_chars, "character"));
            }
            if self.max_chars.is_some_and(|n| chars > n) {
                return fail(at_most(self.max_chars, "character"));
            }
        }
        if let Some(pattern) = &self.pattern
            && !pattern.is_match(s)
        {
            return fail(format!("text that matches {}", pattern.as_str()));
        }
        if !s.starts_with(&self.prefix) {
            return fail(format!("text that starts with {}", show(&self.prefix)));
        }
        if !s.ends_with(&self.suffix) {
            return fail(format!("text that ends with {}", show(&self.suffix)));
        }
        if !s.contains(&self.contains) {
            return fail(format!("text that contains {}", show(&self.contains)));
        }
        if let Some(part) = &self.not_contains
            && s.contains(part)
        {
            return fail(format!("text without {}", show(part)));
        }
        if !self.allowed.is_empty() && !self.allowed.iter().any(|a| a == s) {
            return fail(format!("one of {}", list(&self.allowed)));
        }
        if self.forbidden.iter().any(|a| a == s) {
            return fail(format!("none of {}", list(&self.forbidden)));
        }
        match self.well_known {
            Some(kind) if !well_known(kind, self.strict, s) => fail(well_known_text(kind).to_owned()),
            _ => Ok(()),
        }
    }
}

fn at_least(n: Option<u64>, unit: &str) -> String {
    let n = n.unwrap_or(0);
    format!("at least {n} {unit}{}", if n == 1 { "" } else { "s" })
}

fn at_most(n: Option<u64>, unit: &str) -> String {
    let n = n.unwrap_or(0);
    format!("at most {n} {unit}{}", if n == 1 { "" } else { "s" })
}

fn well_known(kind: WellKnown, strict: bool, s: &str) -> bool {
    match kind {
        WellKnown::Ip(true) => s.parse::<IpAddr>().is_ok(),
        WellKnown::Ipv4(true) => s.parse::<Ipv4Addr>().is_ok(),
        WellKnown::Ipv6(true) => s.parse::<Ipv6Addr>().is_ok(),
        WellKnown::Address(true) => s.parse::<IpAddr>().is_ok() || is_hostname(s),
        WellKnown::Hostname(true) => is_hostname(s),
        WellKnown::WellKnownRegex(n) if n == KnownRegex::HttpHeaderName as i32 => header_name(s, strict),
        WellKnown::WellKnownRegex(n) if n == KnownRegex::HttpHeaderValue as i32 => header_value(s, strict),
        // Envoy's generated C++ checks neither of the rest (uri, uri_ref, email, uuid).
        _ => true,
    }
}

fn well_known_text(kind: WellKnown) -> &'static str {
    match kind {
        WellKnown::Ip(_) => "an IP address",
        WellKnown::Ipv4(_) => "an IPv4 address",
        WellKnown::Ipv6(_) => "an IPv6 address",
        WellKnown::Address(_) => "an IP address or a host name",
        WellKnown::Hostname(_) => "a host name",
        WellKnown::WellKnownRegex(1) => "a valid HTTP header name",
        WellKnown::WellKnownRegex(_) => "a valid HTTP header value",
        _ => "well-formed text",
    }
}

fn is_hostname(s: &str) -> bool {
    let s = s.strip_suffix('.').unwrap_or(s);
    s.len() <= 253
        && s.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

/// PGV's `^:?[0-9a-zA-Z!#$%&'*+-.^_|~\x60]+$` (note the range `+-.`), or without NUL, CR and LF where not strict.
fn header_name(s: &str, strict: bool) -> bool {
    if !strict {
        return !s.bytes().any(|b| matches!(b, 0 | b'\n' | b'\r'));
    }
    let rest = s.strip_prefix(':').unwrap_or(s);
    !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+,-.^_|~`".contains(&b))
}

/// PGV's `^[^\x00-\x08\x0A-\x1F\x7F]*$`, or without NUL, CR and LF where not strict.
fn header_value(s: &str, strict: bool) -> bool {
    if !strict {
        return !s.bytes().any(|b| matches!(b, 0 | b'\n' | b'\r'));
    }
    !s.bytes().any(|b| b != b'\t' && (b < 0x20 || b == 0x7f))
}

#[derive(Debug, Default)]
pub(crate) struct BytesRule {
    exact: Option<Vec<u8>>,
    min: Option<u64>,
    max: Option<u64>,
    pattern: Option<regex::bytes::Regex>,
    prefix: Vec<u8>,
    suffix: Vec<u8>,
    contains: Vec<u8>,
    allowed: Vec<Vec<u8>>,
    forbidden: Vec<Vec<u8>>,
    well_known: Option<bytes_rules::WellKnown>,
    pub(crate) ignore_empty: bool,
}

impl BytesRule {
    pub(crate) fn check(&self, b: &[u8]) -> Result<(), Broken> {
        let fail = |text: String| Err(Broken(text));
        if self.exact.as_ref().is_some_and(|e| e != b) {
            return fail("other bytes".to_owned());
        }
        if self.min.is_some_and(|n| (b.len() as u64) < n) {
            return fail(at_least(self.min, "byte"));
        }
        if self.max.is_some_and(|n| b.len() as u64 > n) {
            return fail(at_most(self.max, "byte"));
        }
        if self.pattern.as_ref().is_some_and(|p| !p.is_match(b))
            || !b.starts_with(&self.prefix)
            || !b.ends_with(&self.suffix)
            || !(self.contains.is_empty() || b.windows(self.contains.len()).any(|w| w == self.contains))
            || !(self.allowed.is_empty() || self.allowed.iter().any(|a| a == b))
            || self.forbidden.iter().any(|a| a == b)
        {
            return fail("other bytes".to_owned());
        }
        let fits = match self.well_known {
            Some(bytes_rules::WellKnown::Ip(true)) => matches!(b.len(), 4 | 16),
            Some(bytes_rules::WellKnown::Ipv4(true)) => b.len() == 4,
            Some(bytes_rules::WellKnown::Ipv6(true)) => b.len() == 16,
            _ => true,
        };
        if fits { Ok(()) } else { fail("the bytes of an IP address".to_owned()) }
    }
}

/// Compiles the rules of a message. A rule that cannot be compiled cannot be checked, so it is left out; a test proves that there is none.
pub(crate) fn compile(message: &Message) -> MessageRules {
    let deprecated_defaults = (0u16..)
        .zip(message.fields.iter())
        .filter(|(_, f)| f.kind == Kind::Enum && !f.repeated && !f.explicit)
        .filter(|(_, f)| f.enumeration().by_number(0).is_some_and(|v| v.deprecated || v.disallowed))
        .map(|(i, _)| i)
        .collect();
    if message.rules_disabled {
        return MessageRules { fields: Box::new([]), required_oneofs: Box::new([]), deprecated_defaults };
    }
    let fields = message
        .fields
        .iter()
        .enumerate()
        .filter(|(_, f)| !f.rules.is_empty())
        .filter_map(|(i, f)| Some((i as u16, field_rule(&FieldRules::decode(f.rules).ok()?, Some(f)))))
        .collect();
    let required_oneofs = (0u16..).zip(message.oneofs.iter()).filter(|(_, o)| o.required).map(|(i, _)| i).collect();
    MessageRules { fields, required_oneofs, deprecated_defaults }
}

macro_rules! range {
    ($r:expr, $t:ty) => {
        Range {
            exact: $r.r#const.map(<$t>::from),
            lt: $r.lt.map(<$t>::from),
            lte: $r.lte.map(<$t>::from),
            gt: $r.gt.map(<$t>::from),
            gte: $r.gte.map(<$t>::from),
            allowed: $r.r#in.iter().copied().map(<$t>::from).collect(),
            forbidden: $r.not_in.iter().copied().map(<$t>::from).collect(),
            ignore_empty: $r.ignore_empty.unwrap_or(false),
        }
    };
}

fn field_rule(rules: &FieldRules, field: Option<&Field>) -> FieldRule {
    let mut out = FieldRule::default();
    if let Some(message) = &rules.message {
        out.required = message.required.unwrap_or(false);
        out.skip = message.skip.unwrap_or(false);
    }
    let Some(kind) = &rules.r#type else { return out };
    out.check = match kind {
        Type::Float(r) => Check::Float(range!(r, f64)),
        Type::Double(r) => Check::Float(range!(r, f64)),
        Type::Int32(r) => Check::Int(range!(r, i128)),
        Type::Int64(r) => Check::Int(range!(r, i128)),
        Type::Uint32(r) => Check::Int(range!(r, i128)),
        Type::Uint64(r) => Check::Int(range!(r, i128)),
        Type::Sint32(r) => Check::Int(range!(r, i128)),
        Type::Sint64(r) => Check::Int(range!(r, i128)),
        Type::Fixed32(r) => Check::Int(range!(r, i128)),
        Type::Fixed64(r) => Check::Int(range!(r, i128)),
        Type::Sfixed32(r) => Check::Int(range!(r, i128)),
        Type::Sfixed64(r) => Check::Int(range!(r, i128)),
        Type::Bool(r) => r.r#const.map_or(Check::None, Check::Bool),
        Type::String(r) => Check::Str(Box::new(StrRule {
            exact: r.r#const.clone(),
            min_chars: r.len.or(r.min_len),
            max_chars: r.len.or(r.max_len),
            min_bytes: r.len_bytes.or(r.min_bytes),
            max_bytes: r.len_bytes.or(r.max_bytes),
            pattern: r.pattern.as_ref().and_then(|p| Regex::new(p).ok()),
            prefix: r.prefix.clone().unwrap_or_default(),
            suffix: r.suffix.clone().unwrap_or_default(),
            contains: r.contains.clone().unwrap_or_default(),
            not_contains: r.not_contains.clone(),
            allowed: r.r#in.clone(),
            forbidden: r.not_in.clone(),
            well_known: r.well_known,
            strict: r.strict.unwrap_or(true),
            ignore_empty: r.ignore_empty.unwrap_or(false),
        })),
        Type::Bytes(r) => Check::Bytes(Box::new(BytesRule {
            exact: r.r#const.clone(),
            min: r.len.or(r.min_len),
            max: r.len.or(r.max_len),
            pattern: r.pattern.as_ref().and_then(|p| regex::bytes::Regex::new(p).ok()),
            prefix: r.prefix.clone().unwrap_or_default(),
            suffix: r.suffix.clone().unwrap_or_default(),
            contains: r.contains.clone().unwrap_or_default(),
            allowed: r.r#in.clone(),
            forbidden: r.not_in.clone(),
            well_known: r.well_known,
            ignore_empty: r.ignore_empty.unwrap_or(false),
        })),
        Type::Enum(r) => Check::Enum(EnumRule {
            exact: r.r#const,
            defined_only: r.defined_only.unwrap_or(false),
            allowed: r.r#in.clone(),
            forbidden: r.not_in.clone(),
        }),
        Type::Repeated(r) => Check::Repeated {
            min: r.min_items.unwrap_or(0),
            max: r.max_items.unwrap_or(u64::MAX),
            unique: r.unique.unwrap_or(false),
            items: r.items.as_ref().map(|i| Box::new(field_rule(i, None))),
            ignore_empty: r.ignore_empty.unwrap_or(false),
        },
        Type::Map(r) => Check::Map {
            min: r.min_pairs.unwrap_or(0),
            max: r.max_pairs.unwrap_or(u64::MAX),
            keys: r.keys.as_ref().map(|i| Box::new(field_rule(i, None))),
            values: r.values.as_ref().map(|i| Box::new(field_rule(i, None))),
            ignore_empty: r.ignore_empty.unwrap_or(false),
        },
        Type::Any(r) => {
            out.required |= r.required.unwrap_or(false);
            // `any = {required: true}` also stands at fields of other message types.
            if r.r#in.is_empty() && r.not_in.is_empty() {
                Check::None
            } else {
                Check::Any { allowed: r.r#in.clone(), forbidden: r.not_in.clone() }
            }
        }
        Type::Duration(r) => {
            out.required |= r.required.unwrap_or(false);
            let nanos = |d: &prost_types::Duration| nanos(d.seconds, d.nanos);
            Check::Duration(Range {
                exact: r.r#const.as_ref().map(nanos),
                lt: r.lt.as_ref().map(nanos),
                lte: r.lte.as_ref().map(nanos),
                gt: r.gt.as_ref().map(nanos),
                gte: r.gte.as_ref().map(nanos),
                allowed: r.r#in.iter().map(nanos).collect(),
                forbidden: r.not_in.iter().map(nanos).collect(),
                ignore_empty: false,
            })
        }
        Type::Timestamp(r) => {
            out.required |= r.required.unwrap_or(false);
            let nanos = |d: &prost_types::Timestamp| nanos(d.seconds, d.nanos);
            Check::Timestamp(Range {
                exact: r.r#const.as_ref().map(nanos),
                lt: r.lt.as_ref().map(nanos),
                lte: r.lte.as_ref().map(nanos),
                gt: r.gt.as_ref().map(nanos),
                gte: r.gte.as_ref().map(nanos),
                allowed: Vec::new(),
                forbidden: Vec::new(),
                ignore_empty: false,
            })
        }
    };
    debug_assert!(field.is_none_or(|f| fits(&out.check, f)), "a rule of another type than its field: {}", field.map_or("", |f| f.name));
    out
}

pub(crate) fn nanos(seconds: i64, nanos: i32) -> Nanos {
    Nanos(i128::from(seconds) * 1_000_000_000 + i128::from(nanos))
}

/// Whether a rule is one for this field's type (a wrapper takes its value's).
fn fits(check: &Check, field: &Field) -> bool {
    if matches!(check, Check::None) {
        return true;
    }
    if field.map || field.repeated {
        return matches!((field.map, check), (true, Check::Map { .. }) | (false, Check::Repeated { .. }));
    }
    let message = (field.kind == Kind::Message).then(|| field.message());
    let kind = match message.map(|m| (m.well_known, m)) {
        Some((MessageKind::Any, _)) => return matches!(check, Check::Any { .. }),
        Some((MessageKind::Duration, _)) => return matches!(check, Check::Duration(_)),
        Some((MessageKind::Timestamp, _)) => return matches!(check, Check::Timestamp(_)),
        Some((MessageKind::Wrapper, m)) => m.fields.first().map_or(Kind::Message, |f| f.kind),
        Some(_) => return false,
        None => field.kind,
    };
    match check {
        Check::Float(_) => matches!(kind, Kind::Double | Kind::Float),
        Check::Bool(_) => kind == Kind::Bool,
        Check::Str(_) => kind == Kind::String,
        Check::Bytes(_) => kind == Kind::Bytes,
        Check::Enum(_) => kind == Kind::Enum,
        Check::Int(_) => !matches!(kind, Kind::Double | Kind::Float | Kind::Bool | Kind::String | Kind::Bytes | Kind::Enum | Kind::Message),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table;

    #[test]
    fn every_rule_of_the_api_compiles() {
        let mut count = 0;
        let mut kinds = std::collections::BTreeMap::new();
        for id in 0..table::message_count() {
            let message = table::message(id);
            for field in message.fields.iter().filter(|f| !f.rules.is_empty()) {
                let rules = FieldRules::decode(field.rules).unwrap();
                count += 1;
                let mut stack = vec![rules];
                while let Some(rules) = stack.pop() {
                    if let Some(Type::String(s)) = &rules.r#type {
                        if let Some(p) = &s.pattern {
                            assert!(Regex::new(p).is_ok(), "{}.{}: {p}", message.name, field.name);
                        }
                        if let Some(kind) = s.well_known {
                            *kinds.entry(format!("{kind:?}")).or_insert(0) += 1;
                        }
                    }
                    match rules.r#type {
                        Some(Type::Repeated(r)) => stack.extend(r.items.map(|i| *i)),
                        Some(Type::Map(r)) => {
                            stack.extend(r.keys.map(|i| *i));
                            stack.extend(r.values.map(|i| *i));
                        }
                        _ => {}
                    }
                }
            }
            compile(message);
        }
        assert!(count > 1000, "{count} {kinds:?}");
    }

    #[test]
    fn ranges() {
        let range = |lt, gte| Range { exact: None, lt, lte: None, gt: None, gte, allowed: vec![], forbidden: vec![7], ignore_empty: false };
        let inside = range(Some(10), Some(1));
        assert!(inside.check(1).is_ok() && inside.check(9).is_ok() && inside.check(10).is_err() && inside.check(0).is_err());
        assert!(inside.check(7).is_err());
        let outside = range(Some(1), Some(10));
        assert!(outside.check(0).is_ok() && outside.check(10).is_ok() && outside.check(5).is_err());
        assert_eq!(inside.check(10).err().map(|b| b.0), Some("a value >= 1 and < 10".to_owned()));
    }

    #[test]
    fn header_texts() {
        for (s, strict, name, value) in [
            ("x-a", true, true, true),
            (":path", true, true, true),
            ("a b", true, false, true),
            ("a b", false, true, true),
            ("", true, false, true),
            ("", false, true, true),
            ("a\tb", true, false, true),
            ("a\nb", true, false, false),
            ("a\nb", false, false, false),
            ("a\u{1}b", true, false, false),
            ("a\u{1}b", false, true, true),
            ("é", true, false, true),
        ] {
            assert_eq!((header_name(s, strict), header_value(s, strict)), (name, value), "{s:?} {strict}");
        }
    }
}
