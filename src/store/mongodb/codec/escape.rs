//! JSON that BSON can't hold as it is.
//!
//! - Keys: BSON has no NUL in them, and a server may take one that begins with `$` for an operator.
//!   Both are written as `%` and two digits, and so is `%` itself.
//! - Numbers past the largest signed one are kept as decimals.
//! - What is nested deeper than a server allows is kept as text, under a key that no other document
//!   has, since `%` alone never comes out of escaping.

use std::borrow::Cow;

/// Containers within each other in one document: servers promise 100. What is deeper is kept as text.
pub(super) const MAX_DEPTH: usize = 80;

/// The one key of a document that stands for JSON kept as text.
pub(super) const TEXT: &str = "%json";

/// A key as it is kept.
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

/// The key that [`escape`] made this of.
pub(super) fn unescape(key: String) -> String {
    if key.contains('%') {
        // The last one first, so that it is not taken for the start of another.
        key.replace("%24", "$").replace("%00", "\0").replace("%25", "%")
    } else {
        key
    }
}
