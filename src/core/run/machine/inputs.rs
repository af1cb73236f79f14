//! A run in memory: how it is loaded, and where its inputs go. All inputs come in here, and each is checked
//! against the table first.

use std::collections::BTreeMap;

use super::mending;
use super::table::{Fit, fit};
use super::turn::{Legal, Turn};
use crate::mutants::mutant;
use crate::playbook::{Expr, ExprError};
use crate::run::state::{IllegalInput, OfAgent, OfRun, Sent, State, Work};
use crate::run::{
    AgentId, AgentRecord, AgentSeq, AgentState, AttemptKey, Effect, Input, Journal, Loaded,
    PlannedNext, Roster, Run, RunStatus, StepPhase, Timestamp, Transition,
};

/// A run in memory. Only its own methods change it. A clone is the same run from then on twice, for whoever looks at what may
/// come of it: nothing of it is shared.
///
/// # Guarantees
/// - The same loaded run and the same inputs at the same moments give the same transitions.
/// - Every effect is safe to perform again, so a machine that is loaded anew after a crash goes on
///   with [`load`](Self::load)'s effects where the last commit left it.
/// - One transition never holds more documents than one commit may.
///
/// # Assumptions
/// The driver commits the writes of a transition before it performs its effects, applies inputs one after another,
/// and drops the machine when a commit or an input is refused.
///
/// # Example
/// ```
/// use replibook_core::run::{Effect, Input, Loaded, Machine, RunStatus, new_run};
/// # use replibook_core::time::Timestamp;
/// # use serde_json::{Map, json};
/// # let (id, now) = ("0192a3b4-0000-7000-8000-000000000001".parse()?, Timestamp::from_millis(0));
/// # let playbook = serde_json::from_value(json!({
/// #     "name": "restart", "version": "1.0.0", "summary": null, "vcs": null, "approval": "granted",
/// #     "concurrency": "queue", "params": {}, "plugins": {}, "stages": [],
/// # }))?;
///
/// let (run, _) = new_run(id, &playbook, Map::new(), "eu", None, now);
/// let loaded = Loaded { run, records: Vec::new(), journals: Vec::new() };
/// let (mut machine, first) = Machine::load(loaded, now)?;
/// assert!(matches!(first.effects[..], [Effect::AwaitCluster]));
///
/// let then = machine.apply(Input::ClusterFree, now)?;
/// assert_eq!(machine.run().progress.status, RunStatus::Starting);
/// assert_eq!(then.writes.events.len(), 1);
/// assert!(matches!(then.effects[..], [Effect::LoadMembers]));
/// // Nothing is stamped before the run has come to its end.
/// assert!(machine.apply(Input::Stamped, now).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Machine {
    state: State,
}

impl Machine {
    /// Makes a machine for a run as it was loaded. The transition takes up again all that was going on at the last
    /// commit.
    ///
    /// # Errors
    /// [`IllegalInput`] for records that don't belong together.
    pub fn load(loaded: Loaded, now: Timestamp) -> Result<(Self, Transition), IllegalInput> {
        let Loaded { mut run, mut records, journals } = loaded;
        records.sort_by_key(|record| record.seq);
        let mut journals: BTreeMap<AttemptKey, Journal> =
            journals.into_iter().map(|journal| (journal.key, journal)).collect();
        mending::mend(&mut run, &mut records, &journals);
        let state = State::kept(run, records, &journals)?;
        let mut machine = Self { state };
        let transition = machine.turn(now, ("the run as it was kept", None), |turn| {
            turn.take_up_run(&mut journals)?;
            turn.keep_going()?;
            turn.keep_awake()?;
            turn.keep_log_small()
        })?;
        Ok((machine, transition))
    }

    /// Decides about one input.
    ///
    /// # Errors
    /// [`IllegalInput`] for an input that answers nothing that was asked. An input that merely comes too late,
    /// such as an answer for an attempt that was given up, is no error and changes nothing.
    pub fn apply(&mut self, input: Input, now: Timestamp) -> Result<Transition, IllegalInput> {
        let from = (input.kind().as_str(), input.agent());
        self.turn(now, from, |turn| {
            turn.decide(input)?;
            turn.drop_notices()?;
            turn.judge_again()?;
            turn.keep_going()?;
            turn.keep_awake()?;
            turn.keep_log_small()
        })
    }

