//! Tables that lead a hash to a host: the ring (ketama), and Maglev's. Built once for a set of hosts, before workers see it.

use xxhash_rust::xxh64::xxh64;

use crate::{
    cluster::HostEntry,
    metadata::{Metadata, Value},
};

/// How the table of a cluster is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableRules {
    /// `RING_HASH` or `MAGLEV`, with its options.
    pub kind: TableKind,
    /// `use_hostname_for_hashing`: hosts are told apart by their names, not their addresses. What `hash_key` of their `envoy.lb` metadata says goes
    /// before both.
    pub by_hostname: bool,
}

/// The two kinds of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// `RING_HASH`
    Ring {
        /// `minimum_ring_size`; default 1024.
        least: u32,
        /// `maximum_ring_size`; default 8 Mi.
        most: u32,
        /// `hash_function: MURMUR_HASH_2`, else xxHash.
        murmur: bool,
    },
    /// `MAGLEV`
    Maglev {
        /// `table_size`, a prime number; default 65537.
        size: u32,
    },
}

/// A table of some hosts, which it knows by their places among them.
#[derive(Debug)]
pub struct HashTable {
    slots: Slots,
    /// How many entries it has, and how many the host with the fewest and the one with the most.
    pub spread: (u64, u64, u64),
}

#[derive(Debug)]
enum Slots {
    /// Points and whose they are, by point.
    Ring(Box<[(u64, u32)]>),
    Maglev(Box<[u32]>),
}

impl HashTable {
    /// The table of these hosts; nothing leads anywhere where there are none.
    pub fn new(rules: &TableRules, hosts: &[HostEntry]) -> HashTable {
        let total: f64 = hosts.iter().map(|entry| f64::from(entry.weight)).sum();
        let shares: Vec<Share> =
            hosts.iter().map(|entry| Share { key: key(entry, rules.by_hostname), weight: f64::from(entry.weight) / total }).collect();
        match rules.kind {
            TableKind::Ring { least, most, murmur } => ring(&shares, least, most, if murmur { murmur2 } else { |key| xxh64(key, 0) }),
            TableKind::Maglev { size } => maglev(&shares, size),
        }
    }

    /// The place of the host that a hash leads to; another one, if it can be, with each further `attempt`.
    pub fn find(&self, hash: u64, attempt: u32) -> Option<usize> {
        match &self.slots {
            Slots::Ring(ring) => {
                let first = ring.partition_point(|(point, _)| *point < hash);
                let at = first.checked_rem(ring.len())?.wrapping_add(attempt as usize) % ring.len();
                Some(ring[at].1 as usize)
            }
            Slots::Maglev(table) => {
                let hash = if attempt > 0 { hash ^ u64::from(attempt).wrapping_neg() } else { hash };
                let at = hash.checked_rem(table.len() as u64)?;
                Some(table[at as usize] as usize)
            }
        }
    }
}

/// A host: what it is known by, and its part of the whole weight.
struct Share {
    key: Box<[u8]>,
    weight: f64,
}

fn key(entry: &HostEntry, by_hostname: bool) -> Box<[u8]> {
    let metadata = entry.host.metadata();
    let told = |metadata: &Metadata| match metadata.namespace("envoy.lb")?.0.get("hash_key")? {
        Value::String(key) if !key.is_empty() => Some(key.as_bytes().into()),
        _ => None,
    };
    metadata.as_deref().and_then(told).unwrap_or_else(|| match by_hostname {
        true => entry.host.hostname.as_bytes().into(),
        false => entry.host.address().to_string().into_bytes().into(),
    })
}

/// Each host has points in proportion to its weight, the one with the least weight a whole number of them.
fn ring(hosts: &[Share], least: u32, most: u32, hash: fn(&[u8]) -> u64) -> HashTable {
    let lightest = hosts.iter().map(|host| host.weight).fold(1.0, f64::min);
    let scale = if hosts.is_empty() { 0.0 } else { ((lightest * f64::from(least)).ceil() / lightest).min(f64::from(most)) };
    let size = scale.ceil() as u64;
    let mut ring = Vec::with_capacity(size as usize);
    let (mut fewest, mut largest) = (size, 0);
    // Running sums over all hosts, so that parts of points add up.
    let (mut made, mut due) = (0.0, 0.0);
    for (at, host) in hosts.iter().enumerate() {
        due += scale * host.weight;
        let mut own = 0;
        while made < due {
            let point = [&*host.key, b"_", own.to_string().as_bytes()].concat();
            ring.push((hash(&point), at as u32));
            own += 1;
            made += 1.0;
        }
        (fewest, largest) = (fewest.min(own), largest.max(own));
    }
    ring.sort_by_key(|(point, _)| *point);
    HashTable { slots: Slots::Ring(ring.into()), spread: (size, fewest, largest) }
}

