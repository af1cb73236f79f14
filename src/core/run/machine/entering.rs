//! Takes a run from the queue into its first stage, and from stage to stage: the cluster's lock, and a record for
//! each member.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::limiting::Places;
use super::steering::CHUNK_BYTES;
use super::turn::{Legal, Turn};
use crate::playbook::Concurrency;
use crate::run::state::{
    Arrival, Begins, Identified, IllegalInput, Joining, OfAgent, OfMembership, OfRun, OfStrategy,
    Sent, Standing, State, journal_bytes, record_bytes,
};
use crate::run::{
    About, AgentRecord, AgentSeq, AgentState, Effect, Failure, Gone, Member, ReasonCode, RunId,
    RunStatus, StatusReason, Unanswered,
};

/// How many agents one commit takes in. Each takes a record and up to two events, and a commit has at most 1,000
/// documents.
const RECORDS_AT_ONCE: usize = 300;

pub(super) const NOT_SELECTED: &str = "not selected by the stage";

pub(super) const STANDS_BY: &str = "not among the agents that the run goes over again";
/// Why an agent that the stage selects takes no part in a run that is narrower than its playbook.
pub(super) const NOT_IN_RUN: &str = "not selected when the run was started";

/// Why an agent that both the stage and the run select takes no part.
pub(super) const BEYOND_LIMIT: &str = "beyond the limit that the run was started with";

