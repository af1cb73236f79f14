//! The error for something that can't happen in the state that the run is in.

use std::fmt::{self, Write as _};

use super::event::{OfMembership, What};
use super::value::State;
use crate::run::{AgentId, AgentSeq};

/// An input that does not fit the state, or a step that is not in a transition table. It is a mistake of the
/// program, not of its users. The machine must be dropped and loaded anew.
#[derive(Debug, thiserror::Error)]
#[error("failed to apply {what}: {why}{place}")]
pub struct IllegalInput {
    what: &'static str,
    why: Why,
    /// The event or input that it came with, in parentheses. Empty until that is known.
    place: String,
}

/// Why something does not fit.
#[derive(Debug, thiserror::Error)]
enum Why {
    #[error("found {found}, which does not go with {with}")]
    Unfit { found: String, with: String },
    #[error("it needs {needs}, but {of} has none")]
    Missing { needs: &'static str, of: String },
}

impl IllegalInput {
    pub(crate) fn new(
        what: &'static str,
        found: impl fmt::Display,
        with: impl fmt::Display,
    ) -> Self {
        let why = Why::Unfit { found: found.to_string(), with: with.to_string() };
        Self { what, why, place: String::new() }
    }

    /// Something happens that needs what is missing.
    pub(crate) fn missing(what: &'static str, needs: &'static str, of: impl fmt::Display) -> Self {
        Self { what, why: Why::Missing { needs, of: of.to_string() }, place: String::new() }
    }

    /// Something happens to an agent that the run does not have.
    pub(crate) fn no_agent(seq: AgentSeq) -> Self {
        Self::new("something to an agent", format!("number {}", seq.0), "the agents of the run")
    }

    /// Adds where the error came from, unless that is known already: an event says it better than the input that
    /// led to it.
    pub(crate) fn with(self, place: impl FnOnce() -> String) -> Self {
        match self.place.is_empty() {
            true => Self { place: format!(" ({})", place()), ..self },
            false => self,
        }
    }

    /// What was found, and what would have fitted, for the error of a replay.
    pub(crate) fn found_and_expected(self) -> (String, String) {
        let what = self.what;
        match self.why {
            Why::Unfit { found, with } => {
                (format!("{what}, {found}"), format!("one that goes with {with}"))
            }
            Why::Missing { needs, of } => {
                (what.to_owned(), format!("{needs}, of which {of} has none"))
            }
        }
    }
}

impl State {
    /// Describes what happens to whom, with the number of the next event that is told.
    pub(crate) fn place(&self, name: &str, agent: Option<AgentSeq>, next_event: u64) -> String {
        let found = agent.map(|seq| match self.find(seq) {
            Some(agent) => format!(", agent {}", agent.record.agent),
            None => format!(", agent number {}", seq.0),
        });
        format!("{name}{}, event {next_event}", found.unwrap_or_default())
    }

    pub(super) fn place_of(&self, what: &What, next_event: u64) -> String {
        let (name, agent) = match what {
            What::Run(event) => (name_of(event), None),
            What::Strategy(event) => (name_of(event), None),
            What::Membership(event) => {
                let of = event.agent().map(|agent| format!(" of agent {agent}"));
                (format!("{}{}", name_of(event), of.unwrap_or_default()), None)
            }
            What::Agent(seq, event) => (name_of(event), Some(*seq)),
            What::Call(seq, event) => (name_of(event), Some(*seq)),
        };
        self.place(&name, agent, next_event)
    }
}

impl OfMembership {
    fn agent(&self) -> Option<&AgentId> {
        match self {
            Self::Made { arrival, .. } => Some(&arrival.agent),
            Self::Noted(agent, _) => Some(agent),
            Self::Joins(_)
            | Self::TookIn(_)
            | Self::CatchesUp
            | Self::Admits(_)
            | Self::Absence(_) => None,
        }
    }
}

/// Name of the variant of an event, which is the first word of its `Debug` text.
fn name_of(event: &impl fmt::Debug) -> String {
    let mut first = FirstWord(String::new());
    // Writing stops after that word, since the rest may be large.
    let _ = write!(first, "{event:?}");
    first.0
}

struct FirstWord(String);

impl fmt::Write for FirstWord {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let word = text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        self.0.push_str(word);
        if word.len() < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}
