//! A worker: one thread with a runtime, sockets, pools and balancer state of its own. It runs streams only.
//!
//! Other threads reach it through one mailbox, which it empties in batches. A panic of a stream ends that stream; one of the
//! worker itself ends what it ran, and the worker starts again with the configuration and the sockets that it had.

pub mod closing;
pub mod random;
pub mod signal;
pub mod timer;

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    future::Future,
    net::IpAddr,
    panic::AssertUnwindSafe,
    rc::Rc,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    thread,
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    runtime::{Builder, LocalOptions},
    sync::{Notify, mpsc, oneshot},
};

use crate::{
    balance::Cursor,
    cluster::Cluster,
    http::headers::DateCache,
    listener::{Listener, accept, socket},
    snapshot::Snapshot,
    stats::{Store, Value},
    upstream::pool::Pools,
};
use closing::Closing;
use random::Random;
use signal::Signal;

/// What other threads tell a worker.
pub enum Message {
    /// Streams that begin from now on see this snapshot.
    Publish(Arc<Snapshot>, Ack),
    /// Accept on this socket for a listener. A listener of the same key that accepts already goes on with its socket, and its
    /// connections drain.
    Listen {
        /// Which socket it is: the address that was asked for.
        key: Arc<str>,
        /// The listener.
        listener: Arc<Listener>,
        /// A handle of the socket; `None` where the worker has it.
        socket: Option<socket::Handle>,
        /// When the worker accepts.
        ack: Ack,
    },
    /// Accept no more on this socket; its connections drain, and end after so long.
    Unlisten {
        /// Which socket.
        key: Arc<str>,
        /// Whether its connections drain; else they go on as they are.
        drain: bool,
        /// How long connections may go on.
        grace: Duration,
        /// When the queue of the socket is empty and it is closed.
        ack: Ack,
    },
    /// Serve a connection that another worker accepted.
    Connection(Box<accept::Dealt>),
    /// Hosts of a cluster changed: pools of those that left close.
    HostsChanged,
    /// Take no new work; when all connections ended or the time was over, tell how many requests of the proxy were left.
    Drain {
        /// How long running requests may go on.
        grace: Duration,
        /// How many requests were under way on all workers when this one's time was over; 0 where it ended before.
        done: oneshot::Sender<u64>,
    },
    /// End the thread now.
    Stop,
    /// Run this on the worker, outside of any stream.
    #[cfg(test)]
    Run(Box<dyn FnOnce(&Rc<Worker>) + Send>),
}

/// Tells the sender that a message has taken effect, when dropped.
pub type Ack = Option<oneshot::Sender<()>>;

/// What a worker's thread shares with the tasks on it.
pub struct Worker {
    /// Its number.
    pub index: usize,
    /// Random numbers, not for secrets.
    pub random: Random,
    /// Connections to upstream hosts.
    pub pools: Pools,
    /// This machine's own address, for `x-forwarded-for` of local clients.
    pub local_address: IpAddr,
    duty: Rc<Duty>,
    cursors: RefCell<HashMap<usize, Cursor>>,
    date: RefCell<DateCache>,
    panics: Arc<AtomicU64>,
    sockets: RefCell<HashMap<Arc<str>, Rc<accept::Accepting>>>,
    /// Generations of connections that drain.
    old: RefCell<Vec<Rc<Signal>>>,
    closing: Arc<Closing>,
    stats: Store,
    tell: Tell,
    peers: Peers,
    /// The panic of a task that the worker cannot do without.
    failed: (Notify, Cell<Option<Box<dyn Any + Send>>>),
}

/// What a worker was told to do: it outlives a panic of the worker.
struct Duty {
    snapshot: RefCell<Arc<Snapshot>>,
    /// The listeners, each with a handle of its socket, so that its queue outlives a panic too.
    listening: RefCell<HashMap<Arc<str>, (Arc<Listener>, socket::Handle)>>,
    connection_ids: ConnectionIds,
}

/// Gives the connections of a worker their numbers, those of clients and of upstreams alike.
#[derive(Clone)]
pub struct ConnectionIds(Rc<Cell<u64>>);

impl ConnectionIds {
    fn new(worker: usize) -> ConnectionIds {
        ConnectionIds(Rc::new(Cell::new(worker as u64)))
    }

    /// A number that no connection of this proxy had before.
    pub fn next(&self) -> u64 {
        let id = self.0.get();
        // Workers' numbers interleave; 4096 is more than there are workers.
        self.0.set(id + 4096);
        id
    }
}

