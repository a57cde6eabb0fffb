//! Chooses the filter chain of a connection by Envoy's rules: one criterion after the other, the most specific wins.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::FilterChain;

/// An address range (`CidrRange`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// The network's address, masked.
    network: IpAddr,
    /// Number of leading bits that count.
    bits: u8,
}

impl Cidr {
    /// A range of `bits` leading bits; more bits than the family has are all of them.
    pub fn new(address: IpAddr, bits: u32) -> Cidr {
        let bits = bits.min(if address.is_ipv4() { 32 } else { 128 }) as u8;
        Cidr { network: mask(address, bits), bits }
    }

    /// Whether the address lies in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.network.is_ipv4() && mask(address, self.bits) == self.network
    }
}

fn mask(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(a) => IpAddr::V4((u32::from(a) & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)).into()),
        IpAddr::V6(a) => IpAddr::V6((u128::from(a) & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)).into()),
    }
}

/// Where a connection must come from (`source_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SourceType {
    /// Anywhere.
    #[default]
    Any,
    /// This machine: loopback, or the same address on both ends.
    SameIpOrLoopback,
    /// Not this machine.
    External,
}

/// `filter_chain_match`; an empty list matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ChainMatch {
    /// Port of the connection's local address.
    pub destination_port: Option<u16>,
    /// Ranges of the local address.
    pub prefix_ranges: Vec<Cidr>,
    /// Server names of the ClientHello, lower case; `*.x` matches any name below.
    pub server_names: Vec<String>,
    /// `tls` or `raw_buffer`; empty is any.
    pub transport_protocol: String,
    /// ALPN protocols of the ClientHello.
    pub application_protocols: Vec<String>,
    /// Ranges of the directly connected peer.
    pub direct_source_prefix_ranges: Vec<Cidr>,
    /// Where the peer is.
    pub source_type: SourceType,
    /// Ranges of the peer.
    pub source_prefix_ranges: Vec<Cidr>,
    /// Ports of the peer.
    pub source_ports: Vec<u16>,
}

/// What is known of a connection when its chain is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Traits<'a> {
    /// The address that was connected to.
    pub local: SocketAddr,
    /// The peer.
    pub remote: SocketAddr,
    /// The server name of the ClientHello; empty without one.
    pub server_name: &'a str,
    /// Whether a ClientHello was seen.
    pub tls: bool,
    /// The ALPN protocols of the ClientHello.
    pub alpn: &'a [String],
}

/// All chains of a listener.
pub struct ChainMatcher {
    chains: Vec<(ChainMatch, Arc<FilterChain>)>,
    default: Option<Arc<FilterChain>>,
}

impl ChainMatcher {
    /// A matcher of these chains; `default` takes what none of them matches.
    pub fn new(chains: Vec<(ChainMatch, Arc<FilterChain>)>, default: Option<Arc<FilterChain>>) -> ChainMatcher {
        ChainMatcher { chains, default }
    }

    /// Every chain, the default one last.
    pub fn all(&self) -> impl Iterator<Item = &Arc<FilterChain>> {
        self.chains.iter().map(|(_, chain)| chain).chain(&self.default)
    }

    /// The chain of a connection.
    ///
    /// Each criterion narrows the candidates to those with the best match of it, and is not taken back: a chain for
    /// `*.a.com` without the right ALPN does not fall back to one without server names, as in Envoy.
    pub fn find(&self, t: &Traits<'_>) -> Option<&Arc<FilterChain>> {
        if let [(only, chain)] = &self.chains[..]
            && *only == ChainMatch::default()
        {
            return Some(chain);
        }
        let mut left: Vec<&(ChainMatch, Arc<FilterChain>)> = self.chains.iter().collect();
        narrow(&mut left, |m| match m.destination_port {
            Some(port) => (port == t.local.port()).then_some(1),
            None => Some(0),
        });
        narrow(&mut left, |m| best_range(&m.prefix_ranges, t.local.ip()));
        narrow(&mut left, |m| best_name(&m.server_names, t.server_name));
        narrow(&mut left, |m| match m.transport_protocol.as_str() {
            "" => Some(0),
            "tls" => t.tls.then_some(1),
            "raw_buffer" => (!t.tls).then_some(1),
            _ => None,
        });
        narrow(&mut left, |m| match m.application_protocols.as_slice() {
            [] => Some(0),
            wanted => t.alpn.iter().any(|p| wanted.contains(p)).then_some(1),
        });
        narrow(&mut left, |m| best_range(&m.direct_source_prefix_ranges, t.remote.ip()));
        narrow(&mut left, |m| {
            let local = t.remote.ip().is_loopback() || t.remote.ip() == t.local.ip();
            match m.source_type {
                SourceType::Any => Some(0),
                SourceType::SameIpOrLoopback => local.then_some(1),
                SourceType::External => (!local).then_some(1),
            }
        });
        narrow(&mut left, |m| best_range(&m.source_prefix_ranges, t.remote.ip()));
        narrow(&mut left, |m| match m.source_ports.as_slice() {
            [] => Some(0),
            ports => ports.contains(&t.remote.port()).then_some(1),
        });
        left.first().map(|(_, chain)| chain).or(self.default.as_ref())
    }
}

/// Keeps the candidates whose score is the highest; `None` is no match.
fn narrow(left: &mut Vec<&(ChainMatch, Arc<FilterChain>)>, score: impl Fn(&ChainMatch) -> Option<usize>) {
    let best = left.iter().filter_map(|(m, _)| score(m)).max();
    left.retain(|(m, _)| best.is_some() && score(m) == best);
}

fn best_range(ranges: &[Cidr], address: IpAddr) -> Option<usize> {
    if ranges.is_empty() {
        return Some(0);
    }
    ranges.iter().filter(|r| r.contains(address)).map(|r| usize::from(r.bits) + 1).max()
}

fn best_name(names: &[String], name: &str) -> Option<usize> {
    if names.is_empty() {
        return Some(0);
    }
    let score = |wanted: &String| match wanted.strip_prefix('*') {
        Some(suffix) => (name.len() > suffix.len() && name.ends_with(suffix)).then_some(suffix.len()),
        None => (wanted == name).then_some(usize::MAX),
    };
    names.iter().filter_map(score).max()
}