/// The hosts take turns in taking the first free slot of an order of their own; lighter ones miss turns.
fn maglev(hosts: &[Share], size: u32) -> HashTable {
    if hosts.is_empty() {
        return HashTable { slots: Slots::Maglev(Box::default()), spread: (size.into(), 0, 0) };
    }
    struct Builder {
        host: u32,
        offset: u64,
        skip: u64,
        next: u64,
        weight: f64,
        target: f64,
        count: u64,
    }
    let size = u64::from(size);
    let heaviest = hosts.iter().map(|host| host.weight).fold(0.0, f64::max);
    let mut sorted: Vec<usize> = (0..hosts.len()).collect();
    // Whatever their order, hosts get the same slots.
    sorted.sort_by(|a, b| hosts[*a].key.cmp(&hosts[*b].key));
    let builder = |at: usize| {
        let host = &hosts[at];
        let (offset, skip) = (xxh64(&host.key, 0) % size, xxh64(&host.key, 1) % (size - 1) + 1);
        Builder { host: at as u32, offset, skip, next: 0, weight: host.weight, target: 0.0, count: 0 }
    };
    let mut builders: Vec<Builder> = sorted.into_iter().map(builder).collect();
    let mut table = vec![u32::MAX; size as usize];
    let (mut filled, mut turn) = (0, 0.0);
    while filled < size {
        turn += 1.0;
        for builder in &mut builders {
            // The heaviest never misses its turn, so that this ends.
            if filled == size || turn * builder.weight < builder.target {
                continue;
            }
            builder.target += heaviest;
            let slot = loop {
                // The size is prime: the order goes through every slot.
                let slot = ((builder.offset + builder.skip * builder.next) % size) as usize;
                builder.next += 1;
                if table[slot] == u32::MAX {
                    break slot;
                }
            };
            table[slot] = builder.host;
            builder.count += 1;
            filled += 1;
        }
    }
    let counts = || builders.iter().map(|builder| builder.count);
    let spread = (size, counts().min().unwrap_or(0), counts().max().unwrap_or(0));
    HashTable { slots: Slots::Maglev(table.into()), spread }
}

/// MurmurHash64A with the seed of libstdc++, which Envoy has for those who come from nginx.
fn murmur2(bytes: &[u8]) -> u64 {
    const MUL: u64 = (0xc6a4_a793 << 32) + 0x5bd1_e995;
    const SEED: u64 = 0xc70f_6907;
    let mix = |v: u64| v ^ (v >> 47);
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(MUL);
    let mut blocks = bytes.chunks_exact(8);
    for block in &mut blocks {
        let data = block.iter().rev().fold(0, |data, byte| data << 8 | u64::from(*byte));
        hash = (hash ^ mix(data.wrapping_mul(MUL)).wrapping_mul(MUL)).wrapping_mul(MUL);
    }
    let rest = blocks.remainder();
    if !rest.is_empty() {
        let data = rest.iter().rev().fold(0, |data, byte| data << 8 | u64::from(*byte));
        hash = (hash ^ data).wrapping_mul(MUL);
    }
    mix(mix(hash).wrapping_mul(MUL))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(hosts: &[(&str, u32)]) -> Vec<Share> {
        let total: u32 = hosts.iter().map(|host| host.1).sum();
        hosts.iter().map(|(key, weight)| Share { key: key.as_bytes().into(), weight: f64::from(*weight) / f64::from(total) }).collect()
    }

    #[test]
    fn a_ring_has_points_by_weight_and_goes_round() {
        let table = ring(&shares(&[("a", 1), ("b", 3)]), 8, 1024, |key| xxh64(key, 0));
        assert_eq!(table.spread, (8, 2, 6));
        let Slots::Ring(points) = &table.slots else { panic!("a ring") };
        assert!(points.is_sorted());
        let (first, last) = (points[0], points[7]);
        assert_eq!(table.find(first.0, 0), Some(first.1 as usize));
        assert_eq!(table.find(last.0.wrapping_add(1), 0), Some(first.1 as usize), "behind the last point comes the first");
        assert_eq!(table.find(0, 7), Some(last.1 as usize));
        assert_eq!(table.find(0, 8), Some(first.1 as usize));
        assert_eq!(ring(&[], 8, 1024, murmur2).find(7, 3), None);
        assert_eq!(ring(&shares(&[("a", 1), ("b", 1), ("c", 1)]), 1024, 2, murmur2).spread, (2, 0, 1));
    }

    #[test]
    fn maglev_fills_every_slot_and_hardly_moves_when_a_host_leaves() {
        let three = maglev(&shares(&[("a", 1), ("b", 1), ("c", 1)]), 1009);
        assert_eq!(three.spread, (1009, 336, 337));
        assert_eq!(maglev(&shares(&[("a", 1), ("b", 4)]), 1009).spread.1, 202);
        let swapped = maglev(&shares(&[("c", 1), ("a", 1), ("b", 1)]), 1009);
        let two = maglev(&shares(&[("a", 1), ("b", 1)]), 1009);
        let name = |table: &HashTable, names: [&'static str; 3], hash| names[table.find(hash, 0).unwrap()];
        let mut moved = 0;
        for hash in 0..1009 {
            let host = name(&three, ["a", "b", "c"], hash);
            assert_eq!(name(&swapped, ["c", "a", "b"], hash), host, "the order of hosts has no say");
            moved += u32::from(host != "c" && name(&two, ["a", "b", "-"], hash) != host);
        }
        assert!(moved < 100, "{moved}");
        assert_eq!(maglev(&[], 7).find(7, 1), None);
    }

    #[test]
    fn murmur_hash() {
        // As libstdc++'s std::hash of the same text.
        assert_eq!([murmur2(b""), murmur2(b"hello")], [6142509188972423790, 2762169579135187400]);
    }
}
