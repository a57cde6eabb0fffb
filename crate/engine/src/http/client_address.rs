//! Who a request's client is: the peer of the connection, or whom `x-forwarded-for` or another header names.

use std::net::{IpAddr, SocketAddr};

use super::{
    header::{HeaderList, Known},
    headers::{Text, append_value},
    local_reply::LocalReply,
    settings::{ClientAddress, Detection, Trust},
};

/// What the headers say of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its address, with port 0; `None` where nothing told one.
    pub address: Option<SocketAddr>,
    /// No proxy in between could have forged it, so that it may make the request an internal one.
    pub trusted: bool,
}

impl Found {
    fn new(address: IpAddr, trusted: bool) -> Found {
        Found { address: Some(SocketAddr::new(address, 0)), trusted }
    }
}

/// Finds the client's address as `settings` say, and appends the peer's to `x-forwarded-for`; `Err` is the answer where a client must be known
/// and is not. `own` is this machine's address, which stands for a peer on the loopback interface.
pub fn find(headers: &mut HeaderList, settings: &ClientAddress, peer: SocketAddr, own: IpAddr) -> Result<Found, LocalReply> {
    match settings {
        ClientAddress::Peer { trusted_hops, append } => {
            let trusted = !headers.contains(Known::ForwardedFor);
            let named = trusted_hops.checked_sub(1).and_then(|skip| before_last(headers, skip).address);
            if *append {
                append_peer(headers, peer, own);
            }
            Ok(Found { address: named.or(Some(peer)), trusted })
        }
        ClientAddress::Detected(detections) => {
            for detection in detections {
                let found = detect(headers, detection, peer, own)?;
                if found.address.is_some() {
                    return Ok(found);
                }
            }
            Ok(Found::default())
        }
    }
}

fn detect(headers: &mut HeaderList, detection: &Detection, peer: SocketAddr, own: IpAddr) -> Result<Found, LocalReply> {
    match detection {
        Detection::Forwarded { trust, append } => {
            let (found, append) = match trust {
                Trust::Hops(hops) => (before_last(headers, *hops), *append),
                // As in Envoy a peer that nobody trusts stands in the header whatever `skip_xff_append` says.
                Trust::Ranges(ranges) if !ranges.iter().any(|range| range.contains(peer.ip())) => (Found::default(), true),
                Trust::Ranges(ranges) => (last_untrusted(headers, |address| ranges.iter().any(|range| range.contains(address))), *append),
            };
            if append {
                append_peer(headers, peer, own);
            }
            Ok(found)
        }
        Detection::Header { name, trusted, reject } => {
            let address = headers.get_name(name).and_then(parse);
            match (address, reject) {
                (Some(address), _) => Ok(Found::new(address, *trusted)),
                (None, Some(status)) => Err(LocalReply::new(*status, "", "rejecting_because_detection_failed")),
                (None, None) => Ok(Found::default()),
            }
        }
    }
}

/// The address in `x-forwarded-for` before the last `skip` ones.
fn before_last(headers: &HeaderList, skip: usize) -> Found {
    let Some(mut value) = headers.get(Known::ForwardedFor) else { return Found::default() };
    for _ in 0..skip {
        match value.iter().rposition(|b| *b == b',') {
            Some(comma) => value = &value[..comma],
            None => return Found::default(),
        }
    }
    let comma = value.iter().rposition(|b| *b == b',');
    if let Some(comma) = comma.filter(|comma| comma + 1 < value.len()) {
        value = &value[comma + 1..];
    }
    parse(value).map_or_else(Found::default, |address| Found::new(address, comma.is_none() && skip == 0))
}

/// The last address in `x-forwarded-for` that is not trusted, or the first where all are; nothing where an entry before that is no address.
fn last_untrusted(headers: &HeaderList, trusted: impl Fn(IpAddr) -> bool) -> Found {
    let Some(value) = headers.get(Known::ForwardedFor) else { return Found::default() };
    let single = !value.contains(&b',');
    let mut last = Found::default();
    for entry in value.rsplit(|b| *b == b',') {
        let Some(address) = parse(entry) else { return Found::default() };
        last = Found::new(address, single);
        if !trusted(address) {
            break;
        }
    }
    last
}

fn append_peer(headers: &mut HeaderList, peer: SocketAddr, own: IpAddr) {
    let peer = peer.ip();
    let address = if peer.is_loopback() { own } else { peer };
    append_forwarded_for(headers, address);
}

/// Appends an address to `x-forwarded-for`.
pub fn append_forwarded_for(headers: &mut HeaderList, address: IpAddr) {
    append_value(headers, Known::ForwardedFor, b",", Text::of(address.to_canonical()).as_bytes());
}

fn parse(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cidr::Cidr;

    fn forwarded(value: &str) -> HeaderList {
        let mut headers = HeaderList::new();
        headers.append_known(Known::ForwardedFor, value.as_bytes());
        headers
    }

    fn address(text: &str) -> Option<SocketAddr> {
        text.parse().ok().map(|ip| SocketAddr::new(ip, 0))
    }

    #[test]
    fn hops_count_from_the_end() {
        for (value, skip, client, single) in [
            ("1.1.1.1", 0, "1.1.1.1", true),
            ("1.1.1.1, 2.2.2.2", 0, "2.2.2.2", false),
            ("1.1.1.1 , 2.2.2.2", 1, "1.1.1.1", false),
            ("1.1.1.1,", 1, "1.1.1.1", false),
            ("1.1.1.1, x", 0, "", false),
            ("1.1.1.1", 1, "", false),
            ("1.1.1.1:80", 0, "", false),
            (",", 0, "", false),
        ] {
            let found = before_last(&forwarded(value), skip);
            assert_eq!(found, Found { address: address(client), trusted: single }, "{value} {skip}");
        }
    }

    #[test]
    fn trusted_proxies_are_skipped_until_a_stranger_or_a_forgery() {
        let ranges = [Cidr::new("10.0.0.0".parse().unwrap(), 8), Cidr::new("2001:db8::".parse().unwrap(), 32)];
        for (value, client, single) in [
            ("1.1.1.1, 10.0.0.1, 2001:db8::1", "1.1.1.1", false),
            ("6.6.6.6, 1.1.1.1, 10.0.0.1", "1.1.1.1", false),
            ("10.0.0.1, 10.0.0.2", "10.0.0.1", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("6.6.6.6, 10.0.0.1, garbage", "", false),
            ("6.6.6.6,, 10.0.0.1", "", false),
            ("1.1.1.1, ::ffff:10.0.0.1", "::ffff:10.0.0.1", false),
        ] {
            let found = last_untrusted(&forwarded(value), |address| ranges.iter().any(|r| r.contains(address)));
            assert_eq!(found, Found { address: address(client), trusted: single }, "{value}");
        }
    }

    #[test]
    fn each_extension_sees_what_the_one_before_appended() {
        let appending = |hops| Detection::Forwarded { trust: Trust::Hops(hops), append: true };
        let settings = ClientAddress::Detected(Box::new([appending(3), appending(0)]));
        let mut headers = forwarded("1.1.1.1");
        let found = find(&mut headers, &settings, "8.8.8.8:5".parse().unwrap(), "192.0.2.2".parse().unwrap()).unwrap();
        assert_eq!(found.address, address("8.8.8.8"));
        assert_eq!(headers.get(Known::ForwardedFor), Some(&b"1.1.1.1,8.8.8.8,8.8.8.8"[..]));
    }
}
