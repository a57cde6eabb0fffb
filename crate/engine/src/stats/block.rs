//! One family of stats: a prefix, a template of names, and each thread's cells.

use std::{
    cmp::Ordering,
    fmt::{self, Write as _},
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{Inner, histogram, histogram::Distribution, lock, shard_of};

/// The unit of a histogram's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A count.
    Unspecified,
    /// Bytes.
    Bytes,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
}

/// A list of names that are registered together below one prefix.
pub struct Template {
    /// Counters.
    pub counters: &'static [&'static str],
    /// Gauges.
    pub gauges: &'static [&'static str],
    /// Histograms and their units; they are shown even without values.
    pub histograms: &'static [(&'static str, Unit)],
    /// Histograms that do not exist before their first value.
    pub lazy_histograms: &'static [(&'static str, Unit)],
    /// The whole block does not exist before it was touched.
    pub lazy: bool,
    /// The prefix keeps its colons.
    pub raw: bool,
}

/// A template with nothing in it.
pub const EMPTY: Template = Template { counters: &[], gauges: &[], histograms: &[], lazy_histograms: &[], lazy: false, raw: false };

pub(super) static COUNTER: Template = Template { counters: &[""], ..EMPTY };
pub(super) static GAUGE: Template = Template { gauges: &[""], ..EMPTY };

/// The template of a single histogram.
pub(super) fn histogram_template(unit: Unit) -> &'static Template {
    static UNSPECIFIED: Template = Template { histograms: &[("", Unit::Unspecified)], ..EMPTY };
    static BYTES: Template = Template { histograms: &[("", Unit::Bytes)], ..EMPTY };
    static MICROSECONDS: Template = Template { histograms: &[("", Unit::Microseconds)], ..EMPTY };
    static MILLISECONDS: Template = Template { histograms: &[("", Unit::Milliseconds)], ..EMPTY };
    match unit {
        Unit::Unspecified => &UNSPECIFIED,
        Unit::Bytes => &BYTES,
        Unit::Microseconds => &MICROSECONDS,
        Unit::Milliseconds => &MILLISECONDS,
    }
}

/// The cells of one template under one prefix.
pub struct Block {
    store_id: u64,
    store: Weak<Inner>,
    prefix: Arc<str>,
    template: &'static Template,
    /// Shard 0 is shared by all threads without one of their own.
    shards: Box<[Shard]>,
    /// What `reset_counters` takes off each counter; the cells belong to their writers and are never set back.
    reset: OnceLock<Box<[AtomicU64]>>,
    code_reset: OnceLock<Mutex<Vec<(Key, u64)>>>,
    flushed: OnceLock<Box<[Mutex<Flushed>]>>,
}

/// A histogram's last two readings by the flush.
#[derive(Default)]
struct Flushed {
    total: Distribution,
    interval: Distribution,
}

/// One shard's cells, each part made on first touch.
#[derive(Default)]
struct Shard {
    /// Counters, then two for each gauge: what was added, what was subtracted.
    numbers: OnceLock<Box<[AtomicU64]>>,
    rest: OnceLock<Box<Rest>>,
}

/// What not every shard that counts has.
struct Rest {
    histograms: Box<[OnceLock<Box<histogram::Cells>>]>,
    codes: OnceLock<Box<CodeCell>>,
}

/// A counter that exists from its first count on; in a chain, since a block has only a few.
struct CodeCell {
    key: Key,
    count: AtomicU64,
    next: OnceLock<Box<CodeCell>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Key {
    /// A response code and its scope.
    Code(u32),
    /// A name in two parts.
    Name(&'static str, &'static str),
}

impl CodeCell {
    fn new(key: Key) -> Box<CodeCell> {
        Box::new(CodeCell { key, count: AtomicU64::new(0), next: OnceLock::new() })
    }
}

impl Template {
    fn numbers(&self) -> usize {
        self.counters.len() + 2 * self.gauges.len()
    }

