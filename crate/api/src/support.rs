//! Which fields, enum values and extension types the engine implements; what is not listed is refused by name.
//!
//! The text has one entry a line; `#` begins a comment:
//!
//! ```text
//! envoy.config.cluster.v3.Cluster.name               a field
//! envoy.config.core.v3.SocketAddress.*               every field of a message (not of the messages inside it)
//! -envoy.config.core.v3.SocketAddress.ipv4_compat    but not this one (wins over a `*`, wherever it stands)
//! envoy.config.cluster.v3.Cluster.respect_dns_ttl = false      a field, but only with this value (text, number, bool or enum value)
//! envoy.config.cluster.v3.Cluster.LbPolicy.RANDOM    an enum value; the one with number 0 needs no entry
//! envoy.config.cluster.v3.Cluster.LbPolicy.*         every value of an enum
//! @envoy.extensions.filters.http.router.v3.Router    a type that may stand in an Any
//! ```
//!
//! Fields inside `google.protobuf` and `xds.type.v3.TypedStruct` types need no entry.

use std::collections::{HashMap, HashSet};

use crate::table::{self, Enum, Kind, Message, MessageId};

/// What the engine implements, parsed from its list.
#[derive(Debug, Default)]
pub struct Support {
    fields: HashMap<MessageId, Box<[Entry]>>,
    types: HashSet<MessageId>,
    values: HashSet<(&'static str, i32)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
enum Entry {
    #[default]
    No,
    Yes,
    /// Only with one of these values, as text.
    Only(Vec<String>),
}

impl Support {
    /// Reads a list. An entry that names nothing of Envoy's API is an error, so that slips show at once.
    pub fn parse(text: &str) -> Result<Support, Vec<String>> {
        let mut support = Support::default();
        let mut without = Vec::new();
        let mut errors = Vec::new();
        for (n, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or("").trim();
            if line.is_empty() {
                continue;
            }
            if let Some(name) = line.strip_prefix('-') {
                without.push((n, name.trim()));
            } else if let Err(problem) = support.add(line) {
                errors.push(format!("line {}: {problem}: {line}", n + 1));
            }
        }
        for (n, name) in without {
            if let Err(problem) = support.remove(name) {
                errors.push(format!("line {}: {problem}: -{name}", n + 1));
            }
        }
        if errors.is_empty() { Ok(support) } else { Err(errors) }
    }

    fn add(&mut self, line: &str) -> Result<(), &'static str> {
        if let Some(name) = line.strip_prefix('@') {
            self.types.insert(table::message_by_name(name).ok_or("no such message")?.id);
            return Ok(());
        }
        let (name, value) = line.split_once('=').map_or((line, None), |(n, v)| (n.trim(), Some(v.trim())));
        let (parent, last) = name.rsplit_once('.').ok_or("not a full name")?;
        if let Some(message) = table::message_by_name(parent) {
            let entries = self.entries(message);
            if last == "*" {
                for e in entries.iter_mut().filter(|e| **e == Entry::No) {
                    *e = Entry::Yes;
                }
                return Ok(());
            }
            let index = message.fields.iter().position(|f| f.name == last).ok_or("no such field")?;
            match (value, &mut entries[index]) {
                (Some(v), Entry::Only(values)) => values.push(v.to_owned()),
                (Some(v), e) => *e = Entry::Only(vec![v.to_owned()]),
                (None, e) => *e = Entry::Yes,
            }
            Ok(())
        } else if let Some(e) = table::enum_by_name(parent) {
            if last == "*" {
                self.values.extend(e.values.iter().map(|v| (e.name, v.number)));
                return Ok(());
            }
            let found = e.values.iter().find(|v| v.name == last).ok_or("no such enum value")?;
            self.values.insert((e.name, found.number));
            Ok(())
        } else {
            Err("no such message or enum")
        }
    }

    fn remove(&mut self, name: &str) -> Result<(), &'static str> {
        let (parent, last) = name.rsplit_once('.').ok_or("not a full name")?;
        if let Some(e) = table::enum_by_name(parent) {
            let found = e.values.iter().find(|v| v.name == last).ok_or("no such enum value")?;
            self.values.remove(&(e.name, found.number));
            return Ok(());
        }
        let message = table::message_by_name(parent).ok_or("no such message or enum")?;
        let index = message.fields.iter().position(|f| f.name == last).ok_or("no such field")?;
        self.entries(message)[index] = Entry::No;
        Ok(())
    }

    fn entries(&mut self, message: &'static Message) -> &mut Box<[Entry]> {
        self.fields.entry(message.id).or_insert_with(|| vec![Entry::No; message.fields.len()].into())
    }

