//! What to look for: one service of one namespace, and which of its ports.
use crate::KubeError;

/// A service to discover or to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Namespace; `None` is the namespace of the kubeconfig's context, of the pod, or `default`.
    pub namespace: Option<String>,
    /// The Service's name.
    pub service: String,
    /// Which port; `None` is allowed when the Service has exactly one TCP port.
    pub port: Option<PortRef>,
}

/// A port of a Service, never of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortRef {
    /// The Service's own port (`spec.ports[].port`).
    Number(u16),
    /// The Service port's name (`spec.ports[].name`).
    Name(String),
}

impl Target {
    /// A target in the default namespace with no port given.
    pub fn service(name: impl Into<String>) -> Self {
        Target { namespace: None, service: name.into(), port: None }
    }

    /// The same target in a namespace.
    pub fn in_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// The same target at a Service port's number.
    pub fn port(mut self, number: u16) -> Self {
        self.port = Some(PortRef::Number(number));
        self
    }

    /// The same target at a Service port's name.
    pub fn port_name(mut self, name: impl Into<String>) -> Self {
        self.port = Some(PortRef::Name(name.into()));
        self
    }

    /// Refuse what can't be a Kubernetes name before it becomes a part of a URL or a selector.
    pub(crate) fn check(&self, default_namespace: &str) -> Result<(), KubeError> {
        let namespace = self.namespace.as_deref().unwrap_or(default_namespace);
        let fail =
            |message: &str| Err(KubeError::Target { service: self.service.clone(), namespace: namespace.into(), message: message.into() });
        if !is_label(&self.service) {
            return fail("the service's name must be 1 to 63 of a-z, 0-9 and '-', and begin and end with a letter or digit");
        }
        if !is_label(namespace) {
            return fail("the namespace must be 1 to 63 of a-z, 0-9 and '-', and begin and end with a letter or digit");
        }
        match &self.port {
            Some(PortRef::Number(0)) => fail("the port must be 1 to 65535"),
            Some(PortRef::Name(name)) if !is_label(name) => fail("the port's name is not a Kubernetes name"),
            _ => Ok(()),
        }
    }
}

/// RFC 1123 label.
fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    bytes.len() <= 63 && bytes.iter().all(|b| inner(*b)) && edge(bytes.first()) && edge(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let ok = |t: Target| assert!(t.check("default").is_ok(), "{t:?}");
        let bad = |t: Target| assert_eq!(t.check("default").unwrap_err().code(), "ERR_PLENIPO_KUBE_TARGET", "{t:?}");
        ok(Target::service("app-svc").in_namespace("shop").port_name("http"));
        ok(Target::service("a").port(65535));
        bad(Target::service(""));
        bad(Target::service("App"));
        bad(Target::service("-a"));
        bad(Target::service("a/../b"));
        bad(Target::service("a,b"));
        bad(Target::service("a".repeat(64)));
        bad(Target::service("a").in_namespace("x y"));
        bad(Target::service("a").port(0));
        bad(Target::service("a").port_name("x=y"));
    }
}
