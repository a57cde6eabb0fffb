//! Names outside of the cluster (ExternalName services, FQDN slices): looked up here, and never to an address of this host.
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::options::Family;

const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Look a name up by the system's resolver; addresses that we may not use are left out. The error is text.
pub(crate) async fn lookup(host: &str, family: Family) -> Result<Vec<IpAddr>, String> {
    let found = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((host, 0))).await;
    let found = match found {
        Err(_) => return Err(format!("looking up {host:?} took more than {} s", LOOKUP_TIMEOUT.as_secs())),
        Ok(Err(error)) => return Err(format!("{host:?} could not be looked up: {error}")),
        Ok(Ok(found)) => found.map(|a| a.ip()).collect::<Vec<_>>(),
    };
    usable(host, &found, family)
}

fn usable(host: &str, found: &[IpAddr], family: Family) -> Result<Vec<IpAddr>, String> {
    let allowed: Vec<IpAddr> = found.iter().copied().filter(|ip| !is_own(*ip)).collect();
    if allowed.is_empty() && !found.is_empty() {
        return Err(format!("{host:?} leads to loopback, link-local, multicast or unspecified addresses only, which is never followed"));
    }
    let mut taken: Vec<IpAddr> = match family {
        Family::V4 => allowed.into_iter().filter(IpAddr::is_ipv4).collect(),
        Family::V6 => allowed.into_iter().filter(IpAddr::is_ipv6).collect(),
        Family::Both => allowed,
        // A name has no first family: IPv4 if there is any.
        Family::ServiceFirst if allowed.iter().any(IpAddr::is_ipv4) => allowed.into_iter().filter(IpAddr::is_ipv4).collect(),
        Family::ServiceFirst => allowed,
    };
    taken.sort_unstable();
    taken.dedup();
    Ok(taken)
}

/// An address that means this host or its link, in any of its spellings.
fn is_own(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => match embedded(v6) {
            Some(v4) => is_own(v4),
            None => v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local(),
        },
    }
}

/// The IPv4 address inside a mapped (`::ffff:a.b.c.d`) or translated (`64:ff9b::a.b.c.d`) one.
fn embedded(v6: Ipv6Addr) -> Option<IpAddr> {
    let segments = v6.segments();
    if segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [.., a, b, c, d] = v6.octets();
        return Some(IpAddr::from([a, b, c, d]));
    }
    v6.to_ipv4_mapped().map(IpAddr::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|a| a.parse().unwrap()).collect()
    }

    #[test]
    fn own_addresses_are_never_followed() {
        let own = [
            "127.0.0.1",
            "127.255.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.1.1",
            "64:ff9b::7f00:1",
        ];
        for ip in ips(&own) {
            assert!(is_own(ip), "{ip}");
            assert!(usable("x", &[ip], Family::Both).unwrap_err().contains("never followed"));
        }
        for ip in ips(&["10.0.0.1", "192.168.231.2", "8.8.8.8", "fd00::1", "2001:db8::1", "::ffff:10.0.0.1", "64:ff9b::808:808"]) {
            assert!(!is_own(ip), "{ip}");
        }
    }

    #[test]
    fn family_and_order() {
        let found = ips(&["10.0.0.2", "fd00::1", "127.0.0.1", "10.0.0.1", "10.0.0.2"]);
        assert_eq!(usable("x", &found, Family::ServiceFirst).unwrap(), ips(&["10.0.0.1", "10.0.0.2"]));
        assert_eq!(usable("x", &found, Family::V6).unwrap(), ips(&["fd00::1"]));
        assert_eq!(usable("x", &found, Family::Both).unwrap(), ips(&["10.0.0.1", "10.0.0.2", "fd00::1"]));
        assert_eq!(usable("x", &ips(&["fd00::1"]), Family::ServiceFirst).unwrap(), ips(&["fd00::1"]));
        assert!(usable("x", &[], Family::Both).unwrap().is_empty());
    }

    #[tokio::test]
    async fn spellings_of_loopback_are_seen_through() {
        for host in ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001"] {
            assert!(lookup(host, Family::Both).await.is_err(), "{host}");
        }
    }
}
