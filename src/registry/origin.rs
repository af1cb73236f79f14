//! Scheme, host and port of a server: what a password belongs to.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;

/// Scheme, host and port of a server. Two spellings of one server are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    secure: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of an address; `None` unless its scheme is `http` or `https`.
    pub fn of(url: &Url) -> Option<Self> {
        let secure = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let (host, port) = (url.host_str()?.to_owned(), url.port_or_known_default()?);
        Some(Self { secure, host: host.trim_end_matches('.').to_owned(), port })
    }

    /// Whether connections are encrypted, and the server proves who it is.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host: a name, or an address, in brackets if it is one of IPv6.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Host and port, without the port that the scheme has anyway.
    pub fn authority(&self) -> String {
        let usual = if self.secure { 443 } else { 80 };
        if self.port == usual { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// The address that the host is written as, if it is one.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// Whether the host is written as one that is always this machine.
    pub(super) fn is_loopback(&self) -> bool {
        is_local_name(&self.host) || self.ip().is_some_and(|ip| ip.to_canonical().is_loopback())
    }
}

/// Whether a name always stands for this machine.
pub(super) fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("found {text:?}, expected an origin such as https://registry.example.com");
        let url = Url::parse(text).map_err(|_| expected())?;
        let more = !matches!(url.path(), "" | "/")
            || url.query().is_some()
            || url.fragment().is_some()
            || !url.username().is_empty()
            || url.password().is_some();
        Self::of(&url).filter(|_| !more).ok_or_else(expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_server_are_one_origin() {
        let origin = |text: &str| text.parse::<Origin>().unwrap();
        assert_eq!(origin("https://A.example.com:443/"), origin("https://a.example.com"));
        assert_eq!(origin("https://a.example.com."), origin("https://a.example.com"));
        assert_ne!(origin("http://a.example.com"), origin("https://a.example.com"));
        assert_ne!(origin("https://a.example.com:5000"), origin("https://a.example.com"));
        assert_eq!(origin("http://[::1]:5000").to_string(), "http://[::1]:5000");
        for bad in ["", "a.example.com", "https://a/b", "https://u:p@a", "ftp://a", "https://a?x"] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }

    #[test]
    fn this_machine_has_several_names() {
        for local in
            ["http://localhost:1", "http://127.8.0.1", "http://[::1]", "http://x.localhost"]
        {
            assert!(local.parse::<Origin>().unwrap().is_loopback(), "{local}");
        }
        for other in ["http://localhost.example.com", "http://10.0.0.1", "http://[::2]"] {
            assert!(!other.parse::<Origin>().unwrap().is_loopback(), "{other}");
        }
    }
}
