//! Earliest deadline first: turns come in proportion to weights that may change between them.

use std::{cmp::Ordering, collections::BinaryHeap};

/// The order of some weighted things, by their number. Never empty.
#[derive(Debug)]
pub(super) struct Schedule {
    now: f64,
    turns: BinaryHeap<Turn>,
    /// Tells equal deadlines apart: first in, first out.
    order: u64,
}

#[derive(Debug)]
struct Turn {
    deadline: f64,
    order: u64,
    at: usize,
}

impl Ord for Turn {
    /// The heap's greatest is the turn that comes next.
    fn cmp(&self, other: &Turn) -> Ordering {
        other.deadline.total_cmp(&self.deadline).then(other.order.cmp(&self.order))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Turn) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Turn) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Turn {}

impl Schedule {
    /// One turn each, due after 1 / weight.
    pub(super) fn new(weights: impl Iterator<Item = f64>) -> Schedule {
        let mut schedule = Schedule { now: 0.0, turns: BinaryHeap::new(), order: 0 };
        for (at, weight) in weights.enumerate() {
            schedule.add(at, weight);
        }
        schedule
    }

    /// The number whose turn it is; its next turn is due 1 / `weight` later.
    pub(super) fn next(&mut self, weight: impl FnOnce(usize) -> f64) -> usize {
        // Every turn that is taken out is put back below, so that one that was not empty stays so.
        let Some(turn) = self.turns.pop() else { return 0 };
        self.now = turn.deadline;
        self.add(turn.at, weight(turn.at));
        turn.at
    }

    fn add(&mut self, at: usize, weight: f64) {
        self.order += 1;
        self.turns.push(Turn { deadline: self.now + 1.0 / weight, order: self.order, at });
    }
}
