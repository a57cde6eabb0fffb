//! Picks a host for a request: round robin, least request, random, by hash. Pure; the caller brings the random numbers and the hash.
//!
//! A worker keeps one [`Cursor`] a cluster. Orders begin at a random place, so that workers do not send to the same host at once.

mod schedule;
mod table;
#[cfg(test)]
mod tests;

use std::sync::{Arc, atomic::Ordering::Relaxed};

use crate::cluster::{Host, HostEntry, HostSet, Turn};
use schedule::Schedule;
pub use table::{HashTable, TableKind, TableRules};

/// `lb_policy` with its options.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    /// `ROUND_ROBIN`
    RoundRobin,
    /// `LEAST_REQUEST`
    LeastRequest {
        /// `choice_count`: how many hosts are compared; default 2, at least 2.
        choices: u32,
        /// `active_request_bias`, of hosts with weights; default 1.
        bias: f64,
    },
    /// `RANDOM`; weights have no effect, as in Envoy.
    Random,
    /// `RING_HASH` and `MAGLEV`: see [`pick_hashed`].
    Hashed(TableRules),
}

/// A worker's places in the orders of one cluster's hosts: of those whose turn it mostly is, and of the degraded.
#[derive(Debug, Default)]
pub struct Cursor {
    first: Place,
    degraded: Option<Box<Place>>,
}

impl Cursor {
    fn place(&mut self, turn: Turn) -> &mut Place {
        match turn {
            Turn::First => &mut self.first,
            Turn::Degraded => self.degraded.get_or_insert_default(),
        }
    }
}

/// A place in one order.
#[derive(Debug, Default)]
struct Place {
    /// Next host of a plain rotation; `None` before the first pick.
    next: Option<u64>,
    /// Order of hosts with different weights, of the generation that it was made for.
    schedule: Option<(u64, Schedule)>,
}

/// A host for the next request; `None` if there is none.
pub fn pick<'s>(policy: &Policy, hosts: &'s HostSet, cursor: &mut Cursor, random: &mut dyn FnMut() -> u64) -> Option<&'s Arc<Host>> {
    let (turn, group) = hosts.turn(random);
    let entries = group.entries();
    if entries.is_empty() {
        return None;
    }
    let place = cursor.place(turn);
    let entry = match *policy {
        // As in Envoy, what nobody has a hash of is left to chance.
        Policy::Random | Policy::Hashed(_) => &entries[below(random(), entries.len())],
        Policy::RoundRobin if !group.weighted() => {
            let next = place.next.get_or_insert_with(&mut *random);
            let at = *next % entries.len() as u64;
            *next = next.wrapping_add(1);
            &entries[at as usize]
        }
        Policy::LeastRequest { choices, .. } if !group.weighted() => least(entries, choices, random),
        Policy::RoundRobin => scheduled(entries, hosts.generation(), place, random, |entry| f64::from(entry.weight)),
        Policy::LeastRequest { bias, .. } => scheduled(entries, hosts.generation(), place, random, |entry| {
            let active = f64::from(entry.host.stats.rq_active.load(Relaxed)) + 1.0;
            let share = if bias == 1.0 { active } else { active.powf(bias) };
            f64::from(entry.weight) / share
        }),
    };
    Some(&entry.host)
}

/// The host that a hash leads to, by the table of the hosts; where that one is passed over, up to `attempts` others that follow it.
pub fn pick_hashed(hosts: &HostSet, hash: u64, pass_over: impl Fn(&Host) -> bool, attempts: u32) -> Option<&Arc<Host>> {
    let (_, group) = hosts.turn(&mut || hash);
    let table = group.table()?;
    let mut host = None;
    for attempt in 0..=attempts {
        host = Some(&group.entries().get(table.find(hash, attempt)?)?.host);
        if host.is_some_and(|host| !pass_over(host)) {
            break;
        }
    }
    host
}

/// A host that is not passed over, if `attempts` further picks find one; else the last that was picked.
pub fn pick_other<'s>(
    policy: &Policy,
    hosts: &'s HostSet,
    cursor: &mut Cursor,
    random: &mut dyn FnMut() -> u64,
    pass_over: impl Fn(&Host) -> bool,
    attempts: u32,
) -> Option<&'s Arc<Host>> {
    let mut host = pick(policy, hosts, cursor, random)?;
    for _ in 0..attempts {
        if !pass_over(host) {
            break;
        }
        host = pick(policy, hosts, cursor, random)?;
    }
    Some(host)
}

/// The one with the fewest requests under way of `choices` random hosts; the first of equals.
fn least<'s>(entries: &'s [HostEntry], choices: u32, random: &mut dyn FnMut() -> u64) -> &'s HostEntry {
    let active = |entry: &HostEntry| entry.host.stats.rq_active.load(Relaxed);
    let mut best = &entries[below(random(), entries.len())];
    for _ in 1..choices {
        let other = &entries[below(random(), entries.len())];
        if active(other) < active(best) {
            best = other;
        }
    }
    best
}

fn scheduled<'s>(
    entries: &'s [HostEntry],
    generation: u64,
    place: &mut Place,
    random: &mut dyn FnMut() -> u64,
    weight: impl Fn(&HostEntry) -> f64,
) -> &'s HostEntry {
    let schedule = match &mut place.schedule {
        Some((of, schedule)) if *of == generation => schedule,
        slot => {
            let mut schedule = Schedule::new(entries.iter().map(&weight));
            for _ in 0..below(random(), entries.len()) {
                schedule.next(|at| weight(&entries[at]));
            }
            &mut slot.insert((generation, schedule)).1
        }
    };
    &entries[schedule.next(|at| weight(&entries[at]))]
}

fn below(random: u64, bound: usize) -> usize {
    ((u128::from(random) * bound as u128) >> 64) as usize
}
