//! The PROXY protocol on a client's connection (`envoy.filters.listener.proxy_protocol`): who connected to the balancer before us.
//!
//! The header is read piece by piece, and never a byte of what follows it: a TLS handshake finds its own beginning.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use bytes::BytesMut;
use tokio::net::TcpStream;

use crate::{
    stats::{Counter, ProxyProtocolStats, ProxyProtocolVersionStats},
    transport::proxy_protocol::{PassThrough, Tlv, V2_SIGNATURE as V2},
};

const V1: &[u8] = b"PROXY ";
/// The longest line of version 1, its end included.
const V1_MAX: usize = 107;
/// The fixed part of version 2.
const V2_HEAD: usize = 16;

/// A compiled filter.
pub struct ProxyProtocol {
    /// Whether a connection may come without (`allow_requests_without_proxy_protocol`).
    pub optional: bool,
    /// Which versions are taken (`disallowed_versions` names the others).
    pub allowed: [bool; 2],
    /// `pass_through_tlvs`: what hosts may be told.
    pub pass_through: PassThrough,
    /// `proxy_proto[.<stat_prefix>]`
    pub stats: ProxyProtocolStats,
    /// `proxy_proto[.<stat_prefix>].versions.v<n>`
    pub versions: [ProxyProtocolVersionStats; 2],
    /// `downstream_cx_proxy_proto_error`
    pub errors: Counter,
}

/// Who connected where: the source and the destination.
type Addresses = (SocketAddr, SocketAddr);

/// What a header says that does not leave all as it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    /// Who connected.
    pub source: SocketAddr,
    /// Where to.
    pub destination: SocketAddr,
    /// What else is told, as far as it is passed on.
    pub tlvs: Vec<Tlv>,
}

impl ProxyProtocol {
    /// Reads the header; nothing where there is none, or one that names nobody. What was read of bytes that are no header is left in
    /// `ahead`. An error is `UnexpectedEof` where the client closed, `InvalidData` where the connection must end.
    pub async fn read(&self, stream: &TcpStream, ahead: &mut BytesMut) -> io::Result<Option<Told>> {
        loop {
            let mut piece = [0; 512];
            let n = stream.peek(&mut piece).await?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let before = ahead.len();
            ahead.extend_from_slice(&piece[..n]);
            match self.parse(ahead) {
                Parsed::NeedMore => take(stream, &mut piece[..n]).await?,
                Parsed::Header { version, length, addresses, tlvs } => {
                    self.versions[version].found().inc();
                    take(stream, &mut piece[..length - before]).await?;
                    let tlvs = Tlvs(&ahead[tlvs..length]).filter(|(kind, _)| self.pass_through.includes(*kind));
                    let tlvs = tlvs.map(|(kind, value)| Tlv { kind, value: value.into() }).collect();
                    ahead.clear();
                    return Ok(addresses.map(|(source, destination)| Told { source, destination, tlvs }));
                }
                Parsed::Absent => {
                    ahead.truncate(before);
                    return self.none().map(|()| None);
                }
                Parsed::Disallowed(version) => {
                    self.versions[version].found().inc();
                    self.versions[version].disallowed().inc();
                    break;
                }
                Parsed::Invalid(version) => {
                    self.versions[version].error().inc();
                    break;
                }
            }
        }
        self.errors.inc();
        Err(io::ErrorKind::InvalidData.into())
    }

    /// Notes that a connection comes without a header; an error where it may not.
    pub fn none(&self) -> io::Result<()> {
        if self.optional {
            self.stats.not_found_allowed().inc();
            return Ok(());
        }
        self.stats.not_found_disallowed().inc();
        self.errors.inc();
        Err(io::ErrorKind::InvalidData.into())
    }

    fn parse(&self, bytes: &[u8]) -> Parsed {
        for (version, signature) in [V1, &V2[..]].into_iter().enumerate() {
            // Where a header may be missing, one of a version that is not taken is what follows a missing one, as in Envoy.
            if self.optional && !self.allowed[version] {
                continue;
            }
            if bytes.len() < signature.len() && signature.starts_with(bytes) {
                return Parsed::NeedMore;
            }
            if bytes.starts_with(signature) {
                return match version {
                    _ if !self.allowed[version] => Parsed::Disallowed(version),
                    0 => v1(bytes),
                    _ => v2(bytes),
                };
            }
        }
        Parsed::Absent
    }
}

