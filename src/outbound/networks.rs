//! Which addresses a request may go to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::playbook::policy::read_network;

/// The networks that may be reached beside the public Internet. By default there are none: then no request goes to
/// loopback, to a private or link-local address, or to one that has a special meaning, such as those at which clouds
/// hand out credentials.
///
/// # Example
/// ```
/// use replibook::outbound::Networks;
///
/// use replibook::playbook::policy::read_network;
///
/// let own: Networks = [read_network("10.1.0.0/16")?].into_iter().collect();
/// assert!(own.allow("10.1.2.3".parse()?) && !own.allow("10.2.0.1".parse()?));
/// assert!(own.allow("93.184.216.34".parse()?) && !own.allow("169.254.169.254".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// This machine alone.
    pub fn loopback() -> Self {
        ["127.0.0.0/8", "::1"].iter().filter_map(|text| read_network(text).ok()).collect()
    }

    /// Whether a request may go to this address.
    pub fn allow(&self, address: IpAddr) -> bool {
        let address = plain(address);
        is_public(address) || self.0.iter().any(|network| network.contains(&address))
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<T: IntoIterator<Item = IpNet>>(networks: T) -> Self {
        let mut all: Vec<_> = networks.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        Self(all)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("public addresses")?;
        self.0.iter().try_for_each(|network| write!(f, ", {network}"))
    }
}

/// An IPv4 address that is written as one of IPv6 is the IPv4 address.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// Whether anybody on the Internet may have the address: no registry of special addresses has it.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = matches!(
        (a, b, c),
        // This network, loopback, and what is reserved.
        (0 | 127 | 224..=255, _, _)
        // Private.
        | (10, _, _) | (172, 16..=31, _) | (192, 168, _)
        // Shared by providers; some clouds have their metadata there.
        | (100, 64..=127, _)
        // Link-local: most clouds have their metadata there.
        | (169, 254, _)
        // For protocols, documentation, relays and benchmarks.
        | (192, 0, 0 | 2) | (192, 88, 99) | (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113)
    );
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // Only 2000::/3 is given out. What is in it for tunnels would lead to an IPv4 address that nobody checked.
    let is_given_out = a & 0xe000 == 0x2000;
    let is_special =
        matches!((a, b), (0x2002, _) | (0x2001, 0..=0x01ff | 0x0db8) | (0x3fff, 0..=0x0fff));
    is_given_out && !is_special
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(networks: &[&str], address: &str) -> bool {
        let networks: Networks = networks.iter().map(|text| read_network(text).unwrap()).collect();
        networks.allow(address.parse().unwrap())
    }

    #[test]
    fn special_addresses_are_reached_only_where_a_network_has_them() {
        for special in [
            "0.0.0.0",
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.100.100.200",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::1",
            "3fff::1",
            "100::1",
        ] {
            assert!(!allows(&[], special), "{special}");
            assert!(allows(&["0.0.0.0/0", "::/0"], special), "{special}");
        }
        for public in [
            "1.1.1.1",
            "9.9.9.9",
            "11.0.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
            "2001:4860:4860::8888",
        ] {
            assert!(allows(&[], public), "{public}");
        }
    }

    #[test]
    fn a_network_has_what_is_in_it_and_no_more() {
        assert!(allows(&["10.1.0.0/16"], "10.1.255.255") && !allows(&["10.1.0.0/16"], "10.2.0.0"));
        assert!(allows(&["127.0.0.1"], "127.0.0.1") && !allows(&["127.0.0.1"], "127.0.0.2"));
        assert!(allows(&["10.0.0.0/8"], "::ffff:10.1.1.1"));
        assert!(Networks::loopback().allow(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    }

    #[test]
    fn networks_are_named() {
        assert_eq!(Networks::default().to_string(), "public addresses");
        let some = Networks::loopback().to_string();
        assert_eq!(some, "public addresses, 127.0.0.0/8, ::1/128");
    }
}
