//! A log that is full: what had to go from it is removed from the store.

use super::changes::Changes;
use super::state::Machine;
use crate::run::{Effect, OldLines};

impl Machine {
    /// Has lines removed that had to go from the log, if that is not being done.
    pub(super) fn keep_log_small(&mut self, changes: &mut Changes) {
        let going = &self.run.progress.log.going;
        if !going.is_empty() && !self.forgetting && !self.run.progress.status.is_settled() {
            changes.effects.push(Effect::Forget(going.clone()));
            self.forgetting = true;
        }
    }

    /// These lines were removed; others may have to go by now.
    pub(super) fn forgotten(&mut self, lines: &[OldLines], changes: &mut Changes) {
        self.forgetting = false;
        if !self.run.progress.status.is_settled() {
            lines.iter().for_each(|lines| self.run.progress.log.gone(lines));
            changes.progress = true;
        }
    }
}
