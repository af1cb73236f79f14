//! From a queued run to one that goes, and from stage to stage: the cluster's lock, and a record for
//! each member.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::changes::Changes;
use super::sizes::journal_bytes;
use super::state::Machine;
use super::steering::{CHUNK_BYTES, record_bytes};
use crate::playbook::Concurrency;
use crate::run::{
    About, AgentRecord, AgentSeq, AgentState, Effect, FailureReason, Gone, Happened, Member,
    PastStage, ReasonCode, RunId, RunStatus, StatusReason, StepPhase, Timestamp, Unanswered,
};

/// Agents that are taken in by one commit: each is a record and up to two events, and a commit is
/// bounded to 1,000 documents.
const RECORDS_AT_ONCE: usize = 300;

pub(super) const NOT_SELECTED: &str = "not selected by the stage";

/// An agent that is taken into a stage.
#[derive(Debug)]
pub(super) struct Joining {
    /// Its number, where the run knows it.
    seq: Option<AgentSeq>,
    /// What is known of it; none when it left the cluster.
    member: Option<Member>,
    standing: Standing,
}

/// What the selection of the stage says of a member.
#[derive(Clone, Debug)]
pub(super) enum Standing {
    /// It takes part.
    In,
    /// It does not.
    Out,
    /// It takes part as one that has failed, since nothing may be sent to it.
    Fails {
        reason: FailureReason,
        message: String,
        /// Whether it is unknown if the stage selects it.
        undecided: bool,
    },
}

impl Machine {
    pub(super) fn cluster_free(&mut self, changes: &mut Changes) {
        if self.run.progress.status == RunStatus::Pending {
            self.run.progress.started_at = Some(changes.now);
            changes.status(self, RunStatus::Starting, None);
            self.load_members(changes);
        }
    }

    /// Asks for the members, unless they are being loaded: a second answer might come when the stage
    /// after this one waits for its own.
    pub(super) fn load_members(&mut self, changes: &mut Changes) {
        if !std::mem::replace(&mut self.loading, true) {
            changes.effects.push(Effect::LoadMembers);
        }
    }

    /// A run that rejects a busy cluster was created with the lock, unless it had to be approved first:
    /// then it is here that it finds the cluster busy.
    pub(super) fn cluster_busy(&mut self, holder: RunId, queued: u32, changes: &mut Changes) {
        if self.run.progress.status != RunStatus::Pending {
            return;
        }
        match self.run.snapshot.playbook.concurrency {
            Concurrency::Reject => {
                let message = format!("run {holder} comes first, and the playbook rejects that");
                let reason = StatusReason { code: ReasonCode::ClusterBusy, message };
                self.finish(RunStatus::Failed, reason, changes);
            }
            Concurrency::Queue | Concurrency::Allow => {
                let reason = Some(StatusReason::cluster_busy(holder, queued));
                if self.run.progress.reason != reason {
                    self.run.progress.reason = reason;
                    changes.progress = true;
                }
                changes.effects.push(Effect::AwaitCluster);
            }
        }
    }

    /// Says which agents keep the stage from beginning.
    pub(super) fn members_unanswered(&mut self, unanswered: Unanswered, changes: &mut Changes) {
        if self.loading && self.is_entering() {
            self.run.progress.stage.unanswered = Some(unanswered);
            changes.progress = true;
        }
    }

    /// The members could not be worked out. Before anything was done that ends the run; between two
    /// stages a person may mend it and resume.
    pub(super) fn members_failed(&mut self, message: String, changes: &mut Changes) {
        self.stage_failed(ReasonCode::StartFailed, message, changes);
    }

    fn stage_failed(&mut self, code: ReasonCode, message: String, changes: &mut Changes) {
        self.loading = false;
        self.run.progress.stage.unanswered = None;
        match self.run.progress.status {
            RunStatus::Starting => {
                let reason = StatusReason { code, message };
                self.finish(RunStatus::Failed, reason, changes);
            }
            RunStatus::Running if self.run.progress.stage.entering => {
                let stage = self.stage().map(|stage| stage.name.clone()).unwrap_or_default();
                let message = format!("failed to begin stage {stage}: {message}");
                self.pause(code, message, changes);
            }
            RunStatus::PendingApprove
            | RunStatus::Pending
            | RunStatus::Running
            | RunStatus::Paused
            | RunStatus::Cancelling
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => {}
        }
    }

    /// Bytes of what an agent may add to a commit: its record, and its journal.
    pub(super) fn weight(&self, seq: AgentSeq) -> usize {
        let attempt = self.attempts.get(&seq);
        let journal = attempt.map(|attempt| attempt.bytes + attempt.journal.arguments.bytes());
        let over = self.over.get(&seq).map_or(0, journal_bytes);
        Self::record(self, seq).map_or(0, record_bytes) + journal.unwrap_or(0) + over
    }

    /// Whether agents are being taken into the stage.
    pub(super) fn is_entering(&self) -> bool {
        self.run.progress.status == RunStatus::Starting || self.run.progress.stage.entering
    }

