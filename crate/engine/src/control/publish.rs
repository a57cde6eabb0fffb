//! Carries out a change: compile all, bind, warm, then publish to every worker. Any failure before that changes nothing.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{BuildHasher, RandomState},
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use plenipo_api::{Issue, IssueCode};
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::{Applied, Change, Control, Kind, Live, Owner, decode_cluster, decode_listener, has_error, resources::Plan};
use crate::{
    admin::Drain,
    cluster::{Cluster, run_dns},
    config::{self, Context, issues::At},
    engine::{BoundAddress, DrainReport, Error, Event, State},
    listener::{Listener, socket::Bound},
    snapshot::Snapshot,
    worker::{self, Ack, Message},
};

/// A cluster of a change, compiled, and the task that finds its hosts.
struct NewCluster {
    cluster: Arc<Cluster>,
    dns: Option<tokio::task::JoinHandle<()>>,
}

impl Drop for NewCluster {
    fn drop(&mut self) {
        if let Some(dns) = self.dns.take() {
            dns.abort();
        }
    }
}

impl Control {
    /// A change from a program that uses the engine.
    pub async fn apply(&mut self, change: Change) -> Result<Applied, Error> {
        let running = self.version.to_string();
        if let Some(wanted) = change.if_version.as_ref().filter(|wanted| **wanted != running) {
            let message = format!("the running version is {running}, not {wanted}");
            return Err(Error::new("ERR_PLENIPO_VERSION_CONFLICT", message));
        }
        let mut issues = Vec::new();
        let clusters = self.read(Kind::Cluster, change.clusters, &mut issues);
        let listeners = self.read(Kind::Listener, change.listeners, &mut issues);
        let mut seen = HashSet::new();
        let (mut named, mut indexes) = (Vec::new(), BTreeMap::new());
        for (kind, list) in [(Kind::Cluster, clusters), (Kind::Listener, listeners)] {
            for (index, (name, bytes)) in list.into_iter().enumerate() {
                if !seen.insert((kind, name.clone())) {
                    let path = format!("{}s[{index}].name", kind.word());
                    issues.push(
                        Issue::error(IssueCode::ConfigInvalid, path, format!("there are two {}s of this name", kind.word())).got(&*name),
                    );
                }
                indexes.insert((kind, name.clone()), index);
                named.push((kind, name, bytes));
            }
        }
        if has_error(&issues) {
            return Err(Error::config(issues));
        }
        let plan = self
            .resources
            .plan(Owner::Api, named, change.removals, change.replace)
            .map_err(|(kind, name)| Error::new("ERR_PLENIPO_REF_NOT_FOUND", format!("there is no {} {name:?}", kind.word())))?;
        let place = |kind: Kind, name: &str| match indexes.get(&(kind, name.to_owned())) {
            Some(index) => format!("{}s[{index}]", kind.word()),
            None => String::new(),
        };
        if change.dry_run {
            let compiled = self.compile(&plan, &place)?;
            let mut applied = applied(&plan, self.version);
            applied.warnings = issues;
            applied.warnings.extend(compiled.warnings.iter().cloned());
            return Ok(applied);
        }
        let mut applied = self.carry_out(plan, change.cancel, &place).await?;
        applied.warnings.splice(0..0, issues);
        Ok(applied)
    }

    /// Compiles, binds, warms and publishes a plan.
    pub async fn carry_out(
        &mut self,
        plan: Plan,
        mut cancel: Option<oneshot::Receiver<()>>,
        place: &dyn Fn(Kind, &str) -> String,
    ) -> Result<Applied, Error> {
        if is_cancelled(&mut cancel) {
            return Err(cancelled());
        }
        let mut compiled = self.compile(&plan, place)?;
        for (_, bound) in compiled.listeners.values().filter(|(_, bound)| !self.serves(bound)) {
            bound.listen().map_err(|e| bind_error("listener", bound.address, "", &e))?;
        }
        for new in compiled.clusters.values_mut() {
            if !new.cluster.is_warm() || matches!(new.cluster.settings.discovery, crate::cluster::Discovery::Dns(_)) {
                new.dns = Some(tokio::task::spawn_local(run_dns(new.cluster.clone(), self.resolvers.clone())));
            }
        }
        self.warm(&plan, &compiled, &mut cancel).await?;
        let mut applied = applied(&plan, self.version);
        applied.warnings.append(&mut compiled.warnings);
        if plan.is_empty() && self.version != 0 {
            return Ok(applied);
        }
        applied.drained = self.publish(plan, compiled).await;
        applied.version = self.version.to_string();
        Ok(applied)
    }

