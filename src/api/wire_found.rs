//! What goes over the wire of a run that is looked for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::run::RunId;

/// Which runs go by something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FoundRuns {
    /// Their identifiers, newest first: the first few.
    pub ids: Vec<RunId>,
    /// How many there are.
    pub count: u32,
}
