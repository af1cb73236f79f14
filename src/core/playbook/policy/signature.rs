//! Signatures of minisign, and whose they are. Both of its forms are read: signatures over a hash of the bytes, which
//! today's minisign makes, and those over the bytes themselves.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::keys::{PublicKey, id_of};
use crate::shown::clean;

/// The most bytes of the signatures of one plugin that are read together, as text. One has about 300, and they have to
/// fit a header of a request.
pub const MAX_SIGNATURE_BYTES: usize = 6 * 1024;

/// The most signatures that one plugin has: a handful of people and programs.
pub const MAX_SIGNATURES: usize = 8;

/// Lines of a signature: two comments, each with a line in base64 below.
const LINES: usize = 4;

const UNTRUSTED: &str = "untrusted comment:";
const TRUSTED: &str = "trusted comment: ";

/// Why something is no signature, or not that of a known key over these bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is more than is read.
    #[error("found {found}, expected at most {expected}")]
    TooLarge {
        /// How much was found.
        found: String,
        /// How much is read.
        expected: String,
    },
    /// The text is no signature of minisign.
    #[error("found {found}, expected the four lines of a signature of minisign")]
    Malformed {
        /// What was found.
        found: String,
    },
    /// No key has the identifier that the signature says.
    #[error("the signature is by the key {id}, expected one of {expected}")]
    UnknownKey {
        /// Identifier of the key.
        id: String,
        /// The keys that are known, as human-readable text.
        expected: String,
    },
    /// The key is known, but it has not signed this: the bytes, the comment or the signature are other ones.
    #[error(
        "the signature by the key {id} ({name}) is not over these bytes and its trusted comment, expected one that was \
         made over this plugin"
    )]
    Wrong {
        /// Identifier of the key.
        id: String,
        /// The name that the policy gives the key.
        name: String,
    },
}

/// A signature that was read, and perhaps not checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    text: String,
    key_id: String,
    trusted_comment: String,
}

/// Who signed something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The name that the policy gives the key.
    pub name: String,
    /// The public key.
    pub key: String,
    /// The comment that was signed too, fit to be shown.
    pub trusted_comment: String,
}

impl Signature {
    /// The text of the signature: its four lines, each with its end.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The identifier of the key that made it, as it says itself.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The comment that is signed together with the bytes, fit to be shown. It can be trusted only once the signature
    /// is checked.
    pub fn trusted_comment(&self) -> &str {
        &self.trusted_comment
    }

    /// Checks the signature over `bytes`, with the key of its identifier.
    ///
    /// # Errors
    /// [`SignatureError::UnknownKey`] if there is no such key, [`SignatureError::Wrong`] if it has not signed these bytes.
    pub fn check(
        &self,
        bytes: &[u8],
        keys: &BTreeMap<String, PublicKey>,
    ) -> Result<Signer, SignatureError> {
        let id = self.key_id.clone();
        let malformed = |_| SignatureError::Malformed { found: "something else".to_owned() };
        let signature = minisign_verify::Signature::decode(&self.text).map_err(malformed)?;
        let mut same_id = None;
        // Identifiers are no secret: another key may have the same.
        for (name, known) in keys.iter().filter(|(_, key)| key.id() == id) {
            if known.key.verify(bytes, &signature, true).is_ok() {
                let trusted_comment = self.trusted_comment.clone();
                return Ok(Signer {
                    name: name.clone(),
                    key: known.as_str().to_owned(),
                    trusted_comment,
                });
            }
            same_id = Some(name.clone());
        }
        Err(match same_id {
            Some(name) => SignatureError::Wrong { id, name },
            None => {
                let known: Vec<_> =
                    keys.iter().map(|(name, key)| format!("{} ({name})", key.id())).collect();
                let expected = match known.is_empty() {
                    true => "the keys of the policy, which has none".to_owned(),
                    false => known.join(", "),
                };
                SignatureError::UnknownKey { id, expected }
            }
        })
    }
}

/// Reads one signature, or several, one after the other.
///
/// # Errors
/// [`SignatureError::TooLarge`] past [`MAX_SIGNATURES`] and [`MAX_SIGNATURE_BYTES`], [`SignatureError::Malformed`]
/// if anything is no signature.
pub fn read_signatures(text: &str) -> Result<Vec<Signature>, SignatureError> {
    let too_large = |found, expected| Err(SignatureError::TooLarge { found, expected });
    if text.len() > MAX_SIGNATURE_BYTES {
        return too_large(
            format!("{} bytes of signatures", text.len()),
            format!("{MAX_SIGNATURE_BYTES} bytes"),
        );
    }
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let found = lines.len().div_ceil(LINES);
    if found > MAX_SIGNATURES {
        return too_large(format!("{found} signatures"), MAX_SIGNATURES.to_string());
    }
    if lines.is_empty() {
        return Err(SignatureError::Malformed { found: "nothing".to_owned() });
    }
    lines.chunks(LINES).map(read_one).collect()
}

