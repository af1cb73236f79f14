//! The keys of an issuer. A key says which algorithm it is for; no token does.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::Value;

use super::algorithm::{Algorithm, Check};
use super::bounds::{MAX_KEY_NAME, MAX_KEYS, MAX_RSA_BITS, MIN_RSA_BITS};
use super::error::TokenError;
use super::jws::Unchecked;
use super::text::shown;

/// The keys of an issuer that can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Keys {
    keys: Vec<Key>,
    /// Those that can't be used, by name, with what is wrong with each.
    unusable: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    name: Option<String>,
    algorithm: Algorithm,
    material: Material,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    /// Modulus and exponent, without zeros before them.
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    /// A point of a curve, as ring reads it.
    Point(Vec<u8>),
}

/// A key as issuers publish it (RFC 7517).
#[derive(Deserialize)]
struct Published {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    used_for: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct PublishedKeys {
    keys: Vec<Value>,
}

impl Keys {
    /// Reads a list of keys. Keys that can't be used are passed over, since an issuer may have some for other purposes. A list
    /// without keys is an answer like any other: its issuer has taken them all back.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let read: PublishedKeys = serde_json::from_slice(bytes)
            .map_err(|error| format!("expected a JSON object with `keys`: {error}"))?;
        if read.keys.len() > MAX_KEYS {
            let found = read.keys.len();
            return Err(format!("found {found} keys, expected at most {MAX_KEYS}"));
        }
        let mut keys = Self::default();
        for published in read.keys {
            let name =
                published["kid"].as_str().map(shown).unwrap_or_else(|| "without a name".to_owned());
            let key =
                serde_json::from_value::<Published>(published).map_err(|error| error.to_string());
            match key.and_then(Published::key) {
                Ok(key) => keys.keys.push(key),
                Err(why) => keys.unusable.push((name, why)),
            }
        }
        if keys.keys.is_empty() {
            tracing::warn!(unusable = ?keys.unusable, "an issuer has no key that signatures can be checked with");
        }
        Ok(keys)
    }

    /// Whether a token names a key that is not here.
    pub(super) fn lack(&self, token: &Unchecked) -> bool {
        self.named(token).is_empty()
    }

    /// The keys that a token may be signed with: those of its name, or the only one.
    fn named(&self, token: &Unchecked) -> Vec<&Key> {
        match &token.key {
            Some(name) => self.keys.iter().filter(|key| key.name.as_ref() == Some(name)).collect(),
            None if self.keys.len() == 1 => self.keys.iter().collect(),
            None => Vec::new(),
        }
    }

    /// Checks the signature of a token. `issuer` is the short name of the issuer, for errors.
    pub(super) fn check(&self, token: &Unchecked, issuer: &str) -> Result<(), TokenError> {
        let named = self.named(token);
        if named.is_empty() {
            return Err(self.unknown(token, issuer));
        }
        // One name may stand for a key that is listed once for each of its algorithms.
        let fit: Vec<_> =
            named.iter().filter(|key| key.algorithm.as_str() == token.algorithm).collect();
        if fit.is_empty() {
            let expected: Vec<_> = named.iter().map(|key| key.algorithm.as_str()).collect();
            return Err(TokenError::Algorithm {
                found: shown(&token.algorithm),
                expected: expected.join(" or "),
            });
        }
        let (message, signature) = token.signed();
        match fit.iter().any(|key| key.has_signed(message, signature)) {
            true => Ok(()),
            false => Err(TokenError::Signature),
        }
    }

    fn unknown(&self, token: &Unchecked, issuer: &str) -> TokenError {
        let key = match token.key.as_deref().map(shown) {
            Some(name) => match self.unusable.iter().find(|(other, _)| *other == name) {
                Some((_, why)) => format!("{name} that can be used: {why}"),
                None => name,
            },
            None => {
                format!("that a token without `kid` could mean: found {} keys", self.keys.len())
            }
        };
        TokenError::UnknownKey { issuer: issuer.to_owned(), key }
    }
}

