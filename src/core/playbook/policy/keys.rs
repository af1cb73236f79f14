//! Public keys of minisign.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

/// Bytes of a key: two of the algorithm, eight of the identifier, and the key of Ed25519.
const KEY_BYTES: usize = 42;

/// What a key begins with. The library reads signatures' mark for a hash here too, which would be a second text of the
/// same key.
const ALGORITHM: &[u8] = b"Ed";

/// What a key may be, as human-readable text.
pub(super) const KEY_EXPECTED: &str =
    "a public key of minisign: the second line of its .pub file, 56 characters";

/// A public key of minisign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    text: String,
    id: String,
    pub(super) key: minisign_verify::PublicKey,
}

impl PublicKey {
    /// Reads a key in the form of the second line of a `.pub` file. `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        if bytes.len() != KEY_BYTES || !bytes.starts_with(ALGORITHM) {
            return None;
        }
        let key = minisign_verify::PublicKey::from_base64(text).ok()?;
        Some(Self { text: text.to_owned(), id: id_of(&bytes)?, key })
    }

    /// The key as text. Two keys are the same if their texts are.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The identifier of the key as minisign shows it: at most 16 hex digits.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// The identifier of the key that a key or a signature begins with, after the two bytes of the algorithm.
pub(super) fn id_of(bytes: &[u8]) -> Option<String> {
    let id: [u8; 8] = bytes.get(2..10)?.try_into().ok()?;
    Some(format!("{:X}", u64::from_le_bytes(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_with_its_identifier() {
        let text = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
        let key = PublicKey::parse(text).unwrap();
        assert_eq!((key.as_str(), key.id()), (text, "E7620F1842B4E81F"));
        let other = format!("RUUf{}", &text[4..]);
        for bad in [
            "",
            "RWQ",
            &text[..52],
            &format!("{text}AAAA"),
            &format!(" {text}"),
            &other,
            &other.replace('U', "A"),
        ] {
            assert_eq!(PublicKey::parse(bad), None, "{bad}");
        }
    }
}
