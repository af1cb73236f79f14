//! Why a run is as it is, in words: what it waits for, since when, and what would move it. The core knows the
//! reasons as types; the sentences and the command lines that people read are made here, at the edge.
//!
//! [`explain`] is a function of the run, of a few agent records that the caller has read, and of the
//! moment. What it costs does not depend on how many agents the run has.

mod agents;
#[cfg(test)]
mod approval_tests;
mod commands;
mod explain;
mod explanation;
mod held;
#[cfg(test)]
mod last_word_tests;
mod narrowed;
#[cfg(test)]
mod noticed_tests;
mod paused;
#[cfg(test)]
mod samples;
mod signals;
mod stages;
#[cfg(test)]
mod tests;
mod trouble;
mod waiting;
#[cfg(test)]
mod waiting_tests;
mod words;

pub use commands::explain_commands;
pub use explain::explain;
pub use explanation::{
    ActionOut, Explanation, InFlight, Known, NextCommand, OpenAttempt, most_telling,
};
pub use held::held_in_words;
pub use trouble::{explain_behind, explain_trouble};
pub use waiting::words as waits_in_words;
