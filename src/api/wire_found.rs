//! The answer to a search for runs, and a word that lists and their readers share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::run::RunId;

/// What a [`DamagedView`](super::wire::DamagedView) names when items may be missing from a list and nobody
/// knows which.
pub const PART_OF_LIST: &str = "a part of the list";

/// The runs that were found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FoundRuns {
    /// The first few of their identifiers, newest first.
    pub ids: Vec<RunId>,
    /// How many runs match in all.
    pub count: u32,
}
