//! Has the store remove what a full log has dropped. The run's progress knows what was dropped, so the removal can
//! lag behind and can be repeated after a crash.

use super::turn::{Legal, Turn};
use crate::run::state::{OfRun, Sent};
use crate::run::{Effect, OldLines};

impl Turn<'_> {
    /// Has the dropped lines removed, unless a removal is already under way.
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

    /// These lines were removed. Others may have been dropped in the meantime.
    pub(super) fn forgotten(&mut self, lines: Vec<OldLines>) -> Legal {
        self.emit(OfRun::Came(Sent::Forget))?;
        self.emit(OfRun::Forgot(lines))
    }
}
