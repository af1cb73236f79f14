//! Which secrets an attempt may send. The tokens in its arguments were made from the same seed, attempt and names.

use super::turn::Legal;
use crate::run::state::State;
use crate::run::{AttemptKey, Entitled};

impl State {
    /// The secrets that the step of an attempt may send, with the tokens that stand for them in this attempt alone.
    /// An attempt that goes on from an earlier one, `seed_key`, has the arguments of that.
    pub(super) fn entitled(&self, key: AttemptKey, seed_key: AttemptKey) -> Legal<Vec<Entitled>> {
        let Some(seed) = &self.snapshot().seed else { return Ok(Vec::new()) };
        if key.stage != self.progress().stage.index {
            return Ok(Vec::new());
        }
        let grants = &self.step(key.step)?.grants.secrets;
        let (run, attempt) = (self.snapshot().id, seed_key);
        let entitled = grants.iter().map(|grant| Entitled {
            grant: grant.clone(),
            token: seed.token(run, attempt, &grant.name),
        });
        Ok(entitled.collect())
    }
}