    /// Fixes the agents of the first stage of a run that goes over agents of another one again.
    pub(super) fn members_of_retry(
        &mut self,
        members: Vec<Member>,
        gone: Gone,
        changes: &mut Changes,
    ) {
        if self.run.progress.status == RunStatus::Starting && gone.count > 0 {
            self.run.progress.gone = Some(gone);
            changes.progress = true;
        }
        self.members(members, changes);
    }

    /// Fixes the agents of the stage. The selection is worked out for all of them before the first
    /// record is written, so that an expression that fails stops the run before anything was touched.
    pub(super) fn members(&mut self, members: Vec<Member>, changes: &mut Changes) {
        self.loading = false;
        self.run.progress.stage.unanswered = None;
        let may_enter = match self.run.progress.status {
            RunStatus::Starting => true,
            RunStatus::Running | RunStatus::Paused => self.run.progress.stage.entering,
            RunStatus::PendingApprove
            | RunStatus::Pending
            | RunStatus::Cancelling
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => false,
        };
        if !may_enter || !self.joining.is_empty() {
            return;
        }
        // The agents that a run should go over again may all have left before it began.
        let goes_over_nobody = self.run.snapshot.retry_of.is_some() && self.records().is_empty();
        if members.is_empty() && !goes_over_nobody {
            let cluster = &self.run.snapshot.cluster;
            let message = match &self.run.snapshot.retry_of {
                Some(of) => format!("run {} left no such agents in cluster {cluster}", of.run),
                None => format!("cluster {cluster} has no agents"),
            };
            self.members_failed(message, changes);
            return;
        }
        match self.who_joins(members) {
            Ok(joining) => {
                self.joining = joining;
                self.take_in(changes);
            }
            Err(message) => {
                let message = format!("failed to select agents: {message}");
                self.stage_failed(ReasonCode::ExpressionFailed, message, changes);
            }
        }
    }

    /// What is to be done for each agent: those that the run knows, in its own order, then the others.
    fn who_joins(&self, members: Vec<Member>) -> Result<VecDeque<Joining>, String> {
        let mut known: BTreeMap<AgentSeq, Member> = BTreeMap::new();
        let mut new = Vec::new();
        for member in members {
            match self.seq_of(&member.agent) {
                Some(seq) => {
                    known.insert(seq, member);
                }
                None => new.push(member),
            }
        }
        let index = self.run.progress.stage.index;
        let mut joining = VecDeque::new();
        for record in self.records().iter().filter(|record| record.stage < index) {
            let mut member = known.remove(&record.seq);
            let standing = match &mut member {
                Some(member) => self.standing(member, Some(record))?,
                None => Standing::Out,
            };
            joining.push_back(Joining { seq: Some(record.seq), member, standing });
        }
        // A run that goes over agents of another one again takes no others later.
        if self.run.snapshot.retry_of.is_some() && index > 0 {
            new.clear();
        }
        for mut member in new {
            let standing = self.standing(&mut member, None)?;
            joining.push_back(Joining { seq: None, member: Some(member), standing });
        }
        Ok(joining)
    }

    /// Takes the next chunk of agents in; after the last one the stage goes.
    pub(super) fn take_in(&mut self, changes: &mut Changes) {
        if !self.is_entering() {
            self.joining.clear();
            return;
        }
        let steps = self.stage().map_or(0, |stage| stage.steps.len());
        let (mut made, mut bytes) = (0, 0);
        while made < RECORDS_AT_ONCE && bytes < CHUNK_BYTES {
            let Some(Joining { seq, member, standing }) = self.joining.pop_front() else { break };
            made += 1;
            match (seq, member) {
                (Some(seq), member) => {
                    let weight = Self::record(self, seq).map_or(0, record_bytes);
                    self.heaviest = self.heaviest.max(weight);
                    bytes += weight;
                    self.enter(seq, member, standing, steps, changes);
                }
                (None, Some(member)) => {
                    bytes += member.bytes();
                    self.make_record(member, standing, steps, changes);
                }
                (None, None) => {}
            }
        }
        if !self.joining.is_empty() {
            return;
        }
        self.begin_stage(changes);
    }

    fn begin_stage(&mut self, changes: &mut Changes) {
        // An agent that failed in an earlier stage is left out of this one.
        let failed = self.run.progress.count(AgentState::Failed);
        let selected = self.run.progress.count(AgentState::Pending) + failed;
        let progress = &mut self.run.progress;
        progress.stage.selected = selected;
        progress.selected = progress.selected.saturating_add(selected);
        progress.stage.entering = false;
        let (index, is_first) = (progress.stage.index, progress.status == RunStatus::Starting);
        if is_first {
            changes.status(self, RunStatus::Running, None);
        }
        let stage = self.stage().map(|stage| stage.name.clone()).unwrap_or_default();
        changes.event(self, Happened::Stage { stage, index, selected });
        self.plan_due = true;
        self.check_absence(changes);
        // The failures of stages before may be too many for this one's budget.
        self.check_budget(changes);
        self.end_stage_if_over(changes);
    }

