//! Where in a configuration something stands, and what is wrong with it. Paths become text only when there is an issue.

use std::fmt;

use plenipo_api::{Issue, IssueCode};

/// All problems of a configuration, in the order of the document.
pub type Issues = Vec<Issue>;

/// A place in a configuration: `route_config.virtual_hosts[0].name`. Lives on the stack while the message is walked.
#[derive(Clone, Copy, Debug)]
pub enum At<'p> {
    /// Where the walk begins; may be empty.
    Root(&'p str),
    /// A field of the message at the first place.
    Field(&'p At<'p>, &'p str),
    /// An element of a list.
    Index(&'p At<'p>, usize),
    /// A value of a map.
    Key(&'p At<'p>, &'p str),
}

impl<'p> At<'p> {
    /// The field `name` of this message.
    pub fn field(&'p self, name: &'p str) -> At<'p> {
        At::Field(self, name)
    }

    /// Element `index` of this list.
    pub fn index(&'p self, index: usize) -> At<'p> {
        At::Index(self, index)
    }

    /// The value of `key` in this map.
    pub fn key(&'p self, key: &'p str) -> At<'p> {
        At::Key(self, key)
    }

    /// An error of any code here.
    pub fn error(&self, code: IssueCode, message: impl Into<String>) -> Issue {
        Issue::error(code, self.to_string(), message)
    }

    /// What stands here breaks the configuration.
    pub fn invalid(&self, message: impl Into<String>) -> Issue {
        self.error(IssueCode::ConfigInvalid, message)
    }

    /// What stands here is fine for Envoy but not implemented.
    pub fn unsupported(&self, message: impl Into<String>) -> Issue {
        self.error(IssueCode::Unsupported, message)
    }

    /// What stands here has no effect, or not the one that was meant.
    pub fn warning(&self, message: impl Into<String>) -> Issue {
        Issue::warning(IssueCode::ConfigInvalid, self.to_string(), message)
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Root(path) => f.write_str(path),
            At::Field(At::Root(""), name) => f.write_str(name),
            At::Field(parent, name) => write!(f, "{parent}.{name}"),
            At::Index(parent, index) => write!(f, "{parent}[{index}]"),
            At::Key(parent, key) => write!(f, "{parent}[{key:?}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_proto_names() {
        let root = At::Root("");
        let (clusters, name) = (root.field("clusters"), "a.b");
        let (second, options) = (clusters.index(1), "typed_extension_protocol_options");
        assert_eq!(second.field(options).key(name).to_string(), "clusters[1].typed_extension_protocol_options[\"a.b\"]");
        assert_eq!(At::Root("a.b").field("c").to_string(), "a.b.c");
    }
}
