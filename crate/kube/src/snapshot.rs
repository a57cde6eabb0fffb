//! What discovery gives: the endpoints of one service at one moment.
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use xxhash_rust::xxh64::Xxh64;

/// One address that takes the service's requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// An IP address.
    pub address: String,
    /// The pod's own port.
    pub port: u16,
    /// The endpoint's zone, where the cluster says one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The node it runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The pod's host name (StatefulSet).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// It is shutting down, and given only because nothing else is ready.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub terminating: bool,
}

/// The endpoints of one service, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSnapshot {
    /// The Service's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// A hash of the content: the same endpoints have the same version, whoever looks and whenever.
    pub version: String,
    /// Sorted by address and port, each once; empty when the service has none or was deleted.
    pub endpoints: Vec<Endpoint>,
    /// When this set was first seen.
    pub at: SystemTime,
}

impl ServiceSnapshot {
    pub(crate) fn new(name: &str, namespace: &str, endpoints: Vec<Endpoint>) -> Self {
        let mut hash = Xxh64::new(0);
        for field in [namespace, name] {
            hash.update(field.as_bytes());
            hash.update(&[0]);
        }
        for endpoint in &endpoints {
            // Debug prints every field, quoted: no two different endpoints read the same.
            hash.update(format!("{endpoint:?}").as_bytes());
        }
        ServiceSnapshot {
            name: name.into(),
            namespace: namespace.into(),
            version: format!("{:016x}", hash.digest()),
            endpoints,
            at: SystemTime::now(),
        }
    }

    /// [`at`](Self::at) as milliseconds since 1970.
    pub fn at_ms(&self) -> u64 {
        // A clock before 1970 is no reason to fail.
        self.at.duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_content() {
        let endpoint =
            |address: &str| Endpoint { address: address.into(), port: 80, zone: None, node: None, hostname: None, terminating: false };
        let one = ServiceSnapshot::new("a", "n", vec![endpoint("10.0.0.1")]);
        assert_eq!(one.version, ServiceSnapshot::new("a", "n", vec![endpoint("10.0.0.1")]).version);
        for other in [
            ServiceSnapshot::new("a", "n", vec![endpoint("10.0.0.2")]),
            ServiceSnapshot::new("a", "n", vec![]),
            ServiceSnapshot::new("b", "n", vec![endpoint("10.0.0.1")]),
            ServiceSnapshot::new("a", "m", vec![endpoint("10.0.0.1")]),
            ServiceSnapshot::new("a", "n", vec![Endpoint { zone: Some("z".into()), ..endpoint("10.0.0.1") }]),
        ] {
            assert_ne!(one.version, other.version, "{other:?}");
        }
    }
}
