//! Counters, gauges and histograms under Envoy's names: resolved once, written without locks, read by admin and Prometheus.
//!
//! A [`Store`] belongs to one proxy. Names are registered in *blocks*: one prefix (`cluster.app`) and one template (the
//! list of names below it), so that ten thousand clusters are ten thousand prefixes, not a million strings. Every worker
//! thread has cells of its own in a block, made on first touch, and is their only writer; all other threads share one
//! more set of cells. Readers add the sets up. A block lives as long as a handle on it: two configurations that register
//! the same prefix share it, so that values survive an update, and the last one that goes takes its names away.

mod block;
mod histogram;
mod names;
mod names_more;
mod prometheus;
mod render;
mod tags;
#[cfg(test)]
mod tests;

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap},
    marker::PhantomData,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

pub use block::{Block, CounterRef, EMPTY, GaugeRef, HistogramRef, Reading, Template, Unit, Value};
pub use histogram::Distribution;
pub use names::*;
pub use names_more::*;
pub use prometheus::{prometheus, prometheus_all};
pub use render::{Buckets, Kinds, Query, json, text};

/// The stats of one proxy; cloning gives another handle on the same.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

pub(crate) struct Inner {
    /// Tells the stores of one process apart for the thread-locals; never 0.
    id: u64,
    /// Which worker shards have a thread. Shard 0 is the shared one and stands for index 0 here, never free.
    taken: Mutex<Vec<bool>>,
    blocks: Mutex<HashMap<Arc<str>, Vec<Weak<Block>>>>,
    texts: Mutex<BTreeMap<Arc<str>, Weak<Mutex<String>>>>,
}

/// What this thread writes to: a store and its shard there.
#[derive(Clone, Copy)]
struct Shard {
    store: u64,
    index: usize,
}

thread_local! {
    static SHARD: Cell<Shard> = const { Cell::new(Shard { store: 0, index: 0 }) };
}

/// The shard of `store` that the current thread may write: its own, or 0, which all threads share.
#[inline]
fn shard_of(store: u64) -> usize {
    let shard = SHARD.get();
    if shard.store == store { shard.index } else { 0 }
}

impl Default for Store {
    fn default() -> Store {
        Store::new()
    }
}

impl Store {
    /// An empty store with shards for as many workers as the machine has threads.
    pub fn new() -> Store {
        Store::with_workers(std::thread::available_parallelism().map_or(1, |n| n.get()))
    }

    /// An empty store with shards for `workers` workers; further ones write to the shared shard, correctly but slower.
    pub fn with_workers(workers: usize) -> Store {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut taken = vec![false; workers + 1];
        taken[0] = true;
        Store(Arc::new(Inner {
            id: NEXT.fetch_add(1, Relaxed),
            taken: Mutex::new(taken),
            blocks: Mutex::default(),
            texts: Mutex::default(),
        }))
    }

    /// A counter of its own, by its full name. For a family of names prefer a [`crate::stat_block!`].
    pub fn counter(&self, name: &str) -> Counter {
        Counter(self.block(name, &block::COUNTER))
    }

    /// A gauge of its own, by its full name.
    pub fn gauge(&self, name: &str) -> Gauge {
        Gauge(self.block(name, &block::GAUGE))
    }

    /// A histogram of its own, by its full name.
    pub fn histogram(&self, name: &str, unit: Unit) -> Histogram {
        Histogram(self.block(name, block::histogram_template(unit)))
    }

    /// A text by its full name, empty at first; the one that is there already, or a new one. It is shown for as long as a handle lives.
    pub fn text(&self, name: &str) -> Text {
        let name: Arc<str> = sanitize(name).into();
        let mut texts = lock(&self.0.texts);
        texts.retain(|_, text| text.strong_count() > 0);
        if let Some(found) = texts.get(&name).and_then(Weak::upgrade) {
            return Text(found);
        }
        let text = Arc::<Mutex<String>>::default();
        texts.insert(name, Arc::downgrade(&text));
        Text(text)
    }

    /// Calls `see` with the name and the value of every text, by name.
    pub fn visit_texts(&self, mut see: impl FnMut(&str, &str)) {
        for (name, text) in lock(&self.0.texts).iter() {
            if let Some(text) = text.upgrade() {
                see(name, &lock(&text));
            }
        }
    }

    /// The block of `template` under `prefix`; the one that is there already, or a new one.
    ///
    /// The prefix is sanitized as Envoy does it: `:` becomes `_`; not so that of a raw template.
    pub fn block(&self, prefix: &str, template: &'static Template) -> Arc<Block> {
        let prefix = if template.raw { prefix.into() } else { sanitize(prefix) };
        let mut blocks = lock(&self.0.blocks);
        let shards = lock(&self.0.taken).len();
        let prefix = match blocks.get_key_value(&*prefix) {
            Some((known, list)) => {
                if let Some(found) = list.iter().filter_map(Weak::upgrade).find(|b| std::ptr::eq(b.template(), template)) {
                    return found;
                }
                known.clone()
            }
            None => Arc::from(prefix),
        };
        let block = Arc::new(Block::new(self.0.id, Arc::downgrade(&self.0), prefix.clone(), template, shards));
        blocks.entry(prefix).or_default().push(Arc::downgrade(&block));
        block
    }

