//! Patterns of hosts and of origins. Both sides are brought into the normal form of addresses before they are compared,
//! so that no other spelling of a name, a port or an address passes for another.

use std::fmt;

use serde::Serialize;
use url::{Host, Url};

use crate::playbook::names::{self, parse_origin};

/// What a pattern of origins may be, as human-readable text.
pub(super) const PATTERN_EXPECTED: &str =
    "http:// or https://, a host, *.DOMAIN or *, and perhaps a port or :*; or * alone";

/// Which hosts, and which of their ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    host: Hosts,
    port: Ports,
    /// The port of the scheme, which is not shown.
    usual: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    /// Every name and address.
    Any,
    /// Names below this domain, on any level, but not the domain itself.
    Below(String),
    /// This name or address, in its normal form.
    One(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ports {
    Any,
    One(u16),
}

impl HostPattern {
    /// Reads `HOST`, `*.DOMAIN` or `*`, perhaps with `:PORT` or `:*`. Without a port, that of the scheme is meant.
    pub(super) fn parse(scheme: &str, text: &str) -> Option<Self> {
        let (host, any_port) = match text.strip_suffix(":*") {
            Some(host) => (host, true),
            None => (text, false),
        };
        // Two ports: the second would be taken, and be any.
        let after_address = host.rfind(']').map_or(host, |end| &host[end + 1..]);
        if any_port && after_address.contains([':', '/']) {
            return None;
        }
        // The `*` is replaced by a name, so that the rest is read by the rules of all addresses.
        let (kind, plain) = match (host.strip_prefix("*."), host.strip_prefix('*')) {
            (Some(domain), _) => (Hosts::Below(String::new()), domain.to_owned()),
            (None, Some(port)) if port.is_empty() || port.starts_with(':') => {
                (Hosts::Any, format!("any{port}"))
            }
            (None, Some(_)) => return None,
            (None, None) => (Hosts::One(String::new()), host.to_owned()),
        };
        let (found, port) = parts(&parse_origin(&format!("{scheme}://{plain}"))?)?;
        let usual = if scheme == "http" { 80 } else { 443 };
        let host = match (kind, found) {
            (Hosts::Any, _) => Hosts::Any,
            // There is nothing below an address, and `*.0.0.1` would be read as one.
            (Hosts::Below(_), Host::Domain(domain)) => Hosts::Below(domain),
            (Hosts::Below(_), Host::Ipv4(_) | Host::Ipv6(_)) => return None,
            (Hosts::One(_), host) => Hosts::One(host.to_string()),
        };
        let port = if any_port { Ports::Any } else { Ports::One(port) };
        Some(Self { host, port, usual })
    }

    /// Whether the pattern fits this host and port.
    pub(super) fn fits(&self, host: &Host<String>, port: u16) -> bool {
        let fits_port = match self.port {
            Ports::Any => true,
            Ports::One(one) => one == port,
        };
        fits_port
            && match (&self.host, host) {
                (Hosts::Any, _) => true,
                (Hosts::Below(domain), Host::Domain(name)) => {
                    name.strip_suffix(domain.as_str()).is_some_and(|before| {
                        before.len() > 1 && before.ends_with('.') && !before.starts_with('.')
                    })
                }
                (Hosts::Below(_), Host::Ipv4(_) | Host::Ipv6(_)) => false,
                (Hosts::One(one), host) => *one == host.to_string(),
            }
    }

    /// Whether the pattern fits everything that the other one fits.
    pub(super) fn includes(&self, other: &Self) -> bool {
        let port = self.port == Ports::Any || self.port == other.port;
        port && match (&self.host, &other.host) {
            (Hosts::Any, _) => true,
            (Hosts::Below(all), Hosts::Below(domain)) => {
                all == domain || domain.ends_with(&format!(".{all}"))
            }
            (Hosts::Below(all), Hosts::One(name)) => name.ends_with(&format!(".{all}")),
            (Hosts::One(one), Hosts::One(other)) => one == other,
            (Hosts::Below(_) | Hosts::One(_), Hosts::Any) | (Hosts::One(_), Hosts::Below(_)) => {
                false
            }
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Hosts::Any => f.write_str("*")?,
            Hosts::Below(domain) => write!(f, "*.{domain}")?,
            Hosts::One(host) => f.write_str(host)?,
        }
        match self.port {
            Ports::Any => f.write_str(":*"),
            Ports::One(port) if port == self.usual => Ok(()),
            Ports::One(port) => write!(f, ":{port}"),
        }
    }
}

/// Host and port of an origin in its normal form.
pub(super) fn parts(origin: &str) -> Option<(Host<String>, u16)> {
    let url = Url::parse(origin).ok()?;
    Some((url.host()?.to_owned(), url.port_or_known_default()?))
}

/// Which origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    /// All of them.
    Any,
    /// Those of this scheme whose host and port fit.
    On {
        /// `http` or `https`.
        scheme: String,
        /// Which hosts and ports.
        host: HostPattern,
    },
}

