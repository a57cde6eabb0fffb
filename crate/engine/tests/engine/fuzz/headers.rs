//! The header list against a plain list of pairs, and who the client is by `x-forwarded-for`.

use std::net::{IpAddr, SocketAddr};

use plenipo_engine::{
    cidr::Cidr,
    http::{
        client_address,
        header::{HeaderList, HeaderName, Known},
        settings::{ClientAddress, Detection, Trust},
    },
};
use plenipo_testkit::fuzz::fuzz;

/// What [`HeaderList`] should be.
#[derive(Default)]
struct Model(Vec<(String, Vec<u8>)>);

impl Model {
    fn set(&mut self, name: &str, value: &[u8]) {
        let Some(at) = self.0.iter().position(|(n, _)| n == name) else { return self.0.push((name.to_owned(), value.to_vec())) };
        self.0[at].1 = value.to_vec();
        let mut at = 0..;
        let first = self.0.iter().position(|(n, _)| n == name);
        self.0.retain(|(n, _)| at.next() == first || n != name);
    }

    fn remove(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(n, _)| n != name);
        self.0.len() != before
    }
}

#[test]
fn header_list() {
    // Each input is a program: an operation, a name, and a value a line.
    fuzz(include_str!("../../corpus/header-list.txt"), &["\n", "a", "s", "n", "j", "r", "server", "x-a", "X-A", "Server"], |input, _| {
        let (mut list, mut model) = (HeaderList::new(), Model::default());
        for line in input.split(|b| *b == b'\n').take(64) {
            let [operation, rest @ ..] = line else { continue };
            let (name, value) = rest.split_at(rest.iter().position(|b| *b == b' ').unwrap_or(rest.len()));
            let Ok(name) = std::str::from_utf8(name) else { continue };
            let lower = name.to_ascii_lowercase();
            let known = Known::of(lower.as_bytes());
            match operation {
                b'a' => {
                    list.append(name.as_bytes(), value);
                    model.0.push((lower, value.to_vec()));
                }
                b's' if known != Known::Other => {
                    list.set(known, value);
                    model.set(&lower, value);
                }
                b'n' if !lower.starts_with(':') => {
                    list.set_name(&HeaderName::new(name), value);
                    model.remove(&lower);
                    model.0.push((lower, value.to_vec()));
                }
                b'j' if known != Known::Other => {
                    list.join(known, b",", value);
                    match model.0.iter_mut().find(|(n, _)| *n == lower) {
                        Some((_, old)) => old.extend([b",", value].concat()),
                        None => model.0.push((lower, value.to_vec())),
                    }
                }
                b'r' => assert_eq!(list.remove_name(&HeaderName::new(name)), model.remove(&lower)),
                b'k' => {
                    list.retain(|_, _, v| v != value);
                    model.0.retain(|(_, v)| v != value);
                }
                _ => {}
            }
            let pairs: Vec<(String, Vec<u8>)> =
                list.iter().map(|(_, n, v)| (String::from_utf8(n.to_vec()).expect("names were text"), v.to_vec())).collect();
            assert_eq!(pairs, model.0);
            assert_eq!(list.byte_size(), model.0.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>());
        }
        (list.len(), list.contains(Known::Server))
    });
}

#[test]
fn client_addresses() {
    let ranges: Box<[Cidr]> =
        [("10.0.0.0", 8), ("fd00::", 8), ("127.0.0.0", 8)].map(|(at, bits)| Cidr::new(at.parse().unwrap(), bits)).into();
    let settings = [
        ClientAddress::Peer { trusted_hops: 0, append: true },
        ClientAddress::Peer { trusted_hops: 2, append: false },
        ClientAddress::Detected(Box::new([Detection::Forwarded { trust: Trust::Hops(1), append: true }])),
        ClientAddress::Detected(Box::new([
            Detection::Header { name: HeaderName::new("x-client"), trusted: true, reject: None },
            Detection::Forwarded { trust: Trust::Ranges(ranges), append: true },
        ])),
        ClientAddress::Detected(Box::new([Detection::Header { name: HeaderName::new("x-client"), trusted: false, reject: Some(403) }])),
    ];
    let peers: [SocketAddr; 3] = ["127.0.0.1:1", "[::ffff:10.1.1.1]:2", "203.0.113.9:3"].map(|text| text.parse().unwrap());
    let own: IpAddr = "192.0.2.1".parse().unwrap();
    fuzz(
        include_str!("../../corpus/x-forwarded-for.txt"),
        &[",", " ", "10.0.0.1", "::1", "[::1]:80", "1.2.3.4:5", "unknown", "%eth0"],
        |input, numbers| {
            let (settings, peer) = (numbers.of(&settings), *numbers.of(&peers));
            let mut headers = HeaderList::new();
            headers.append(b"x-forwarded-for", input);
            headers.append(b"x-client", input);
            let found = match client_address::find(&mut headers, settings, peer, own) {
                Ok(found) => found,
                Err(reply) => return (0, false, reply.status),
            };
            let after = headers.get(Known::ForwardedFor).expect("nobody removes it");
            assert!(after.starts_with(input), "what came stays");
            if after.len() > input.len() {
                let added = std::str::from_utf8(&after[input.len()..]).expect("an address").trim_start_matches(',');
                let address: IpAddr = added.parse().expect("an address");
                assert!(address == own && peer.ip().is_loopback() || address == peer.ip().to_canonical());
            }
            if let Some(address) = found.address.filter(|address| *address != peer) {
                let named = |entry: &[u8]| std::str::from_utf8(entry.trim_ascii()).is_ok_and(|text| text.parse() == Ok(address.ip()));
                assert!(input.split(|b| *b == b',').any(named), "{address} is not among {}", input.escape_ascii());
            }
            (1, found.trusted, u16::from(found.address.is_some()))
        },
    );
}
