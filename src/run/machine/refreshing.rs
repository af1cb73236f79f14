//! Fresh information for a strategy that wants it, and expressions over what is known.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::changes::Changes;
use super::state::{IllegalInput, Machine};
use super::steering::{CHUNK_BYTES, record_bytes};
use crate::playbook::{Expr, ExprError, Scope};
use crate::run::{AgentRecord, AgentState, AskAgain, Effect, Refreshed, RunStatus};

/// Agents whose answers are taken over by one commit: each is a record and an event, and a commit is
/// bounded to 1,000 documents.
const TAKEN_AT_ONCE: usize = 300;

/// How far asking agents afresh is. It is not kept: a machine that is loaded anew asks again, since the
/// wish is cleared only once all answers are taken over.
#[derive(Debug, PartialEq)]
pub(super) enum Refreshing {
    /// Nobody is being asked.
    No,
    /// Agents are being asked, for the strategy of this stage.
    Asking(u16),
    /// They have answered, and these answers are still to be taken over.
    Taking(VecDeque<Refreshed>),
}

impl Machine {
    /// Has the agents asked that the strategy wished for; false when there are none, so that it can be
    /// asked itself. An agent that has left is not asked: nobody knows what answers there now.
    pub(super) fn asks_afresh(&mut self, changes: &mut Changes) -> bool {
        if self.run.progress.stage.refresh.is_empty() {
            return false;
        }
        let wished = self.run.progress.stage.refresh.iter();
        let asked: Vec<_> = wished
            .filter_map(|seq| Machine::record(self, *seq))
            .filter(|record| record.state != AgentState::Removed)
            .map(|record| AskAgain {
                seq: record.seq,
                agent: record.agent.clone(),
                address: record.address.clone(),
                attributes: record.attributes.clone(),
                declared: record.declared.clone(),
            })
            .collect();
        if asked.is_empty() {
            self.run.progress.stage.refresh.clear();
            changes.progress = true;
            return false;
        }
        self.refreshing = Refreshing::Asking(self.run.progress.stage.index);
        changes.effects.push(Effect::Refresh(asked));
        true
    }

    /// Agents that were asked afresh have answered. In a run that was paused meanwhile the answers
    /// would be old when it goes on, so they are asked again then.
    pub(super) fn refreshed(
        &mut self,
        answers: Vec<Refreshed>,
        changes: &mut Changes,
    ) -> Result<(), IllegalInput> {
        let Refreshing::Asking(stage) = self.refreshing else {
            let answers = answers.len();
            return Err(IllegalInput::new("fresh information", answers, "agents not asked"));
        };
        self.refreshing = Refreshing::No;
        if stage == self.run.progress.stage.index {
            self.refreshing = Refreshing::Taking(answers.into());
            self.take_refreshed(changes);
        }
        Ok(())
    }

    /// Takes over the next answers, as many as fit one commit; after the last one the strategy may be
    /// asked.
    pub(super) fn take_refreshed(&mut self, changes: &mut Changes) {
        let Refreshing::Taking(answers) = &mut self.refreshing else { return };
        let mut answers = std::mem::take(answers);
        self.refreshing = Refreshing::No;
        if self.run.progress.status != RunStatus::Running {
            return;
        }
        let (mut taken, mut bytes) = (0, 0);
        while taken < TAKEN_AT_ONCE && bytes < CHUNK_BYTES {
            let Some(Refreshed { agent, about }) = answers.pop_front() else { break };
            let Some(record) = Machine::record(self, agent) else { continue };
            if record.state == AgentState::Removed {
                continue;
            }
            taken += 1;
            bytes += record_bytes(record);
            changes.about(self, agent, about);
        }
        if answers.is_empty() {
            self.run.progress.stage.refresh.clear();
            changes.progress = true;
        } else {
            self.refreshing = Refreshing::Taking(answers);
            changes.effects.push(Effect::Continue);
        }
    }

    /// Whether an expression holds for an agent, which it sees as the selection of a stage does. A
    /// strategy may ask that for each of many agents, so only what the expression looks at is copied.
    pub(super) fn holds_for(
        &self,
        record: &AgentRecord,
        expression: &Expr,
    ) -> Result<bool, ExprError> {
        let snapshot = &self.run.snapshot;
        let used = |path: &[&str], value: &dyn Fn() -> Value| match expression.looks_at(path) {
            true => value(),
            false => Value::Null,
        };
        let of_agent = |name: &str, value: &dyn Fn() -> Value| used(&["agent", name], value);
        let agent = json!({
            "id": of_agent("id", &|| json!(record.agent)),
            "address": of_agent("address", &|| json!(record.address)),
            "attributes": of_agent("attributes", &|| json!(record.attributes)),
            "node": of_agent("node", &|| Value::clone(&record.node)),
        });
        let params = used(&["params"], &|| Value::Object(snapshot.params.clone()));
        let run = used(&["run"], &|| json!({"id": snapshot.id, "started_by": snapshot.started_by}));
        let cluster = used(&["cluster"], &|| json!({"name": snapshot.cluster}));
        let steps = Value::Null;
        expression.eval_bool(&Scope {
            params: &params,
            agent: &agent,
            steps: &steps,
            run: &run,
            cluster: &cluster,
        })
    }
}