impl Turn<'_> {
    pub(super) fn cluster_free(&mut self) -> Legal {
        self.become_status(RunStatus::Starting, None)?;
        self.enter_stage()
    }

    /// Asks for the members, unless they are being loaded already: a second answer might come when the next stage
    /// waits for its own.
    pub(super) fn load_members(&mut self) -> Legal {
        if self.is_out(Sent::Members) {
            return Ok(());
        }
        self.emit(OfRun::Sent(Sent::Members))?;
        self.effect(Effect::LoadMembers);
        Ok(())
    }

    /// Another run comes first on the cluster. A run that rejects a busy cluster was created with the lock, unless
    /// it had to be approved first: only then can it find the cluster busy here.
    pub(super) fn cluster_busy(&mut self, holder: RunId, queued: u32) -> Legal {
        match self.snapshot().playbook.concurrency {
            Concurrency::Reject => {
                let message = format!("run {holder} comes first, and the playbook rejects that");
                let reason = StatusReason { code: ReasonCode::ClusterBusy, message };
                self.finish(RunStatus::Failed, reason)
            }
            Concurrency::Queue | Concurrency::Allow => {
                let reason = StatusReason::cluster_busy(holder, queued);
                if self.progress().reason.as_ref() != Some(&reason) {
                    self.emit(OfRun::Reason(reason))?;
                }
                self.effect(Effect::AwaitCluster);
                Ok(())
            }
        }
    }

    /// Says which agents keep the stage from beginning.
    pub(super) fn members_unanswered(&mut self, unanswered: Unanswered) -> Legal {
        match self.is_out(Sent::Members) && self.is_entering() && !self.are_members_stale() {
            true => self.emit(OfRun::Unanswered(Some(unanswered))),
            false => Ok(()),
        }
    }

    /// The members could not be worked out. If nothing was done yet, that ends the run. Between two stages the run
    /// pauses, so that a person can mend the cause and resume.
    pub(super) fn members_failed(&mut self, message: String) -> Legal {
        if self.are_members_stale() {
            return self.load_anew();
        }
        self.members_came()?;
        self.stage_failed(ReasonCode::StartFailed, message)
    }

    /// Asks for the members again, as those that have come were asked for by another stage.
    fn load_anew(&mut self) -> Legal {
        self.members_came()?;
        match self.is_once() || !self.is_entering() {
            true => Ok(()),
            false => self.load_members(),
        }
    }

    /// Notes that the members have come: no agent is waited for any more before the stage begins.
    fn members_came(&mut self) -> Legal {
        self.emit(OfRun::Came(Sent::Members))?;
        match self.progress().stage.unanswered.is_some() {
            true => self.emit(OfRun::Unanswered(None)),
            false => Ok(()),
        }
    }

    fn stage_failed(&mut self, code: ReasonCode, message: String) -> Legal {
        match self.status() {
            RunStatus::Starting => self.finish(RunStatus::Failed, StatusReason { code, message }),
            RunStatus::Running if self.progress().stage.entering => {
                let stage = &self.stage()?.name;
                let message = format!("failed to begin stage {stage}: {message}");
                self.pause(code, message)
            }
            // When a person resumes the run, the members are loaded again.
            RunStatus::Running | RunStatus::Paused => Ok(()),
            RunStatus::Cancelling if self.is_closing() => {
                self.finish(RunStatus::Cancelled, StatusReason { code, message })
            }
            RunStatus::PendingApprove
            | RunStatus::Pending
            | RunStatus::Cancelling
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => {
                Err(IllegalInput::new("a stage that can't begin", message, self.status()))
            }
        }
    }

    /// Fixes the agents of the first stage of a run that goes over agents of another run again.
    pub(super) fn members_of_retry(
        &mut self,
        members: Vec<Member>,
        gone: Gone,
        bystanders: Vec<Member>,
    ) -> Legal {
        if self.status() == RunStatus::Starting && gone.count > 0 {
            self.emit(OfRun::Gone(gone))?;
        }
        self.members(members, bystanders)
    }

    /// Fixes the agents of the stage. The selection is worked out for all of them before the first
    /// record is written, so that an expression that fails stops the run before anything was touched. The bystanders
    /// only get their records.
    pub(super) fn members(&mut self, members: Vec<Member>, bystanders: Vec<Member>) -> Legal {
        if self.are_members_stale() {
            return self.load_anew();
        }
        self.members_came()?;
        if !self.is_entering() || self.is_joining() {
            let found = format!("{} members", members.len());
            return Err(IllegalInput::new("the members of a stage", found, "one that has begun"));
        }
        // The agents that a run should go over again may all have left before it began.
        let goes_over_nobody = self.snapshot().retry_of.is_some() && self.number_of_agents() == 0;
        if members.is_empty() && !goes_over_nobody {
            let cluster = &self.snapshot().cluster;
            let message = match &self.snapshot().retry_of {
                Some(of) => format!("run {} left no such agents in cluster {cluster}", of.run),
                None => format!("cluster {cluster} has no agents"),
            };
            return self.stage_failed(ReasonCode::StartFailed, message);
        }
        match self.who_joins(members) {
            Ok(mut joining) => {
                joining.extend(self.who_stands_by(bystanders));
                self.emit(OfMembership::Joins(Arc::new(joining)))?;
                self.take_in()
            }
            Err(message) => {
                let message = format!("failed to select agents: {message}");
                self.stage_failed(ReasonCode::ExpressionFailed, message)
            }
        }
    }

    /// What is to be done for each agent: those that the run knows, in its own order, then the others.
    fn who_joins(&self, members: Vec<Member>) -> Result<Vec<Joining>, String> {
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
        let index = self.progress().stage.index;
        let mut joining = Vec::new();
        let mut places = Places::of(self);
        for record in self.records().filter(|record| is_of_before(record, index)) {
            let seq = record.seq;
            let mut member = known.remove(&seq);
            let standing = match &mut member {
                Some(_) if record.bystander => Standing::Bystander,
                Some(member) => self.standing(member, Some(record))?,
                None => Standing::Out(NOT_SELECTED),
            };
            let standing = places.give(standing, record.chosen);
            let arrival = member.map(|member| Arc::new(Arrival::of(member, self.now)));
            joining.push(Joining::Known { seq, arrival, standing });
        }
        // A run that goes over agents of another run again takes no other agents later.
        let first = self.snapshot().first_with_agents();
        if self.snapshot().retry_of.is_some() && Some(index) > first {
            new.clear();
        }
        for mut member in new {
            let standing = places.give(self.standing(&mut member, None)?, false);
            let arrival = Arc::new(Arrival::of(member, self.now));
            joining.push(Joining::New { arrival, standing });
        }
        Ok(joining)
    }

    /// Members that the run does nothing to, and that have no records yet.
    fn who_stands_by(&self, bystanders: Vec<Member>) -> Vec<Joining> {
        let unknown = bystanders.into_iter().filter(|member| self.seq_of(&member.agent).is_none());
        let arrivals = unknown.map(|member| Arc::new(Arrival::of(member, self.now)));
        arrivals.map(|arrival| Joining::New { arrival, standing: Standing::Bystander }).collect()
    }

    /// Takes in the next chunk of agents. After the last chunk the stage begins.
    pub(super) fn take_in(&mut self) -> Legal {
        let (all, from) = self.joining();
        let (mut made, mut bytes, mut heaviest) = (0, 0, 0);
        for joining in all.iter().skip(from) {
            if made == RECORDS_AT_ONCE || bytes >= CHUNK_BYTES {
                break;
            }
            made += 1;
            match joining {
                Joining::Known { seq, arrival, standing } => {
                    let weight = record_bytes(self.record(*seq)?);
                    (bytes, heaviest) = (bytes + weight, heaviest.max(weight));
                    self.enter(*seq, arrival.as_deref(), standing)?;
                }
                Joining::New { arrival, standing } => {
                    bytes += arrival.bytes();
                    self.make_record(arrival, standing)?;
                }
            }
        }
        self.emit(OfStrategy::Weighs(heaviest))?;
        self.emit(OfMembership::TookIn(made))?;
        match self.is_joining() {
            true => Ok(()),
            false => self.begin_stage(),
        }
    }

    pub(super) fn begin_stage(&mut self) -> Legal {
        // An agent that failed in an earlier stage is left out of this one.
        let failed = self.progress().count(AgentState::Failed);
        let selected = self.progress().count(AgentState::Pending) + failed;
        if self.status() == RunStatus::Starting {
            self.become_status(RunStatus::Running, None)?;
        }
        self.emit(OfRun::StageBegan { selected })?;
        self.check_absence()?;
        // The failures of earlier stages may be too many for the budget of this stage.
        self.check_budget()?;
        self.end_stage_if_over()
    }

    fn make_record(&mut self, arrival: &Arc<Arrival>, standing: &Standing) -> Legal {
        let (state, skip_reason) = standing.state();
        let (error, undecided) = self.failure_of(standing);
        let bystander = matches!(standing, Standing::Bystander);
        let begins = Begins { state, skip_reason, error, undecided, bystander };
        let mut arrival = Arc::clone(arrival);
        if arrival.about.seen_at != Some(self.now) {
            // The agents before this one were too many for one commit.
            Arc::make_mut(&mut arrival).about.seen_at = Some(self.now);
        }
        self.emit(OfMembership::Made { arrival, begins })
    }

    /// Takes an agent into the next stage.
    fn enter(&mut self, seq: AgentSeq, arrival: Option<&Arrival>, standing: &Standing) -> Legal {
        let (state, skip_reason) = self.state_in_next(seq, arrival.is_some(), standing);
        let (error, undecided) = match state {
            AgentState::Failed => self.failure_of(standing),
            AgentState::Added
            | AgentState::Pending
            | AgentState::Running
            | AgentState::Done
            | AgentState::Skipped
            | AgentState::Removed => (None, false),
        };
        if let Some(arrival) = arrival {
            let about = About { seen_at: Some(self.now), ..arrival.about.clone() };
            self.about_with_address(seq, about, arrival.address.clone())?;
        }
        let member = arrival.map(Identified::of);
        let bystander = matches!(standing, Standing::Bystander);
        let begins = Begins { state, skip_reason, error, undecided, bystander };
        self.emit((seq, OfAgent::Entered { begins, member }))
    }
}

