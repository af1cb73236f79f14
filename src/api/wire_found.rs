//! What goes over the wire of a run that is looked for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::run::RunId;

/// What a [`DamagedView`](super::wire::DamagedView) is about if a list may lack items, and nobody knows which.
pub const PART_OF_LIST: &str = "a part of the list";

/// Which runs go by something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FoundRuns {
    /// Their identifiers, newest first: the first few.
    pub ids: Vec<RunId>,
    /// How many there are.
    pub count: u32,
}
