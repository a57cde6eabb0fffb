//! The door: every change, from any source, is compiled and checked whole here, by one writer, and published as one snapshot.

mod bootstrap;
mod discovery;
mod publish;
mod resources;
mod view;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use plenipo_api::{
    Input, Issue, IssueCode, Options as ReadOptions, Severity,
    proto::envoy::config::{cluster::v3::Cluster as ClusterProto, listener::v3::Listener as ListenerProto},
};
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::{mpsc, oneshot},
};

pub use view::View;

use crate::{
    access_log::Files,
    admin::Drain,
    cluster::{Cluster, Resolvers},
    config::SUPPORT,
    engine::{DrainReport, Error, Event, Options, Shared, State},
    listener::{Listener, socket::Bound},
    worker,
};
use discovery::Sources;
use resources::Resources;

/// Who a resource belongs to; an owner replaces only its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The bootstrap.
    Bootstrap,
    /// A program that uses the engine: the Node API.
    Api,
}

/// What kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `envoy.config.cluster.v3.Cluster`
    Cluster,
    /// `envoy.config.listener.v3.Listener`
    Listener,
}

impl Kind {
    /// The full name of the message.
    pub fn message(self) -> &'static str {
        match self {
            Kind::Cluster => "envoy.config.cluster.v3.Cluster",
            Kind::Listener => "envoy.config.listener.v3.Listener",
        }
    }

    /// The lower-case word for people.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Cluster => "cluster",
            Kind::Listener => "listener",
        }
    }
}

/// A change of the running configuration.
#[derive(Debug, Default)]
pub struct Change {
    /// Clusters to add or replace, each one document in Envoy's form.
    pub clusters: Vec<Input>,
    /// Listeners to add or replace.
    pub listeners: Vec<Input>,
    /// What to remove.
    pub removals: Vec<(Kind, String)>,
    /// Remove also what this owner has and the change does not name.
    pub replace: bool,
    /// Check all and change nothing.
    pub dry_run: bool,
    /// Only if this is the running version.
    pub if_version: Option<String>,
    /// Ends the change before it is published, also when its sender is dropped; after that it does nothing.
    pub cancel: Option<oneshot::Receiver<()>>,
}

/// What a change did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The version that is served now.
    pub version: String,
    /// Names that were not there before, as `cluster/NAME`.
    pub added: Vec<String>,
    /// Names that were there and changed.
    pub changed: Vec<String>,
    /// Names that are gone.
    pub removed: Vec<String>,
    /// How many of the change's resources were there already, just so.
    pub unchanged: usize,
    /// Listeners whose connections drain.
    pub drained: Vec<String>,
    /// What does not stop the change.
    pub warnings: Vec<Issue>,
}

/// What the control side is asked to do.
pub enum Command {
    /// A change.
    Apply(Box<Change>, oneshot::Sender<Result<Applied, Error>>),
    /// Drain, then stop.
    Drain(Duration, oneshot::Sender<DrainReport>),
    /// Stop, after a drain of at most so long.
    Stop(Option<Duration>, oneshot::Sender<()>),
    /// `/drain_listeners`
    DrainListeners(Drain),
    /// `/reopen_logs`
    ReopenLogs,
}

/// The first change: the bootstrap.
pub struct Start {
    /// The documents of the bootstrap, merged in order.
    pub bootstrap: Vec<Input>,
    /// Ends the start, also when its sender is dropped.
    pub cancel: Option<oneshot::Receiver<()>>,
    /// Told when it serves.
    pub done: oneshot::Sender<Result<Applied, Error>>,
}

/// The control thread of a proxy, from start to stop.
pub(crate) fn run(shared: Arc<Shared>, mut inbox: mpsc::UnboundedReceiver<Command>, start: Start) {
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(e) => {
            let _ = start.done.send(Err(Error::state(format!("no runtime: {e}"))));
            return;
        }
    };
    runtime.block_on(async {
        let mut control = match Control::new(shared) {
            Ok(control) => control,
            Err(e) => {
                let _ = start.done.send(Err(e));
                return;
            }
        };
        let Start { bootstrap, cancel, done } = start;
        match control.start(bootstrap, cancel).await {
            Ok(applied) => {
                let _ = done.send(Ok(applied));
            }
            Err(e) => {
                control.end(None).await;
                let _ = done.send(Err(e));
                return;
            }
        }
        control.serve(&mut inbox).await;
    });
    runtime.shutdown_timeout(Duration::from_millis(500));
}

/// A listener that is served.
struct Live {
    listener: Arc<Listener>,
    bound: Arc<Bound>,
}

/// The single writer.
pub(crate) struct Control {
    shared: Arc<Shared>,
    files: Files,
    resolvers: Arc<Resolvers>,
    workers: Vec<worker::Handle>,
    resources: Resources,
    clusters: BTreeMap<String, Arc<Cluster>>,
    dns: HashMap<String, tokio::task::JoinHandle<()>>,
    listeners: BTreeMap<String, Live>,
    sources: Sources,
    node: bootstrap::Node,
    version: u64,
    /// When a graceful drain of listeners closes them, and whether only inbound ones.
    close_at: Option<(tokio::time::Instant, bool)>,
    /// The admin interface; it ends when the sender is dropped.
    admin: Option<(oneshot::Sender<()>, tokio::task::JoinHandle<()>)>,
}