/// Whether a record is that of an agent which is still to enter the stage number `index`.
fn is_of_before(record: &AgentRecord, index: u16) -> bool {
    record.stage < index && !record.agent.is_run()
}

impl State {
    /// Bytes that an agent may add to a commit, with its record and its journals.
    pub(super) fn weight(&self, seq: AgentSeq) -> Legal<usize> {
        let agent = self.agent(seq)?;
        let attempt = agent.attempt();
        let journal = attempt.map(|attempt| attempt.bytes + attempt.journal.arguments.bytes());
        let over = agent.over().map_or(0, journal_bytes);
        Ok(record_bytes(agent.record()) + journal.unwrap_or(0) + over)
    }

    /// The state in which an agent that the run knows begins the next stage, and why it takes no part.
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
        let record = self.find(seq)?.record();
        let before = record.past.iter().map(|past| (past.stage, past.state));
        let left_as = record.removed_from.map(|state| (record.stage, state));
        let mut all = before.chain([(record.stage, record.state)]).chain(left_as);
        let (stage, _) = all.find(|(_, state)| *state == AgentState::Failed)?;
        self.stage_number(stage).ok().map(|stage| stage.name.clone())
    }
}

impl Turn<'_> {
    /// The failure of a member that takes part as FAILED, and whether it is unknown if the stage selects the
    /// member.
    pub(super) fn failure_of(&self, standing: &Standing) -> (Option<Failure>, bool) {
        match standing {
            Standing::In | Standing::Out(_) | Standing::Bystander => (None, false),
            Standing::Fails { reason, message, undecided } => {
                let (message, step) = (message.clone(), self.step_name(0));
                let failure = Failure { reason: *reason, message, step, at: self.now };
                (Some(failure), *undecided)
            }
        }
    }
}
