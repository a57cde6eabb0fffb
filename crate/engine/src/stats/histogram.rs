//! Log-linear histograms with 90 buckets a decade (two significant digits), the layout that Envoy's percentiles come from.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Decades of a u64: 10^0 to 10^19.
const DECADES: usize = 20;
/// Buckets in a decade: mantissas 10 to 99.
const MANTISSAS: usize = 90;

/// One shard's cells of one histogram; decades get memory when a value falls into them.
#[derive(Default)]
pub(super) struct Cells {
    sum: AtomicU64,
    zero: AtomicU64,
    decades: [OnceLock<Box<[AtomicU64; MANTISSAS]>>; DECADES],
}

impl Cells {
    /// Records a value; `add` writes one cell (it knows whether this thread is the only writer).
    #[inline]
    pub(super) fn record(&self, value: u64, add: impl Fn(&AtomicU64, u64)) {
        add(&self.sum, value);
        let Some((decade, mantissa)) = locate(value) else { return add(&self.zero, 1) };
        let cells = self.decades[decade].get_or_init(|| Box::new([const { AtomicU64::new(0) }; MANTISSAS]));
        add(&cells[mantissa], 1);
    }

    /// Adds what is recorded here to `into`.
    pub(super) fn merge(&self, into: &mut Distribution) {
        into.sum = into.sum.wrapping_add(self.sum.load(Relaxed));
        into.add(0, self.zero.load(Relaxed));
        for (decade, cells) in self.decades.iter().enumerate() {
            for (mantissa, cell) in cells.get().into_iter().flat_map(|c| c.iter()).enumerate() {
                into.add((1 + decade * MANTISSAS + mantissa) as u16, cell.load(Relaxed));
            }
        }
    }
}

/// Decade and mantissa index of a value; `None` for 0.
#[inline]
fn locate(value: u64) -> Option<(usize, usize)> {
    if value < 10 {
        return (value > 0).then(|| (0, value as usize * 10 - 10));
    }
    let decade = value.ilog10() as usize;
    Some((decade, (value / 10u64.pow(decade as u32 - 1)) as usize - 10))
}

/// A merged histogram: how many values fell into each bucket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// Bucket number and count, ascending, none empty. Bucket 0 holds zeros.
    buckets: Vec<(u16, u64)>,
    sum: u64,
}

impl Distribution {
    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|b| b.1).sum()
    }

    /// The exact sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Every bucket that is not empty: lower bound, width, count.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, f64, u64)> {
        self.buckets.iter().map(|&(bucket, count)| {
            let (lower, width) = bounds(bucket);
            (lower, width, count)
        })
    }

    /// Values at or below `bound`, to the precision of the buckets: the bucket that holds the bound counts whole.
    pub fn count_to(&self, bound: f64) -> u64 {
        self.buckets().take_while(|b| b.0 <= bound).map(|b| b.2).sum()
    }

    /// The value at each quantile (0 to 1, ascending), as Envoy computes it; NaN where nothing was recorded.
    pub fn quantiles<const N: usize>(&self, quantiles: [f64; N]) -> [f64; N] {
        let total = self.count();
        let mut below = 0;
        let mut buckets = self.buckets().peekable();
        quantiles.map(|q| {
            // The rank of the value that is asked for, counted from 1.
            let rank = ((total as f64 * q).ceil() as u64).clamp(1, total.max(1));
            while let Some((.., count)) = buckets.peek()
                && below + count < rank
            {
                below += count;
                buckets.next();
            }
            match buckets.peek() {
                // Values spread evenly inside their bucket, off its edges.
                Some((lower, width, count)) => lower + width * (rank - below) as f64 / (count + 1) as f64,
                None => f64::NAN,
            }
        })
    }

    /// What was recorded since `earlier`, an older reading of the same histogram.
    pub(super) fn since(&self, earlier: &Distribution) -> Distribution {
        let mut old = earlier.buckets.iter().peekable();
        let mut buckets = Vec::new();
        for &(bucket, count) in &self.buckets {
            while old.next_if(|o| o.0 < bucket).is_some() {}
            let before = old.next_if(|o| o.0 == bucket).map_or(0, |o| o.1);
            if count > before {
                buckets.push((bucket, count - before));
            }
        }
        Distribution { buckets, sum: self.sum.wrapping_sub(earlier.sum) }
    }

    fn add(&mut self, bucket: u16, count: u64) {
        if count == 0 {
            return;
        }
        match self.buckets.binary_search_by_key(&bucket, |b| b.0) {
            Ok(at) => self.buckets[at].1 += count,
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
    }
}

/// Lower bound and width of a bucket.
fn bounds(bucket: u16) -> (f64, f64) {
    let Some(index) = usize::from(bucket).checked_sub(1) else { return (0.0, 0.0) };
    let (decade, mantissa) = (index / MANTISSAS, index % MANTISSAS + 10);
    match decade {
        0 => (mantissa as f64 / 10.0, 0.1),
        _ => {
            let width = 10f64.powi(decade as i32 - 1);
            (mantissa as f64 * width, width)
        }
    }
}
