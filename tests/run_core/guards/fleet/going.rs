//! How a fleet goes on: one thing at a time, in any order.

use replibook_core::run::{Effect, Input};

use super::Fleet;

impl Fleet {
    /// Performs one of the effects that are out, or wakes the run if there is none.
    pub(crate) fn perform(&mut self, index: usize, badly: bool) {
        let out = self.effects.len() + self.late.len();
        if out == 0 {
            return self.wake();
        }
        // As in the driver, nothing else is applied while the strategy is asked.
        let asked = self.effects.iter().position(|effect| matches!(effect, Effect::Plan { .. }));
        let index = asked.unwrap_or(index % out);
        if let Some(late) = index.checked_sub(self.effects.len()) {
            let input = self.late.remove(late);
            return self.apply(input);
        }
        let effect = self.effects.remove(index);
        if let Some(input) = self.outcome(effect, badly) {
            self.apply(input);
        }
    }

    /// Goes on until nothing is left to do, or until `most` things were done. Returns whether the run has ended.
    pub(crate) fn run_dry(&mut self, most: usize) -> bool {
        for _ in 0..most {
            if self.progress().status.is_final() {
                return true;
            }
            self.now += 10;
            self.perform(0, false);
        }
        self.progress().status.is_final()
    }

    /// Does all that is out, but lets no time pass.
    pub(crate) fn do_all(&mut self) {
        for _ in 0..10_000 {
            if self.effects.is_empty() && self.late.is_empty() {
                return;
            }
            self.perform(0, false);
        }
        panic!("the run does not come to rest: {:?}", self.progress());
    }

    /// Does all that is out except what agents do, and lets no time pass.
    pub(crate) fn do_all_but_actions(&mut self) {
        for _ in 0..10_000 {
            let next = self.effects.iter().position(|effect| !matches!(effect, Effect::Perform(_)));
            let Some(next) = next else {
                let Some(late) = self.late.pop() else { return };
                self.apply(late);
                continue;
            };
            let effect = self.effects.remove(next);
            if let Some(input) = self.outcome(effect, false) {
                self.apply(input);
            }
        }
        panic!("the run does not come to rest: {:?}", self.progress());
    }

    /// Whether the strategy is asked at the moment.
    pub(crate) fn asks_strategy(&self) -> bool {
        self.effects.iter().any(|effect| matches!(effect, Effect::Plan { .. }))
    }

    /// As in the driver: while the strategy is asked, nothing else is applied.
    pub(crate) fn let_decide(&mut self) {
        while self.asks_strategy() {
            self.perform(0, false);
        }
    }

    pub(crate) fn wake(&mut self) {
        let Some(at) = self.wake.take() else { return };
        self.now = self.now.max(at.as_millis());
        self.apply(Input::Woken);
    }
}
