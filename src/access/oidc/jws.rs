//! A signed JSON web token in its compact form, taken apart. Nothing of it counts until a key was found that signed it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::bounds::{MAX_HEADER, MAX_KEY_NAME, MAX_TOKEN};
use super::error::TokenError;
use super::text::shown;

/// A token whose signature was not checked.
pub(super) struct Unchecked {
    /// Name of the key, which only chooses among the keys of the issuer.
    pub(super) key: Option<String>,
    /// What the token says how it was signed. It has to be what the key says.
    pub(super) algorithm: String,
    claims: Map<String, Value>,
    signed: String,
    signature: Vec<u8>,
}

/// What is read of a header. A name that comes twice is refused by serde.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<IgnoredAny>,
    b64: Option<IgnoredAny>,
    zip: Option<IgnoredAny>,
    cty: Option<IgnoredAny>,
    jku: Option<IgnoredAny>,
    jwk: Option<IgnoredAny>,
    x5u: Option<IgnoredAny>,
    x5c: Option<IgnoredAny>,
}

impl Unchecked {
    /// Takes a token apart.
    pub(super) fn read(token: &str) -> Result<Self, TokenError> {
        let found = token.len();
        if found > MAX_TOKEN {
            return Err(TokenError::TooLong { found });
        }
        let malformed = |message: &str| TokenError::Malformed(message.to_owned());
        let parts: Vec<&str> = token.splitn(4, '.').collect();
        let [header, payload, signature] = parts[..] else {
            return Err(malformed("expected three parts with dots between them"));
        };
        if header.len() > MAX_HEADER {
            let found = header.len();
            let message = format!("found {found} bytes, expected at most {MAX_HEADER}");
            return Err(TokenError::Header(message));
        }
        let decoded = |part: &str, what: &str| {
            let decoded = URL_SAFE_NO_PAD.decode(part);
            decoded.map_err(|_| malformed(&format!("{what} is not base64url without padding")))
        };
        let header: Header =
            serde_json::from_slice(&decoded(header, "its header")?).map_err(|_| {
                malformed("expected a header that is a JSON object with `alg`, and nothing twice")
            })?;
        header.check()?;
        // The parser's message may quote what is in the token.
        let claims = serde_json::from_slice(&decoded(payload, "what it says")?)
            .map_err(|_| malformed("expected what it says to be a JSON object"))?;
        let signature = decoded(signature, "its signature")?;
        let signed = token[..token.len() - parts[2].len() - 1].to_owned();
        Ok(Self { key: header.kid, algorithm: header.alg, claims, signed, signature })
    }

    /// The issuer that it names; good for nothing but to choose whom to ask.
    pub(super) fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }

    /// What was signed, and the signature.
    pub(super) fn signed(&self) -> (&[u8], &[u8]) {
        (self.signed.as_bytes(), &self.signature)
    }

    /// What the token says. Only for whoever has checked its signature.
    pub(super) fn into_claims(self) -> Map<String, Value> {
        self.claims
    }
}

impl Header {
    /// Refuses what would lead somewhere else, and what changes the meaning of the rest.
    fn check(&self) -> Result<(), TokenError> {
        let odd = [
            ("jku", &self.jku),
            ("jwk", &self.jwk),
            ("x5u", &self.x5u),
            ("x5c", &self.x5c),
            ("crit", &self.crit),
            ("b64", &self.b64),
            ("zip", &self.zip),
            ("cty", &self.cty),
        ];
        if let Some((name, _)) = odd.iter().find(|(_, found)| found.is_some()) {
            let message =
                format!("found `{name}`, expected only `alg`, `kid`, `typ` and thumbprints");
            return Err(TokenError::Header(message));
        }
        if let Some(kid) = self.kid.as_ref().filter(|kid| kid.len() > MAX_KEY_NAME) {
            let found = kid.len();
            let message = format!("`kid`: found {found} bytes, expected at most {MAX_KEY_NAME}");
            return Err(TokenError::Header(message));
        }
        let typ = self.typ.as_deref().map(|typ| {
            let lower = typ.to_ascii_lowercase();
            lower.strip_prefix("application/").map(str::to_owned).unwrap_or(lower)
        });
        match typ.as_deref() {
            // Identity tokens, and access tokens of RFC 9068. Others, such as those that say who logged out, say less.
            None | Some("jwt" | "at+jwt") => Ok(()),
            Some(_) => {
                let found = shown(self.typ.as_deref().unwrap_or_default());
                Err(TokenError::Header(format!("`typ`: found {found}, expected JWT or at+jwt")))
            }
        }
    }
}