impl Duty {
    fn new(index: usize) -> Duty {
        Duty { snapshot: RefCell::default(), listening: RefCell::default(), connection_ids: ConnectionIds::new(index) }
    }
}

/// Tells of what went wrong without ending the proxy; for its log.
pub type Tell = Arc<dyn Fn(String) + Send + Sync>;

/// The mailboxes of all workers of a proxy, for as long as the control side holds them.
pub type Peers = Arc<OnceLock<Vec<mpsc::WeakUnboundedSender<Message>>>>;

/// How long a worker that failed waits before it starts again: doubled each time, unless it had worked for longer than the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(1)];

/// What a worker is made of.
pub struct Setup {
    /// Its number.
    pub index: usize,
    /// Seed of its random source.
    pub seed: u64,
    /// The proxy's stats.
    pub stats: Store,
    /// This machine's own address.
    pub local_address: IpAddr,
    /// The CPU that it is pinned to (`--cpuset-threads`).
    pub cpu: Option<usize>,
    /// Counts panics that ended one connection or stream.
    pub panics: Arc<AtomicU64>,
    /// Which answers ask their clients to close (`/healthcheck/fail`, a graceful drain of listeners).
    pub closing: Arc<Closing>,
    /// How often access log lines go to the writer.
    pub flush_interval: Duration,
    /// Who is told of what goes wrong.
    pub tell: Tell,
    /// The workers, once all are started.
    pub peers: Peers,
}

/// The handle of a worker on other threads.
pub struct Handle {
    /// Its mailbox.
    pub mailbox: mpsc::UnboundedSender<Message>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Handle {
    /// Waits for the thread to end; call it after [`Message::Stop`].
    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A worker's panic was counted and printed where it happened.
            let _ = thread.join();
        }
    }
}

/// Starts the thread of a worker.
pub fn start(setup: Setup) -> std::io::Result<Handle> {
    let (mailbox, messages) = mpsc::unbounded_channel();
    let thread = thread::Builder::new().name(format!("worker-{}", setup.index)).spawn(move || run(setup, messages))?;
    Ok(Handle { mailbox, thread: Some(thread) })
}

fn run(setup: Setup, mut messages: mpsc::UnboundedReceiver<Message>) {
    if let Some(cpu) = setup.cpu {
        pin(cpu);
    }
    let _shard = setup.stats.register_worker();
    let duty = Rc::new(Duty::new(setup.index));
    let mut inbox = VecDeque::new();
    let [mut pause, longest] = PAUSES;
    loop {
        let begun = Instant::now();
        let Err(failure) = live(&setup, &duty, &mut messages, &mut inbox) else { return };
        (setup.tell)(format!("worker {} failed, its connections have ended, and it starts again: {failure}", setup.index));
        pause = if begun.elapsed() > longest { PAUSES[0] } else { longest.min(pause * 2) };
        thread::sleep(pause);
        while let Ok(message) = messages.try_recv() {
            inbox.push_back(message);
        }
        if messages.is_closed() || inbox.iter().any(|m| matches!(m, Message::Stop)) {
            return;
        }
    }
}

/// One life of a worker: until it is told to stop, or fails; then says why.
fn live(
    setup: &Setup,
    duty: &Rc<Duty>,
    messages: &mut mpsc::UnboundedReceiver<Message>,
    inbox: &mut VecDeque<Message>,
) -> Result<(), String> {
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(LocalOptions::default())
        .map_err(|e| format!("no runtime: {e}"))?;
    let worker = Rc::new(Worker::new(setup, duty.clone()));
    let work = work(&worker, setup.flush_interval, messages, inbox);
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(work)));
    // Only now, as what is dropped while a panic unwinds must not panic itself.
    worker.end_all();
    drop(runtime);
    ended.map_err(|panic| {
        setup.panics.fetch_add(1, Relaxed);
        text(&*panic)
    })
}

async fn work(
    worker: &Rc<Worker>,
    flush_interval: Duration,
    messages: &mut mpsc::UnboundedReceiver<Message>,
    inbox: &mut VecDeque<Message>,
) {
    let mut batch = Vec::with_capacity(64);
    let mut sweep = tokio::time::interval(Duration::from_secs(1));
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut flush = tokio::time::interval(flush_interval.max(Duration::from_millis(1)));
    flush.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    worker.resume();
    loop {
        let mut hosts_changed = false;
        // Each message leaves the inbox before it is obeyed: one that makes the worker panic is not obeyed twice.
        while let Some(message) = inbox.pop_front() {
            match message {
                Message::HostsChanged => hosts_changed = true,
                Message::Stop => return,
                message => worker.take(message),
            }
        }
        if hosts_changed {
            worker.pools.prune(&worker.duty.snapshot.borrow());
        }
        tokio::select! {
            n = messages.recv_many(&mut batch, 64) => {
                if n == 0 {
                    return;
                }
                inbox.extend(batch.drain(..));
            }
            _ = sweep.tick() => {
                worker.pools.sweep();
                worker.old.borrow_mut().retain(|s| s.listeners() > 0);
            }
            _ = flush.tick() => crate::access_log::flush_thread(),
            () = worker.failed.0.notified() => if let Some(panic) = worker.failed.1.take() {
                std::panic::resume_unwind(panic);
            },
        }
    }
}