    fn compile(&self, plan: &Plan, place: &dyn Fn(Kind, &str) -> String) -> Result<Compiled, Error> {
        let mut issues = Vec::new();
        let mut compiled = Compiled::default();
        let shared = &self.shared;
        let removed: HashSet<&str> = plan.removals.iter().filter(|(k, _)| *k == Kind::Cluster).map(|(_, n)| n.as_str()).collect();
        let added: HashSet<&str> = plan.upserts.iter().filter(|((k, _), _)| *k == Kind::Cluster).map(|((_, n), _)| n.as_str()).collect();
        let exists = |name: &str| added.contains(name) || (self.resources.contains(Kind::Cluster, name) && !removed.contains(name));
        let context = Context {
            stats: &shared.stats,
            files: &self.files,
            workers: self.workers.len(),
            share_port: shared.options.share_port,
            service_cluster: &self.node.cluster,
            service_node: &self.node.id,
            cluster_exists: &exists,
            route_source: &|source| self.sources.intern(source),
        };
        for ((kind, name), resource) in &plan.upserts {
            let path = place(*kind, name);
            let at = At::Root(&path);
            match kind {
                Kind::Cluster => {
                    let Ok(proto) = decode_cluster(&resource.bytes) else { continue };
                    if let Some(mut settings) = config::cluster::compile(&proto, &at, &mut issues) {
                        settings.local_zone.clone_from(&self.node.zone);
                        let previous = self.clusters.get(name).map(|c| &**c);
                        let cluster = Arc::new(Cluster::new(&**name, settings, &shared.stats, previous));
                        compiled.clusters.insert(name.clone(), NewCluster { cluster, dns: None });
                    }
                }
                Kind::Listener => {
                    let Ok(proto) = decode_listener(&resource.bytes) else { continue };
                    let Some((address, socket)) = config::listener::address(&proto, &context, &at, &mut issues) else { continue };
                    let bound = match self.bound(name, address, socket) {
                        Ok(bound) => bound,
                        Err(e) => {
                            let path = format!("{path}.address.socket_address");
                            issues.push(Issue::error(IssueCode::Bind, path, bind_message(name, address, &e)));
                            continue;
                        }
                    };
                    let made =
                        config::listener::compile(&proto, (address, socket), bound.address, resource.hash, &context, &at, &mut issues);
                    if let Some(listener) = made {
                        compiled.listeners.insert(name.clone(), (Arc::new(listener), bound));
                    }
                }
            }
        }
        if has_error(&issues) {
            return Err(Error::config(issues));
        }
        compiled.warnings = issues;
        Ok(compiled)
    }

    /// The socket of a listener: the running one's, where it has the same address and options, else a new one.
    fn bound(&self, name: &str, address: SocketAddr, socket: crate::listener::SocketOptions) -> io::Result<Arc<Bound>> {
        if let Some(live) = self.listeners.get(name) {
            // A port that was picked may be written down later.
            let same = live.listener.address == address || live.bound.address == address;
            if same && live.listener.socket == socket {
                return Ok(live.bound.clone());
            }
        }
        Bound::bind(address, socket, self.workers.len()).map(Arc::new)
    }

    fn serves(&self, bound: &Arc<Bound>) -> bool {
        self.listeners.values().any(|live| Arc::ptr_eq(&live.bound, bound))
    }