    /// Asks the strategy if something has changed since it was last asked. It is called after a batch of inputs,
    /// so that many changes cost one decision.
    ///
    /// # Errors
    /// [`IllegalInput`] if the playbook has no such stage or plugin.
    pub fn settle(&mut self, now: Timestamp) -> Result<Transition, IllegalInput> {
        self.turn(now, ("a question to the strategy", None), |turn| {
            turn.ask_strategy()?;
            turn.keep_awake()
        })
    }

    /// Makes a transition of what `decide` decides. An error says where it came from: with which input, and about
    /// which agent.
    fn turn(
        &mut self,
        now: Timestamp,
        (from, agent): (&str, Option<AgentSeq>),
        decide: impl FnOnce(&mut Turn<'_>) -> Legal,
    ) -> Legal<Transition> {
        let mut turn = Turn::at(&mut self.state, now);
        let decided = decide(&mut turn).and_then(|()| turn.done());
        decided.map_err(|illegal| {
            illegal.with(|| self.state.place(from, agent, self.state.progress().next_event))
        })
    }

    /// The run as it is after the last input.
    pub fn run(&self) -> &Run {
        self.state.run()
    }

    /// The record of an agent; `None` if there is no record with this number.
    pub fn record(&self, seq: AgentSeq) -> Option<&AgentRecord> {
        self.state.find(seq).map(|agent| agent.record())
    }

    /// All agent records, by sequence.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &AgentRecord> + Clone {
        self.state.records()
    }

    /// Number of attempts in flight.
    pub fn in_flight(&self) -> usize {
        self.state.trying().len()
    }

    /// Whether changes of the membership are still to be made.
    pub fn catches_up(&self) -> bool {
        self.state.next_change().is_some()
    }

    pub(super) const fn state(&self) -> &State {
        &self.state
    }
}

