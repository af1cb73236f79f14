//! The two cookies of browsers: one for a login that has begun, and one for a session.
//!
//! Over TLS their names begin with `__Host-`: browsers then take them from this host alone, over TLS alone, so that no
//! neighbour under the same domain can put one of its own in their place.

use axum::http::{HeaderMap, HeaderValue, header};

/// The longest value of a cookie that is looked at, in bytes. Ours are shorter.
const MAX_VALUE: usize = 4 * 1024;

/// A cookie of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cookie {
    /// A login that has begun. The issuer sends the browser back with it, so it goes along when another site leads here.
    Login,
    /// A session. It goes along only with requests of our own pages.
    Session,
}

impl Cookie {
    fn name(self, secure: bool) -> &'static str {
        match (self, secure) {
            (Self::Login, true) => "__Host-replibook-login",
            (Self::Login, false) => "replibook-login",
            (Self::Session, true) => "__Host-replibook-session",
            (Self::Session, false) => "replibook-session",
        }
    }

    /// The value that a browser sends. Two of one name are none: nobody knows which of them is ours.
    pub(super) fn of(self, headers: &HeaderMap, secure: bool) -> Option<&str> {
        let name = self.name(secure);
        let texts = headers.get_all(header::COOKIE).iter().filter_map(|text| text.to_str().ok());
        let pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.split_once('='));
        let mut ours =
            pairs.filter(|(found, _)| found.trim() == name).map(|(_, value)| value.trim());
        match (ours.next(), ours.next()) {
            (Some(value), None) if value.len() <= MAX_VALUE => Some(value),
            (Some(_) | None, _) => None,
        }
    }

    /// The header that has a browser keep it for so many seconds; for none it forgets it.
    pub(super) fn set(self, value: &str, secure: bool, seconds: u64) -> Option<HeaderValue> {
        let name = self.name(secure);
        let same_site = match self {
            Self::Login => "Lax",
            Self::Session => "Strict",
        };
        let over_tls = if secure { "; Secure" } else { "" };
        let text = format!(
            "{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite={same_site}{over_tls}"
        );
        HeaderValue::from_str(&text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(texts: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for text in texts {
            headers.append(header::COOKIE, HeaderValue::from_static(text));
        }
        headers
    }

    #[test]
    fn a_cookie_is_read_if_there_is_one_of_its_name() {
        let of = |texts: &[&'static str], secure| {
            Cookie::Session.of(&sent(texts), secure).map(str::to_owned)
        };
        for good in [
            &["replibook-session=abc"][..],
            &["a=b; replibook-session=abc; c=d"],
            &["a=b", "replibook-session=abc"],
        ] {
            assert_eq!(of(good, false).as_deref(), Some("abc"), "{good:?}");
        }
        for bad in [
            &[][..],
            &["replibook-session"],
            &["xreplibook-session=abc"],
            &["Replibook-Session=abc"],
            &["replibook-session=abc; replibook-session=def"],
            &["replibook-session=abc", "replibook-session=abc"],
        ] {
            assert_eq!(of(bad, false), None, "{bad:?}");
        }
        // What was set without TLS counts for nothing over TLS.
        assert_eq!(of(&["replibook-session=abc"], true), None);
        assert_eq!(of(&["__Host-replibook-session=abc"], true).as_deref(), Some("abc"));
        let long =
            HeaderValue::from_str(&format!("replibook-session={}", "a".repeat(MAX_VALUE + 1)));
        let headers = HeaderMap::from_iter([(header::COOKIE, long.unwrap())]);
        assert_eq!(Cookie::Session.of(&headers, false), None);
    }

    #[test]
    fn cookies_are_for_this_server_alone() {
        let set = |cookie: Cookie, secure| {
            cookie.set("v", secure, 60).unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(
            set(Cookie::Session, true),
            "__Host-replibook-session=v; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure"
        );
        assert_eq!(
            set(Cookie::Login, false),
            "replibook-login=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"
        );
        assert_eq!(Cookie::Login.set("a\r\nb: c", true, 60), None);
    }
}