    fn histogram(&self, index: usize) -> (&'static str, bool) {
        match index.checked_sub(self.histograms.len()) {
            None => (self.histograms[index].0, false),
            Some(lazy) => (self.lazy_histograms[lazy].0, true),
        }
    }

    fn histogram_count(&self) -> usize {
        self.histograms.len() + self.lazy_histograms.len()
    }
}

/// What one stat reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A counter's value.
    Counter(u64),
    /// A gauge's value.
    Gauge(u64),
    /// A histogram: all values, and those of the last whole interval.
    Histogram {
        /// All values.
        total: Distribution,
        /// The values between the last two flushes.
        interval: Distribution,
    },
}

/// One stat at the moment of reading.
#[derive(Clone, Debug)]
pub struct Reading<'a> {
    prefix: &'a str,
    scope: &'static str,
    name: &'static str,
    /// Response code, where the name ends in one.
    code: Code,
    /// The value.
    pub value: Value,
    /// Whether it was ever written, as `usedonly` asks.
    pub used: bool,
}

/// The end of a name that is a response code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    None,
    Exact(u16),
    Class(u16),
}

impl Reading<'_> {
    /// Writes the full name over `name`.
    pub fn write_name(&self, name: &mut String) {
        name.clear();
        name.push_str(self.prefix);
        if !self.scope.is_empty() || !self.name.is_empty() {
            name.push('.');
        }
        name.push_str(self.scope);
        name.push_str(self.name);
        // Writing into a String does not fail.
        let _ = match self.code {
            Code::None => Ok(()),
            Code::Exact(code) => write!(name, "{code}"),
            Code::Class(class) => write!(name, "{class}xx"),
        };
    }

    pub(super) fn by_name(a: &Reading<'_>, b: &Reading<'_>) -> Ordering {
        let plain = |r: &Reading<'_>| r.scope.is_empty() && r.code == Code::None;
        if plain(a) && plain(b) && std::ptr::eq(a.prefix, b.prefix) {
            return a.name.cmp(b.name);
        }
        let mut names = (String::new(), String::new());
        a.write_name(&mut names.0);
        b.write_name(&mut names.1);
        names.0.cmp(&names.1)
    }
}

const INTERNAL: u32 = 1 << 16;
const CANARY: u32 = 1 << 17;
const RETRIED: u32 = 1 << 18;
const PLAIN: u32 = 1 << 19;
const PARTS: u32 = 1 << 20;

impl Block {
    pub(super) fn new(store_id: u64, store: Weak<Inner>, prefix: Arc<str>, template: &'static Template, shards: usize) -> Block {
        let shards = (0..shards).map(|_| Shard::default()).collect();
        Block { store_id, store, prefix, template, shards, reset: OnceLock::new(), code_reset: OnceLock::new(), flushed: OnceLock::new() }
    }