impl Control {
    fn new(shared: Arc<Shared>) -> Result<Control, Error> {
        let files = Files::start(&shared.stats).map_err(|e| Error::state(format!("cannot start the log writer: {e}")))?;
        Ok(Control {
            sources: Sources::new(shared.clone()),
            shared,
            files,
            resolvers: Arc::new(Resolvers::new()),
            workers: Vec::new(),
            resources: Resources::default(),
            clusters: BTreeMap::new(),
            dns: HashMap::new(),
            listeners: BTreeMap::new(),
            node: bootstrap::Node::default(),
            version: 0,
            close_at: None,
            admin: None,
        })
    }

    async fn serve(&mut self, inbox: &mut mpsc::UnboundedReceiver<Command>) {
        let mut flush = tokio::time::interval(Duration::from_secs(5));
        flush.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let command = tokio::select! {
                command = inbox.recv() => command,
                update = self.sources.next() => {
                    self.discovered(update, None).await;
                    continue;
                }
                _ = flush.tick() => {
                    self.shared.stats.flush();
                    crate::access_log::flush_thread();
                    // A listener that was replaced uses its routes until its last connection ends.
                    self.sources.forget();
                    if let Some((_, inbound_only)) = self.close_at.take_if(|(at, _)| *at <= tokio::time::Instant::now()) {
                        self.close_listeners(inbound_only);
                    }
                    continue;
                }
            };
            match command {
                Some(Command::Apply(change, done)) => {
                    let dry_run = change.dry_run;
                    let result = self.apply(*change).await;
                    match &result {
                        Ok(_) if dry_run => {}
                        Ok(applied) => self.shared.emit(&Event::Applied(applied.clone())),
                        Err(e) => self.shared.emit(&Event::Rejected(e.clone())),
                    }
                    // Whoever asked may have gone; the change stays.
                    let _ = done.send(result);
                }
                Some(Command::Drain(timeout, done)) => {
                    let report = self.end_unless_stopped(Some(timeout), inbox).await;
                    let _ = done.send(report);
                    return;
                }
                Some(Command::Stop(grace, done)) => {
                    self.end_unless_stopped(grace, inbox).await;
                    let _ = done.send(());
                    return;
                }
                Some(Command::DrainListeners(drain)) => self.drain_listeners(drain),
                Some(Command::ReopenLogs) => self.files.reopen(),
                None => {
                    self.end(None).await;
                    return;
                }
            }
        }
    }

    /// Ends everything after a drain; a stop without one that comes meanwhile does not wait for it.
    async fn end_unless_stopped(&mut self, grace: Option<Duration>, inbox: &mut mpsc::UnboundedReceiver<Command>) -> DrainReport {
        let mut waiting = None;
        let ended = {
            let end = self.end(grace);
            tokio::pin!(end);
            loop {
                tokio::select! {
                    report = &mut end => break Some(report),
                    next = inbox.recv() => match next {
                        Some(Command::Stop(None, done)) => {
                            waiting = Some(done);
                            break None;
                        }
                        None => break None,
                        Some(_) => {}
                    },
                }
            }
        };
        let report = match ended {
            Some(report) => report,
            None => {
                let reset = self.requests_under_way();
                self.end(None).await;
                DrainReport { reset, ..DrainReport::default() }
            }
        };
        if let Some(done) = waiting {
            let _ = done.send(());
        }
        report
    }

    /// Reads the documents of a change: each resource's name and its wire form.
    fn read(&self, kind: Kind, inputs: Vec<Input>, issues: &mut Vec<Issue>) -> Vec<(String, Bytes)> {
        let options = ReadOptions { support: Some(&SUPPORT), unknown_fields: self.shared.options.unknown_fields };
        let mut read = Vec::with_capacity(inputs.len());
        for (index, input) in inputs.into_iter().enumerate() {
            match plenipo_api::read(kind.message(), vec![input], &options) {
                Err(found) => issues.extend(found.into_iter().map(|i| below(i, kind, index))),
                Ok(loaded) => {
                    issues.extend(loaded.warnings.into_iter().map(|i| below(i, kind, index)));
                    match resources::name_of(kind, &loaded.bytes) {
                        Ok(name) => read.push((name, loaded.bytes)),
                        Err(message) => issues.push(below(Issue::error(IssueCode::ConfigInvalid, "name", message), kind, index)),
                    }
                }
            }
        }
        read
    }
}

/// Puts the place of a resource in a change before the path of an issue.
fn below(mut issue: Issue, kind: Kind, index: usize) -> Issue {
    let separator = if issue.path.is_empty() { "" } else { "." };
    issue.path = format!("{}s[{index}]{separator}{}", kind.word(), issue.path);
    issue
}

/// Whether any of the issues stops a change.
fn has_error(issues: &[Issue]) -> bool {
    issues.iter().any(|i| i.severity == Severity::Error)
}

/// See [`crate::engine::validate`].
pub fn validate(inputs: Vec<Input>, options: &Options) -> Vec<Issue> {
    bootstrap::validate(inputs, options)
}

/// Decodes a resource that the reader made.
fn decode_cluster(bytes: &Bytes) -> Result<ClusterProto, String> {
    prost::Message::decode(bytes.clone()).map_err(|e| e.to_string())
}

fn decode_listener(bytes: &Bytes) -> Result<ListenerProto, String> {
    prost::Message::decode(bytes.clone()).map_err(|e| e.to_string())
}

impl Shared {
    /// Moves to a state, unless the proxy has stopped.
    pub(crate) fn enter(&self, state: State) {
        self.state.send_replace(state);
    }
}