    /// Waits until clusters have hosts and sources of routes gave some, or as long as may be waited for each.
    async fn warm(&mut self, plan: &Plan, compiled: &Compiled, cancel: &mut Option<oneshot::Receiver<()>>) -> Result<(), Error> {
        self.sources.forget();
        self.sources.start(&self.shared);
        let limit = self.shared.options.warm_timeout;
        let clusters = async {
            for new in compiled.clusters.values() {
                new.cluster.warm().await;
            }
        };
        let clusters = tokio::time::timeout(limit, clusters);
        tokio::pin!(clusters);
        let over = tokio::time::sleep(limit);
        tokio::pin!(over);
        let stop = async {
            match cancel {
                Some(signal) => drop(signal.await),
                None => std::future::pending().await,
            }
        };
        tokio::pin!(stop);
        let mut warm = false;
        while !warm || !self.sources.are_ready() {
            tokio::select! {
                biased;
                () = &mut stop => return Err(cancelled()),
                _ = &mut clusters, if !warm => warm = true,
                update = self.sources.next() => self.discovered(update, Some(Pending { plan, compiled })).await,
                // A proxy that serves goes on; one that starts waits as long as its sources say.
                () = &mut over, if self.version != 0 => break,
            }
        }
        Ok(())
    }

    async fn publish(&mut self, plan: Plan, mut compiled: Compiled) -> Vec<String> {
        self.resources.commit(&plan);
        for (kind, name) in &plan.removals {
            if *kind == Kind::Cluster {
                self.clusters.remove(name);
                if let Some(dns) = self.dns.remove(name) {
                    dns.abort();
                }
            }
        }
        for (name, new) in &mut compiled.clusters {
            if let Some(old) = self.dns.remove(name) {
                old.abort();
            }
            if let Some(dns) = new.dns.take() {
                self.dns.insert(name.clone(), dns);
            }
            self.clusters.insert(name.clone(), new.cluster.clone());
        }
        let mut drained = Vec::new();
        let mut removed = Vec::new();
        for (kind, name) in &plan.removals {
            if *kind == Kind::Listener
                && let Some(live) = self.listeners.remove(name)
            {
                drained.push(name.clone());
                removed.push(live);
            }
        }
        let mut begun = Vec::new();
        for (name, (listener, bound)) in std::mem::take(&mut compiled.listeners) {
            let live = Live { listener: listener.clone(), bound: bound.clone() };
            if let Some(old) = self.listeners.insert(name.clone(), live) {
                drained.push(name.clone());
                if !Arc::ptr_eq(&old.bound, &bound) {
                    removed.push(old);
                }
            }
            begun.push((listener, bound));
        }
        let snapshot = self.next_snapshot();
        self.publish_addresses();
        // Our handles go first: a worker that closes its own then closes the socket, with nobody left in its queue.
        let removed: Vec<_> = removed.into_iter().map(|live: Live| key(&live.bound)).collect();
        let mut acks = Vec::new();
        let grace = self.shared.options.drain_time;
        for (index, worker) in self.workers.iter().enumerate() {
            let mut send = |make: &mut dyn FnMut(Ack) -> Message| {
                let (ack, done) = oneshot::channel();
                if worker.mailbox.send(make(Some(ack))).is_ok() {
                    acks.push(done);
                }
            };
            send(&mut |ack| Message::Publish(snapshot.clone(), ack));
            for (listener, bound) in &begun {
                // Each worker needs a descriptor of its own; without one it goes on without this socket.
                let mut socket = bound.socket(index).ok();
                send(&mut |ack| Message::Listen { key: key(bound), listener: listener.clone(), socket: socket.take(), ack });
            }
            for key in &removed {
                send(&mut |ack| Message::Unlisten { key: key.clone(), drain: true, grace, ack });
            }
        }
        for ack in acks {
            // Dropped unsent when a worker is gone; it serves nothing old either.
            let _ = ack.await;
        }
        self.publish_view();
        self.count(&plan);
        drained
    }

    /// Publishes the routes that were discovered; nothing else changes.
    pub async fn publish_routes(&mut self) {
        let snapshot = self.next_snapshot();
        let mut acks = Vec::new();
        for worker in &self.workers {
            let (ack, done) = oneshot::channel();
            if worker.mailbox.send(Message::Publish(snapshot.clone(), Some(ack))).is_ok() {
                acks.push(done);
            }
        }
        for ack in acks {
            // Dropped unsent when a worker is gone; it serves nothing old either.
            let _ = ack.await;
        }
        self.publish_view();
    }