    /// The prefix, sanitized.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What the names of this block sort by: all begin with it, and no name of another block falls between unless its
    /// key begins with this one.
    pub(super) fn sort_key(&self) -> impl Iterator<Item = u8> + '_ {
        let names = self.template.counters.iter().chain(self.template.gauges).chain(self.template.histograms.iter().map(|h| &h.0));
        let alone = names.take(1).any(|n| n.is_empty());
        self.prefix.bytes().chain((!alone).then_some(b'.'))
    }

    /// The names.
    pub fn template(&self) -> &'static Template {
        self.template
    }

    /// Makes a lazy block appear.
    pub fn touch(&self) {
        self.numbers(self.shard().0);
    }

    /// The counter at `index` of the template.
    #[inline]
    pub fn counter(&self, index: usize) -> CounterRef<'_> {
        CounterRef { block: self, index }
    }

    /// The gauge at `index` of the template.
    #[inline]
    pub fn gauge(&self, index: usize) -> GaugeRef<'_> {
        GaugeRef { block: self, index: self.template.counters.len() + 2 * index }
    }

    /// The histogram at `index` of the template, the lazy ones behind the others.
    #[inline]
    pub fn histogram(&self, index: usize) -> HistogramRef<'_> {
        HistogramRef { block: self, index }
    }

    /// Counts an answer under `upstream_rq_<code>`, its class, and the same below `internal.` or `external.` and `canary.`.
    pub fn count_code(&self, code: u16, internal: bool, canary: bool) {
        self.add_code(code, internal, canary, 0);
    }

    /// Counts an answer below `internal.` or `external.` and `canary.` only.
    pub fn count_parts(&self, code: u16, internal: bool, canary: bool) {
        self.add_code(code, internal, canary, PARTS);
    }

    fn add_code(&self, code: u16, internal: bool, canary: bool, more: u32) {
        self.add_key(Key::Code(u32::from(code) | if internal { INTERNAL } else { 0 } | if canary { CANARY } else { 0 } | more), 1);
    }

    /// Counts an answer under `upstream_rq_<code>`, its class and `upstream_rq_completed`, which are there from the first one on, and nowhere else.
    pub fn count_plain(&self, code: u16) {
        self.count_name("", "upstream_rq_completed");
        self.add_key(Key::Code(u32::from(code) | PLAIN), 1);
    }

    /// Counts an answer that was tried again under `retry.upstream_rq_<code>` and its class, and nowhere else.
    pub fn count_retried(&self, code: u16) {
        self.add_key(Key::Code(u32::from(code) | RETRIED), 1);
    }

    /// Counts under `<scope><name>`, which exists from its first count on (`versions.`, `TLSv1.3`).
    pub fn count_name(&self, scope: &'static str, name: &'static str) {
        self.add_name(scope, name, 1);
    }

    /// Adds `n` under `<scope><name>`, as [`Block::count_name`] does.
    pub fn add_name(&self, scope: &'static str, name: &'static str, n: u64) {
        self.add_key(Key::Name(scope, name), n);
    }

    fn add_key(&self, key: Key, n: u64) {
        let (shard, shared) = self.shard();
        let mut cell = self.rest(shard).codes.get_or_init(|| CodeCell::new(key));
        // Another thread may put a different key first (in the shared shard), so look again after each step.
        while cell.key != key {
            cell = cell.next.get_or_init(|| CodeCell::new(key));
        }
        add(shared, &cell.count, n);
    }

    /// The current thread's shard, and whether others write it too.
    #[inline]
    fn shard(&self) -> (&Shard, bool) {
        let mut index = shard_of(self.store_id);
        // A block has a shard for each worker; 0 for one that came in addition.
        if index >= self.shards.len() {
            index = 0;
        }
        (&self.shards[index], index == 0)
    }

    #[inline]
    fn numbers<'a>(&self, shard: &'a Shard) -> &'a [AtomicU64] {
        shard.numbers.get_or_init(|| (0..self.template.numbers()).map(|_| AtomicU64::new(0)).collect())
    }

    #[inline]
    fn rest<'a>(&self, shard: &'a Shard) -> &'a Rest {
        shard.rest.get_or_init(|| {
            let histograms = (0..self.template.histogram_count()).map(|_| OnceLock::new()).collect();
            Box::new(Rest { histograms, codes: OnceLock::new() })
        })
    }

    #[inline]
    fn add(&self, index: usize, n: u64) {
        let (shard, shared) = self.shard();
        add(shared, &self.numbers(shard)[index], n);
    }

    /// Which shards count.
    #[cfg(test)]
    pub(super) fn shards_touched(&self) -> Vec<bool> {
        self.shards.iter().map(|s| s.numbers.get().is_some()).collect()
    }

    fn touched(&self) -> bool {
        self.shards.iter().any(|s| s.numbers.get().is_some() || s.rest.get().is_some())
    }

    fn rests(&self) -> impl Iterator<Item = &Rest> {
        self.shards.iter().filter_map(|s| s.rest.get().map(|r| &**r))
    }

    fn sum(&self, index: usize) -> u64 {
        let cells = self.shards.iter().filter_map(|s| s.numbers.get());
        cells.fold(0, |sum, numbers| sum.wrapping_add(numbers[index].load(Relaxed)))
    }

    /// The count since the last reset, and the count of all time.
    fn counted(&self, index: usize) -> (u64, u64) {
        let total = self.sum(index);
        (total.wrapping_sub(self.reset.get().map_or(0, |r| r[index].load(Relaxed))), total)
    }

    fn total(&self, index: usize) -> Distribution {
        let mut total = Distribution::default();
        self.rests().filter_map(|r| r.histograms[index].get()).for_each(|h| h.merge(&mut total));
        total
    }

    pub(super) fn reset_counters(&self) {
        if !self.touched() {
            return;
        }
        let count = self.template.counters.len();
        let reset = self.reset.get_or_init(|| (0..count).map(|_| AtomicU64::new(0)).collect());
        for (index, cell) in reset.iter().enumerate() {
            cell.store(self.sum(index), Relaxed);
        }
        let codes = self.code_totals();
        if !codes.is_empty() {
            *lock(self.code_reset.get_or_init(Mutex::default)) = codes;
        }
    }

    pub(super) fn flush(&self) {
        if self.rests().next().is_none() {
            return;
        }
        for index in 0..self.template.histogram_count() {
            let total = self.total(index);
            if total.is_empty() {
                continue;
            }
            let all = self.flushed.get_or_init(|| (0..self.template.histogram_count()).map(|_| Mutex::default()).collect());
            let mut flushed = lock(&all[index]);
            flushed.interval = total.since(&flushed.total);
            flushed.total = total;
        }
    }

    /// Calls `see` for every histogram of the block, or for everything else, in no order.
    pub(super) fn read<'a>(&'a self, histograms: bool, see: &mut impl FnMut(Reading<'a>)) {
        let template = self.template;
        if template.lazy && !self.touched() {
            return;
        }
        let reading = |scope, name, code, value, used| Reading { prefix: &self.prefix, scope, name, code, value, used };
        if histograms {
            for index in 0..template.histogram_count() {
                let (name, lazy) = template.histogram(index);
                let total = self.total(index);
                if lazy && total.is_empty() {
                    continue;
                }
                let used = !total.is_empty();
                let interval = self.flushed.get().map(|f| lock(&f[index]).interval.clone()).unwrap_or_default();
                see(reading("", name, Code::None, Value::Histogram { total, interval }, used));
            }
            return;
        }
        for (index, name) in template.counters.iter().enumerate() {
            let (value, total) = self.counted(index);
            see(reading("", name, Code::None, Value::Counter(value), total != 0));
        }
        for (index, name) in template.gauges.iter().enumerate() {
            let at = template.counters.len() + 2 * index;
            let (up, down) = (self.sum(at), self.sum(at + 1));
            see(reading("", name, Code::None, Value::Gauge(up.wrapping_sub(down)), up != 0 || down != 0));
        }
        self.read_codes(&mut |scope, name, code, count| see(reading(scope, name, code, Value::Counter(count), true)));
    }

    /// Counts of all time by key.
    fn code_totals(&self) -> Vec<(Key, u64)> {
        let mut counts: Vec<(Key, u64)> = Vec::new();
        for rest in self.rests() {
            let mut next = rest.codes.get();
            while let Some(cell) = next {
                let count = cell.count.load(Relaxed);
                match counts.iter_mut().find(|c| c.0 == cell.key) {
                    Some(known) => known.1 += count,
                    None => counts.push((cell.key, count)),
                }
                next = cell.next.get();
            }
        }
        counts
    }

    fn read_codes(&self, see: &mut impl FnMut(&'static str, &'static str, Code, u64)) {
        let mut counts = self.code_totals();
        if let Some(reset) = self.code_reset.get() {
            for (key, before) in lock(reset).iter() {
                counts.iter_mut().filter(|c| c.0 == *key).for_each(|c| c.1 = c.1.saturating_sub(*before));
            }
        }
        let mut by_code = Vec::new();
        for (key, count) in counts {
            match key {
                Key::Code(code) => by_code.push((code, count)),
                Key::Name(scope, name) => see(scope, name, Code::None, count),
            }
        }
        const SCOPES: [(&str, u32, u32); 5] = [
            ("", RETRIED | PARTS, 0),
            ("external.", INTERNAL | RETRIED | PLAIN, 0),
            ("internal.", INTERNAL | RETRIED, INTERNAL),
            ("canary.", CANARY | RETRIED, CANARY),
            ("retry.", RETRIED, RETRIED),
        ];
        for (scope, mask, want) in SCOPES {
            let mut codes: Vec<(Code, u64)> = Vec::new();
            let mut completed = None;
            for &(key, count) in by_code.iter().filter(|(key, _)| key & mask == want) {
                let code = key as u16;
                completed = Some(completed.unwrap_or(0) + count);
                let class = (1..=5).contains(&(code / 100)).then_some(Code::Class(code / 100));
                for name in [Some(Code::Exact(code)), class].into_iter().flatten() {
                    match codes.iter_mut().find(|c| c.0 == name) {
                        Some(known) => known.1 += count,
                        None => codes.push((name, count)),
                    }
                }
            }
            for (code, count) in codes {
                see(scope, "upstream_rq_", code, count);
            }
            // The plain one is a counter of the template, there from the start.
            if let (Some(completed), false) = (completed, scope.is_empty()) {
                see(scope, "upstream_rq_completed", Code::None, completed);
            }
        }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({})", self.prefix)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(store) = self.store.upgrade() {
            store.forget(&self.prefix);
        }
    }
}

