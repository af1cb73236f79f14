//! Networks in the notation of CIDR.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::Serialize;

/// What a network may be, as human-readable text.
pub(super) const NETWORK_EXPECTED: &str =
    "an address, or a network such as 10.1.0.0/16 or fd00:1::/32";

/// A network, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// Bits of the address that all addresses of the network share.
    bits: u8,
}

/// The text is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct NotNetwork {
    /// What was expected.
    pub expected: String,
}

impl Network {
    /// Its first address.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Bits of the address that all its addresses share.
    pub const fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether an address is in the network. An IPv4 address within IPv6 (`::ffff:10.0.0.1`) is the IPv4 address.
    ///
    /// # Example
    /// ```
    /// use replibook_core::playbook::policy::Network;
    ///
    /// let network: Network = "10.1.0.0/16".parse().unwrap();
    /// assert!(network.contains("10.1.2.3".parse().unwrap()));
    /// assert!(network.contains("::ffff:10.1.2.3".parse().unwrap()));
    /// assert!(!network.contains("10.2.0.1".parse().unwrap()));
    /// ```
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && cut(address, self.bits) == self.address
    }

    /// Whether all addresses of the other network are in this one.
    pub fn includes(&self, other: &Self) -> bool {
        self.bits <= other.bits && self.contains(other.address)
    }
}

/// The address with all bits but the first ones cleared.
fn cut(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

impl FromStr for Network {
    type Err = NotNetwork;

    fn from_str(text: &str) -> Result<Self, NotNetwork> {
        let wrong = || NotNetwork { expected: NETWORK_EXPECTED.to_owned() };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) if bits.starts_with(|c: char| c.is_ascii_digit()) => {
                bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(wrong)?
            }
            Some(_) => return Err(wrong()),
            None => most,
        };
        if address.to_canonical() != address {
            let expected = "the IPv4 address without ::ffff:".to_owned();
            return Err(NotNetwork { expected });
        }
        let network = Self { address: cut(address, bits), bits };
        // A stray bit is more often a slip in the length than one in the address.
        if network.address != address {
            return Err(NotNetwork { expected: network.to_string() });
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_has_its_addresses_and_no_others() {
        let table = [
            ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("127.0.0.1", "::ffff:127.0.0.1", "::1"),
            ("0.0.0.0/0", "8.8.8.8", "::1"),
            ("::/0", "fe80::1", "10.0.0.1"),
            ("::/0", "::1", "::ffff:10.0.0.1"),
            ("fd00:1::/32", "fd00:1:ffff::1", "fd00:2::"),
            ("192.168.4.0/22", "192.168.7.9", "192.168.8.0"),
        ];
        for (text, inside, outside) in table {
            assert!(network(text).contains(inside.parse().unwrap()), "{text} {inside}");
            assert!(!network(text).contains(outside.parse().unwrap()), "{text} {outside}");
        }
        assert!(network("10.0.0.0/8").includes(&network("10.1.0.0/16")));
        assert!(!network("10.1.0.0/16").includes(&network("10.0.0.0/8")));
    }

    #[test]
    fn what_is_no_network_is_refused_with_what_was_meant() {
        for bad in [
            "",
            "10.1.0.0/",
            "10.1.0.0/33",
            "::/129",
            "a",
            "10.1/16",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
        ] {
            assert_eq!(bad.parse::<Network>().unwrap_err().expected, NETWORK_EXPECTED, "{bad}");
        }
        assert_eq!("10.1.0.5/16".parse::<Network>().unwrap_err().expected, "10.1.0.0/16");
        let mapped = "::ffff:10.0.0.0/104".parse::<Network>().unwrap_err();
        assert_eq!(mapped.expected, "the IPv4 address without ::ffff:");
        assert_eq!(network("10.0.0.7").to_string(), "10.0.0.7/32");
    }
}
