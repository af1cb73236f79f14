//! Which addresses a request may go to. A playbook names a registry, and a registry names further servers, so both
//! could make us ask what only this machine can reach. Names are looked up here, and the connection goes to the very
//! address that was checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;

use super::origin::is_local_name;

/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 16;

/// How far the requests of a client reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// A server that the playbook or the operator names: it may be in a private network. It is this machine only if
    /// its name says so.
    Named,
    /// A server that another server named: only public addresses.
    Elsewhere,
}

/// An address that is not connected to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{host} has {what}, {address}; expected {expected}")]
pub struct RefusedAddress {
    /// The name, or the address itself.
    pub host: String,
    /// Which address it is.
    pub address: IpAddr,
    /// What kind of address that is.
    pub what: &'static str,
    /// What it may be.
    pub expected: &'static str,
}

/// Looks names up, and passes on only addresses within reach.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckedNames(pub(super) Reach);

impl Resolve for CheckedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> = lookup_host((host.as_str(), 0)).await?.collect();
            // All of them have to be within reach: otherwise the order of an answer would decide.
            for address in &found {
                reach.check(&host, address.ip())?;
            }
            Ok(Box::new(found.into_iter().take(MAX_ADDRESSES)) as Addrs)
        })
    }
}

impl Reach {
    /// Refuses an address that is out of reach.
    pub(super) fn check(self, host: &str, address: IpAddr) -> Result<(), RefusedAddress> {
        let address = address.to_canonical();
        let refused =
            |what, expected| Err(RefusedAddress { host: host.to_owned(), address, what, expected });
        match (kind(address), self) {
            (Kind::Public, Self::Named | Self::Elsewhere) | (Kind::Private, Self::Named) => Ok(()),
            (Kind::Loopback, Self::Named) if is_local_name(host) || is_literal(host) => Ok(()),
            (Kind::Loopback, Self::Named) => {
                refused("an address of this machine", "a name that says so, such as localhost")
            }
            (Kind::Loopback, Self::Elsewhere) => refused("an address of this machine", PUBLIC),
            (Kind::Private, Self::Elsewhere) => refused("an address of a private network", PUBLIC),
            (Kind::Never, Self::Named | Self::Elsewhere) => {
                refused("a link-local or reserved address", "an address of a server")
            }
        }
    }
}

const PUBLIC: &str = "a public address, since another server named it";

fn is_literal(host: &str) -> bool {
    host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Public,
    Private,
    Loopback,
    /// No registry has such an address, but what tells a machine its passwords does.
    Never,
}

fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(ip) => kind_v4(ip),
        IpAddr::V6(ip) => kind_v6(ip),
    }
}

fn kind_v4(ip: Ipv4Addr) -> Kind {
    let [a, b, c, _] = ip.octets();
    match (a, b, c) {
        (127, ..) => Kind::Loopback,
        // Alibaba's and Oracle's metadata are here too: 100.100.100.200 and 192.0.0.192.
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Kind::Private,
        (100, 100, 100) => Kind::Never,
        (100, 64..=127, _) => Kind::Private,
        (0 | 224..=255, ..) | (169, 254, _) | (192, 0, 0 | 2) => Kind::Never,
        (198, 51, 100) | (203, 0, 113) => Kind::Never,
        (198, 18 | 19, _) => Kind::Private,
        _ => Kind::Public,
    }
}

fn kind_v6(ip: Ipv6Addr) -> Kind {
    let [a, b, ..] = ip.segments();
    match (a, b) {
        _ if ip.is_loopback() => Kind::Loopback,
        // The address of Amazon's metadata, in the middle of those of private networks.
        (0xfd00, 0x0ec2) => Kind::Never,
        (0xfc00..=0xfdff, _) => Kind::Private,
        // Addresses that hold one of IPv4 are that address.
        (0x64, 0xff9b) | (0x2002, _) => kind_v4(embedded(ip)),
        (0x2001, 0x0db8 | 0) | (0x100, 0) => Kind::Never,
        (0x2000..=0x3fff, _) => Kind::Public,
        _ => Kind::Never,
    }
}

/// The address of IPv4 within one of NAT64 or 6to4.
fn embedded(ip: Ipv6Addr) -> Ipv4Addr {
    let [a, b, c, .., y, z] = ip.segments();
    let (high, low) = if (a, b) == (0x64, 0xff9b) { (y, z) } else { (b, c) };
    Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(reach: Reach, host: &str, address: &str) -> bool {
        reach.check(host, address.parse().unwrap()).is_ok()
    }

    #[test]
    fn nobody_reaches_what_tells_a_machine_its_passwords() {
        let never = [
            "169.254.169.254",
            "100.100.100.200",
            "192.0.0.192",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "fe80::1",
            "fd00:ec2::254",
            "::",
            "ff02::1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
        ];
        for address in never {
            for reach in [Reach::Named, Reach::Elsewhere] {
                assert!(!allowed(reach, "registry.example.com", address), "{address}");
                assert!(!allowed(reach, address, address), "{address}");
            }
        }
    }

    #[test]
    fn only_who_is_named_may_be_in_a_private_network() {
        for address in ["10.1.2.3", "172.31.0.1", "192.168.1.1", "100.64.0.1", "fd12::1"] {
            assert!(allowed(Reach::Named, "registry.example.com", address), "{address}");
            assert!(!allowed(Reach::Elsewhere, "registry.example.com", address), "{address}");
        }
        for address in ["93.184.216.34", "2606:2800:220:1::1", "172.32.0.1", "64:ff9b::5db8:d822"] {
            assert!(allowed(Reach::Named, "registry.example.com", address), "{address}");
            assert!(allowed(Reach::Elsewhere, "registry.example.com", address), "{address}");
        }
    }

    #[test]
    fn a_name_is_this_machine_only_if_it_says_so() {
        for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(allowed(Reach::Named, "localhost", address));
            assert!(allowed(Reach::Named, "127.0.0.1", address));
            assert!(!allowed(Reach::Named, "rebound.example.com", address));
            assert!(!allowed(Reach::Elsewhere, "localhost", address));
        }
    }

    #[tokio::test]
    async fn names_are_looked_up_and_checked() {
        let ask = |reach: Reach| CheckedNames(reach).resolve("localhost".parse().unwrap());
        assert!(ask(Reach::Named).await.unwrap().count() > 0);
        let Err(error) = ask(Reach::Elsewhere).await else { panic!("found an address") };
        let refused = error.downcast_ref::<RefusedAddress>().unwrap();
        assert_eq!(refused.what, "an address of this machine");
    }
}