/// The message of a panic.
fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}

/// How many requests clients wait for, on all workers, without those of the admin interface.
pub fn requests_under_way(stats: &Store) -> u64 {
    let mut sum = 0;
    stats.visit(|name, reading| {
        if name.starts_with("http.") && name.ends_with(".downstream_rq_active") && !name.starts_with("http.admin.") {
            sum += if let Value::Gauge(n) = reading.value { n } else { 0 };
        }
    });
    sum
}

/// Keeps this thread on one CPU; one that this process may not use leaves it where it is.
fn pin(cpu: usize) {
    if let Some(core) = core_affinity::get_core_ids().and_then(|cores| cores.get(cpu).copied()) {
        core_affinity::set_for_current(core);
    }
}

impl Worker {
    fn new(setup: &Setup, duty: Rc<Duty>) -> Worker {
        Worker {
            index: setup.index,
            random: Random::seeded(setup.seed),
            pools: Pools::new(duty.connection_ids.clone()),
            local_address: setup.local_address,
            duty,
            cursors: RefCell::default(),
            date: RefCell::default(),
            panics: setup.panics.clone(),
            sockets: RefCell::default(),
            old: RefCell::default(),
            closing: setup.closing.clone(),
            stats: setup.stats.clone(),
            tell: setup.tell.clone(),
            peers: setup.peers.clone(),
            failed: Default::default(),
        }
    }

