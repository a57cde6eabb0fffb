//! The PROXY protocol on a connection to a host (`envoy.transport_sockets.upstream_proxy_protocol`): whom we speak for.

use std::net::{IpAddr, SocketAddr};

/// What every header of version 2 begins with.
pub const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// A type-length-value of version 2.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tlv {
    /// `type`
    pub kind: u8,
    /// `value`; at most 65535 bytes.
    pub value: Box<[u8]>,
}

/// `ProxyProtocolPassThroughTLVs`: which of the values that the client's header brought are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PassThrough {
    /// None; the default.
    #[default]
    None,
    /// `INCLUDE_ALL`
    All,
    /// `INCLUDE`: those of these types.
    Types(Box<[u8]>),
}

impl PassThrough {
    /// Whether a value of this type is meant.
    pub fn includes(&self, kind: u8) -> bool {
        match self {
            PassThrough::None => false,
            PassThrough::All => true,
            PassThrough::Types(types) => types.contains(&kind),
        }
    }
}

/// `ProxyProtocolConfig` of a cluster.
#[derive(Clone, Debug, Default)]
pub struct ProxyHeader {
    /// `version`; the default is the first one.
    pub version: Version,
    /// `added_tlvs`; those of a type count more than what the client brought of it.
    pub added: Vec<Tlv>,
    /// `pass_through_tlvs`
    pub pass_through: PassThrough,
}

/// A header, ready to be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Preface {
    /// Its bytes.
    pub bytes: Box<[u8]>,
    /// Values were left out, because they were too many.
    pub cut: bool,
}

/// `ProxyProtocolConfig.Version`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    #[default]
    V1,
    /// Bytes, with values.
    V2,
}

impl ProxyHeader {
    /// The header for a connection that came from `source` to `destination`, whose own header brought `tlvs`.
    pub fn write(&self, source: SocketAddr, destination: SocketAddr, tlvs: &[Tlv]) -> Preface {
        match self.version {
            Version::V1 => {
                let family = if source.is_ipv4() { 4 } else { 6 };
                let (from, to) = (source.ip(), destination.ip());
                let line = format!("PROXY TCP{family} {from} {to} {} {}\r\n", source.port(), destination.port());
                Preface { bytes: line.into_bytes().into(), cut: false }
            }
            Version::V2 => self.write_v2(source, destination, tlvs),
        }
    }

    fn write_v2(&self, source: SocketAddr, destination: SocketAddr, tlvs: &[Tlv]) -> Preface {
        let mut body = Vec::with_capacity(36);
        let family = match (source.ip(), destination.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                body.extend(from.octets());
                body.extend(to.octets());
                0x11
            }
            (from, to) => {
                body.extend(v6(from));
                body.extend(v6(to));
                0x21
            }
        };
        body.extend(source.port().to_be_bytes());
        body.extend(destination.port().to_be_bytes());
        let passed = tlvs.iter().filter(|t| self.pass_through.includes(t.kind) && self.added.iter().all(|a| a.kind != t.kind));
        let mut cut = false;
        for Tlv { kind, value } in self.added.iter().chain(passed) {
            let length = u16::try_from(value.len()).ok().filter(|_| body.len() + 3 + value.len() <= usize::from(u16::MAX));
            let Some(length) = length else {
                cut = true;
                continue;
            };
            body.push(*kind);
            body.extend(length.to_be_bytes());
            body.extend_from_slice(value);
        }
        // The loop above keeps the body within what two bytes can tell.
        let length = (body.len() as u16).to_be_bytes();
        Preface { bytes: [&V2_SIGNATURE[..], &[0x21, family], &length, &body].concat().into(), cut }
    }
}

fn v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: Version, added: Vec<Tlv>, pass_through: PassThrough) -> ProxyHeader {
        ProxyHeader { version, added, pass_through }
    }

    fn tlv(kind: u8, value: &[u8]) -> Tlv {
        Tlv { kind, value: value.into() }
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn both_versions_of_both_families() {
        let of = |version, from: &str, to: &str| header(version, vec![], PassThrough::None).write(address(from), address(to), &[]).bytes;
        assert_eq!(&*of(Version::V1, "1.2.3.4:5", "6.7.8.9:10"), b"PROXY TCP4 1.2.3.4 6.7.8.9 5 10\r\n");
        assert_eq!(&*of(Version::V1, "[::1]:5", "[fe80::2]:10"), b"PROXY TCP6 ::1 fe80::2 5 10\r\n");
        assert_eq!(&of(Version::V2, "1.2.3.4:5", "6.7.8.9:10")[12..], b"\x21\x11\0\x0c\x01\x02\x03\x04\x06\x07\x08\x09\0\x05\0\x0a");
        let six = of(Version::V2, "[::1]:5", "[::2]:10");
        assert_eq!((&six[12..16], six.len(), six[31], six[47]), (&b"\x21\x21\0\x24"[..], 52, 1, 2));
    }

    #[test]
    fn added_values_come_first_and_count_more_than_the_client_s() {
        let added = vec![tlv(1, b"ours"), tlv(1, b"twice")];
        let client = [tlv(1, b"theirs"), tlv(2, b"passed"), tlv(3, b"not")];
        let header = header(Version::V2, added, PassThrough::Types([1, 2].into()));
        let written = header.write(address("1.2.3.4:5"), address("6.7.8.9:10"), &client).bytes;
        assert_eq!(&written[28..], b"\x01\0\x04ours\x01\0\x05twice\x02\0\x06passed");
    }

    #[test]
    fn values_that_do_not_fit_are_left_out() {
        let big = |kind, size| Tlv { kind, value: vec![0; size].into() };
        let added = vec![big(1, 65000), big(2, 518), big(3, 517), big(4, 70000)];
        let header = header(Version::V2, added, PassThrough::None);
        let written = header.write(address("1.2.3.4:5"), address("6.7.8.9:10"), &[]);
        assert_eq!((written.bytes.len(), &written.bytes[14..16], written.cut), (16 + 65535, &[0xff, 0xff][..], true));
    }
}
