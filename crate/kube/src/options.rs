//! How to reach the API server, and how a watch behaves; all have defaults.
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where the API server's address and our credentials come from.
#[derive(Clone, Default)]
pub enum Source {
    /// `$KUBECONFIG`, else `~/.kube/config`, else the pod's own service account.
    #[default]
    Default,
    /// A kubeconfig file.
    File(PathBuf),
    /// The text of a kubeconfig (YAML or JSON). Relative paths in it are from the working directory.
    Inline(String),
    /// The pod's own service account, from the given folder (normally `/var/run/secrets/kubernetes.io/serviceaccount`);
    /// the server from `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT` as given here.
    InCluster { folder: PathBuf, host: String, port: u16 },
    /// `{"cluster":…,"user":…,"context":…}`: what `getCurrentCluster()`, `getCurrentUser()` and `getContextObject(getCurrentContext())`
    /// of a `@kubernetes/client-node` KubeConfig return, as JSON.
    ClientNode(String),
}

impl fmt::Debug for Source {
    // The text of a kubeconfig holds keys and tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("Default"),
            Source::File(path) => f.debug_tuple("File").field(path).finish(),
            Source::Inline(_) => f.write_str("Inline(…)"),
            Source::InCluster { folder, host, port } => write!(f, "InCluster({folder:?}, {host}:{port})"),
            Source::ClientNode(_) => f.write_str("ClientNode(…)"),
        }
    }
}

/// Which addresses of a dual-stack service to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    /// The Service's first family (`spec.ipFamilies[0]`).
    #[default]
    ServiceFirst,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// All.
    Both,
}

/// Options of [`connect`](crate::connect); every field has a default.
#[derive(Debug, Clone)]
pub struct KubeOptions {
    /// Where the credentials come from. Default: the usual search.
    pub source: Source,
    /// The kubeconfig's context. Default: its `current-context`.
    pub context: Option<String>,
    /// Address family. Default: the Service's first.
    pub family: Family,
    /// Follow ExternalName services and FQDN slices (resolved here, by the system's resolver). Addresses that are loopback,
    /// link-local, multicast or unspecified are left out even then. Default: refuse them.
    pub allow_external: bool,
    /// How long changes are gathered before one snapshot is published. Default: 50 ms.
    pub debounce: Duration,
    /// End the watch with an error when the API server was out of reach for this long. Default: never; the last set is kept.
    pub max_stale: Option<Duration>,
    /// End a watch that has not seen the first whole list within this time, if the API server can't be reached. Default: 30 s.
    pub sync_timeout: Option<Duration>,
    /// Renew a watch on which nothing arrived for this long; API servers send bookmarks about once a minute. Default: 90 s.
    pub idle_deadline: Duration,
}

impl Default for KubeOptions {
    fn default() -> Self {
        KubeOptions {
            source: Source::Default,
            context: None,
            family: Family::ServiceFirst,
            allow_external: false,
            debounce: Duration::from_millis(50),
            max_stale: None,
            sync_timeout: Some(Duration::from_secs(30)),
            idle_deadline: Duration::from_secs(90),
        }
    }
}