impl OriginPattern {
    /// Reads a pattern.
    ///
    /// # Example
    /// ```
    /// use replibook_core::playbook::policy::OriginPattern;
    ///
    /// let pattern = OriginPattern::parse("https://*.example.com").unwrap();
    /// assert!(pattern.fits("https://hooks.example.com"));
    /// assert!(pattern.fits("https://Hooks.Example.com.:443"));
    /// assert!(!pattern.fits("https://hooks.example.com.evil.org"));
    /// assert!(!pattern.fits("https://hooks.example.com@evil.org"));
    /// assert!(!pattern.fits("http://hooks.example.com"));
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        let (scheme, host) = text.split_once("://")?;
        if !["http", "https"].contains(&scheme) {
            return None;
        }
        let host = HostPattern::parse(scheme, host)?;
        Some(Self::On { scheme: scheme.to_owned(), host })
    }

    /// Whether an origin fits. What is no origin fits no pattern.
    pub fn fits(&self, origin: &str) -> bool {
        let Some(origin) = names::parse_origin(origin) else { return false };
        let (Some((scheme, _)), Some((host, port))) = (origin.split_once("://"), parts(&origin))
        else {
            return false;
        };
        match self {
            Self::Any => true,
            Self::On { scheme: wanted, host: pattern } => {
                wanted == scheme && pattern.fits(&host, port)
            }
        }
    }

    /// Whether the pattern fits everything that the other one fits.
    pub fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::On { .. }, Self::Any) => false,
            (Self::On { scheme, host }, Self::On { scheme: other_scheme, host: other }) => {
                scheme == other_scheme && host.includes(other)
            }
        }
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::On { scheme, host } => write!(f, "{scheme}://{host}"),
        }
    }
}

impl Serialize for OriginPattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, origin: &str) -> bool {
        OriginPattern::parse(pattern).unwrap_or_else(|| panic!("{pattern}")).fits(origin)
    }

    #[test]
    fn an_origin_fits_in_every_spelling_of_its_own() {
        for (pattern, origin) in [
            ("https://*.example.com", "https://a.example.com"),
            ("https://*.example.com", "https://a.b.EXAMPLE.com.:443"),
            ("https://*.Example.com.", "https://a.example.com"),
            ("https://good.example.com", "https://GOOD.example.com:0443/"),
            ("http://127.0.0.1:*", "http://127.1:8080"),
            ("http://127.0.0.1", "http://2130706433"),
            ("http://[::1]:81", "http://[0:0::1]:81"),
            ("https://*:8443", "https://10.0.0.1:8443"),
            ("https://*", "https://any.example"),
            ("*", "http://any.example:1"),
        ] {
            assert!(fits(pattern, origin), "{pattern} {origin}");
        }
    }

    #[test]
    fn nothing_passes_for_what_it_is_not() {
        for (pattern, origin) in [
            ("https://good.example.com", "https://good.example.com.evil.org"),
            ("https://*.example.com", "https://good.example.com.evil.org"),
            ("https://*.example.com", "https://evilexample.com"),
            ("https://*.example.com", "https://example.com"),
            ("https://*.example.com", "https://.example.com"),
            ("https://*.example.com", "https://a.example.com:8443"),
            ("https://*.example.com", "http://a.example.com"),
            ("https://*.example.com", "https://a.example.com@evil.org"),
            ("https://*.example.com", "https://evil.org#.example.com"),
            ("https://*.example.com", "https://evil.org?.example.com"),
            ("https://*.example.com", "https://evil.org/.example.com"),
            ("https://*.example.com", "https://evil.org\\.example.com"),
            ("https://*.example.com", "https://evil.org%2f.example.com"),
            ("https://*.example.com", "https://evil.org%00.example.com"),
            ("https://*.example.com", "https://evil.org\n.example.com"),
            ("https://*.example.com", "https://e\u{430}.ex\u{430}mple.com"),
            ("https://*.example.com", ""),
            ("http://127.0.0.1", "http://127.0.0.1.evil.org"),
            ("http://127.0.0.1", "http://127.0.0.11"),
            ("https://*", "https://any.example:8443"),
            ("*", "ftp://any.example"),
        ] {
            assert!(!fits(pattern, origin), "{pattern} {origin}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in [
            "",
            "**",
            "example.com",
            "ftp://example.com",
            "https://",
            "https://*.",
            "https://*.*",
            "https://a.*.example.com",
            "https://*example.com",
            "https://example.*",
            "https://a/b",
            "https://u@a",
            "https://*.127.0.0.1",
            "https://*.1",
            "https://*.[::1]",
            "https://a:0",
            "https://a:*:*",
            "https://a:8443:*",
            "https://*:8443:*",
            "https://[::1]:8443:*",
            "https://a/:*",
            "https://*:*x",
            "https://a.example:99999",
            "HTTPS://a",
            "https://a?b",
        ] {
            assert_eq!(OriginPattern::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_wider_pattern_includes_a_narrower_one() {
        let all = [
            "*",
            "https://*:*",
            "https://*.example.com:*",
            "https://*.a.example.com:*",
            "https://*.a.example.com",
            "https://b.a.example.com",
        ];
        let all = all.map(|text| OriginPattern::parse(text).unwrap());
        for (index, wide) in all.iter().enumerate() {
            for (other, narrow) in all.iter().enumerate() {
                assert_eq!(wide.includes(narrow), index <= other, "{wide} {narrow}");
            }
        }
    }
}
