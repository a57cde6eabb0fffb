//! Metadata: JSON-like values by filter namespace. Of routes, clusters and hosts, fixed by the configuration; of a stream, written by its filters.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
};

use crate::route::StringMatch;

/// `google.protobuf.Value`
#[derive(Clone, Debug)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(f64),
    /// Text.
    String(Box<str>),
    /// An object.
    Struct(Struct),
    /// A list.
    List(Vec<Value>),
}

/// `google.protobuf.Struct`: keys in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Struct(pub BTreeMap<Box<str>, Value>);

/// `envoy.config.core.v3.Metadata.filter_metadata`
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Metadata(pub BTreeMap<Box<str>, Struct>);

impl Metadata {
    /// What stands under a namespace.
    pub fn namespace(&self, name: &str) -> Option<&Struct> {
        self.0.get(name)
    }

    /// The value at a path of keys under a namespace; `None` for an empty path, as in Envoy.
    pub fn value(&self, namespace: &str, path: &[Box<str>]) -> Option<&Value> {
        let (last, parents) = path.split_last()?;
        let mut fields = self.namespace(namespace)?;
        for key in parents {
            match fields.0.get(key) {
                Some(Value::Struct(inner)) => fields = inner,
                _ => return None,
            }
        }
        fields.0.get(last)
    }

    /// Merges `new` into a namespace: see [`Struct::update`].
    pub fn update(&mut self, namespace: &str, new: &Struct) {
        match self.0.get_mut(namespace) {
            Some(there) => there.update(new),
            None => drop(self.0.insert(namespace.into(), new.clone())),
        }
    }
}

impl Struct {
    /// Merges `new` into this one: objects are merged, lists joined, everything else replaced. A value of another kind is
    /// replaced too.
    pub fn update(&mut self, new: &Struct) {
        for (key, value) in &new.0 {
            match (self.0.get_mut(key), value) {
                (Some(Value::Struct(there)), Value::Struct(new)) => there.update(new),
                (Some(Value::List(there)), Value::List(new)) => there.extend_from_slice(new),
                (Some(there), new) => *there = new.clone(),
                (None, new) => drop(self.0.insert(key.clone(), new.clone())),
            }
        }
    }
}

impl From<&Metadata> for serde_json::Value {
    fn from(metadata: &Metadata) -> serde_json::Value {
        let namespaces = metadata.0.iter().map(|(name, fields)| (name.to_string(), fields.into()));
        serde_json::json!({ "filter_metadata": namespaces.collect::<serde_json::Map<_, _>>() })
    }
}

impl From<&Struct> for serde_json::Value {
    fn from(fields: &Struct) -> serde_json::Value {
        serde_json::Value::Object(fields.0.iter().map(|(key, value)| (key.to_string(), value.into())).collect())
    }
}

impl From<&Value> for serde_json::Value {
    fn from(value: &Value) -> serde_json::Value {
        match value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(b) => (*b).into(),
            // protobuf prints whole numbers without a point.
            Value::Number(n) if n.fract() == 0.0 && n.abs() < 1e15 => (*n as i64).into(),
            Value::Number(n) => (*n).into(),
            Value::String(text) => (&**text).into(),
            Value::Struct(fields) => fields.into(),
            Value::List(values) => values.iter().map(serde_json::Value::from).collect(),
        }
    }
}

/// Numbers are equal where their bits are, so that metadata can be compared and hashed whole.
impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Number(a), Value::Number(b)) => a.to_bits() == b.to_bits(),
            (Value::String(a), Value::String(b)) => a == b,
            (Value::Struct(a), Value::Struct(b)) => a == b,
            (Value::List(a), Value::List(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Value::Null => {}
            Value::Bool(b) => b.hash(state),
            Value::Number(n) => n.to_bits().hash(state),
            Value::String(text) => text.hash(state),
            Value::Struct(fields) => fields.hash(state),
            Value::List(values) => values.hash(state),
        }
    }
}

/// `envoy.type.matcher.v3.MetadataMatcher`
#[derive(Clone, Debug)]
pub struct MetadataMatch {
    /// `filter`
    pub namespace: Box<str>,
    /// `path`
    pub path: Vec<Box<str>>,
    /// `value`
    pub value: ValueMatch,
    /// `invert`
    pub invert: bool,
}

