//! What this machine gives: CPUs and its own address.

use std::{
    net::{IpAddr, Ipv4Addr, UdpSocket},
    thread,
};

/// How many CPUs this process may use: its affinity and the quota of its cgroup, both honoured by the standard library.
pub fn cpu_count() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// This machine's own address, which `x-forwarded-for` gets for a client on the loopback interface, as in Envoy: the
/// first that is not loopback; 127.0.0.1 where there is none.
pub fn local_address() -> IpAddr {
    interface_address().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn interface_address() -> Option<IpAddr> {
    // Connecting a datagram socket sends nothing; it tells which address the machine would send from.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_cpu_and_an_address() {
        assert!(cpu_count() >= 1);
        assert!(!local_address().is_unspecified());
    }
}