    /// Whether the engine implements a field, by its position in `Message::fields`.
    pub fn field(&self, message: &Message, index: usize) -> bool {
        !matches!(self.entry(message, index), Entry::No)
    }

    /// The only values that the engine implements for a field; `None` if it takes any.
    pub(crate) fn only(&self, message: &Message, index: usize) -> Option<&[String]> {
        match self.entry(message, index) {
            Entry::Only(values) => Some(values),
            _ => None,
        }
    }

    fn entry(&self, message: &Message, index: usize) -> &Entry {
        if always(message) {
            return &Entry::Yes;
        }
        self.fields.get(&message.id).and_then(|e| e.get(index)).unwrap_or(&Entry::No)
    }

    /// Whether the engine implements an extension type.
    pub fn any_type(&self, message: &Message) -> bool {
        message.name.starts_with("google.protobuf.") || self.types.contains(&message.id)
    }

    /// Whether the engine implements an enum value.
    pub fn value(&self, of: &Enum, number: i32) -> bool {
        number == 0 || of.name.starts_with("google.protobuf.") || self.values.contains(&(of.name, number))
    }

    /// (supported, total) fields that can be reached from the bootstrap, the xDS resources and every extension type.
    pub fn coverage(&self) -> Coverage {
        let mut coverage = Coverage::default();
        let mut seen = HashSet::new();
        let mut queue: Vec<&'static Message> = table::message_names()
            .filter(|n| *n == "envoy.config.bootstrap.v3.Bootstrap" || n.starts_with("envoy.extensions.") || n.starts_with("envoy.config."))
            .filter(|n| !n.contains("alpha"))
            .filter_map(table::message_by_name)
            .collect();
        while let Some(message) = queue.pop() {
            if always(message) || message.map_entry || !seen.insert(message.id) {
                continue;
            }
            for (i, field) in message.fields.iter().enumerate() {
                if field.deprecated {
                    continue;
                }
                coverage.total += 1;
                coverage.supported += usize::from(self.field(message, i));
                if field.kind == Kind::Message {
                    let inner = field.message();
                    queue.push(if field.map && inner.fields.get(1).is_some_and(|f| f.kind == Kind::Message) {
                        inner.fields[1].message()
                    } else {
                        inner
                    });
                }
            }
        }
        coverage
    }
}

/// Messages whose fields carry data rather than settings.
fn always(message: &Message) -> bool {
    message.map_entry
        || message.name.starts_with("google.protobuf.")
        || matches!(message.name, "xds.type.v3.TypedStruct" | "udpa.type.v1.TypedStruct")
}

/// How much of Envoy's API is implemented, deprecated fields left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Fields that are implemented.
    pub supported: usize,
    /// Fields that there are.
    pub total: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_understood() {
        let support = Support::parse(
            "# comment\n\
             envoy.config.cluster.v3.Cluster.name # a field\n\
             -envoy.config.core.v3.SocketAddress.ipv4_compat\n\
             envoy.config.core.v3.SocketAddress.*\n\
             envoy.config.cluster.v3.Cluster.respect_dns_ttl = false\n\
             envoy.config.cluster.v3.Cluster.LbPolicy.RANDOM\n\
             @envoy.extensions.filters.http.router.v3.Router\n",
        )
        .unwrap();
        let cluster = table::message_by_name("envoy.config.cluster.v3.Cluster").unwrap();
        let has = |m: &Message, f: &str| support.field(m, m.field_index(f).unwrap());
        assert!(has(cluster, "name") && !has(cluster, "type") && has(cluster, "respect_dns_ttl"));
        assert_eq!(support.only(cluster, cluster.field_index("respect_dns_ttl").unwrap()), Some(&["false".to_owned()][..]));
        let address = table::message_by_name("envoy.config.core.v3.SocketAddress").unwrap();
        assert!(has(address, "address") && !has(address, "ipv4_compat"));
        let policy = table::enum_by_name("envoy.config.cluster.v3.Cluster.LbPolicy").unwrap();
        assert!(support.value(policy, 0) && support.value(policy, 3) && !support.value(policy, 2));
        assert!(support.any_type(table::message_by_name("envoy.extensions.filters.http.router.v3.Router").unwrap()));
        assert!(!support.any_type(address));
        let coverage = support.coverage();
        assert!(coverage.total > 4000 && coverage.supported > 4 && coverage.supported < 20, "{coverage:?}");
    }

    #[test]
    fn slips_in_the_list_are_errors() {
        for line in [
            "envoy.config.cluster.v3.Cluster.nope",
            "envoy.nope.X.y",
            "@envoy.nope",
            "x",
            "envoy.config.cluster.v3.Cluster.LbPolicy.NOPE",
            "-x.y",
        ] {
            assert!(Support::parse(line).is_err(), "{line}");
        }
    }
}
