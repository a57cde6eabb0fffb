//! The resources of the running configuration in their wire form, with their owners; and what a change makes of them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use xxhash_rust::xxh64::xxh64;

use super::{Kind, Owner};

/// One resource.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Who it belongs to.
    pub owner: Owner,
    /// The message; equal configurations have equal bytes.
    pub bytes: Bytes,
    /// The hash of the bytes.
    pub hash: u64,
}

/// All resources, by kind and name.
#[derive(Clone, Debug, Default)]
pub struct Resources(BTreeMap<(Kind, String), Resource>);

/// What a change means for the resources that are there.
#[derive(Debug, Default)]
pub struct Plan {
    /// To add or replace.
    pub upserts: Vec<((Kind, String), Resource)>,
    /// To remove.
    pub removals: Vec<(Kind, String)>,
    /// Names that are new.
    pub added: Vec<String>,
    /// Names that change.
    pub changed: Vec<String>,
    /// Names that go.
    pub removed: Vec<String>,
    /// How many are there already, just so.
    pub unchanged: usize,
}

impl Resources {
    /// Compares a change with what is there. `named` are the resources of the change; with `replace`, whatever else the
    /// owner has is removed. A removal of what is not there is given back as the error.
    pub fn plan(
        &self,
        owner: Owner,
        named: Vec<(Kind, String, Bytes)>,
        removals: Vec<(Kind, String)>,
        replace: bool,
    ) -> Result<Plan, (Kind, String)> {
        let mut plan = Plan::default();
        let mut kept = BTreeSet::new();
        for (kind, name, bytes) in named {
            let hash = xxh64(&bytes, 0);
            let key = (kind, name);
            let label = label(&key);
            match self.0.get(&key) {
                Some(old) if old.hash == hash && old.bytes == bytes => plan.unchanged += 1,
                Some(_) => {
                    plan.changed.push(label);
                    plan.upserts.push((key.clone(), Resource { owner, bytes, hash }));
                }
                None => {
                    plan.added.push(label);
                    plan.upserts.push((key.clone(), Resource { owner, bytes, hash }));
                }
            }
            kept.insert(key);
        }
        for key in removals {
            if !self.0.contains_key(&key) {
                return Err(key);
            }
            if kept.insert(key.clone()) {
                plan.removed.push(label(&key));
                plan.removals.push(key);
            }
        }
        if replace {
            for (key, _) in self.0.iter().filter(|(key, r)| r.owner == owner && !kept.contains(*key)) {
                plan.removed.push(label(key));
                plan.removals.push(key.clone());
            }
        }
        Ok(plan)
    }

    /// Makes the plan real.
    pub fn commit(&mut self, plan: &Plan) {
        for key in &plan.removals {
            self.0.remove(key);
        }
        for (key, resource) in &plan.upserts {
            self.0.insert(key.clone(), resource.clone());
        }
    }

    /// Whether there is such a resource.
    pub fn contains(&self, kind: Kind, name: &str) -> bool {
        self.0.contains_key(&(kind, name.to_owned()))
    }

    /// All of a kind, by name.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&str, &Resource)> {
        self.0.iter().filter(move |((k, _), _)| *k == kind).map(|((_, name), r)| (name.as_str(), r))
    }
}

impl Plan {
    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.upserts.is_empty() && self.removals.is_empty()
    }
}

fn label((kind, name): &(Kind, String)) -> String {
    format!("{}/{name}", kind.word())
}

/// The name that a resource goes by: its `name`, or a listener's address where it has none.
pub fn name_of(kind: Kind, bytes: &Bytes) -> Result<String, String> {
    match kind {
        Kind::Cluster => super::decode_cluster(bytes).map(|c| c.name),
        Kind::Listener => super::decode_listener(bytes).map(|l| if l.name.is_empty() { address_text(&l) } else { l.name }),
    }
}

fn address_text(listener: &super::ListenerProto) -> String {
    use plenipo_api::proto::envoy::config::core::v3::{address::Address, socket_address::PortSpecifier};
    match listener.address.as_ref().and_then(|a| a.address.as_ref()) {
        Some(Address::SocketAddress(socket)) => match &socket.port_specifier {
            Some(PortSpecifier::PortValue(port)) => format!("{}:{port}", socket.address),
            _ => socket.address.clone(),
        },
        _ => "listener".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, text: &'static str) -> (Kind, String, Bytes) {
        (Kind::Cluster, name.to_owned(), Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn an_owner_replaces_only_its_own() {
        let mut resources = Resources::default();
        let plan = resources.plan(Owner::Bootstrap, vec![named("file", "1")], vec![], false).unwrap();
        resources.commit(&plan);
        let plan = resources.plan(Owner::Api, vec![named("a", "1"), named("b", "1")], vec![], true).unwrap();
        assert_eq!(plan.added, ["cluster/a", "cluster/b"]);
        resources.commit(&plan);
        let plan = resources.plan(Owner::Api, vec![named("a", "1"), named("c", "1")], vec![], true).unwrap();
        assert_eq!((plan.unchanged, &plan.added[..], &plan.removed[..]), (1, &["cluster/c".to_owned()][..], &["cluster/b".to_owned()][..]));
        resources.commit(&plan);
        assert!(resources.contains(Kind::Cluster, "file") && !resources.contains(Kind::Cluster, "b"));
    }

    #[test]
    fn equal_bytes_are_no_change_and_a_missing_name_is_told() {
        let mut resources = Resources::default();
        resources.commit(&resources.clone().plan(Owner::Api, vec![named("a", "1")], vec![], false).unwrap());
        assert!(resources.plan(Owner::Api, vec![named("a", "1")], vec![], false).unwrap().is_empty());
        let missing = resources.plan(Owner::Api, vec![], vec![(Kind::Listener, "x".into())], false).unwrap_err();
        assert_eq!(missing, (Kind::Listener, "x".to_owned()));
    }
}