    /// The newest snapshot that this worker was told of.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.duty.snapshot.borrow().clone()
    }

    /// Uses the balancer state of a cluster.
    pub fn with_cursor<T>(&self, cluster: &Arc<Cluster>, f: impl FnOnce(&mut Cursor, &mut dyn FnMut() -> u64) -> T) -> T {
        let mut cursors = self.cursors.borrow_mut();
        let cursor = cursors.entry(Arc::as_ptr(cluster) as usize).or_default();
        f(cursor, &mut || self.random.next())
    }

    /// Whether an answer of this moment asks its client to close.
    pub fn closing(&self) -> bool {
        self.closing.asks(|| self.random.next())
    }

    /// The value of a `date` header.
    pub fn date(&self) -> [u8; 29] {
        *self.date.borrow_mut().at(SystemTime::now())
    }

    /// The number of a new connection, not used before in this proxy.
    pub fn connection_id(&self) -> u64 {
        self.duty.connection_ids.next()
    }

    /// Runs a task; its panic is counted and ends it alone.
    pub fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        let panics = self.panics.clone();
        tokio::task::spawn_local(caught(task, move |_| {
            panics.fetch_add(1, Relaxed);
        }));
    }

    /// Runs a task without which the worker is none: its panic is the worker's own.
    pub fn spawn_vital(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) -> tokio::task::JoinHandle<()> {
        let worker = self.clone();
        tokio::task::spawn_local(caught(task, move |panic| {
            worker.failed.1.set(Some(panic));
            worker.failed.0.notify_one();
        }))
    }

    /// Gives a connection to the worker that it was dealt to.
    pub fn hand_over(self: &Rc<Self>, dealt: accept::Dealt) {
        let mailbox = self.peers.get().and_then(|peers| peers.get(dealt.worker())?.upgrade());
        let message = Message::Connection(Box::new(dealt));
        // Where that worker is gone, so is the proxy.
        if let Some(mailbox) = mailbox {
            let _ = mailbox.send(message);
        }
    }

    /// Accepts again on the sockets that it had before it failed.
    fn resume(self: &Rc<Self>) {
        for (key, (listener, socket)) in &*self.duty.listening.borrow() {
            match socket.try_clone() {
                Ok(socket) => self.accept(key.clone(), listener.clone(), socket),
                Err(e) => (self.tell)(format!("worker {} cannot accept on {key}: {e}", self.index)),
            }
        }
    }

    fn take(self: &Rc<Self>, message: Message) {
        match message {
            Message::Publish(snapshot, _ack) => {
                self.pools.prune(&snapshot);
                self.cursors.borrow_mut().retain(|key, _| snapshot.clusters.values().any(|c| Arc::as_ptr(c) as usize == *key));
                *self.duty.snapshot.borrow_mut() = snapshot;
            }
            Message::Listen { key, listener, socket, ack: _ack } => self.listen(key, listener, socket),
            Message::Unlisten { key, drain, grace, ack: _ack } => {
                // This handle first, as whoever closes the last one has emptied the queue.
                self.duty.listening.borrow_mut().remove(&key);
                let accepting = self.sockets.borrow_mut().remove(&key);
                if let Some(accepting) = accepting {
                    let signal = accepting.close(self);
                    if drain {
                        signal.drain();
                        self.end_after(signal, grace);
                    } else {
                        self.old.borrow_mut().push(signal);
                    }
                }
            }
            Message::Drain { grace, done } => {
                self.duty.listening.borrow_mut().clear();
                let accepting: Vec<_> = self.sockets.borrow_mut().drain().map(|(_, a)| a).collect();
                let mut signals: Vec<_> = accepting.iter().map(|a| a.close(self)).collect();
                signals.append(&mut self.old.borrow_mut());
                signals.iter().for_each(|s| s.drain());
                let worker = self.clone();
                self.spawn(async move {
                    let quiet = async {
                        for signal in &signals {
                            signal.quiet().await;
                        }
                    };
                    let left = match tokio::time::timeout(grace, quiet).await {
                        Ok(()) => 0,
                        // A connection without a request, that only waits for its client to close, loses nothing.
                        Err(_) => requests_under_way(&worker.stats),
                    };
                    signals.iter().for_each(|s| s.end());
                    // One turn, so that each connection sees it.
                    tokio::task::yield_now().await;
                    let _ = done.send(left);
                    drop(worker);
                });
            }
            Message::Connection(dealt) => {
                let accepting = self.sockets.borrow().values().find(|a| a.serves(dealt.listener())).cloned();
                if let Some(signal) = dealt.serve(self, accepting.as_deref()) {
                    self.old.borrow_mut().push(signal);
                }
            }
            Message::HostsChanged | Message::Stop => {}
            #[cfg(test)]
            Message::Run(run) => run(self),
        }
    }

    fn listen(self: &Rc<Self>, key: Arc<str>, listener: Arc<Listener>, socket: Option<socket::Handle>) {
        let running = self.sockets.borrow().get(&key).cloned();
        match (running, socket) {
            (Some(accepting), _) => {
                if let Some((served, _)) = self.duty.listening.borrow_mut().get_mut(&key) {
                    *served = listener.clone();
                }
                let signal = accepting.replace(listener);
                self.old.borrow_mut().push(signal);
            }
            (None, Some(socket)) => {
                // Without a handle to spare the listener is lost with a panic, and works until then.
                if let Ok(handle) = socket.try_clone() {
                    self.duty.listening.borrow_mut().insert(key.clone(), (listener.clone(), handle));
                }
                self.accept(key, listener, socket);
            }
            (None, None) => {}
        }
    }

    fn accept(self: &Rc<Self>, key: Arc<str>, listener: Arc<Listener>, socket: socket::Handle) {
        match accept::Accepting::start(self, listener, socket) {
            Ok(accepting) => drop(self.sockets.borrow_mut().insert(key, accepting)),
            Err(e) => (self.tell)(format!("worker {} cannot accept on {key}: {e}", self.index)),
        }
    }

    fn end_after(self: &Rc<Self>, signal: Rc<Signal>, grace: Duration) {
        self.old.borrow_mut().push(signal.clone());
        self.spawn(async move {
            if tokio::time::timeout(grace, signal.quiet()).await.is_err() {
                signal.end();
            }
        });
    }

    fn end_all(&self) {
        for accepting in self.sockets.borrow_mut().drain().map(|(_, a)| a) {
            accepting.signal().end();
        }
        self.old.borrow().iter().for_each(|s| s.end());
    }
}

/// A task whose panic ends it, after `panicked` was given what it panicked with.
async fn caught(task: impl Future<Output = ()>, panicked: impl FnOnce(Box<dyn Any + Send>)) {
    let mut task = std::pin::pin!(task);
    let mut panicked = Some(panicked);
    std::future::poll_fn(|cx| {
        std::panic::catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx))).unwrap_or_else(|panic| {
            // A task that panicked is over and not polled again.
            if let Some(panicked) = panicked.take() {
                panicked(panic);
            }
            Poll::Ready(())
        })
    })
    .await;
}

#[cfg(test)]
mod tests;
