//! A plugin as a strategy that can be asked.

use std::sync::Arc;

use super::scene::Strategy;
use crate::plugin::{PluginError, PluginHost};
use crate::run::{Decision, Digest, PlanFailure, PlanInput, Roster};

/// A loaded plugin. It is asked on the calling thread, which must be outside of any async runtime and have 2 MiB of stack.
pub struct Plugin<'a> {
    /// The host that has it loaded.
    pub host: &'a PluginHost,
    /// Digest of its bytes.
    pub digest: Digest,
}

impl Strategy for Plugin<'_> {
    fn plan(&self, input: &PlanInput, roster: Arc<dyn Roster>) -> Result<Decision, PlanFailure> {
        let failure = |error: PluginError| PlanFailure {
            may_pass: error.retryable(),
            code: error.code.to_owned(),
            message: error.message,
        };
        self.host.plan_blocking(&self.digest, input, roster).result.map_err(failure)
    }
}
