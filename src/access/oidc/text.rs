//! How much of what issuers say is shown to people.

use super::bounds::SHOWN_CHARS;
use crate::shown::clean;

/// A text of others, short and without what a terminal would act upon.
pub(super) fn shown(text: &str) -> String {
    let cleaned = clean(text);
    let short: String = cleaned.chars().take(SHOWN_CHARS).collect();
    let more = if short.len() < cleaned.len() { "…" } else { "" };
    format!("{short:?}{more}")
}
