//! Starts, drains and stops one proxy. No statics: several can live in one process.

mod admin;
mod host;
mod options;

pub(crate) use admin::AdminView;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use plenipo_api::{Input, Issue, IssueCode};
use tokio::sync::{mpsc, oneshot, watch};

pub use host::{cpu_count, local_address};
pub use options::Options;

use crate::{
    admin::{Drain, LogLevel},
    cluster::{Discovery, Endpoint},
    control::{self, Applied, Change, Command},
    snapshot::Snapshot,
    stats::{ClusterManagerStats, ListenerManagerStats, RuntimeStats, ServerStats, Store},
    worker::{Message, closing::Closing},
};

/// Where a proxy is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Made, not started.
    New,
    /// Reads its configuration, binds, warms.
    Starting,
    /// Serves.
    Live,
    /// Takes no new work.
    Draining,
    /// Has ended, or never began.
    Stopped,
}

impl State {
    /// The lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            State::New => "new",
            State::Starting => "starting",
            State::Live => "live",
            State::Draining => "draining",
            State::Stopped => "stopped",
        }
    }
}

/// A listener's address as it is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundAddress {
    /// Name of the listener; `admin` for the admin interface.
    pub listener: String,
    /// The address with the real port.
    pub address: SocketAddr,
}

/// Why something was refused, or failed.
#[derive(Clone, Debug)]
pub struct Error {
    /// A stable code, `ERR_PLENIPO_…`.
    pub code: &'static str,
    /// What happened, in a sentence.
    pub message: String,
    /// Every problem of a configuration; empty for other errors.
    pub issues: Vec<Issue>,
    /// The change was cancelled by who asked for it.
    pub cancelled: bool,
}

impl Error {
    /// An error that is no problem of a configuration.
    pub fn new(code: &'static str, message: impl Into<String>) -> Error {
        Error { code, message: message.into(), issues: Vec::new(), cancelled: false }
    }

    /// The wrong moment for what was asked.
    pub fn state(message: impl Into<String>) -> Error {
        Error::new("ERR_PLENIPO_STATE", message)
    }

