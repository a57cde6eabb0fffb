//! Filter state: named objects that the filters of a stream leave for each other, for formats and for matchers.

use std::{borrow::Cow, collections::BTreeMap, fmt, rc::Rc};

use xxhash_rust::xxh64::xxh64;

use crate::metadata::Value;

/// An object of a filter's state.
pub trait Object: fmt::Debug {
    /// As `PLAIN` prints it and matchers read it; `None` where it has no text.
    fn text(&self) -> Option<Cow<'_, [u8]>>;

    /// As `TYPED` prints it; `None` where it has no message.
    fn message(&self) -> Option<Value> {
        None
    }

    /// What a `hash_policy` reads; `None` where it cannot be hashed.
    fn hash(&self) -> Option<u64> {
        None
    }

    /// One field of it, as `FIELD` prints it.
    fn field(&self, _name: &str) -> Option<Cow<'_, [u8]>> {
        None
    }
}

/// `envoy.string`: an object that is nothing but text.
#[derive(Clone, Debug)]
pub struct StringObject(pub Vec<u8>);

impl Object for StringObject {
    fn text(&self) -> Option<Cow<'_, [u8]>> {
        Some(Cow::Borrowed(&self.0))
    }

    fn message(&self) -> Option<Value> {
        // As in Envoy a byte that is not UTF-8 becomes a space.
        let mut text = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            text.push_str(chunk.valid());
            text.extend(chunk.invalid().iter().map(|_| ' '));
        }
        Some(Value::String(text.into()))
    }
}

/// `envoy.hashable_string`: text that a `hash_policy` may go by.
#[derive(Clone, Debug)]
pub struct HashableString(pub StringObject);

impl Object for HashableString {
    fn text(&self) -> Option<Cow<'_, [u8]>> {
        self.0.text()
    }

    fn message(&self) -> Option<Value> {
        self.0.message()
    }

    fn hash(&self) -> Option<u64> {
        Some(xxh64(&self.0.0, 0))
    }
}

/// The objects of one stream, by name.
#[derive(Clone, Debug, Default)]
pub struct FilterState(BTreeMap<Box<str>, Rc<dyn Object>>);

impl FilterState {
    /// The object of a name.
    pub fn get(&self, name: &str) -> Option<&Rc<dyn Object>> {
        self.0.get(name)
    }

    /// Puts an object under a name, in the place of the one that was there.
    pub fn set(&mut self, name: &str, object: Rc<dyn Object>) {
        self.0.insert(name.into(), object);
    }
}
