//! Keeps other people's web pages away. A browser on this machine, or in its network, reaches what the
//! machine reaches, and any page can make it send requests here.
//!
//! - A page may make its own name point to this server (DNS rebinding); the browser then takes the server for a
//!   part of that page's site. So only requests for the server's own names are answered: no page can have an IP
//!   address or `localhost` as its host unless it comes from there.
//! - A page may send requests to other sites if it does not need to read the answer. Browsers then say where the
//!   request came from, and unless they ask the server first, they send only the content types that a form can
//!   have.
//!
//! The port in `Host` is not checked: it changes with each forwarded port, so it says nothing about a stranger.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Uri, header};
use serde::Deserialize;

/// The header in which browsers say where a request came from.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A host name that a server is told to answer for: a name with or without a port, or `*` for every
/// name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HostName(Pattern);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Any,
    Name { name: String, port: Option<u16> },
}

/// A text that is not a host name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "found {found:?}, expected a host name without scheme and path, such as node-1.example.com or \
     node-1.example.com:8000, or * for every name"
)]
pub struct BadHostName {
    found: String,
}

impl FromStr for HostName {
    type Err = BadHostName;

    fn from_str(text: &str) -> Result<Self, BadHostName> {
        if text == "*" {
            return Ok(Self(Pattern::Any));
        }
        let bad = || BadHostName { found: text.to_owned() };
        let authority: Authority = text.parse().map_err(|_| bad())?;
        let strange = |c: char| !(c.is_ascii_alphanumeric() || "-._[]:".contains(c));
        let (host, port) = (authority.host(), authority.port_u16());
        // Only a port may follow the host.
        let bare = port.is_some() || host.len() == text.len();
        if host.is_empty() || !bare || text.contains(strange) {
            return Err(bad());
        }
        Ok(Self(Pattern::Name { name: host.to_ascii_lowercase(), port }))
    }
}

impl TryFrom<String> for HostName {
    type Error = BadHostName;

    fn try_from(text: String) -> Result<Self, BadHostName> {
        text.parse()
    }
}

impl HostName {
    fn is(&self, host: &Authority) -> bool {
        match &self.0 {
            Pattern::Any => true,
            Pattern::Name { name, port } => {
                host.host().eq_ignore_ascii_case(name)
                    && port.is_none_or(|port| host.port_u16() == Some(port))
            }
        }
    }
}

/// The names that a server answers to: `localhost`, every IP address, and the names that it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnNames {
    told: Vec<HostName>,
}

impl OwnNames {
    /// These names, in addition to `localhost` and IP addresses.
    pub fn with(told: Vec<HostName>) -> Self {
        Self { told }
    }

    /// Every name. Only a request with two `Host` headers is still refused.
    pub fn any() -> Self {
        Self { told: vec![HostName(Pattern::Any)] }
    }

    /// Checks that a request is for one of these names.
    ///
    /// # Errors
    /// [`Stranger::Host`] if the request is for another name, or has two `Host` headers.
    pub fn check(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Stranger> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let found = match (hosts.next(), hosts.next()) {
            (None, _) => None,
            (Some(host), None) => Some(String::from_utf8_lossy(host.as_bytes()).into_owned()),
            (Some(_), Some(_)) => return Err(Stranger::Host { found: "two of them".to_owned() }),
        };
        // A request may also name the host in its request line.
        let named = uri.authority().map(ToString::to_string);
        match found.into_iter().chain(named).find(|host| !self.has(host)) {
            Some(found) => Err(Stranger::Host { found: format!("{found:?}") }),
            None => Ok(()),
        }
    }

    fn has(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else {
            return self.told.contains(&HostName(Pattern::Any));
        };
        let name = authority.host();
        let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
        let own = name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok();
        own && !host.contains('@') || self.told.iter().any(|told| told.is(&authority))
    }
}

/// Why a request is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// The request is for another host.
    Host {
        /// What was found in place of one of our names, as human-readable text.
        found: String,
    },
    /// The request was sent by a web page that is not this server's.
    Page {
        /// The name of the header that says so.
        header: &'static str,
        /// The value of that header.
        found: String,
    },
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { found } => {
                write!(f, "host: found {found}, expected localhost or an IP address")
            }
            Self::Page { header, found } => write!(
                f,
                "{header}: found {found:?}; requests that a web page sends are refused, expected a \
                 program"
            ),
        }
    }
}