    /// A configuration with these problems, of which the first gives the code.
    pub fn config(issues: Vec<Issue>) -> Error {
        let first = issues.iter().find(|i| i.severity == plenipo_api::Severity::Error);
        let code = first.map_or(IssueCode::ConfigInvalid, |i| i.code).as_str();
        let message = match (first, issues.len()) {
            (Some(i), 1) => format!("{}: {}", i.path, i.message),
            (Some(i), n) => format!("{}: {} (and {} more)", i.path, i.message, n - 1),
            (None, _) => "the configuration is not valid".to_owned(),
        };
        Error { code, message, issues, cancelled: false }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// What a proxy tells whoever listens.
#[derive(Clone, Debug)]
pub enum Event {
    /// Listeners are bound; all addresses.
    Listening(Vec<BoundAddress>),
    /// A change is served by every worker.
    Applied(Applied),
    /// A change was refused and nothing changed.
    Rejected(Error),
    /// Something went wrong without ending the proxy, such as a worker that panicked and was started again.
    Warning(String),
    /// Draining began.
    Draining,
    /// The proxy has ended.
    Stopped,
    /// The control side failed; the proxy has ended.
    Crashed,
    /// The admin interface was asked to end the proxy (`/quitquitquit`).
    QuitRequested,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// Requests that were under way and ended by themselves.
    pub completed: u64,
    /// Requests that were reset at the end of the time.
    pub reset: u64,
}

/// One proxy. Clones are handles on the same one.
#[derive(Clone)]
pub struct Proxy(Arc<Shared>);

/// What the handles, the control side and the admin interface share.
pub(crate) struct Shared {
    pub options: Options,
    pub stats: Store,
    pub state: watch::Sender<State>,
    pub snapshot: ArcSwap<Snapshot>,
    pub addresses: ArcSwap<Vec<BoundAddress>>,
    pub panics: Arc<AtomicU64>,
    pub started: Instant,
    pub started_at: SystemTime,
    pub health_failed: AtomicBool,
    /// Which answers ask their clients to close.
    pub closing: Arc<Closing>,
    pub counters: Counters,
    pub log_levels: Mutex<BTreeMap<String, LogLevel>>,
    pub workers: ArcSwap<Vec<mpsc::UnboundedSender<Message>>>,
    pub view: ArcSwap<control::View>,
    events: Mutex<Vec<mpsc::UnboundedSender<Event>>>,
    commands: Mutex<Option<mpsc::UnboundedSender<Command>>>,
    control: Mutex<Option<thread::JoinHandle<()>>>,
}

/// Stats of the whole proxy.
pub(crate) struct Counters {
    pub server: ServerStats,
    pub clusters: ClusterManagerStats,
    pub listeners: ListenerManagerStats,
    _runtime: RuntimeStats,
}

impl Counters {
    fn new(store: &Store) -> Counters {
        Counters {
            server: ServerStats::new(store, "server"),
            clusters: ClusterManagerStats::new(store, "cluster_manager"),
            listeners: ListenerManagerStats::new(store, "listener_manager"),
            _runtime: RuntimeStats::new(store, "runtime"),
        }
    }
}

impl Shared {
    /// Tells all listeners.
    pub fn emit(&self, event: &Event) {
        lock(&self.events).retain(|listener| listener.send(event.clone()).is_ok());
    }

    /// Sends a command to the control side; an error where it is not running.
    pub fn send(&self, command: Command) -> Result<(), Error> {
        let gone = || Error::state(format!("the proxy is {}", self.state.borrow().as_str()));
        lock(&self.commands).as_ref().ok_or_else(gone)?.send(command).map_err(|_| gone())
    }
}

impl Proxy {
    /// A proxy that is not started; no thread, no socket.
    pub fn new(options: Options) -> Proxy {
        let stats = Store::with_workers(options.workers());
        Proxy(Arc::new(Shared {
            counters: Counters::new(&stats),
            stats,
            options,
            state: watch::Sender::new(State::New),
            snapshot: ArcSwap::default(),
            addresses: ArcSwap::default(),
            panics: Arc::default(),
            started: Instant::now(),
            started_at: SystemTime::now(),
            health_failed: AtomicBool::new(false),
            closing: Arc::default(),
            log_levels: Mutex::new(BTreeMap::from([("main".to_owned(), LogLevel::Info)])),
            workers: ArcSwap::default(),
            view: ArcSwap::default(),
            events: Mutex::default(),
            commands: Mutex::default(),
            control: Mutex::default(),
        }))
    }

    /// Starts with this bootstrap: reads it, binds, warms clusters, then serves. A failure leaves nothing running.
    pub async fn start(&self, bootstrap: Vec<Input>, cancel: Option<oneshot::Receiver<()>>) -> Result<Applied, Error> {
        let shared = &self.0;
        let begun = shared.state.send_if_modified(|state| {
            let new = *state == State::New;
            if new {
                *state = State::Starting;
            }
            new
        });
        if !begun {
            return Err(Error::state(format!("the proxy is {}", self.state().as_str())));
        }
        let (commands, inbox) = mpsc::unbounded_channel();
        let (done, started) = oneshot::channel();
        let for_control = shared.clone();
        let spawned = thread::Builder::new().name("plenipo-control".into()).spawn(move || {
            let guard = CrashGuard(for_control.clone());
            control::run(for_control, inbox, control::Start { bootstrap, cancel, done });
            drop(guard);
        });
        match spawned {
            Ok(thread) => *lock(&shared.control) = Some(thread),
            Err(e) => {
                shared.state.send_replace(State::Stopped);
                return Err(Error::new("ERR_PLENIPO_STATE", format!("cannot start a thread: {e}")));
            }
        }
        *lock(&shared.commands) = Some(commands);
        let gone = || Err(Error::state("the proxy was stopped while it started"));
        let result = started.await.unwrap_or_else(|_| gone());
        if result.is_err() {
            lock(&shared.commands).take();
            shared.state.send_replace(State::Stopped);
        }
        result
    }

    /// Changes the running configuration. Changes take effect in the order of the calls; any failure changes nothing.
    pub async fn apply(&self, change: Change) -> Result<Applied, Error> {
        self.apply_now(change)?.await.unwrap_or_else(|_| Err(Error::state("the proxy was stopped")))
    }

    /// Like [`Proxy::apply`]; the change has its place in the order when this returns.
    pub fn apply_now(&self, change: Change) -> Result<oneshot::Receiver<Result<Applied, Error>>, Error> {
        let (done, result) = oneshot::channel();
        self.0.send(Command::Apply(Box::new(change), done))?;
        Ok(result)
    }

    /// Replaces the hosts of a cluster whose hosts are given (`STATIC`). Takes effect for the next pick of every worker;
    /// nothing drains.
    pub fn set_endpoints(&self, cluster: &str, endpoints: &[Endpoint]) -> Result<(), Error> {
        let snapshot = self.0.snapshot.load();
        let Some(found) = snapshot.cluster(cluster) else {
            return Err(Error::new("ERR_PLENIPO_REF_NOT_FOUND", format!("there is no cluster {cluster:?}")));
        };
        if !matches!(found.settings.discovery, Discovery::Static(_)) {
            return Err(Error::state(format!("the hosts of cluster {cluster:?} are found by DNS")));
        }
        if found.set_hosts(endpoints) {
            for worker in self.0.workers.load().iter() {
                // A worker that is gone serves nothing.
                let _ = worker.send(Message::HostsChanged);
            }
        }
        Ok(())
    }

    /// Takes no new work; running requests end, at most in this time, then what is left is reset. The proxy is stopped then.
    pub async fn drain(&self, timeout: Duration) -> Result<DrainReport, Error> {
        let (done, result) = oneshot::channel();
        self.0.send(Command::Drain(timeout, done))?;
        result.await.map_err(|_| Error::state("the proxy was stopped"))
    }

    /// Stops: drains for at most `grace` (`None`: not at all), then frees ports and threads. A stopped proxy stays stopped.
    pub async fn stop(&self, grace: Option<Duration>) {
        let (done, result) = oneshot::channel();
        if self.0.send(Command::Stop(grace, done)).is_ok() {
            let _ = result.await;
        }
        self.join();
    }

    /// Stops at once and waits for the threads; for the end of a process or a Node environment. May block for a moment.
    pub fn kill(&self) {
        let (done, _) = oneshot::channel();
        let _ = self.0.send(Command::Stop(None, done));
        self.join();
    }

    fn join(&self) {
        let thread = lock(&self.0.control).take();
        if let Some(thread) = thread {
            // A panic of the control thread was printed where it happened.
            let _ = thread.join();
        }
        lock(&self.0.commands).take();
        self.0.state.send_replace(State::Stopped);
    }

    /// Whether both are handles on the same proxy.
    pub fn is_same(&self, other: &Proxy) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Where the proxy is in its life.
    pub fn state(&self) -> State {
        *self.0.state.borrow()
    }

    /// Resolves when the proxy has stopped.
    pub async fn stopped(&self) {
        let mut state = self.0.state.subscribe();
        let _ = state.wait_for(|s| *s == State::Stopped).await;
    }

    /// The version of the running configuration; `0` before the first.
    pub fn version(&self) -> String {
        self.0.snapshot.load().version.to_string()
    }

    /// Where listeners and the admin interface are bound.
    pub fn addresses(&self) -> Vec<BoundAddress> {
        self.0.addresses.load().to_vec()
    }

    /// The proxy's stats.
    pub fn stats(&self) -> Store {
        self.0.stats()
    }

    /// What happens from now on.
    pub fn events(&self) -> mpsc::UnboundedReceiver<Event> {
        let (sender, receiver) = mpsc::unbounded_channel();
        lock(&self.0.events).push(sender);
        receiver
    }

    /// The running configuration in Envoy's JSON: `bootstrap`, `listeners`, `clusters`. No secret is in it.
    pub fn dump(&self) -> serde_json::Value {
        self.0.view.load().dump()
    }

    /// How many panics ended one stream, one connection, or all those of a worker.
    pub fn panics(&self) -> u64 {
        self.0.panics.load(Relaxed)
    }

    /// The level of a component of the program's own log, as `/logging` shows and changes it; `None` for one that was never set.
    pub fn log_level(&self, component: &str) -> Option<LogLevel> {
        lock(&self.0.log_levels).get(component).copied()
    }

    /// Sets the level of a component of the program's own log, and makes it known to `/logging`.
    pub fn set_log_level(&self, component: &str, level: LogLevel) {
        lock(&self.0.log_levels).insert(component.to_owned(), level);
    }

    /// Opens access logs again, after a rotation.
    pub fn reopen_logs(&self) {
        let _ = self.0.send(Command::ReopenLogs);
    }

    /// Drains listeners without stopping the proxy.
    pub fn drain_listeners(&self, drain: Drain) {
        let _ = self.0.send(Command::DrainListeners(drain));
    }
}

/// Tells when the control thread ends by a panic: its workers end with it.
struct CrashGuard(Arc<Shared>);

impl Drop for CrashGuard {
    fn drop(&mut self) {
        if thread::panicking() {
            lock(&self.0.commands).take();
            self.0.workers.store(Arc::default());
            self.0.state.send_replace(State::Stopped);
            self.0.emit(&Event::Crashed);
        }
    }
}

/// Reads, checks and compiles a bootstrap without starting anything: every problem, warnings included.
pub fn validate(inputs: Vec<Input>, options: &Options) -> Vec<Issue> {
    control::validate(inputs, options)
}

/// A lock that a panicking thread held is still good: every critical section here leaves the value whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod panic_tests;
