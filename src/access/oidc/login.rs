//! Logging in by a browser: the authorization code flow with PKCE (RFC 7636). What a login that has begun needs again is in
//! a cookie of the browser that began it, so nobody can end another's login, and a server keeps nothing of logins that
//! nobody ends.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::error::{IssuerError, TokenError};
use super::random::random_text;
use super::sessions::{NoRandom, SESSION};
use super::text::shown;
use super::verifier::Oidc;
use crate::access::Identity;
use crate::playbook::access::OidcIssuer;

/// How long a person may take to log in, in seconds: with a password that has to be looked up, and a second factor.
pub const LOGIN_SECONDS: u32 = 600;

/// The longest path to go to after a login, in bytes.
pub const MAX_NEXT: usize = 1_024;

/// The longest code that an issuer may give, in bytes: some put the whole login into it.
const MAX_CODE: usize = 4 * 1024;

/// A login that begins. It is no text for debugging: whoever has its cookie can end the login.
#[derive(Clone)]
pub struct Begun {
    /// Where the browser has to go.
    pub to: Url,
    /// What the browser has to bring back, in a cookie that lasts for [`LOGIN_SECONDS`].
    pub cookie: String,
}

/// What the issuer has the browser bring along. It is no text for debugging: the code stands for the tokens.
#[derive(Clone, Default)]
pub struct BroughtBack {
    /// Stands for the tokens.
    pub code: Option<String>,
    /// The state that the browser was sent away with.
    pub state: Option<String>,
    /// Who sends the browser back.
    pub iss: Option<String>,
    /// Why there is no code.
    pub error: Option<String>,
}

/// A login that has ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedIn {
    /// Who has logged in.
    pub identity: Identity,
    /// The identifier of the issuer that vouches.
    pub issuer: String,
    /// The path to go to.
    pub next: String,
}

/// Why nobody has logged in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// Nobody can log in like this there.
    #[error("nobody can log in at the issuer {issuer} by a browser: {why}")]
    Unsupported {
        /// Short name of the issuer.
        issuer: String,
        /// What is missing.
        why: &'static str,
    },
    /// The way back leads somewhere else.
    #[error("`next`: expected a path on this server of at most {MAX_NEXT} bytes, such as /runs")]
    Next,
    /// This browser has begun no such login.
    #[error("this browser has begun no such login, or more than {} minutes ago", LOGIN_SECONDS / 60)]
    NotBegun,
    /// The issuer says no.
    #[error("the issuer {issuer} lets nobody log in: {message}")]
    Refused {
        /// Short name of the issuer.
        issuer: String,
        /// What it says.
        message: String,
    },
    /// What the issuer says proves nothing.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The issuer could not be asked.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// The system has no random bytes.
    #[error(transparent)]
    Random(#[from] NoRandom),
}

/// What is in the cookie.
struct Going {
    state: String,
    nonce: String,
    verifier: String,
    issuer: String,
    next: String,
}

impl Oidc {
    /// Begins a login at an issuer that sends the browser back to the address `back`, and then to the path `next`.
    ///
    /// # Errors
    /// [`LoginError`]
    pub async fn begin(
        &self,
        issuer: &OidcIssuer,
        back: &str,
        next: Option<&str>,
    ) -> Result<Begun, LoginError> {
        let unsupported = |why| LoginError::Unsupported { issuer: issuer.name.clone(), why };
        let next = checked_next(next.unwrap_or("/"))?;
        let client = issuer
            .client
            .as_ref()
            .ok_or_else(|| unsupported("this server has no `client` for it"))?;
        let said = self.described(issuer).await?;
        let to = said.authorization.clone();
        let mut to = to.ok_or_else(|| unsupported("it has no `authorization_endpoint`"))?;
        let going = Going {
            state: random_text()?,
            nonce: random_text()?,
            verifier: random_text()?,
            issuer: issuer.name.clone(),
            next,
        };
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(going.verifier.as_bytes()));
        to.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", client)
            .append_pair("redirect_uri", back)
            .append_pair("scope", &said.scopes(false))
            .append_pair("state", &going.state)
            .append_pair("nonce", &going.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        Ok(Begun { to, cookie: going.to_cookie() })
    }

