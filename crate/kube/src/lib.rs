//! Kubernetes discovery for plenipo: a Service and its EndpointSlices become a list of endpoints, once ([`discover`]) or for as long
//! as somebody looks ([`watch`]). It knows nothing of the engine: it gives snapshots, and the caller makes clusters of them.
mod backoff;
mod client;
mod client_node;
mod discover;
mod env_proxy;
mod error;
mod external;
mod feed;
mod gather;
mod options;
mod resolve;
mod snapshot;
mod target;
mod watch;

pub use client::{Client, connect};
pub use discover::discover;
pub use error::KubeError;
pub use options::{Family, KubeOptions, Source};
pub use snapshot::{Endpoint, ServiceSnapshot};
pub use target::{PortRef, Target};
pub use watch::{Event, Watch, watch};