/// Adds to a cell: plainly where this thread is its only writer.
#[inline]
fn add(shared: bool, cell: &AtomicU64, n: u64) {
    if shared {
        cell.fetch_add(n, Relaxed);
    } else {
        cell.store(cell.load(Relaxed).wrapping_add(n), Relaxed);
    }
}

/// A counter of a block.
#[derive(Clone, Copy)]
pub struct CounterRef<'a> {
    block: &'a Block,
    index: usize,
}

impl CounterRef<'_> {
    /// Adds 1.
    #[inline]
    pub fn inc(self) {
        self.block.add(self.index, 1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(self, n: u64) {
        self.block.add(self.index, n);
    }

    /// The value now, over all threads.
    pub fn value(self) -> u64 {
        self.block.counted(self.index).0
    }
}

/// A gauge of a block; what all threads add and subtract is one sum.
#[derive(Clone, Copy)]
pub struct GaugeRef<'a> {
    block: &'a Block,
    index: usize,
}

impl GaugeRef<'_> {
    /// Adds 1.
    #[inline]
    pub fn inc(self) {
        self.add(1);
    }

    /// Subtracts 1.
    #[inline]
    pub fn dec(self) {
        self.sub(1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(self, n: u64) {
        self.block.add(self.index, n);
    }

    /// Subtracts `n`.
    #[inline]
    pub fn sub(self, n: u64) {
        self.block.add(self.index + 1, n);
    }

    /// Sets the value; for one writer on the control side.
    pub fn set(self, value: u64) {
        // One up and one down more, so that it counts as used even where the value is 0.
        let now = self.value();
        self.block.add(self.index, value.wrapping_sub(now).wrapping_add(1));
        self.block.add(self.index + 1, 1);
    }

    /// The value now, over all threads.
    pub fn value(self) -> u64 {
        self.block.sum(self.index).wrapping_sub(self.block.sum(self.index + 1))
    }
}

/// A histogram of a block.
#[derive(Clone, Copy)]
pub struct HistogramRef<'a> {
    block: &'a Block,
    index: usize,
}

impl HistogramRef<'_> {
    /// Records one value, in the histogram's unit.
    #[inline]
    pub fn record(self, value: u64) {
        let (shard, shared) = self.block.shard();
        self.block.rest(shard).histograms[self.index].get_or_init(Box::default).record(value, |cell, n| add(shared, cell, n));
    }
}