    /// Ends a login: checks that this browser began it and that the issuer sends it back, and has the issuer say who that
    /// is.
    ///
    /// # Errors
    /// [`LoginError`]
    pub async fn end(
        &self,
        issuers: &[OidcIssuer],
        cookie: Option<&str>,
        brought: &BroughtBack,
        back: &str,
    ) -> Result<LoggedIn, LoginError> {
        let going = cookie.and_then(Going::read).ok_or(LoginError::NotBegun)?;
        if brought.state.as_ref() != Some(&going.state) {
            return Err(LoginError::NotBegun);
        }
        let issuer = issuers.iter().find(|issuer| issuer.name == going.issuer);
        let issuer = issuer.ok_or(LoginError::NotBegun)?;
        let refused =
            |message: String| LoginError::Refused { issuer: issuer.name.clone(), message };
        let client = issuer.client.as_ref().ok_or(LoginError::NotBegun)?;
        let said = self.described(issuer).await?;
        // Another issuer may have been made to send the browser here, in order to get this one's code.
        match &brought.iss {
            Some(iss) if *iss == issuer.issuer => {}
            None if !said.names_itself => {}
            Some(_) | None => return Err(refused("its answer is another issuer's".to_owned())),
        }
        if let Some(error) = &brought.error {
            return Err(refused(shown(error)));
        }
        let code = brought.code.as_ref().filter(|code| code.len() <= MAX_CODE);
        let code = code.ok_or_else(|| refused("expected a code".to_owned()))?;
        let to = said.token.as_ref();
        let to = to.ok_or_else(|| refused("it has no `token_endpoint`".to_owned()))?;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", back),
            ("client_id", client),
            ("code_verifier", &going.verifier),
        ];
        let tokens = self.exchanged(issuer, to, &form).await?;
        let tokens = tokens.map_err(|refusal| refused(refusal.shown))?;
        let token = tokens.id_token.ok_or_else(|| refused("expected an `id_token`".to_owned()))?;
        let until = self.now().plus(SESSION);
        let identity = self.logged_in(issuer, (client, &going.nonce), &token, until).await?;
        Ok(LoggedIn { identity, issuer: issuer.issuer.clone(), next: going.next })
    }
}

impl Going {
    /// Random texts, a label and base64url have no dots.
    fn to_cookie(&self) -> String {
        let Self { state, nonce, verifier, issuer, next } = self;
        let next = URL_SAFE_NO_PAD.encode(next);
        format!("{state}.{nonce}.{verifier}.{issuer}.{next}")
    }

    fn read(cookie: &str) -> Option<Self> {
        let parts: Vec<&str> = cookie.split('.').collect();
        let [state, nonce, verifier, issuer, next] = parts[..] else { return None };
        let next = String::from_utf8(URL_SAFE_NO_PAD.decode(next).ok()?).ok()?;
        // The cookie is the browser's, which may have it from somebody else.
        let next = checked_next(&next).ok()?;
        let [state, nonce, verifier, issuer] = [state, nonce, verifier, issuer].map(str::to_owned);
        let is_whole = !state.is_empty() && !nonce.is_empty() && !verifier.is_empty();
        is_whole.then_some(Self { state, nonce, verifier, issuer, next })
    }
}

/// A path on this server. A browser takes `//host` and `/\host` for another server.
fn checked_next(next: &str) -> Result<String, LoginError> {
    let is_path = next.starts_with('/') && !next.starts_with("//") && next.len() <= MAX_NEXT;
    let is_plain = next.chars().all(|c| c.is_ascii_graphic() && c != '\\');
    if is_path && is_plain { Ok(next.to_owned()) } else { Err(LoginError::Next) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells of a type whether it can be shown for debugging: what the type itself has comes before a trait.
    struct Asked<T>(std::marker::PhantomData<T>);

    impl<T: std::fmt::Debug> Asked<T> {
        fn is_shown(&self) -> bool {
            true
        }
    }

    trait Otherwise {
        fn is_shown(&self) -> bool;
    }

    impl<T> Otherwise for Asked<T> {
        fn is_shown(&self) -> bool {
            false
        }
    }

    #[test]
    fn no_log_can_have_what_ends_a_login() {
        assert!(Asked(std::marker::PhantomData::<LoggedIn>).is_shown());
        assert!(!Asked(std::marker::PhantomData::<Begun>).is_shown());
        assert!(!Asked(std::marker::PhantomData::<BroughtBack>).is_shown());
    }

    #[test]
    fn the_way_back_stays_here() {
        for good in ["/", "/runs?status=RUNNING", "/a//b", "/a#b"] {
            assert_eq!(checked_next(good).as_deref(), Ok(good));
        }
        let long = format!("/{}", "a".repeat(MAX_NEXT));
        for bad in [
            "",
            "runs",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a\nb",
            "/ a",
            "/ä",
            "/\t/evil.example",
            &long,
        ] {
            assert_eq!(checked_next(bad), Err(LoginError::Next), "{bad}");
        }
    }

    #[test]
    fn a_cookie_is_read_as_it_was_made_and_else_not_at_all() {
        let text = |text: &str| text.to_owned();
        let going = Going {
            state: text("s"),
            nonce: text("n"),
            verifier: text("v"),
            issuer: text("id"),
            next: text("/runs"),
        };
        let read = Going::read(&going.to_cookie()).unwrap();
        assert_eq!((read.state, read.issuer, read.next), (text("s"), text("id"), text("/runs")));
        let elsewhere = URL_SAFE_NO_PAD.encode("//evil.example");
        for bad in [
            "",
            "....",
            "s.n.v.id",
            ".n.v.id.Lw",
            "s.n.v.id.Lw.x",
            "s.n.v.id.!",
            &format!("s.n.v.id.{elsewhere}"),
        ] {
            assert!(Going::read(bad).is_none(), "{bad}");
        }
    }
}
