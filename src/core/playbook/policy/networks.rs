//! Networks in the notation of CIDR.

use std::net::IpAddr;

use ipnet::IpNet;

/// What a network may be, as human-readable text.
pub(super) const NETWORK_EXPECTED: &str =
    "an address, or a network such as 10.1.0.0/16 or fd00:1::/32";

/// The text is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct NotNetwork {
    /// What was expected.
    pub expected: String,
}

/// Reads a network, or one address. None of its addresses is an IPv4 address that is written as one of IPv6.
///
/// # Errors
/// [`NotNetwork`]: the text is something else, or has bits that are not the network's.
///
/// # Example
/// ```
/// use replibook_core::playbook::policy::read_network;
///
/// let network = read_network("10.1.0.0/16").unwrap();
/// assert!(network.contains(&"10.1.2.3".parse::<std::net::IpAddr>().unwrap()));
/// assert_eq!(read_network("10.1.2.3/16").unwrap_err().expected, "10.1.0.0/16");
/// ```
pub fn read_network(text: &str) -> Result<IpNet, NotNetwork> {
    let wrong = || NotNetwork { expected: NETWORK_EXPECTED.to_owned() };
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let network = match bits {
        Some(bits) if bits.starts_with(|c: char| c.is_ascii_digit()) => {
            let bits = bits.parse().map_err(|_| wrong())?;
            IpNet::new(address, bits).map_err(|_| wrong())?
        }
        Some(_) => return Err(wrong()),
        None => IpNet::from(address),
    };
    if address.to_canonical() != address {
        let expected = "the IPv4 address without ::ffff:".to_owned();
        return Err(NotNetwork { expected });
    }
    // A stray bit is more often a slip in the length than one in the address.
    if network.trunc() != network {
        return Err(NotNetwork { expected: network.trunc().to_string() });
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(text: &str) -> String {
        read_network(text).unwrap_err().expected
    }

    #[test]
    fn networks_are_read_as_they_are_written() {
        for (text, shown) in [
            ("10.1.0.0/16", "10.1.0.0/16"),
            ("127.0.0.1", "127.0.0.1/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("192.168.4.0/22", "192.168.4.0/22"),
            ("::1", "::1/128"),
            ("::/0", "::/0"),
            ("fd00:1:0::/32", "fd00:1::/32"),
        ] {
            assert_eq!(read_network(text).unwrap().to_string(), shown, "{text}");
        }
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
            "010.0.0.0/8",
        ] {
            assert_eq!(expected(bad), NETWORK_EXPECTED, "{bad}");
        }
        assert_eq!(expected("10.1.0.5/16"), "10.1.0.0/16");
        assert_eq!(expected("fd00:1::1/32"), "fd00:1::/32");
        assert_eq!(expected("::ffff:10.0.0.0/104"), "the IPv4 address without ::ffff:");
    }
}
