//! What can't happen in the state that the run is in.

use crate::run::AgentSeq;

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
    pub(crate) fn new(
        what: &'static str,
        found: impl std::fmt::Display,
        with: impl std::fmt::Display,
    ) -> Self {
        Self { what, found: found.to_string(), with: with.to_string() }
    }

    /// What it is, what was found, and what that does not go with.
    pub(crate) fn into_parts(self) -> (&'static str, String, String) {
        (self.what, self.found, self.with)
    }

    /// Something that happens to an agent which the run does not have.
    pub(crate) fn no_agent(seq: AgentSeq) -> Self {
        Self::new("something to an agent", format!("number {}", seq.0), "the agents of the run")
    }

    /// Something that needs what is not there.
    pub(crate) fn missing(what: &'static str, of: impl std::fmt::Display) -> Self {
        Self::new(what, "none", of)
    }
}