impl Key {
    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match (self.algorithm.check(), &self.material) {
            (Check::Rsa(check), Material::Rsa { modulus, exponent }) => {
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(check, message, signature).is_ok()
            }
            (Check::Point(check), Material::Point(point)) => {
                UnparsedPublicKey::new(check, point).verify(message, signature).is_ok()
            }
            // No key is made so.
            (Check::Rsa(_), Material::Point(_)) | (Check::Point(_), Material::Rsa { .. }) => false,
        }
    }
}

impl Published {
    fn key(self) -> Result<Key, String> {
        if let Some(other) = self.used_for.as_deref().filter(|purpose| *purpose != "sig") {
            return Err(format!("`use`: found {}, expected sig", shown(other)));
        }
        if self.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return Err("`key_ops`: expected verify among them".to_owned());
        }
        if self.kid.as_ref().is_some_and(|name| name.len() > MAX_KEY_NAME) {
            return Err(format!("`kid`: expected at most {MAX_KEY_NAME} bytes"));
        }
        let (usual, material) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => (Algorithm::Rs256, self.rsa()?),
            ("EC", Some("P-256")) => (Algorithm::Es256, self.point(32)?),
            ("EC", Some("P-384")) => (Algorithm::Es384, self.point(48)?),
            ("OKP", Some("Ed25519")) => {
                (Algorithm::EdDsa, Material::Point(bytes("x", self.x.as_ref(), Some(32))?))
            }
            (kind, curve) => {
                let curve = curve.map(|curve| format!(" with the curve {}", shown(curve)));
                let found = format!("{}{}", shown(kind), curve.unwrap_or_default());
                return Err(format!(
                    "found a key of the kind {found}, expected RSA, P-256, P-384 or Ed25519"
                ));
            }
        };
        let algorithm = match self.alg.as_deref() {
            // An RSA key that does not say so is for what issuers have to offer (OpenID Connect Discovery).
            None => usual,
            Some(name) => algorithm_of(name, usual)?,
        };
        Ok(Key { name: self.kid, algorithm, material })
    }

    fn rsa(&self) -> Result<Material, String> {
        let trimmed = |name, field: Option<&String>| -> Result<Vec<u8>, String> {
            let found = bytes(name, field, None)?;
            Ok(found.into_iter().skip_while(|byte| *byte == 0).collect())
        };
        let (modulus, exponent) = (trimmed("n", self.n.as_ref())?, trimmed("e", self.e.as_ref())?);
        let unused = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
        let bits = modulus.len() * 8 - unused;
        if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
            return Err(format!(
                "found an RSA key of {bits} bits, expected {MIN_RSA_BITS} to {MAX_RSA_BITS}"
            ));
        }
        Ok(Material::Rsa { modulus, exponent })
    }

    /// A point with both coordinates, each of this many bytes.
    fn point(&self, length: usize) -> Result<Material, String> {
        const UNCOMPRESSED: u8 = 4;
        let mut point = vec![UNCOMPRESSED];
        point.extend(bytes("x", self.x.as_ref(), Some(length))?);
        point.extend(bytes("y", self.y.as_ref(), Some(length))?);
        Ok(Material::Point(point))
    }
}

/// The algorithm that a key names, if it is one for keys whose usual one is `usual`.
fn algorithm_of(name: &str, usual: Algorithm) -> Result<Algorithm, String> {
    // RFC 9864 has a new name for the only curve of EdDSA that we know.
    let name = if name == "Ed25519" { Algorithm::EdDsa.as_str() } else { name };
    let is_rsa = |algorithm: Algorithm| matches!(algorithm.check(), Check::Rsa(_));
    Algorithm::named(name)
        .filter(|found| *found == usual || is_rsa(*found) && is_rsa(usual))
        .ok_or_else(|| format!("`alg`: found {}, expected one such as {usual}", shown(name)))
}

fn bytes(name: &str, field: Option<&String>, length: Option<usize>) -> Result<Vec<u8>, String> {
    let decoded = field.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let decoded = decoded.ok_or_else(|| format!("`{name}`: expected base64url"))?;
    match length {
        Some(expected) if decoded.len() != expected => {
            let found = decoded.len();
            Err(format!("`{name}`: found {found} bytes, expected {expected}"))
        }
        Some(_) | None => Ok(decoded),
    }
}