/// What the first bytes of a connection are; versions count from 0.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    NeedMore,
    Absent,
    /// Its type-length-values begin at `tlvs`.
    Header {
        version: usize,
        length: usize,
        addresses: Option<Addresses>,
        tlvs: usize,
    },
    Disallowed(usize),
    Invalid(usize),
}

fn v1(bytes: &[u8]) -> Parsed {
    let end = bytes.len().min(V1_MAX);
    let Some(line_end) = bytes[..end].windows(2).position(|two| two == b"\r\n") else {
        // As in Envoy a line without an end in sight is no header, one that ends too late is a bad one.
        return match bytes.len() < V1_MAX {
            true => Parsed::NeedMore,
            false if memchr::memmem::find(bytes, b"\r\n").is_some() => Parsed::Invalid(0),
            false => Parsed::Absent,
        };
    };
    let header = |addresses| Parsed::Header { version: 0, length: line_end + 2, addresses, tlvs: line_end + 2 };
    let Ok(line) = std::str::from_utf8(&bytes[..line_end]) else { return Parsed::Invalid(0) };
    let mut parts = line.trim_end().split(' ').skip(1);
    let kind = parts.next();
    if kind == Some("UNKNOWN") {
        return header(None);
    }
    let rest: Vec<&str> = parts.collect();
    let addresses = match (kind, rest.as_slice()) {
        (Some("TCP4"), [source, destination, from, to]) => {
            both(source.parse::<Ipv4Addr>(), port(from), destination.parse::<Ipv4Addr>(), port(to))
        }
        (Some("TCP6"), [source, destination, from, to]) => {
            both(source.parse::<Ipv6Addr>(), port(from), destination.parse::<Ipv6Addr>(), port(to))
        }
        _ => None,
    };
    addresses.map_or(Parsed::Invalid(0), |found| header(Some(found)))
}

fn both<I: Into<IpAddr>, E>(source: Result<I, E>, from: Option<u16>, destination: Result<I, E>, to: Option<u16>) -> Option<Addresses> {
    unicast(SocketAddr::new(source.ok()?.into(), from?), SocketAddr::new(destination.ok()?.into(), to?))
}

fn port(text: &str) -> Option<u16> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Both addresses, where each can be an end of a connection.
fn unicast(source: SocketAddr, destination: SocketAddr) -> Option<Addresses> {
    let fits = |ip: IpAddr| !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST);
    (fits(source.ip()) && fits(destination.ip())).then_some((source, destination))
}

fn v2(bytes: &[u8]) -> Parsed {
    const INVALID: Parsed = Parsed::Invalid(1);
    let Some(head) = bytes.get(..V2_HEAD) else { return Parsed::NeedMore };
    let (command, family) = (head[12], head[13]);
    let length = V2_HEAD + usize::from(u16::from_be_bytes([head[14], head[15]]));
    let local = command == 0x20;
    // Streams and datagrams of IPv4 and IPv6; the addresses of others say nothing here.
    let size = match family {
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        _ => 0,
    };
    if !local && (command != 0x21 || size == 0 || length < V2_HEAD + size) {
        return INVALID;
    }
    let Some(rest) = bytes.get(V2_HEAD..length) else { return Parsed::NeedMore };
    if local {
        return Parsed::Header { version: 1, length, addresses: None, tlvs: length };
    }
    let (addresses, values) = rest.split_at(size);
    let mut values = Tlvs(values);
    values.by_ref().for_each(drop);
    if !values.0.is_empty() {
        return INVALID;
    }
    let number = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
    let found = if size == 12 {
        let ip = |at: usize| Ipv4Addr::new(addresses[at], addresses[at + 1], addresses[at + 2], addresses[at + 3]);
        both::<_, ()>(Ok(ip(0)), Some(number(8)), Ok(ip(4)), Some(number(10)))
    } else {
        let ip = |at: usize| Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|i| addresses[at + i]));
        both::<_, ()>(Ok(ip(0)), Some(number(32)), Ok(ip(16)), Some(number(34)))
    };
    found.map_or(INVALID, |found| Parsed::Header { version: 1, length, addresses: Some(found), tlvs: V2_HEAD + size })
}