fn read_one(lines: &[&str]) -> Result<Signature, SignatureError> {
    let malformed = |found: &str| SignatureError::Malformed { found: found.to_owned() };
    let [untrusted, signature, trusted, _] = lines else {
        return Err(malformed(&format!("{} of its lines", lines.len())));
    };
    if !untrusted.starts_with(UNTRUSTED) {
        return Err(malformed("a first line that is no comment"));
    }
    let Some(comment) = trusted.strip_prefix(TRUSTED) else {
        return Err(malformed("a third line that is no trusted comment"));
    };
    let text: String = lines.iter().flat_map(|line| [*line, "\n"]).collect();
    minisign_verify::Signature::decode(&text).map_err(|_| malformed("lines of another form"))?;
    let key_id = STANDARD.decode(signature).ok().and_then(|bytes| id_of(&bytes));
    let key_id = key_id.ok_or_else(|| malformed("a signature without a key"))?;
    Ok(Signature { text, key_id, trusted_comment: clean(comment) })
}

/// Checks that one of the signatures in a text is that of one of `keys` over `bytes`, and says whose it is.
///
/// # Errors
/// [`SignatureError`], of the first signature that is not.
///
/// # Example
/// ```
/// use replibook_core::playbook::policy::{PublicKey, verify};
///
/// let key = PublicKey::parse("RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3").unwrap();
/// let keys = [("ops".to_owned(), key)].into();
/// let signature = "untrusted comment: signature from minisign secret key
/// RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=
/// trusted comment: timestamp:1633700835\tfile:test\tprehashed
/// wLMDjy9FLAuxZ3q4NlEvkgtyhrr0gtTu6KC4KBJdITbbOeAi1zBIYo0v4iTgt8jJpIidRJnp94ABQkJAgAooBQ==
/// ";
/// assert_eq!(verify(b"test", signature, &keys).unwrap().name, "ops");
/// assert!(verify(b"Test", signature, &keys).unwrap_err().to_string().contains("not over these bytes"));
/// ```
pub fn verify(
    bytes: &[u8],
    signatures: &str,
    keys: &BTreeMap<String, PublicKey>,
) -> Result<Signer, SignatureError> {
    let mut first = None;
    for signature in read_signatures(signatures)? {
        match signature.check(bytes, keys) {
            Ok(signer) => return Ok(signer),
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    Err(first.unwrap_or_else(|| SignatureError::Malformed { found: "nothing".to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    const HASHED: &str = "untrusted comment: signature from minisign secret key\n\
        RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n\
        trusted comment: timestamp:1633700835\tfile:test\tprehashed\n\
        wLMDjy9FLAuxZ3q4NlEvkgtyhrr0gtTu6KC4KBJdITbbOeAi1zBIYo0v4iTgt8jJpIidRJnp94ABQkJAgAooBQ==\n";

    fn keys() -> BTreeMap<String, PublicKey> {
        [("ops".to_owned(), PublicKey::parse(KEY).unwrap())].into()
    }

    #[test]
    fn a_signature_is_that_of_a_key_over_bytes_and_comment() {
        let signer = verify(b"test", HASHED, &keys()).unwrap();
        assert_eq!((signer.name.as_str(), signer.key.as_str()), ("ops", KEY));
        assert!(signer.trusted_comment.contains("file:test"), "{}", signer.trusted_comment);
        assert!(verify(b"test", &HASHED.replace('\n', "\r\n"), &keys()).is_ok());
        let other_comment = HASHED.replace("file:test", "file:evil");
        for (bytes, text) in [(&b"Test"[..], HASHED), (b"", HASHED), (b"test", &other_comment)] {
            let error = verify(bytes, text, &keys()).unwrap_err();
            assert!(matches!(error, SignatureError::Wrong { .. }), "{error}");
        }
        let unknown = verify(b"test", HASHED, &BTreeMap::new()).unwrap_err();
        assert!(
            matches!(&unknown, SignatureError::UnknownKey { id, .. } if id == "E7620F1842B4E81F"),
            "{unknown}"
        );
    }

    #[test]
    fn of_several_signatures_one_is_enough() {
        let wrong = HASHED.replace("file:test", "file:evil");
        let both = format!("{wrong}\n{HASHED}");
        assert_eq!(read_signatures(&both).unwrap().len(), 2);
        assert_eq!(verify(b"test", &both, &keys()).unwrap().name, "ops");
    }

    #[test]
    fn what_is_no_signature_is_refused_with_what_was_found() {
        let lines: Vec<&str> = HASHED.lines().collect();
        for (text, says) in [
            (String::new(), "found nothing"),
            ("\n\n".to_owned(), "found nothing"),
            (lines[..3].join("\n"), "found 3 of its lines"),
            (format!("{HASHED}untrusted comment: x\n"), "found 1 of its lines"),
            (HASHED.replace("untrusted ", ""), "a first line that is no comment"),
            (HASHED.replace("\ntrusted comment", "\ncomment"), "a third line"),
            (HASHED.replace("RUQ", "AAA"), "lines of another form"),
            (HASHED.replace("RUQ", "!"), "lines of another form"),
            (HASHED.repeat(MAX_SIGNATURES + 1), "found 9 signatures, expected at most 8"),
            (
                "x".repeat(MAX_SIGNATURE_BYTES + 1),
                "bytes of signatures, expected at most 6144 bytes",
            ),
        ] {
            let error = read_signatures(&text).unwrap_err().to_string();
            assert!(error.contains(says), "{says} in {error}");
        }
        assert_eq!(read_signatures(&HASHED.repeat(MAX_SIGNATURES)).unwrap().len(), MAX_SIGNATURES);
    }
}