impl Turn<'_> {
    /// Decides what an input leads to.
    fn decide(&mut self, input: Input) -> Legal {
        match fit(self.acts_as(), input.kind()) {
            Fit::Fits => {}
            Fit::TooLate => return self.too_late(&input),
            Fit::Never => {
                let found = input.kind().as_str();
                return Err(IllegalInput::new("an input", found, self.status()));
            }
        }
        match input {
            Input::ClusterFree => self.cluster_free(),
            Input::ClusterBusy { holder, queued } => self.cluster_busy(holder, queued),
            Input::Guards(guards) => self.guards(guards),
            Input::Members(members) => self.members(members, Vec::new()),
            Input::MembersOfRetry { members, gone, bystanders } => {
                self.members_of_retry(members, gone, bystanders)
            }
            Input::MembersUnanswered(who) => self.members_unanswered(who),
            Input::MembersFailed(message) => self.members_failed(message),
            Input::Refreshed(answers) => self.refreshed(answers),
            Input::LookedAround(answers) => self.looked_around(answers),
            Input::Planned { result, logs } => self.planned(result, logs),
            Input::Activated { key, activation } => self.activated(key, activation),
            Input::Accepted { key, call } => self.accepted(key, call),
            Input::Noticed { key, call, notice } => self.noticed(key, call, notice),
            Input::Answered { key, call, answer } => {
                // An action that is looked at again has got no answer yet.
                if !self.is_looked_at_again(key, call, &answer) {
                    self.heard(key, Some(call))?;
                }
                self.answered(key, call, answer)
            }
            Input::Membership(change) => self.membership(change),
            Input::Checked { key, info } => {
                self.heard(key, None)?;
                self.checked(key, info)
            }
            Input::Looked(look) => self.looked(look),
            Input::Command(command) => self.command(command),
            Input::Woken => self.woken(),
            Input::Forgotten(lines) => self.forgotten(lines),
            Input::Stamped => self.stamped(),
            Input::Continue => {
                self.emit(OfRun::Came(Sent::Continue))?;
                self.go_on()
            }
        }
    }

    /// An input that comes too late only marks what it answers as no longer outstanding.
    fn too_late(&mut self, input: &Input) -> Legal {
        match input.kind().answers().filter(|sent| self.is_out(*sent)) {
            Some(sent) => self.emit(OfRun::Came(sent)),
            None => Ok(()),
        }
    }

    /// Takes up what was going on at the last commit.
    fn take_up_run(&mut self, journals: &mut BTreeMap<AttemptKey, Journal>) -> Legal {
        match self.status() {
            RunStatus::PendingApprove => Ok(()),
            RunStatus::Pending => {
                self.effect(Effect::AwaitCluster);
                Ok(())
            }
            RunStatus::Starting => self.enter_stage(),
            RunStatus::Running | RunStatus::Paused | RunStatus::Cancelling => {
                self.take_up(journals)
            }
            RunStatus::Finishing => {
                let at = self.progress().finishing_at.unwrap_or(self.now);
                self.effect(Effect::Stamp(at));
                Ok(())
            }
            RunStatus::Done | RunStatus::Failed | RunStatus::Cancelled => Ok(()),
        }
    }

    fn take_up(&mut self, journals: &mut BTreeMap<AttemptKey, Journal>) -> Legal {
        for seq in self.in_state(AgentState::Running) {
            self.take_up_agent(seq, journals)?;
        }
        let late = |record: &&AgentRecord| {
            record.outstanding.is_some() && record.state != AgentState::Running
        };
        let late: Vec<_> = self.records().filter(late).map(|record| record.seq).collect();
        for seq in late {
            self.take_up_settling(seq)?;
        }
        if self.progress().stage.entering {
            self.enter_stage()?;
        }
        match self.acts_as() {
            RunStatus::Cancelling => self.stop_all()?,
            RunStatus::Running => match &self.progress().stage.next {
                Some(PlannedNext::Complete | PlannedNext::Abort { .. }) => {}
                Some(PlannedNext::Wait | PlannedNext::WaitUntil { .. }) | None => {
                    self.plan_is_due()?;
                }
            },
            // The strategy is asked once the run goes on.
            RunStatus::Paused
            | RunStatus::PendingApprove
            | RunStatus::Pending
            | RunStatus::Starting
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => {}
        }
        self.end_stage_if_over()
    }

    fn take_up_agent(
        &mut self,
        seq: AgentSeq,
        journals: &mut BTreeMap<AttemptKey, Journal>,
    ) -> Legal {
        self.emit((seq, OfAgent::TakenUp))?;
        match self.record(seq)?.phase {
            StepPhase::Trying if mutant!(OnceAgain) && self.is_once() => {
                let step = self.step(self.record(seq)?.step)?.clone();
                self.begin_attempt(seq, &step)
            }
            StepPhase::Trying => self.take_up_attempt(seq, journals),
            StepPhase::Settling { .. } => self.take_up_settling(seq),
            StepPhase::Waiting | StepPhase::RetryAt { .. } => Ok(()),
        }
    }

    /// Does the next part of work that is too much for one commit. One kind of work is done at a time, and each
    /// keeps to what a commit may hold.
    fn go_on(&mut self) -> Legal {
        match self.work() {
            Some(Work::Join) => self.take_in(),
            Some(Work::Refresh) => self.take_refreshed(),
            Some(Work::LookAround) => self.take_around(),
            Some(Work::CatchUp) => self.catch_up(),
            Some(Work::Admit) => self.admit(),
            Some(Work::Retry) => self.retry_some(),
            Some(Work::Begin) => self.begin_some(),
            Some(Work::Stop) => self.stop_some(),
            None => Ok(()),
        }
    }

    /// Asks to go on if there is more to do than this commit may hold.
    pub(super) fn keep_going(&mut self) -> Legal {
        let goes_on = self.is_out(Sent::Continue);
        if !self.status().is_settled() && !goes_on && self.work().is_some() {
            self.emit(OfRun::Sent(Sent::Continue))?;
            self.effect(Effect::Continue);
        }
        Ok(())
    }
}

impl State {
    /// Whether more is to be done than went into the last commit.
    pub(super) fn has_work(&self) -> bool {
        self.is_out(Sent::Continue) || self.work().is_some()
    }
}

/// The run's agents as its strategy sees them.
impl Roster for Machine {
    fn count(&self, state: AgentState) -> u32 {
        self.state.count(state)
    }

    fn selected(&self) -> u32 {
        self.state.selected()
    }

    fn page(&self, state: AgentState, after: Option<&AgentId>, limit: u32) -> Vec<AgentId> {
        self.state.page(state, after, limit)
    }

    fn record(&self, id: &AgentId) -> Option<&AgentRecord> {
        Roster::record(&self.state, id)
    }

    fn held(&self, after: Option<&AgentId>, limit: u32) -> Vec<AgentId> {
        self.state.held(after, limit)
    }

    fn matches(&self, id: &AgentId, expression: &Expr) -> Option<Result<bool, ExprError>> {
        self.state.matches(id, expression)
    }
}
