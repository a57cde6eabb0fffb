//! A range of IP addresses, as filter chains, connection managers and filters compare with.

use std::net::IpAddr;

/// `CidrRange`, such as `10.0.0.0/8`.
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

    /// Whether the address lies in the range; never across address families.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.network.is_ipv4() && mask(address, self.bits) == self.network
    }

    /// How many leading bits count.
    pub fn bits(&self) -> u8 {
        self.bits
    }
}

fn mask(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(a) => IpAddr::V4((u32::from(a) & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)).into()),
        IpAddr::V6(a) => IpAddr::V6((u128::from(a) & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_compare_prefixes_within_a_family() {
        let range = Cidr::new("10.1.0.0".parse().unwrap(), 16);
        assert!(range.contains("10.1.255.255".parse().unwrap()));
        assert!(!range.contains("10.2.0.0".parse().unwrap()));
        assert!(!range.contains("::ffff:10.1.0.1".parse().unwrap()));
        assert!(Cidr::new("::".parse().unwrap(), 0).contains("fd00::1".parse().unwrap()));
        assert!(Cidr::new("fd00::1".parse().unwrap(), 128).contains("fd00::1".parse().unwrap()));
        assert!(!Cidr::new("fd00::1".parse().unwrap(), 200).contains("fd00::2".parse().unwrap()));
    }
}
