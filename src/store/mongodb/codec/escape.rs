//! Escapes JSON that BSON can't hold as it is.
//!
//! - Keys: BSON allows no NUL in a key, and a server may take a key that begins with `$` for an operator. Both
//!   characters are written as `%` and two digits, and so is `%` itself.
//! - Numbers: those beyond the largest signed integer are stored as decimals.
//! - Depth: what is nested deeper than a server allows is stored as text, under a key that no other document has,
//!   since escaping never yields a `%` without two digits after it.

use std::borrow::Cow;

/// How many containers may be nested in one document; servers promise 100. Anything deeper is stored as text.
pub(super) const MAX_DEPTH: usize = 80;

/// The only key of a document that stands for JSON that is stored as text.
pub(super) const TEXT: &str = "%json";

/// A key in its stored form.
pub(super) fn escape(key: &str) -> Cow<'_, str> {
    if !key.starts_with('$') && !key.contains(['%', '\0']) {
        return Cow::Borrowed(key);
    }
    let mut escaped = String::with_capacity(key.len() + 4);
    for (index, c) in key.chars().enumerate() {
        match c {
            '%' => escaped.push_str("%25"),
            '\0' => escaped.push_str("%00"),
            '$' if index == 0 => escaped.push_str("%24"),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// The key that [`escape`] turned into this one.
pub(super) fn unescape(key: String) -> String {
    if key.contains('%') {
        // `%25` comes last, so that its `%` is not taken for the start of another escape.
        key.replace("%24", "$").replace("%00", "\0").replace("%25", "%")
    } else {
        key
    }
}