/// Type-length-values; what is left at the end is none.
struct Tlvs<'b>(&'b [u8]);

impl<'b> Iterator for Tlvs<'b> {
    type Item = (u8, &'b [u8]);

    fn next(&mut self) -> Option<(u8, &'b [u8])> {
        let [kind, high, low, rest @ ..] = self.0 else { return None };
        let (value, next) = rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
        self.0 = next;
        Some((*kind, value))
    }
}

/// Takes bytes off the socket that were peeked at.
async fn take(stream: &TcpStream, mut into: &mut [u8]) -> io::Result<()> {
    while !into.is_empty() {
        stream.readable().await?;
        match stream.try_read(into) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => into = &mut into[n..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use plenipo_testkit::fuzz::fuzz;

    use crate::stats::Store;

    fn filter(optional: bool, allowed: [bool; 2]) -> ProxyProtocol {
        let store = Store::with_workers(0);
        ProxyProtocol {
            optional,
            allowed,
            pass_through: PassThrough::All,
            stats: ProxyProtocolStats::new(&store, "proxy_proto"),
            versions: [1, 2].map(|v| ProxyProtocolVersionStats::new(&store, &format!("proxy_proto.versions.v{v}"))),
            errors: store.counter("downstream_cx_proxy_proto_error"),
        }
    }

    fn header(version: u8, family: u8, body: &[u8]) -> Vec<u8> {
        [&V2[..], &[version, family], &(body.len() as u16).to_be_bytes(), body].concat()
    }

    const V4: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 0, 10];

    #[test]
    fn a_header_is_needed_whole_and_nothing_behind_it_is_of_it() {
        let addresses = Some(("1.2.3.4:9".parse().unwrap(), "5.6.7.8:10".parse().unwrap()));
        let filter = filter(false, [true; 2]);
        for (version, whole) in [(0, b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n".to_vec()), (1, header(0x21, 0x11, &V4))] {
            for cut in 1..whole.len() {
                assert_eq!(filter.parse(&whole[..cut]), Parsed::NeedMore, "{cut}");
            }
            let expected = Parsed::Header { version, length: whole.len(), addresses, tlvs: whole.len() };
            assert_eq!(filter.parse(&[&whole[..], b"PROXY "].concat()), expected);
        }
    }

    #[test]
    fn versions_that_are_not_taken() {
        let two = header(0x21, 0x11, &V4);
        assert_eq!(filter(false, [true, false]).parse(&two), Parsed::Disallowed(1));
        assert_eq!(filter(true, [true, false]).parse(&two), Parsed::Absent);
        assert_eq!(filter(true, [false, true]).parse(b"P"), Parsed::Absent);
    }

    #[test]
    fn any_bytes_are_read_and_a_header_is_the_same_however_it_comes() {
        let words = [
            "PROXY ",
            "TCP4 ",
            "TCP6 ",
            "UNKNOWN",
            "\r\n",
            " ",
            "1.2.3.4 ",
            "::1 ",
            "65536",
            "\r\n\r\n\0\r\nQUIT\n",
            "\x21\x11\0\x0c",
            "\0\0",
        ];
        fuzz(include_str!("../../tests/corpus/proxy-protocol.txt"), &words, |input, numbers| {
            let filter = filter(numbers.below(2) == 0, [numbers.below(4) > 0, numbers.below(4) > 0]);
            let whole = filter.parse(input);
            if let Parsed::Header { length, tlvs, .. } = whole {
                assert!(tlvs <= length && length <= input.len());
                assert_eq!(filter.parse(&input[..length]), whole);
                assert_eq!(filter.parse(&input[..numbers.below(length)]), Parsed::NeedMore);
            }
            std::mem::discriminant(&whole)
        });
    }
}