    /// The record of a member that the run does not know yet, with what is known of it.
    pub(super) fn record_of(
        &self,
        member: Member,
        seq: AgentSeq,
        steps: usize,
        now: Timestamp,
    ) -> AgentRecord {
        let identified_at = member.identified_at(now);
        let Member { agent, address, attributes, declared, node, datastore, identity, .. } = member;
        AgentRecord {
            attributes: Arc::new(attributes),
            declared: Arc::new(declared),
            node: Arc::new(node),
            datastore: Arc::new(datastore),
            node_seen_at: Some(now),
            identity,
            identified_at,
            ..AgentRecord::new(self.run.snapshot.id, seq, agent, address, steps)
        }
    }

    fn make_record(
        &mut self,
        member: Member,
        standing: Standing,
        steps: usize,
        changes: &mut Changes,
    ) {
        let seq = AgentSeq(u32::try_from(self.records().len()).unwrap_or(u32::MAX));
        let index = self.run.progress.stage.index;
        let (state, why) = standing.state();
        let (error, undecided) = self.failure_of(standing, changes);
        let agent = member.agent.clone();
        let made = self.record_of(member, seq, steps, changes.now);
        self.insert(AgentRecord {
            undecided,
            state,
            stage: index,
            error,
            skip_reason: why.clone().filter(|_| state == AgentState::Skipped),
            ended_at: (state != AgentState::Pending).then_some(changes.now),
            // Those of the first stage were there before the run.
            joined_at: (index > 0).then_some(changes.now),
            ..made
        });
        *self.run.progress.counts.entry(state).or_insert(0) += 1;
        changes.records.insert(seq);
        changes.event(self, Happened::Agent { agent, from: None, to: state, batch: None, why });
    }

    /// Takes an agent into the next stage. How it came through the one before is kept, and so are the
    /// results of its steps.
    fn enter(
        &mut self,
        seq: AgentSeq,
        member: Option<Member>,
        standing: Standing,
        steps: usize,
        changes: &mut Changes,
    ) {
        let index = self.run.progress.stage.index;
        let (state, why) = self.state_in_next(seq, member.is_some(), &standing);
        let (error, undecided) = match state {
            AgentState::Failed => self.failure_of(standing, changes),
            AgentState::Added
            | AgentState::Pending
            | AgentState::Running
            | AgentState::Done
            | AgentState::Skipped
            | AgentState::Removed => (None, false),
        };
        if !self.settling.contains_key(&seq) {
            self.over.remove(&seq);
        }
        let Some(record) = self.record_mut(seq) else { return };
        let failed = record.removed_from.take() == Some(AgentState::Failed);
        record.past.push(PastStage {
            stage: record.stage,
            state: if failed { AgentState::Failed } else { record.state },
            batch: record.batch,
            error: record.error.take(),
            skip_reason: record.skip_reason.take(),
            started_at: record.started_at.take(),
            ended_at: record.ended_at.take(),
        });
        record.stage = index;
        record.step = 0;
        record.phase = StepPhase::Waiting;
        record.tries = 0;
        (record.late, record.again) = (None, false);
        record.attempts = vec![0; steps];
        (record.batch, record.batch_label) = (None, None);
        record.skip_reason = why.clone().filter(|_| state != AgentState::Failed);
        record.ended_at = (state != AgentState::Pending).then_some(changes.now);
        (record.error, record.undecided) = (error, undecided);
        match member {
            Some(member) => {
                record.identified_at = member.identified_at(changes.now);
                let Member { address, attributes, declared, node, datastore, identity, .. } =
                    member;
                record.identity = identity;
                record.declared = Arc::new(declared);
                let seen_at = Some(changes.now);
                let (attributes, node) = (attributes.into(), node.into());
                let about = About { attributes, node, datastore: datastore.into(), seen_at };
                changes.about_with_address(self, seq, about, address);
            }
            None if record.state == AgentState::Removed => {}
            None => record.left_at = Some(changes.now),
        }
        let Some((agent, ..)) = self.move_agent(seq, state) else { return };
        changes.records.insert(seq);
        changes.event(self, Happened::Agent { agent, from: None, to: state, batch: None, why });
    }

    /// The state in which an agent that the run knows begins the next stage, and why.
    fn state_in_next(
        &self,
        seq: AgentSeq,
        is_member: bool,
        standing: &Standing,
    ) -> (AgentState, Option<String>) {
        if !is_member {
            return (AgentState::Removed, Some("left the cluster".to_owned()));
        }
        if let Some(stage) = self.failed_in(seq) {
            return (AgentState::Skipped, Some(format!("failed in stage {stage}")));
        }
        standing.state()
    }

    /// The stage in which an agent failed, if it did in any. Nothing further is done to such an agent.
    pub(super) fn failed_in(&self, seq: AgentSeq) -> Option<String> {
        let record = Self::record(self, seq)?;
        let before = record.past.iter().map(|past| (past.stage, past.state));
        let left_as = record.removed_from.map(|state| (record.stage, state));
        let mut all = before.chain([(record.stage, record.state)]).chain(left_as);
        let (stage, _) = all.find(|(_, state)| *state == AgentState::Failed)?;
        let stage = self.run.snapshot.playbook.stages.get(usize::from(stage))?;
        Some(stage.name.clone())
    }
}
