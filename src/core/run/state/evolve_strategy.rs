//! The part of [`evolve`](super::evolve()) that applies what happens between the run and the strategy of its
//! stage.

use std::collections::VecDeque;

use super::around::Kind as RoundKind;
use super::event::{Decided, OfStrategy, Sent};
use super::illegal::IllegalInput;
use super::value::State;
use super::waiting::{Refreshing, Wait};
use crate::mutants::mutant;
use crate::run::{AgentId, AgentSeq, PlannedNext, Refreshed, Timestamp, Unheard, UnheardAgent};

impl State {
    pub(super) fn of_strategy(
        &mut self,
        event: &OfStrategy,
        at: Timestamp,
    ) -> Result<(), IllegalInput> {
        let stage = &mut self.run.progress.stage;
        let strategy = &mut self.strategy;
        match event {
            OfStrategy::Due => strategy.due = true,
            OfStrategy::Asks(asked) => {
                strategy.due = false;
                strategy.asked = asked.clone();
                return self.sent(Sent::Plan);
            }
            OfStrategy::Decided(decided) => self.decided(decided),
            OfStrategy::Undecided { .. } => {
                stage.untold_memo = false;
                strategy.answered.wait = None;
            }
            OfStrategy::Next(next) => stage.next = Some(next.clone()),
            OfStrategy::Reopened => stage.next = None,
            OfStrategy::Repeated { refresh, next } => {
                stage.idle = stage.idle.saturating_add(1);
                stage.refresh.clone_from(refresh);
                stage.next = Some(next.clone());
                strategy.refreshing = Refreshing::No;
            }
            OfStrategy::Memo(memo) => (stage.memo, stage.untold_memo) = (memo.clone(), true),
            OfStrategy::Remembered { label } => self.remembered(label.clone()),
            OfStrategy::Said(sum) => {
                (strategy.answered.lines, strategy.answered.again) = (Some(*sum), 0);
            }
            OfStrategy::SaidAgain => {
                let again = strategy.answered.again.saturating_add(1);
                (strategy.answered.again, strategy.answered.at) = (again, at);
            }
            OfStrategy::AsksAfresh => strategy.refreshing = Refreshing::Asking,
            OfStrategy::Heard(answers) => return strategy.refreshing.heard(answers),
            OfStrategy::TookOver(number) => return strategy.refreshing.took(*number),
            OfStrategy::Writes(news) => {
                strategy.refreshing = Refreshing::Writing(news.iter().cloned().collect());
                strategy.due = true;
            }
            OfStrategy::Fresh => strategy.refreshing = Refreshing::Fresh,
            OfStrategy::Unheard(unheard) => stage.unheard = unheard.clone(),
            OfStrategy::LooksAround { whole, needed } => {
                self.counting.asks_stale();
                return strategy.around.asks(RoundKind {
                    whole: *whole,
                    needed: *needed,
                    began: at,
                });
            }
            OfStrategy::AwaitsLook => strategy.around.is_awaited(),
            OfStrategy::LookedAround(answers) => return strategy.around.heard(answers, at),
            OfStrategy::TookAround(number) => return strategy.around.took(*number, at),
            OfStrategy::Judged => self.counting.judged(),
            OfStrategy::Weighs(bytes) => self.heaviest = self.heaviest.max(*bytes),
        }
        Ok(())
    }

    fn decided(&mut self, decided: &Decided) {
        let Decided { label, started, skipped, memo, refresh, held, holds, .. } = decided;
        let stage = &mut self.run.progress.stage;
        stage.untold_memo = false;
        stage.memo.clone_from(memo);
        // This also counts after a last decision: if agents join, the strategy may be asked again.
        stage.refresh.clone_from(refresh);
        // A strategy counts its decisions by whom it names, and may not know that guards hold them.
        let are_named = holds.as_ref().is_some_and(|holds| !holds.named.is_empty());
        stage.batches += u32::from(*started > 0 || are_named);
        let idle = *started == 0 && *skipped == 0;
        stage.idle = if idle { stage.idle.saturating_add(1) } else { 0 };
        stage.next = None;
        stage.held.clone_from(held);
        self.strategy.refreshing = Refreshing::No;
        self.strategy.label.clone_from(label);
        self.run.progress.stage.unheard = self.kept_unheard(refresh);
    }

    fn remembered(&mut self, label: Option<String>) {
        let stage = &self.run.progress.stage;
        let until = match &stage.next {
            Some(PlannedNext::Wait) => Some(false),
            Some(PlannedNext::WaitUntil { .. }) => Some(true),
            Some(PlannedNext::Complete | PlannedNext::Abort { .. }) | None => None,
        };
        let until = until.filter(|_| stage.idle > 0);
        let (next_event, refresh) = (self.run.progress.next_event, stage.refresh.clone());
        self.strategy.answered.wait = until.map(|until| Wait { next_event, until, label, refresh });
    }

    /// The part of the unheard agents that is asked again. Nobody finds out whether the others answer.
    pub(crate) fn kept_unheard(&self, asked: &[AgentSeq]) -> Unheard {
        let mut unheard = self.run.progress.stage.unheard.clone();
        if mutant!(UnheardKept) {
            return unheard;
        }
        let is_asked = |agent: &UnheardAgent| {
            self.seq_of(&agent.agent).is_some_and(|seq| asked.contains(&seq))
        };
        unheard.some.retain(is_asked);
        if unheard.some.is_empty() {
            return Unheard::default();
        }
        let most = u32::try_from(asked.len()).unwrap_or(u32::MAX);
        unheard.agents = unheard.agents.min(most);
        unheard
    }

    /// Notes that an agent has answered, whoever asked it.
    pub(super) fn forget_unheard(&mut self, agent: &AgentId) {
        let unheard = &mut self.run.progress.stage.unheard;
        let named = unheard.some.len();
        unheard.some.retain(|other| other.agent != *agent);
        if unheard.some.len() < named {
            unheard.agents = unheard.agents.saturating_sub(1);
        }
    }
}

impl Refreshing {
    /// Nobody wants to know any more what the agents say now.
    pub(super) fn forget(&mut self) {
        *self = match std::mem::take(self) {
            Self::Asking | Self::InVain => Self::InVain,
            Self::Fresh if mutant!(FreshKept) => Self::Fresh,
            Self::No | Self::Taking(_) | Self::Writing(_) | Self::Fresh => Self::No,
        };
    }

    fn heard(&mut self, answers: &[Refreshed]) -> Result<(), IllegalInput> {
        *self = match self {
            Self::Asking => Self::Taking(answers.iter().cloned().collect()),
            Self::InVain => Self::No,
            Self::No | Self::Taking(_) | Self::Writing(_) | Self::Fresh => {
                let answers = answers.len();
                return Err(IllegalInput::new("fresh information", answers, "agents not asked"));
            }
        };
        Ok(())
    }

    fn took(&mut self, number: usize) -> Result<(), IllegalInput> {
        let answers: &mut VecDeque<_> = match self {
            Self::Taking(answers) | Self::Writing(answers) => answers,
            Self::No | Self::Asking | Self::InVain | Self::Fresh => {
                let what = "that answers were taken over";
                return Err(IllegalInput::missing(what, "answers", "the strategy"));
            }
        };
        answers.drain(..number.min(answers.len()));
        if answers.is_empty() {
            // The wish of the strategy stays in the progress: a machine that is loaded anew asks again, because
            // not everything that came of it may be written.
            *self = Self::Fresh;
        }
        Ok(())
    }
}
