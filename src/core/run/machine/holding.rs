//! Runs that a person holds: agents stop after their present calls, go on when the run is resumed, and can be put
//! back in the queue.

use super::steering::CHUNK_BYTES;
use super::turn::{Legal, Turn};
use crate::run::state::{Doing, OfAgent, OfCall, OfRun, OfStrategy, Phase, record_bytes};
use crate::run::{AgentSeq, AgentState, PlannedNext, ReasonCode};

/// How many agents one commit puts back. Each takes a record and an event, and perhaps an event with what was
/// newly learned about the agent.
const RETRIES_AT_ONCE: usize = 300;

impl Turn<'_> {
    /// Keeps an attempt where it is until the run is resumed.
    pub(super) fn hold(&mut self, seq: AgentSeq) -> Legal {
        self.emit((seq, OfCall::Does { doing: Doing::Held, alarm: None }))
    }

    /// Lets all agents go on that stopped after a call. Their time on hold does not count.
    pub(super) fn let_go(&mut self) -> Legal {
        if !self.progress().hold {
            return Ok(());
        }
        self.emit(OfRun::LetGo)?;
        for seq in self.in_state(AgentState::Running) {
            self.let_go_of(seq)?;
        }
        Ok(())
    }

    /// Has an agent go on with what it was stopped in.
    pub(super) fn let_go_of(&mut self, seq: AgentSeq) -> Legal {
        match self.agent(seq)?.phase() {
            Phase::Trying(attempt) if attempt.doing == Doing::Held => self.go_on_with(seq),
            Phase::Retrying { .. } => self.emit((seq, OfAgent::Rings)),
            Phase::Idle => self.emit((seq, OfAgent::Queued)),
            Phase::Queued { .. } | Phase::Looking | Phase::Trying(_) | Phase::Settling { .. } => {
                Ok(())
            }
        }
    }

    /// Puts failed agents back in the queue: one, or all. With `again` they do all of the failed step again, even
    /// actions that ended well but late.
    pub(super) fn retry(&mut self, agent: Option<AgentSeq>, again: bool) -> Legal {
        // A strategy that saw all agents end must be asked again.
        if self.progress().stage.next == Some(PlannedNext::Complete) {
            self.emit(OfStrategy::Reopened)?;
        }
        match agent {
            Some(seq) => {
                self.put_back(seq, again)?;
                self.take_back_abort()
            }
            None => {
                self.emit(OfRun::Retries { from: Some(AgentSeq(0)), again })?;
                self.retry_some()
            }
        }
    }

    /// Puts the next chunk of failed agents back.
    pub(super) fn retry_some(&mut self) -> Legal {
        let Some(from) = self.progress().stage.retrying else { return Ok(()) };
        let again = self.progress().stage.retrying_again;
        // One agent more than is put back, to know where to go on.
        let failed = self.some_in(AgentState::Failed, from).take(RETRIES_AT_ONCE + 1);
        let mut failed = failed.collect::<Vec<_>>().into_iter().peekable();
        let (mut done, mut bytes) = (0, 0);
        while done < RETRIES_AT_ONCE && bytes < CHUNK_BYTES {
            let Some(seq) = failed.next() else { break };
            done += 1;
            bytes += self.put_back(seq, again)?;
        }
        self.emit(OfRun::Retries { from: failed.peek().copied(), again })?;
        self.take_back_abort()
    }

    /// Puts a failed agent back, and returns how many bytes its record adds to the commit.
    fn put_back(&mut self, seq: AgentSeq, again: bool) -> Legal<usize> {
        let weight = record_bytes(self.record(seq)?);
        self.emit(OfStrategy::Weighs(weight))?;
        self.emit((seq, OfAgent::PutBack { again }))?;
        Ok(weight)
    }

    /// Takes back that the budget ends the run, if the budget is no longer exceeded.
    fn take_back_abort(&mut self) -> Legal {
        let next = &self.progress().stage.next;
        let is_abort =
            matches!(next, Some(PlannedNext::Abort { code: ReasonCode::BudgetExceeded, .. }));
        match is_abort && !self.budget_exceeded() {
            true => self.emit(OfStrategy::Reopened),
            false => Ok(()),
        }
    }
}
