//! Configuration that is discovered: what asks for it, reads it, and takes it to the door. Today that is routes (`rds`).
//!
//! A source of routes has one task, which [`start`] makes. What the task finds it sends to the door as an [`Update`], and it waits for the verdict:
//! the door alone knows whether routes compile. The task keeps the stats of its transport, the door those of the routes.

mod file;
mod response;
mod watch;

use std::{
    cell::RefCell,
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use plenipo_api::{Issue, UnknownFields};
use tokio::sync::{mpsc, oneshot};
use xxhash_rust::xxh64::xxh64;

use crate::{
    engine::{Event, Shared},
    route::{Origin, RouteSource},
    stats::{RdsStats, Text},
};

/// What was found for a source of routes.
pub(crate) struct Update {
    /// The source's key.
    pub key: u64,
    /// What was found.
    pub found: Found,
    /// Told whether it is used now; an error says why it is not.
    pub verdict: oneshot::Sender<Result<(), String>>,
}

/// What a source gives.
pub(crate) enum Found {
    /// Routes.
    Routes {
        /// `version_info`
        version: String,
        /// The `RouteConfiguration` in its wire form.
        config: Bytes,
    },
    /// An answer without resources: what is there stays.
    Empty,
    /// Nothing that could be read; whoever waits for the first routes need not wait longer.
    Nothing,
}

/// What the tasks of a proxy share.
pub(crate) struct Discovery {
    shared: Arc<Shared>,
    door: mpsc::UnboundedSender<Update>,
    watcher: watch::Watcher,
    /// Hashes of the unknown fields that were told of: each is told once.
    told: RefCell<HashSet<u64>>,
    hasher: RandomState,
}

impl Discovery {
    /// What the tasks of this proxy share; updates go to `door`.
    pub fn new(shared: Arc<Shared>, door: mpsc::UnboundedSender<Update>) -> Discovery {
        Discovery { shared, door, watcher: watch::Watcher::default(), told: RefCell::default(), hasher: RandomState::new() }
    }

    /// Takes what was found to the door.
    async fn submit(&self, key: u64, found: Found) -> Result<(), String> {
        let (verdict, told) = oneshot::channel();
        let gone = || Err("the proxy stops".to_owned());
        if self.door.send(Update { key, found, verdict }).is_err() {
            return gone();
        }
        told.await.unwrap_or_else(|_| gone())
    }

    fn unknown_dynamic_fields(&self) -> UnknownFields {
        self.shared.options.unknown_dynamic_fields
    }

    /// Tells of fields that Envoy's API does not have, each once; as in Envoy, those of one text count as one.
    fn tell_unknown(&self, issues: &[Issue]) {
        let mut new = false;
        for issue in issues.iter().filter(|i| i.code == plenipo_api::IssueCode::UnknownField) {
            let text = issue.to_string();
            if self.told.borrow_mut().insert(self.hasher.hash_one(&text)) {
                new = true;
                self.warn(format!("Unknown field: {text}"));
            }
        }
        if new {
            self.shared.counters.server.dynamic_unknown_fields().inc();
        }
    }

    fn warn(&self, message: String) {
        self.shared.emit(&Event::Warning(message));
    }
}

/// Begins to discover the routes of `source`; ends with the task.
pub(crate) fn start(discovery: &std::rc::Rc<Discovery>, source: &RouteSource, stats: RdsStats) -> tokio::task::JoinHandle<()> {
    let text = discovery.shared.stats.text(&format!("{}.version_text", source.stats));
    let accepted = Accepted { stats, text };
    match &source.origin {
        Origin::File { path, watched } => {
            let file = file::RouteFile { key: source.key, name: source.name.clone(), path: path.clone(), watched: watched.clone() };
            tokio::task::spawn_local(file.follow(discovery.clone(), accepted))
        }
    }
}

/// The stats of a subscription.
struct Accepted {
    stats: RdsStats,
    text: Text,
}

impl Accepted {
    /// Notes that this version is used now.
    fn accept(&self, version: &str) {
        self.stats.update_success().inc();
        self.stats.update_time().set(milliseconds(SystemTime::now()));
        self.stats.version().set(xxh64(version.as_bytes(), 0));
        self.text.set(version);
    }
}

/// Since 1970, as Envoy's stats of times.
pub(crate) fn milliseconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}
