//! A log that is full: what had to go from it is removed from the store.

use super::turn::{Legal, Turn};
use crate::run::state::{OfRun, Sent};
use crate::run::{Effect, OldLines};

impl Turn<'_> {
    /// Has lines removed that had to go from the log, if that is not being done.
    pub(super) fn keep_log_small(&mut self) -> Legal {
        let going = &self.progress().log.going;
        if going.is_empty() || self.is_out(Sent::Forget) || self.status().is_settled() {
            return Ok(());
        }
        let going = going.clone();
        self.emit(OfRun::Sent(Sent::Forget))?;
        self.effect(Effect::Forget(going));
        Ok(())
    }

    /// These lines were removed; others may have to go by now.
    pub(super) fn forgotten(&mut self, lines: Vec<OldLines>) -> Legal {
        self.emit(OfRun::Came(Sent::Forget))?;
        self.emit(OfRun::Forgot(lines))
    }
}
