//! The door's part in discovery: which sources of routes are in use, what each gave, and what becomes of an update.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc, time::SystemTime};

use bytes::Bytes;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{Applied, Control, has_error, publish::Pending};
use crate::{
    config::{self, issues::At},
    engine::{Error, Event, Shared},
    route::{RouteSource, RouteTable},
    stats::RdsStats,
    xds::{self, Discovery, Found, Update},
};

/// The sources of routes that are in use.
pub struct Sources {
    /// By key. Whoever uses a source holds it; one that nobody else holds goes.
    list: RefCell<BTreeMap<u64, Source>>,
    discovery: Rc<Discovery>,
    updates: mpsc::UnboundedReceiver<Update>,
}

/// A source of routes and what it gave.
struct Source {
    source: Arc<RouteSource>,
    /// What discovers them, once they are waited for.
    running: Option<(RdsStats, JoinHandle<()>)>,
    /// It gave something, or will not soon.
    ready: bool,
    routes: Option<(Discovered, Arc<RouteTable>)>,
}

/// Routes that were discovered, as they are shown.
#[derive(Clone, Debug)]
pub struct Discovered {
    /// `version_info`
    pub version: String,
    /// The `RouteConfiguration` in its wire form.
    pub config: Bytes,
    /// When it was taken into use.
    pub updated: SystemTime,
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.running {
            task.abort();
        }
    }
}

impl Sources {
    /// None yet.
    pub fn new(shared: Arc<Shared>) -> Sources {
        let (door, updates) = mpsc::unbounded_channel();
        Sources { list: RefCell::default(), discovery: Rc::new(Discovery::new(shared, door)), updates }
    }

    /// The source that equals this one, which is that of its first user.
    pub fn intern(&self, source: RouteSource) -> Arc<RouteSource> {
        let mut list = self.list.borrow_mut();
        let known =
            list.entry(source.key).or_insert_with(|| Source { source: Arc::new(source), running: None, ready: false, routes: None });
        known.source.clone()
    }

    /// Begins to discover what is new.
    pub fn start(&mut self, shared: &Shared) {
        for source in self.list.get_mut().values_mut().filter(|source| source.running.is_none()) {
            let stats = RdsStats::new(&shared.stats, &source.source.stats);
            source.running = Some((stats.clone(), xds::start(&self.discovery, &source.source, stats)));
        }
    }

    /// Forgets what nobody uses any more.
    pub fn forget(&mut self) {
        self.list.get_mut().retain(|_, source| Arc::strong_count(&source.source) > 1);
    }

    /// Whether each source gave something, or will not soon.
    pub fn are_ready(&self) -> bool {
        self.list.borrow().values().all(|source| source.ready)
    }

    /// The next update.
    pub async fn next(&mut self) -> Update {
        match self.updates.recv().await {
            Some(update) => update,
            // Not while `discovery` has the sender.
            None => std::future::pending().await,
        }
    }

    /// The tables by the keys of their sources.
    pub fn tables(&self) -> std::collections::HashMap<u64, Arc<RouteTable>> {
        self.list.borrow().iter().filter_map(|(key, source)| Some((*key, source.routes.as_ref()?.1.clone()))).collect()
    }

    /// What was discovered.
    pub fn discovered(&self) -> Vec<Discovered> {
        self.list.borrow().values().filter_map(|source| Some(source.routes.as_ref()?.0.clone())).collect()
    }
}

impl Control {
    /// Takes an update into use, or refuses it. `pending` is a change that is under way, which may bring clusters.
    pub(super) async fn discovered(&mut self, update: Update, pending: Option<Pending<'_>>) {
        let Update { key, found, verdict } = update;
        let result = self.take(key, found, pending);
        let changed = match result {
            Ok(changed) => changed,
            Err(message) => {
                let _ = verdict.send(Err(message));
                return;
            }
        };
        // A change that is under way is published with what came for it.
        if let (Some(name), None) = (changed, pending) {
            self.publish_routes().await;
            let applied =
                Applied { version: self.version.to_string(), changed: vec![format!("route_configuration/{name}")], ..Applied::default() };
            self.shared.emit(&Event::Applied(applied));
        }
        // Its task may have ended meanwhile.
        let _ = verdict.send(Ok(()));
    }

    /// Compiles what was found; the name of routes that are new.
    fn take(&mut self, key: u64, found: Found, pending: Option<Pending<'_>>) -> Result<Option<Arc<str>>, String> {
        let (version, config) = {
            let mut list = self.sources.list.borrow_mut();
            let Some(source) = list.get_mut(&key) else { return Ok(None) };
            source.ready = true;
            match found {
                Found::Nothing => return Ok(None),
                Found::Empty => {
                    if let Some((stats, _)) = &source.running {
                        stats.update_empty().inc();
                    }
                    return Ok(None);
                }
                // The same again is no change, whatever its version.
                Found::Routes { config, .. } if source.routes.as_ref().is_some_and(|(routes, _)| routes.config == config) => {
                    return Ok(None);
                }
                Found::Routes { version, config } => (version, config),
            }
        };
        let table = self.compile_routes(&config, pending)?;
        let mut list = self.sources.list.borrow_mut();
        // Nothing was awaited since.
        let Some(source) = list.get_mut(&key) else { return Ok(None) };
        let updated = SystemTime::now();
        source.routes = Some((Discovered { version, config, updated }, table));
        if let Some((stats, _)) = &source.running {
            stats.config_reload().inc();
            stats.config_reload_time_ms().set(xds::milliseconds(updated));
        }
        Ok(Some(source.source.name.clone()))
    }

    fn compile_routes(&self, config: &Bytes, pending: Option<Pending<'_>>) -> Result<Arc<RouteTable>, String> {
        let (at, mut issues) = (At::Root("resources[0]"), Vec::new());
        let table = config::route::compile(config, &self.shared.stats, &at, &mut config::filter::compile_route, &mut issues);
        if let Some(table) = &table
            && table.settings.validate_clusters == Some(true)
        {
            config::route::unknown_clusters(table, &at, |name| self.has_cluster(name, pending), &mut issues);
        }
        match table {
            Some(table) if !has_error(&issues) => Ok(Arc::new(table)),
            _ => {
                let error = Error::config(issues);
                let message = error.message.clone();
                self.shared.emit(&Event::Rejected(error));
                Err(message)
            }
        }
    }
}
