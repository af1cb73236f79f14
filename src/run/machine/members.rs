//! From a queued run to one that goes: the cluster's lock, and one record for each member.

use std::sync::Arc;

use serde_json::{Value, json};

use super::changes::Changes;
use super::state::Machine;
use super::stepping::json_bytes;
use crate::run::{
    AgentRecord, AgentSeq, AgentState, Effect, Happened, Member, ReasonCode, RunId, RunStatus,
    StatusReason,
};

/// Records that are made by one commit: each is a record and an event, and a commit is bounded to
/// 1,000 documents.
const RECORDS_AT_ONCE: usize = 400;

/// Bytes of what agents say about themselves after which such a commit takes no further record.
const RECORD_BYTES_AT_ONCE: usize = 1024 * 1024;

impl Machine {
    pub(super) fn cluster_free(&mut self, changes: &mut Changes) {
        if self.run.progress.status == RunStatus::Pending {
            self.run.progress.started_at = Some(changes.now);
            changes.status(self, RunStatus::Starting, None);
            changes.effects.push(Effect::LoadMembers);
        }
    }

    pub(super) fn cluster_busy(&mut self, holder: RunId, changes: &mut Changes) {
        let progress = &mut self.run.progress;
        if progress.status != RunStatus::Pending {
            return;
        }
        let message = format!("waits for run {holder}, which holds the cluster");
        let reason = Some(StatusReason { code: ReasonCode::ClusterBusy, message });
        if progress.reason != reason {
            progress.reason = reason;
            changes.progress = true;
        }
        changes.effects.push(Effect::AwaitCluster);
    }

    pub(super) fn members_failed(&mut self, message: String, changes: &mut Changes) {
        if self.run.progress.status == RunStatus::Starting {
            self.fail_start(message, changes);
        }
    }

    fn fail_start(&mut self, message: String, changes: &mut Changes) {
        let reason = StatusReason { code: ReasonCode::StartFailed, message };
        self.finish(RunStatus::Failed, reason, changes);
    }

    /// Fixes the members of the run. The selection is worked out for all of them before the first
    /// record is made, so that an expression that fails ends the run before anything was touched.
    pub(super) fn members(&mut self, members: Vec<Member>, changes: &mut Changes) {
        if self.run.progress.status != RunStatus::Starting || !self.joining.is_empty() {
            return;
        }
        if members.is_empty() {
            let cluster = &self.run.snapshot.cluster;
            self.fail_start(format!("cluster {cluster} has no agents"), changes);
            return;
        }
        let new = members.into_iter().filter(|member| self.seq_of(&member.agent).is_none());
        let selected: Result<Vec<_>, String> = new
            .map(|member| match self.is_selected(&member) {
                Ok(selected) => Ok((member, selected)),
                Err(message) => Err(format!("agent {}: {message}", member.agent)),
            })
            .collect();
        match selected {
            Ok(joining) => {
                self.joining = joining.into();
                self.make_records(changes);
            }
            Err(message) => self.fail_start(format!("failed to select agents: {message}"), changes),
        }
    }

    fn is_selected(&self, member: &Member) -> Result<bool, String> {
        let Some(select) = self.stage().and_then(|stage| stage.select.as_ref()) else {
            return Ok(true);
        };
        let agent = json!({
            "id": member.agent,
            "address": member.address,
            "attributes": member.attributes,
            "node": member.node,
        });
        self.with_scope(agent, Value::Null, |scope| select.eval_bool(scope))
            .map_err(|error| error.to_string())
    }

    /// Makes the next chunk of records; after the last one the run goes.
    pub(super) fn make_records(&mut self, changes: &mut Changes) {
        if self.run.progress.status != RunStatus::Starting {
            self.joining.clear();
            return;
        }
        let steps = self.stage().map_or(0, |stage| stage.steps.len());
        let (mut made, mut bytes) = (0, 0);
        while made < RECORDS_AT_ONCE && bytes < RECORD_BYTES_AT_ONCE {
            let Some((member, selected)) = self.joining.pop_front() else { break };
            made += 1;
            bytes += json_bytes(&member.node);
            bytes += member.attributes.values().map(json_bytes).sum::<usize>();
            self.make_record(member, selected, steps, changes);
        }
        if !self.joining.is_empty() {
            changes.effects.push(Effect::Continue);
            return;
        }
        self.run.progress.stage.selected = self.run.progress.count(AgentState::Pending);
        changes.status(self, RunStatus::Running, None);
        self.plan_due = true;
    }

    fn make_record(&mut self, member: Member, selected: bool, steps: usize, changes: &mut Changes) {
        let seq = AgentSeq(u32::try_from(self.records().len()).unwrap_or(u32::MAX));
        let state = if selected { AgentState::Pending } else { AgentState::Skipped };
        let why = (!selected).then(|| "not selected by the stage".to_owned());
        let agent = member.agent.clone();
        self.insert(AgentRecord {
            run: self.run.snapshot.id,
            seq,
            agent: member.agent,
            address: member.address,
            attributes: Arc::new(member.attributes),
            node: Arc::new(member.node),
            node_seen_at: Some(changes.now),
            state,
            stage: self.run.progress.stage.index,
            step: 0,
            attempts: vec![0; steps],
            batch: None,
            batch_label: None,
            results: std::collections::BTreeMap::new(),
            error: None,
            skip_reason: why.clone(),
            started_at: None,
            ended_at: (!selected).then_some(changes.now),
            joined_at: None,
            left_at: None,
            finish_ts: None,
        });
        *self.run.progress.counts.entry(state).or_insert(0) += 1;
        changes.records.insert(seq);
        changes.event(self, Happened::Agent { agent, from: None, to: state, batch: None, why });
    }
}
