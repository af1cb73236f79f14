//! Where the credentials of a name may go: the origins that its `for.yaml` has, and no others.

use std::net::IpAddr;

use url::{Host, Url};

use super::folder::Use;
use super::refused::NotUsed;
use crate::playbook::policy::OriginPattern;

/// What an origin of credentials for agents and platforms may be.
const EXPECTED: &str = "http:// or https://, a host, *.DOMAIN or *, and perhaps a port or :*, such as https://*.example.com:8000";

/// Where the credentials of a name may go.
#[derive(Clone, Debug)]
pub(super) struct Places {
    name: String,
    patterns: Vec<OriginPattern>,
}

impl Places {
    /// Reads the origins of credentials for agents or platforms. `*` alone is refused: it would stand for `http`, too.
    ///
    /// # Errors
    /// What was found and what was expected.
    pub(super) fn read(name: &str, origins: &[String]) -> Result<Self, String> {
        let read = |text: &String| match OriginPattern::parse(text) {
            Some(pattern @ OriginPattern::On { .. }) => Ok(pattern),
            Some(OriginPattern::Any) | None => {
                Err(format!("`origins`: found {text:?}, expected {EXPECTED}"))
            }
        };
        let patterns = origins.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { name: name.to_owned(), patterns })
    }

    /// Whether the credentials may go to an address: a base URL, which may have a path.
    ///
    /// # Errors
    /// [`NotUsed::Origin`] or [`NotUsed::Plain`], if they may not.
    pub(super) fn check(&self, address: &str) -> Result<(), NotUsed> {
        let url = Url::parse(address).ok();
        let origin = url.as_ref().map(|url| url.origin().ascii_serialization());
        let found = origin.unwrap_or_else(|| address.to_owned());
        if !self.patterns.iter().any(|pattern| pattern.fits(&found)) {
            let expected = self.patterns.iter().map(ToString::to_string).collect();
            return Err(NotUsed::Origin { name: self.name.clone(), found, expected });
        }
        let is_private = url.is_some_and(|url| url.scheme() == "https" || is_this_machine(&url));
        match is_private {
            true => Ok(()),
            false => Err(NotUsed::Plain { name: self.name.clone(), found }),
        }
    }
}

/// Whether the host of an address is written as one that is always this machine. A name may come to stand for another
/// machine at any moment, so none but `localhost` counts.
fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.trim_end_matches('.') == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).to_canonical().is_loopback(),
        None => false,
    }
}

impl Use {
    /// The word for it in `for.yaml`.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Platform => "platform",
            Self::Registry => "registry",
            Self::Server => "server",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(origins: &[&str]) -> Places {
        let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
        Places::read("eu", &origins).unwrap()
    }

    #[test]
    fn credentials_go_to_their_origins_alone() {
        let places = places(&["https://*.eu.example.com:8000", "https://10.0.0.7:*"]);
        for good in [
            "https://a.eu.example.com:8000/nodes/a",
            "https://B.eu.example.com.:8000",
            "https://10.0.0.7:1",
        ] {
            assert_eq!(places.check(good), Ok(()), "{good}");
        }
        for bad in [
            "https://eu.example.com:8000",
            "https://a.eu.example.com",
            "https://a.eu.example.com:8000@evil.example",
            "https://a.eu.example.com.evil.example:8000",
            "http://a.eu.example.com:8000",
            "https://169.254.169.254",
            "no address",
        ] {
            let error = places.check(bad).unwrap_err();
            assert!(matches!(error, NotUsed::Origin { .. }), "{bad}: {error}");
        }
        let error = places.check("https://evil.example/a?b").unwrap_err().to_string();
        assert_eq!(
            error,
            "credentials \"eu\" are not for https://evil.example, expected \
             https://*.eu.example.com:8000 or https://10.0.0.7:*"
        );
    }

    #[test]
    fn nothing_goes_unencrypted_to_other_machines() {
        let places = places(&["http://*:*"]);
        for local in
            ["http://127.0.0.1:80", "http://[::1]:1/a", "http://localhost:9", "http://127.8.0.1:1"]
        {
            assert_eq!(places.check(local), Ok(()), "{local}");
        }
        for other in ["http://10.0.0.7:1", "http://a.example:1", "http://x.localhost:1"] {
            assert!(matches!(places.check(other), Err(NotUsed::Plain { .. })), "{other}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for bad in ["*", "", "a.example", "https://a/b", "ftp://a", "https://u@a"] {
            let error = Places::read("eu", &[bad.to_owned()]).unwrap_err();
            assert!(error.contains("expected http:// or https://"), "{bad}: {error}");
        }
    }
}
