//! Stages on the run: they have no agents and no strategy, and their steps are done once. What they do is kept in a record
//! like that of an agent, with the identifier `@run`, so that attempts, retries, budgets and histories work as in other
//! stages. Outside of such stages the record counts for nothing.

use std::sync::Arc;

use serde_json::Map;

use super::steps::Why;
use super::turn::{Legal, Turn};
use crate::playbook::Identity;
use crate::run::state::{Arrival, Begins, Identified, OfAgent, OfMembership, OfStrategy, State};
use crate::run::{
    About, AgentId, AgentSeq, AgentState, Call, CallName, FailureReason, PlannedNext, PluginLine,
};

/// The only batch of a stage on the run.
const BATCH: u32 = 1;

impl State {
    /// Whether the agent's record belongs to a stage that is over.
    pub(super) fn is_of_another_stage(&self, seq: AgentSeq) -> bool {
        let index = self.progress().stage.index;
        self.find(seq).is_some_and(|agent| agent.record().stage != index)
    }

    /// Whether this is a call to an agent from a stage that has none.
    pub(super) fn asks_nobody(&self, seq: AgentSeq, call: &Call) -> bool {
        let of_agent = match call.name() {
            CallName::Info | CallName::RunAction | CallName::WaitStatus => true,
            CallName::Sleep | CallName::HttpSend | CallName::WaitSignal => false,
        };
        of_agent && self.run_record().is_some_and(|of_run| of_run.seq == seq)
    }
}

impl Turn<'_> {
    /// Enters the stage: has its members loaded, or makes the record of a stage on the run.
    pub(super) fn enter_stage(&mut self) -> Legal {
        if !self.is_once() {
            return self.load_members();
        }
        let begins = Begins::as_a(AgentState::Pending);
        let arrival = nobody();
        match self.run_record().map(|of_run| of_run.seq) {
            Some(seq) => {
                let member = Some(Identified::of(&arrival));
                self.emit((seq, OfAgent::Entered { begins, member }))?;
            }
            None => self.emit(OfMembership::Made { arrival: Arc::new(arrival), begins })?,
        }
        self.begin_stage()
    }

    /// Starts the steps of a stage on the run. It is complete once they have ended.
    pub(super) fn start_once(&mut self) -> Legal {
        let pending = self.in_state(AgentState::Pending);
        for seq in pending {
            self.emit((seq, OfAgent::Started { batch: BATCH, label: None }))?;
        }
        self.emit(OfStrategy::Next(PlannedNext::Complete))?;
        self.end_stage_if_over()?;
        // Where a strategy decides, its answer is an input, after which the run goes on by itself.
        self.keep_going()
    }

    /// Ends an attempt that asks an agent for something although there is none. The host answers such calls itself, so
    /// this one got past it.
    pub(super) fn nobody_to_ask(&mut self, seq: AgentSeq, logs: Vec<PluginLine>) -> Legal {
        self.close_journal(seq, logs)?;
        let message = "it asked an agent for something, but a stage on the run has no agents";
        self.step_failed(seq, Why::permanent(FailureReason::StepFailed, message))?;
        self.begin_step(seq)
    }
}

/// What stands in place of an agent.
fn nobody() -> Arrival {
    Arrival {
        agent: AgentId::of_run(),
        address: String::new(),
        about: About::default(),
        declared: Arc::new(Map::new()),
        identity: Identity::Ignore,
        identified_at: None,
    }
}