/// Checks that a request comes from a program, or from a page that this server itself gave to the browser. A server that
/// has TLS, which is `secure`, gives pages over https alone: one that came over plain HTTP is by whoever is in between. In
/// front of a server without TLS there may be a proxy that has it.
///
/// # Errors
/// [`Stranger::Page`] if another page sent it.
pub(crate) fn check_origin(headers: &HeaderMap, secure: bool) -> Result<(), Stranger> {
    let host = headers.get(header::HOST).map(|host| host.as_bytes());
    let schemes: &[&[u8]] = if secure { &[b"https://"] } else { &[b"http://", b"https://"] };
    for origin in headers.get_all(header::ORIGIN) {
        let bytes = origin.as_bytes();
        let own = schemes.iter().find_map(|scheme| bytes.strip_prefix(*scheme));
        if own.is_none_or(|own| host.is_none_or(|host| !own.eq_ignore_ascii_case(host))) {
            return Err(page("origin", bytes));
        }
    }
    for site in headers.get_all(SEC_FETCH_SITE) {
        if !["same-origin", "none"].iter().any(|own| site.as_bytes() == own.as_bytes()) {
            return Err(page("sec-fetch-site", site.as_bytes()));
        }
    }
    Ok(())
}

fn page(header: &'static str, found: &[u8]) -> Stranger {
    Stranger::Page { header, found: String::from_utf8_lossy(found).into_owned() }
}

/// Whether the content type is JSON, which no form of a web page can send.
pub(crate) fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn is_own(names: &OwnNames, host: &'static str) -> bool {
        names.check(&headers(&[("host", host)]), &Uri::from_static("/")).is_ok()
    }

    #[test]
    fn only_localhost_and_addresses_are_its_own_names() {
        let names = OwnNames::default();
        for own in ["localhost", "LOCALHOST:8900", "127.0.0.1:8900", "[::1]:8900", "10.0.0.7"] {
            assert!(is_own(&names, own), "{own}");
        }
        for other in [
            "",
            "evil.example",
            "localhost.evil.example:8900",
            "127.0.0.1.evil",
            "[::1",
            "localhost.",
            "evil.example@127.0.0.1",
        ] {
            assert!(!is_own(&names, other), "{other}");
        }
    }

    #[test]
    fn a_name_that_it_was_told_is_its_own() {
        let told = ["Node-1.example.com", "proxy.example.com:8000"].map(|t| t.parse().unwrap());
        let names = OwnNames::with(told.to_vec());
        for own in ["node-1.example.com", "NODE-1.example.com:9", "proxy.example.com:8000"] {
            assert!(is_own(&names, own), "{own}");
        }
        for other in ["x.node-1.example.com", "proxy.example.com", "proxy.example.com:8001"] {
            assert!(!is_own(&names, other), "{other}");
        }
        assert!(is_own(&OwnNames::any(), "evil.example"));
        for bad in ["", "http://a", "a/b", "a b", "a@b", "*.example.com", "a:", "a:x"] {
            assert!(bad.parse::<HostName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_host_given_twice_or_in_the_first_line_is_looked_at() {
        let names = OwnNames::default();
        let uri = Uri::from_static("/");
        assert_eq!(names.check(&HeaderMap::new(), &uri), Ok(()));
        let two = headers(&[("host", "localhost"), ("host", "localhost")]);
        assert!(names.check(&two, &uri).is_err());
        let whole = Uri::from_static("http://evil.example/x");
        assert!(names.check(&headers(&[("host", "localhost")]), &whole).is_err());
    }

    #[test]
    fn pages_of_others_are_told_apart() {
        for own in [
            &[][..],
            &[("host", "localhost:8000"), ("origin", "http://LOCALHOST:8000")],
            &[("host", "a.example"), ("origin", "https://a.example")],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "same-origin")],
        ] {
            assert_eq!(check_origin(&headers(own), false), Ok(()), "{own:?}");
        }
        for other in [
            &[("host", "localhost:8000"), ("origin", "http://evil.example")][..],
            &[("host", "localhost:8000"), ("origin", "http://localhost:3000")],
            &[("host", "localhost:8000"), ("origin", "null")],
            &[("origin", "http://localhost:8000")],
            &[("host", "a"), ("origin", "http://a"), ("origin", "http://b")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
        ] {
            assert!(check_origin(&headers(other), false).is_err(), "{other:?}");
        }
        let plain = [("host", "a.example"), ("origin", "http://a.example")];
        let over_tls = [("host", "a.example"), ("origin", "https://a.example")];
        for (page, secure, is_own) in
            [(plain, true, false), (over_tls, true, true), (plain, false, true)]
        {
            assert_eq!(check_origin(&headers(&page), secure).is_ok(), is_own, "{page:?} {secure}");
        }
        assert_eq!(check_origin(&HeaderMap::new(), true), Ok(()));
    }

    #[test]
    fn only_json_is_json() {
        for json in ["application/json", "Application/JSON; charset=utf-8", "application/a+json"] {
            assert!(is_json(json), "{json}");
        }
        for other in ["", "text/plain", "text/plain; application/json", "application/jsonp", "json"]
        {
            assert!(!is_json(other), "{other}");
        }
    }
}
