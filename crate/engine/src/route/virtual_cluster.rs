//! Groups of a virtual host's requests that are counted apart (`virtual_clusters`).

use std::sync::Arc;

use super::matcher::HeaderMatch;
use crate::{http::header::HeaderList, stats::RequestGroupStats};

/// `VirtualCluster`
#[derive(Debug)]
pub struct VirtualCluster {
    /// `name`; absent for the one behind all others, which has every other request.
    pub name: Option<Arc<str>>,
    /// `headers`; all must match.
    pub headers: Vec<HeaderMatch>,
    /// `vhost.<virtual host>.vcluster.<name>`
    pub stats: RequestGroupStats,
}

impl VirtualCluster {
    /// Whether a request belongs to it.
    pub fn matches(&self, request: &HeaderList) -> bool {
        self.headers.iter().all(|header| header.matches(request))
    }
}
