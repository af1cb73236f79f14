//! Inputs that can't be applied.

/// An input that does not fit the state, or a step that a transition table does not hold: a mistake
/// of the program, not of its users. The machine must be dropped and loaded anew.
#[derive(Debug, thiserror::Error)]
#[error("failed to apply {what}: found {found}, which does not go with {with}")]
pub struct IllegalInput {
    what: &'static str,
    found: String,
    with: String,
}

impl IllegalInput {
    pub(super) fn new(
        what: &'static str,
        found: impl std::fmt::Display,
        with: impl std::fmt::Display,
    ) -> Self {
        Self { what, found: found.to_string(), with: with.to_string() }
    }
}