    /// Makes a snapshot of what there is now, under the next version.
    fn next_snapshot(&mut self) -> Arc<Snapshot> {
        self.version += 1;
        let snapshot = Arc::new(Snapshot {
            version: self.version,
            clusters: self.clusters.values().map(|c| (c.name.clone(), c.clone())).collect(),
            listeners: self.listeners.values().map(|l| l.listener.clone()).collect(),
            routes: self.sources.tables(),
        });
        self.shared.snapshot.store(snapshot.clone());
        snapshot
    }

    /// Whether there is a cluster of that name, or will be with a change that is under way.
    pub(super) fn has_cluster(&self, name: &str, pending: Option<Pending<'_>>) -> bool {
        let added = pending.is_some_and(|p| p.compiled.clusters.contains_key(name));
        let removed = pending.is_some_and(|p| p.plan.removals.iter().any(|(kind, of)| *kind == Kind::Cluster && of == name));
        added || self.resources.contains(Kind::Cluster, name) && !removed
    }

    fn publish_addresses(&self) {
        let mut addresses: Vec<_> =
            self.listeners.iter().map(|(name, live)| BoundAddress { listener: name.clone(), address: live.bound.address }).collect();
        addresses.extend(self.shared.addresses.load().iter().filter(|a| a.listener == "admin").cloned());
        self.shared.addresses.store(Arc::new(addresses));
    }

    fn publish_view(&self) {
        let view = self.shared.view.load().with_resources(&self.resources, self.sources.discovered(), self.version);
        self.shared.view.store(Arc::new(view));
    }

    fn count(&self, plan: &Plan) {
        let counters = &self.shared.counters;
        counters.clusters.active_clusters().set(self.clusters.len() as u64);
        counters.clusters.cluster_added().add(added(plan, Kind::Cluster));
        counters.clusters.cluster_modified().add(changed(plan, Kind::Cluster));
        counters.clusters.cluster_removed().add(removed(plan, Kind::Cluster));
        counters.listeners.total_listeners_active().set(self.listeners.len() as u64);
        counters.listeners.listener_added().add(added(plan, Kind::Listener));
        counters.listeners.listener_create_success().add((self.workers.len() as u64) * added(plan, Kind::Listener));
        counters.listeners.listener_modified().add(changed(plan, Kind::Listener));
        counters.listeners.listener_removed().add(removed(plan, Kind::Listener));
        counters.listeners.workers_started().set(1);
    }

    /// Stops accepting without stopping the proxy.
    pub fn drain_listeners(&mut self, drain: Drain) {
        if drain.graceful {
            // Answers ask their clients to close; the listeners end with the drain time, unless that was forbidden.
            let over = if self.shared.options.gradual_drain { self.shared.options.drain_time } else { Duration::ZERO };
            self.shared.closing.drain(over);
            if !drain.skip_exit {
                self.close_at = Some((tokio::time::Instant::now() + self.shared.options.drain_time, drain.inbound_only));
            }
            return;
        }
        self.close_listeners(drain.inbound_only);
    }

    /// Closes listening sockets; connections go on.
    pub fn close_listeners(&mut self, inbound_only: bool) {
        let grace = self.shared.options.drain_time;
        // As in a change: our handles go before those of the workers.
        let closed: Vec<_> =
            self.listeners.extract_if(.., |_, live| live.listener.inbound || !inbound_only).map(|(_, live)| key(&live.bound)).collect();
        for worker in &self.workers {
            for key in &closed {
                let _ = worker.mailbox.send(Message::Unlisten { key: key.clone(), drain: false, grace, ack: None });
            }
        }
        self.publish_addresses();
    }