impl MetadataMatch {
    /// Whether the metadata matches; none at all is as good as empty one.
    pub fn matches(&self, metadata: Option<&Metadata>) -> bool {
        self.value.matches(self.find(metadata)) != self.invert
    }

    /// The value that it looks at.
    pub fn find<'m>(&self, metadata: Option<&'m Metadata>) -> Option<&'m Value> {
        metadata.and_then(|m| m.value(&self.namespace, &self.path))
    }
}

/// `envoy.type.matcher.v3.ValueMatcher`
#[derive(Clone, Debug)]
pub enum ValueMatch {
    /// `null_match`
    Null,
    /// `double_match.range`: from the first up to, not including, the second.
    Range(f64, f64),
    /// `double_match.exact`
    Number(f64),
    /// `string_match`
    String(StringMatch),
    /// `bool_match`
    Bool(bool),
    /// `present_match`: with `false` nothing matches.
    Present(bool),
    /// `list_match.one_of`: an element of a list matches.
    OneOf(Box<ValueMatch>),
    /// `or_match`
    Or(Vec<ValueMatch>),
}

impl ValueMatch {
    /// Whether a value matches; `None` where there is none.
    pub fn matches(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (ValueMatch::Null, Some(Value::Null)) => true,
            (ValueMatch::Range(start, end), Some(Value::Number(n))) => (start..end).contains(&n),
            (ValueMatch::Number(wanted), Some(Value::Number(n))) => wanted == n,
            (ValueMatch::String(matcher), Some(Value::String(text))) => matcher.matches(text.as_bytes()),
            (ValueMatch::Bool(wanted), Some(Value::Bool(b))) => wanted == b,
            (ValueMatch::Present(wanted), value) => *wanted && value.is_some(),
            (ValueMatch::OneOf(matcher), Some(Value::List(values))) => values.iter().any(|v| matcher.matches(Some(v))),
            (ValueMatch::Or(matchers), value) => matchers.iter().any(|m| m.matches(value)),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Struct {
        Struct(fields.into_iter().map(|(k, v)| (k.into(), v)).collect())
    }

    #[test]
    fn objects_are_merged_lists_joined_the_rest_replaced() {
        let mut metadata = Metadata::default();
        let list = |n: &[f64]| Value::List(n.iter().map(|n| Value::Number(*n)).collect());
        metadata.update(
            "n",
            &object([
                ("o", Value::Struct(object([("a", Value::Null), ("b", Value::Bool(true))]))),
                ("l", list(&[1.0])),
                ("k", Value::Number(1.0)),
            ]),
        );
        metadata.update(
            "n",
            &object([("o", Value::Struct(object([("b", Value::Bool(false))]))), ("l", list(&[2.0])), ("k", Value::String("x".into()))]),
        );
        let expected = object([
            ("o", Value::Struct(object([("a", Value::Null), ("b", Value::Bool(false))]))),
            ("l", list(&[1.0, 2.0])),
            ("k", Value::String("x".into())),
        ]);
        assert_eq!(metadata.namespace("n"), Some(&expected));
        assert_eq!(metadata.value("n", &["o".into(), "b".into()]), Some(&Value::Bool(false)));
        assert_eq!(metadata.value("n", &["k".into(), "b".into()]), None);
        assert_eq!(metadata.value("n", &[]), None);
    }

    #[test]
    fn values_match_by_kind() {
        let one = Value::Number(1.0);
        for (matcher, value, yes) in [
            (ValueMatch::Null, Some(&Value::Null), true),
            (ValueMatch::Null, None, false),
            (ValueMatch::Range(1.0, 2.0), Some(&one), true),
            (ValueMatch::Range(0.0, 1.0), Some(&one), false),
            (ValueMatch::Number(1.0), Some(&Value::Bool(true)), false),
            (ValueMatch::Present(true), Some(&one), true),
            (ValueMatch::Present(false), None, false),
            (ValueMatch::OneOf(Box::new(ValueMatch::Number(1.0))), Some(&Value::List(vec![Value::Null, one.clone()])), true),
            (ValueMatch::OneOf(Box::new(ValueMatch::Number(1.0))), Some(&one), false),
            (ValueMatch::Or(vec![ValueMatch::Null, ValueMatch::Number(1.0)]), Some(&one), true),
        ] {
            assert_eq!(matcher.matches(value), yes, "{matcher:?} {value:?}");
        }
    }
}