    /// Makes the current thread the only writer of one shard, until the guard is dropped.
    ///
    /// A thread serves one store at a time: a second call hides the first until its guard goes.
    pub fn register_worker(&self) -> WorkerGuard {
        let mut taken = lock(&self.0.taken);
        let index = taken.iter().position(|t| !t).unwrap_or(0);
        if index != 0 {
            taken[index] = true;
        }
        drop(taken);
        let before = SHARD.replace(Shard { store: self.0.id, index });
        WorkerGuard { store: self.clone(), index, before, not_send: PhantomData }
    }

    /// Takes every histogram's values since the last call as its new interval. Call it every 5 s, as Envoy flushes.
    pub fn flush(&self) {
        for block in self.blocks() {
            block.flush();
        }
    }

    /// Sets every counter to 0 (`POST /reset_counters`).
    pub fn reset_counters(&self) {
        for block in self.blocks() {
            block.reset_counters();
        }
    }

    /// Calls `see` for every stat that is there: counters and gauges by name first, then histograms by name.
    pub fn visit(&self, mut see: impl FnMut(&str, &Reading<'_>)) {
        let mut blocks = self.blocks();
        blocks.sort_by(|a, b| a.sort_key().cmp(b.sort_key()));
        let mut name = String::new();
        for histograms in [false, true] {
            let mut rest = &blocks[..];
            while let Some(first) = rest.first() {
                // Names of blocks interleave only where one is inside the other; those are sorted together.
                let inside = |b: &Arc<Block>| b.prefix().strip_prefix(first.prefix()).is_some_and(|p| p.is_empty() || p.starts_with('.'));
                let (here, behind) = rest.split_at(1 + rest[1..].iter().take_while(|b| inside(b)).count());
                rest = behind;
                let mut group = Vec::new();
                for block in here {
                    block.read(histograms, &mut |reading| group.push(reading));
                }
                group.sort_by(Reading::by_name);
                for reading in &group {
                    reading.write_name(&mut name);
                    see(&name, reading);
                }
            }
        }
    }

    /// The value of one counter or gauge by its full name, for tests and the API; `None` where there is none.
    pub fn value(&self, name: &str) -> Option<u64> {
        let mut found = None;
        self.visit(|n, reading| {
            if let (true, Value::Counter(v) | Value::Gauge(v)) = (n == name, &reading.value) {
                found = Some(*v);
            }
        });
        found
    }

    fn blocks(&self) -> Vec<Arc<Block>> {
        lock(&self.0.blocks).values().flatten().filter_map(Weak::upgrade).collect()
    }
}

impl Inner {
    /// Forgets the blocks of `prefix` that nobody holds any more.
    fn forget(&self, prefix: &str) {
        let mut blocks = lock(&self.blocks);
        if let Some(list) = blocks.get_mut(prefix) {
            list.retain(|b| b.strong_count() > 0);
            if list.is_empty() {
                blocks.remove(prefix);
            }
        }
    }
}

/// While it lives, the thread that made it is the only writer of one shard of a store.
pub struct WorkerGuard {
    store: Store,
    index: usize,
    before: Shard,
    not_send: PhantomData<*const ()>,
}

impl Drop for WorkerGuard {
    fn drop(&mut self) {
        SHARD.set(self.before);
        if self.index != 0 {
            lock(&self.store.0.taken)[self.index] = false;
        }
    }
}

/// A counter by its full name.
#[derive(Clone)]
pub struct Counter(Arc<Block>);

impl Counter {
    /// Adds 1.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.counter(0).add(n);
    }
}

/// A gauge by its full name; threads that add and subtract share one sum.
#[derive(Clone)]
pub struct Gauge(Arc<Block>);

impl Gauge {
    /// Adds 1.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Subtracts 1.
    pub fn dec(&self) {
        self.sub(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.gauge(0).add(n);
    }

    /// Subtracts `n`.
    pub fn sub(&self, n: u64) {
        self.0.gauge(0).sub(n);
    }

    /// Sets the value; for one writer on the control side.
    pub fn set(&self, value: u64) {
        self.0.gauge(0).set(value);
    }
}

/// A histogram by its full name.
#[derive(Clone)]
pub struct Histogram(Arc<Block>);

impl Histogram {
    /// Records one value, in the histogram's unit.
    pub fn record(&self, value: u64) {
        self.0.histogram(0).record(value);
    }
}

/// A text that is shown among the stats, such as the version of a configuration (a text readout).
#[derive(Clone)]
pub struct Text(Arc<Mutex<String>>);

impl Text {
    /// Sets it.
    pub fn set(&self, value: &str) {
        value.clone_into(&mut lock(&self.0));
    }
}

/// Envoy's `sanitizeStatsName`: no colon, no NUL.
fn sanitize(name: &str) -> std::borrow::Cow<'_, str> {
    if name.contains([':', '\0']) { name.replace("://", "_").replace(":/", "_").replace([':', '\0'], "_").into() } else { name.into() }
}

/// A panic elsewhere leaves these maps whole: they are changed by single calls only.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
