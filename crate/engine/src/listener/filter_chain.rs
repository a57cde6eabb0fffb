//! Chooses the filter chain of a connection by Envoy's rules: one criterion after the other, the most specific wins.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::FilterChain;
use crate::cidr::Cidr;

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
    /// The peer of the socket.
    pub peer: SocketAddr,
    /// The server name of the ClientHello; empty without one.
    pub server_name: &'a str,
    /// Whether a ClientHello was seen.
    pub tls: bool,
    /// The ALPN protocols of the ClientHello.
    pub alpn: &'a [String],
}

/// All chains of a listener.
pub struct ChainMatcher<T = FilterChain> {
    chains: Vec<(ChainMatch, Arc<T>)>,
    default: Option<Arc<T>>,
}

impl<T> ChainMatcher<T> {
    /// A matcher of these chains; `default` takes what none of them matches.
    pub fn new(chains: Vec<(ChainMatch, Arc<T>)>, default: Option<Arc<T>>) -> ChainMatcher<T> {
        ChainMatcher { chains, default }
    }

    /// Every chain, the default one last.
    pub fn all(&self) -> impl Iterator<Item = &Arc<T>> {
        self.chains.iter().map(|(_, chain)| chain).chain(&self.default)
    }

    /// The chain of a connection.
    ///
    /// Each criterion narrows the candidates to those with the best match of it, and is not taken back: a chain for
    /// `*.a.com` without the right ALPN does not fall back to one without server names, as in Envoy.
    pub fn find(&self, t: &Traits<'_>) -> Option<&Arc<T>> {
        if let [(only, chain)] = &self.chains[..]
            && *only == ChainMatch::default()
        {
            return Some(chain);
        }
        let mut left: Vec<&(ChainMatch, Arc<T>)> = self.chains.iter().collect();
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
        narrow(&mut left, |m| best_range(&m.direct_source_prefix_ranges, t.peer.ip()));
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
fn narrow<T>(left: &mut Vec<&(ChainMatch, Arc<T>)>, score: impl Fn(&ChainMatch) -> Option<usize>) {
    let best = left.iter().filter_map(|(m, _)| score(m)).max();
    left.retain(|(m, _)| best.is_some() && score(m) == best);
}

fn best_range(ranges: &[Cidr], address: IpAddr) -> Option<usize> {
    if ranges.is_empty() {
        return Some(0);
    }
    ranges.iter().filter(|r| r.contains(address)).map(|r| usize::from(r.bits()) + 1).max()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(chains: &[(&'static str, ChainMatch)], default: Option<&'static str>) -> ChainMatcher<&'static str> {
        ChainMatcher::new(chains.iter().map(|(name, m)| (m.clone(), Arc::new(*name))).collect(), default.map(Arc::new))
    }

    fn traits() -> Traits<'static> {
        Traits {
            local: "10.1.2.3:443".parse().unwrap(),
            remote: "192.0.2.9:5000".parse().unwrap(),
            peer: "192.0.2.9:5000".parse().unwrap(),
            server_name: "",
            tls: false,
            alpn: &[],
        }
    }

    fn names(names: &[&str]) -> ChainMatch {
        ChainMatch { server_names: names.iter().map(|n| (*n).to_owned()).collect(), ..ChainMatch::default() }
    }

    fn range(address: &str, bits: u32) -> Cidr {
        Cidr::new(address.parse().unwrap(), bits)
    }

    fn found(matcher: &ChainMatcher<&'static str>, traits: Traits<'_>) -> Option<&'static str> {
        matcher.find(&traits).map(|c| **c)
    }

    #[test]
    fn a_range_holds_what_shares_its_bits() {
        assert!(range("10.1.2.3", 8).contains("10.9.9.9".parse().unwrap()));
        assert!(!range("10.1.2.3", 32).contains("10.1.2.4".parse().unwrap()));
        assert!(range("0.0.0.0", 0).contains("192.0.2.1".parse().unwrap()));
        assert!(!range("0.0.0.0", 0).contains("::1".parse().unwrap()));
        assert!(range("2001:db8::1", 32).contains("2001:db8:9::9".parse().unwrap()));
        assert!(range("10.1.2.3", 99) == range("10.1.2.3", 32));
    }

    #[test]
    fn the_most_specific_server_name_wins_whatever_the_order() {
        let m = matcher(
            &[
                ("any", ChainMatch::default()),
                ("com", names(&["*.com"])),
                ("exact", names(&["www.a.com"])),
                ("a", names(&["*.a.com", "other.net"])),
            ],
            Some("default"),
        );
        for (name, chain) in [
            ("www.a.com", "exact"),
            ("b.a.com", "a"),
            ("c.b.a.com", "a"),
            ("a.com", "com"),
            ("x.com", "com"),
            ("other.net", "a"),
            ("x.net", "any"),
            ("", "any"),
        ] {
            assert_eq!(found(&m, Traits { server_name: name, ..traits() }), Some(chain), "{name}");
        }
    }

    #[test]
    fn an_earlier_criterion_is_not_taken_back_by_a_later_one() {
        let h2 = ChainMatch { application_protocols: vec!["h2".into()], ..names(&["*.a.com"]) };
        let m = matcher(&[("h2 of a", h2), ("any", ChainMatch::default())], Some("default"));
        let alpn = ["h2".to_owned()];
        assert_eq!(found(&m, Traits { server_name: "x.a.com", alpn: &alpn, ..traits() }), Some("h2 of a"));
        // The server name has decided; the chain without one is out.
        assert_eq!(found(&m, Traits { server_name: "x.a.com", ..traits() }), Some("default"));
        assert_eq!(found(&m, Traits { server_name: "x.b.com", ..traits() }), Some("any"));
    }

    #[test]
    fn port_then_local_address_then_name_in_envoys_order() {
        let port = ChainMatch { destination_port: Some(443), ..ChainMatch::default() };
        let narrow = ChainMatch { prefix_ranges: vec![range("10.1.0.0", 16)], ..ChainMatch::default() };
        let wide = ChainMatch { prefix_ranges: vec![range("10.0.0.0", 8)], ..names(&["www.a.com"]) };
        let all = [("wide", wide), ("narrow", narrow), ("port", port)];
        let named = Traits { server_name: "www.a.com", ..traits() };
        assert_eq!(found(&matcher(&all, None), named), Some("port"));
        assert_eq!(found(&matcher(&all[..2], None), named), Some("narrow"));
        assert_eq!(found(&matcher(&all[..1], None), named), Some("wide"));
        assert_eq!(found(&matcher(&all[..1], None), traits()), None);
    }

    #[test]
    fn transport_and_alpn_are_those_of_the_client_hello() {
        let of = |transport: &str| ChainMatch { transport_protocol: transport.into(), ..ChainMatch::default() };
        let h1 = ChainMatch { application_protocols: vec!["http/1.1".into(), "http/1.0".into()], ..of("tls") };
        let m = matcher(&[("tls", of("tls")), ("clear", of("raw_buffer")), ("other", of("quic")), ("h1", h1)], None);
        let alpn = ["h2".to_owned(), "http/1.1".to_owned()];
        assert_eq!(found(&m, traits()), Some("clear"));
        assert_eq!(found(&m, Traits { tls: true, ..traits() }), Some("tls"));
        assert_eq!(found(&m, Traits { tls: true, alpn: &alpn, ..traits() }), Some("h1"));
        assert_eq!(found(&m, Traits { tls: true, alpn: &alpn[..1], ..traits() }), Some("tls"));
    }

    #[test]
    fn where_the_peer_is_counts_last() {
        let local = ChainMatch { source_type: SourceType::SameIpOrLoopback, ..ChainMatch::default() };
        let external = ChainMatch { source_type: SourceType::External, ..ChainMatch::default() };
        let net = ChainMatch { source_prefix_ranges: vec![range("192.0.2.0", 24)], ..external.clone() };
        let port = ChainMatch { source_ports: vec![5000, 5001], ..net.clone() };
        let direct = ChainMatch { direct_source_prefix_ranges: vec![range("192.0.2.9", 32)], ..ChainMatch::default() };
        let all = [("local", local), ("external", external), ("net", net), ("port", port), ("direct", direct)];
        let from = |peer: &str| Traits { remote: peer.parse().unwrap(), peer: peer.parse().unwrap(), ..traits() };
        assert_eq!(found(&matcher(&all, None), from("192.0.2.9:5000")), Some("direct"));
        let m = matcher(&all[..4], None);
        assert_eq!(found(&m, from("192.0.2.9:5000")), Some("port"));
        assert_eq!(found(&m, from("192.0.2.9:6000")), Some("net"));
        assert_eq!(found(&m, from("198.51.100.1:5000")), Some("external"));
        assert_eq!(found(&m, from("127.0.0.1:5000")), Some("local"));
        assert_eq!(found(&m, from("10.1.2.3:5000")), Some("local"));
    }

    #[test]
    fn the_default_chain_takes_what_no_other_does() {
        let never = ChainMatch { destination_port: Some(1), ..ChainMatch::default() };
        assert_eq!(found(&matcher(&[("never", never.clone())], Some("default")), traits()), Some("default"));
        assert_eq!(found(&matcher(&[("never", never)], None), traits()), None);
        assert_eq!(found(&matcher(&[], Some("default")), traits()), Some("default"));
        assert_eq!(matcher(&[("a", ChainMatch::default())], Some("default")).all().map(|c| **c).collect::<Vec<_>>(), ["a", "default"]);
    }
}