    /// Ends everything: after a drain of at most `grace`, or at once.
    pub async fn end(&mut self, grace: Option<Duration>) -> DrainReport {
        let mut report = DrainReport::default();
        if let Some(grace) = grace.filter(|g| !g.is_zero()) {
            let before = self.requests_under_way();
            if *self.shared.state.borrow() != State::Draining {
                self.shared.enter(State::Draining);
                self.shared.emit(&Event::Draining);
            }
            // The workers have their handles; ours would keep the ports.
            self.listeners.clear();
            let mut drains = Vec::new();
            for worker in &self.workers {
                let (done, drained) = oneshot::channel();
                if worker.mailbox.send(Message::Drain { grace, done }).is_ok() {
                    drains.push(drained);
                }
            }
            for drained in drains {
                // Times end together, so the first worker to count sees all that are left; the others may see fewer.
                report.reset = report.reset.max(drained.await.unwrap_or(0));
            }
            report.completed = before.saturating_sub(report.reset);
        }
        self.listeners.clear();
        for (_, dns) in self.dns.drain() {
            dns.abort();
        }
        self.shared.workers.store(Arc::default());
        for worker in &self.workers {
            let _ = worker.mailbox.send(Message::Stop);
        }
        for worker in &mut self.workers {
            worker.join();
        }
        self.workers.clear();
        if let Some((stop, admin)) = self.admin.take() {
            drop(stop);
            // It ends by itself in a bounded time; a panic of it was printed where it happened.
            let _ = admin.await;
        }
        self.files.stop();
        self.shared.addresses.store(Arc::default());
        self.shared.enter(State::Stopped);
        self.shared.emit(&Event::Stopped);
        report
    }

    pub(super) fn requests_under_way(&self) -> u64 {
        worker::requests_under_way(&self.shared.stats)
    }
}

/// A change that waits to be published.
#[derive(Clone, Copy)]
pub(super) struct Pending<'p> {
    plan: &'p Plan,
    compiled: &'p Compiled,
}

/// What a change compiles to.
#[derive(Default)]
struct Compiled {
    clusters: BTreeMap<String, NewCluster>,
    listeners: BTreeMap<String, (Arc<Listener>, Arc<Bound>)>,
    warnings: Vec<Issue>,
}

fn of_kind(names: &[String], kind: Kind) -> u64 {
    names.iter().filter(|n| n.starts_with(kind.word())).count() as u64
}

fn added(plan: &Plan, kind: Kind) -> u64 {
    of_kind(&plan.added, kind)
}

fn changed(plan: &Plan, kind: Kind) -> u64 {
    of_kind(&plan.changed, kind)
}

fn removed(plan: &Plan, kind: Kind) -> u64 {
    of_kind(&plan.removed, kind)
}

/// Which socket a worker means; addresses with port 0 are told apart by their real port.
fn key(bound: &Bound) -> Arc<str> {
    let address = bound.address.to_string();
    // A port may be bound for datagrams too.
    if bound.datagrams { format!("udp:{address}").into() } else { address.into() }
}

fn applied(plan: &Plan, version: u64) -> Applied {
    Applied {
        version: version.to_string(),
        added: plan.added.clone(),
        changed: plan.changed.clone(),
        removed: plan.removed.clone(),
        unchanged: plan.unchanged,
        ..Applied::default()
    }
}

fn is_cancelled(cancel: &mut Option<oneshot::Receiver<()>>) -> bool {
    cancel.as_mut().is_some_and(|c| c.try_recv() != Err(TryRecvError::Empty))
}

fn cancelled() -> Error {
    Error { cancelled: true, ..Error::state("the change was cancelled before it took effect") }
}

fn bind_message(name: &str, address: SocketAddr, error: &io::Error) -> String {
    let code = match error.kind() {
        io::ErrorKind::AddrInUse => "EADDRINUSE: ",
        io::ErrorKind::AddrNotAvailable => "EADDRNOTAVAIL: ",
        io::ErrorKind::PermissionDenied => "EACCES: ",
        _ => "",
    };
    format!("{code}{name}: cannot bind to {address}: {error}")
}

/// The error of an address that cannot be bound.
pub fn bind_error(name: &str, address: SocketAddr, path: &str, error: &io::Error) -> Error {
    Error::config(vec![Issue::error(IssueCode::Bind, path, bind_message(name, address, error))])
}

/// A seed that differs between workers and runs.
pub fn seed(index: usize) -> u64 {
    RandomState::new().hash_one(index)
}
