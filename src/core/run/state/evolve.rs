//! The only way in which a run changes: the state applies one event. Live runs and replays share it, so they can't
//! differ.

use std::sync::Arc;

use super::agent::{Agent, Phase};
use super::entering::Arrival;
use super::event::{Begins, Event, OfMembership, OfRun, Sent, What};
use super::illegal::IllegalInput;
use super::touches::touches;
use super::value::{State, Stopping};
use crate::mutants::mutant;
use crate::playbook::{ClusterGuards, StepRole};
use crate::run::notice::MAX_SILENT_NAMED;
use crate::run::{
    AgentId, AgentRecord, AgentSeq, AgentState, Held, LogLine, RunStatus, Silent, StageProgress,
    StatusReason, Timestamp, Unheard,
};

/// Applies an event.
///
/// # Errors
/// [`IllegalInput`] when the event can't happen in this state. The state may then be changed in part, and must be
/// dropped.
pub(crate) fn evolve(state: &mut State, event: &Event) -> Result<(), IllegalInput> {
    let next_event = state.run.progress.next_event;
    state.take(event).map_err(|illegal| illegal.with(|| state.place_of(&event.what, next_event)))
}

impl State {
    fn take(&mut self, event: &Event) -> Result<(), IllegalInput> {
        let touched = touches(&event.what);
        let progress = &mut self.run.progress;
        // Mistakes that tests can turn on.
        let is_odd_one = touched.told && progress.next_event.is_multiple_of(13);
        progress.next_event += u64::from(touched.told);
        if !(is_odd_one && mutant!(EventIgnored)) {
            self.take_notice(event)?;
        }
        if is_odd_one && mutant!(EventTwice) {
            self.take_notice(event)?;
        }
        if let What::Agent(seq, _) | What::Call(seq, _) = &event.what {
            self.count_for_guards(*seq);
        }
        if touched.progress {
            self.run.progress.needs = self.run.progress.needed();
        }
        debug_assert_eq!(self.broken_by(&event.what), None, "after {:?}", event.what);
        Ok(())
    }

    fn take_notice(&mut self, Event { at, what }: &Event) -> Result<(), IllegalInput> {
        match what {
            What::Run(event) => self.of_run(event, *at),
            What::Strategy(event) => self.of_strategy(event, *at),
            What::Membership(event) => self.of_membership(event, *at),
            What::Agent(seq, event) => self.of_agent(*seq, event, *at),
            What::Call(seq, event) => self.of_call(*seq, event),
        }
    }

    fn of_run(&mut self, event: &OfRun, at: Timestamp) -> Result<(), IllegalInput> {
        let progress = &mut self.run.progress;
        match event {
            OfRun::Created(status) => {
                // The event itself is already counted.
                if progress.next_event != 2 {
                    let with = "a run that has a history";
                    return Err(IllegalInput::new("the beginning of a run", status, with));
                }
                (progress.status, progress.since) = (*status, at);
            }
            OfRun::Status { to, reason } => return self.of_status(*to, reason.as_ref(), at),
            OfRun::Settled { outcome, outcomes, reason } => {
                progress.outcome = Some(*outcome);
                progress.outcomes.clone_from(outcomes);
                self.of_status(RunStatus::Finishing, Some(reason), at)?;
            }
            OfRun::Reason(reason) => progress.reason = Some(reason.clone()),
            OfRun::Sent(sent) => return self.sent(*sent),
            OfRun::Came(sent) => return self.came(*sent),
            OfRun::WakesAt(at) => self.out.wake = Some(*at),
            OfRun::Woke => self.out.wake = None,
            OfRun::Unanswered(who) => progress.stage.unanswered.clone_from(who),
            OfRun::Gone(gone) => progress.gone = Some(gone.clone()),
            OfRun::StageBegan { selected } => return self.stage_began(*selected),
            OfRun::StageEnded => return self.stage_ended(),
            OfRun::Closes { closing, next: _ } => {
                progress.closing = Some(closing.clone());
                // They ended the run, and the stages that follow have budgets of their own.
                progress.accepted_failures = progress.failures;
            }
            OfRun::ClosesNow => {
                if let Some(closing) = &mut progress.closing {
                    closing.over = true;
                }
                self.drop_work();
            }
            OfRun::Exceeded(how) => progress.exceeded = Some(how.clone()),
            OfRun::Held => {
                if progress.hold {
                    return Err(IllegalInput::new("a hold", "another one", "a run on hold"));
                }
                (progress.hold, progress.held_since) = (true, Some(at));
            }
            OfRun::LetGo => {
                progress.hold = false;
                if let Some(since) = progress.held_since.take() {
                    progress.held.0 = progress.held.0.saturating_add(at.since(since).0);
                }
            }
            OfRun::Retries { from, again } => {
                (progress.stage.retrying, progress.stage.retrying_again) = (*from, *again);
            }
            OfRun::Guards(guards) => self.guarded_by(guards),
            OfRun::Overridden(guard) => {
                progress.overridden.insert(guard.clone());
                self.counting.changed();
            }
            OfRun::Holds(held) => {
                progress.held_agents.clone_from(held);
                self.counting.judged();
            }
            OfRun::FailuresAccepted => progress.accepted_failures = progress.failures,
            OfRun::Stops { from, all } => return self.stops(*from, *all),
            OfRun::Approval { by, change } => return self.of_approval(by.as_ref(), change, at),
            OfRun::Command { id, .. } => {
                self.handled.insert(*id);
            }
            OfRun::Signalled(signal) => {
                self.count_signal(signal)?;
                self.run.progress.signals.push(signal.clone());
            }
            OfRun::Logged(line) => return self.logged(line),
            OfRun::Forgot(lines) => {
                if !progress.status.is_settled() {
                    lines.iter().for_each(|lines| progress.log.gone(lines));
                }
            }
        }
        Ok(())
    }

    /// The cluster has other guards. A guard that a person has overridden counts again if it has changed.
    fn guarded_by(&mut self, guards: &Arc<ClusterGuards>) {
        let progress = &mut self.run.progress;
        let before = std::mem::replace(&mut progress.guards, Arc::clone(guards));
        progress.overridden.retain(|name| guards.has(name) && before.same_in(guards, name));
        // What a strategy decides depends on who is held. By other guards, even a decision to wait may be a wrong one.
        self.strategy.stale |= self.out.sent.contains(&Sent::Plan);
        self.count_anew();
    }

    /// Nobody waits for guards any more.
    fn hold_nobody(&mut self) {
        self.run.progress.stage.held.clear();
        self.run.progress.held_agents = Held::default();
    }

    /// Gives the run another status, if the transition table allows it.
    fn of_status(
        &mut self,
        to: RunStatus,
        reason: Option<&StatusReason>,
        at: Timestamp,
    ) -> Result<(), IllegalInput> {
        let progress = &mut self.run.progress;
        let from = progress.status;
        if !from.next().contains(&to) {
            return Err(IllegalInput::new("a change of the run's status", from, to));
        }
        (progress.status, progress.since) = (to, at);
        progress.reason = reason.cloned();
        self.asks_by_status(to, reason, at);
        let progress = &mut self.run.progress;
        match to {
            RunStatus::Starting => progress.started_at = Some(at),
            RunStatus::Cancelling => self.drop_work(),
            RunStatus::Finishing => {
                progress.finishing_at = Some(at);
                self.end_work()?;
            }
            RunStatus::Done | RunStatus::Failed | RunStatus::Cancelled => {
                let none = || IllegalInput::missing("the end of a run", "its moment", "the run");
                progress.finish_ts = Some(progress.finishing_at.ok_or_else(none)?);
            }
            RunStatus::PendingApprove
            | RunStatus::Pending
            | RunStatus::Running
            | RunStatus::Paused => {}
        }
        if to == RunStatus::Finishing && mutant!(FinishTsOnRunFirst) {
            self.run.progress.finish_ts = Some(at);
        }
        self.forget_fresh();
        Ok(())
    }

    /// The run starts nothing any more, so the rest of what was to be started is dropped.
    fn drop_work(&mut self) {
        (self.stage.joining, self.stage.joined) = (Arc::default(), 0);
        self.stage.meanwhile.clear();
        self.stage.admitting = false;
        self.run.progress.stage.retrying = None;
        self.run.progress.stage.unanswered = None;
        self.hold_nobody();
    }

    /// Nothing is done to the run's agents any more, and nobody is waited for.
    fn end_work(&mut self) -> Result<(), IllegalInput> {
        self.drop_work();
        self.empty_queue()?;
        self.stage.stopping = None;
        self.strategy.due = false;
        self.run.progress.stage.refresh.clear();
        if !mutant!(UnheardKept) {
            self.run.progress.stage.unheard = Unheard::default();
        }
        self.index.silent.clear();
        self.count_silent();
        Ok(())
    }

    /// Empties the queue, since no further step begins.
    fn empty_queue(&mut self) -> Result<(), IllegalInput> {
        while let Some((_, seq)) = self.index.queue.first().copied() {
            self.set_phase(seq, Phase::Idle)?;
        }
        Ok(())
    }

    fn stage_began(&mut self, selected: u32) -> Result<(), IllegalInput> {
        let progress = &mut self.run.progress;
        // The first stage is entered while the run is STARTING.
        let first = self.run.snapshot.first_stage();
        let is_first = progress.stage.index == first && progress.selected == 0;
        if !progress.stage.entering && !is_first {
            let (found, with) = (format!("{selected} agents"), "one that goes");
            return Err(IllegalInput::new("the beginning of a stage", found, with));
        }
        progress.stage.selected = selected;
        if !progress.stage.once {
            progress.selected = progress.selected.saturating_add(selected);
        }
        progress.stage.entering = false;
        self.strategy.due = true;
        Ok(())
    }

    fn stage_ended(&mut self) -> Result<(), IllegalInput> {
        let running = self.run.progress.count(AgentState::Running);
        if running > 0 {
            let found = format!("{running} RUNNING");
            return Err(IllegalInput::new("the end of a stage", found, "nothing in flight"));
        }
        let next = self.run.stage_after();
        let progress = &mut self.run.progress;
        let index = next.unwrap_or(progress.stage.index.saturating_add(1));
        let (before, once) = (progress.stage.once, self.run.snapshot.is_once(index));
        progress.stage = StageProgress { index, once, entering: true, ..StageProgress::default() };
        if before != once {
            self.count_states_anew();
        }
        self.strategy.due = false;
        self.strategy.stale = self.out.sent.contains(&Sent::Plan);
        self.out.members_stale = self.out.sent.contains(&Sent::Members);
        self.hold_nobody();
        self.forget_fresh();
        Ok(())
    }

    /// Counts those that the stage is about: the run's own record, or all others. The others keep their states, and are
    /// counted again when a stage of agents is entered.
    fn count_states_anew(&mut self) {
        self.index.by_state.clear();
        self.run.progress.counts.clear();
        for Agent { record, .. } in &self.agents {
            if record.agent.is_run() == self.run.progress.stage.once {
                self.index.by_state.entry(record.state).or_default().insert(record.seq);
                *self.run.progress.counts.entry(record.state).or_insert(0) += 1;
            }
        }
    }

    pub(super) fn sent(&mut self, sent: Sent) -> Result<(), IllegalInput> {
        match self.out.sent.insert(sent) {
            true => Ok(()),
            false => Err(IllegalInput::new("an effect", format!("{sent:?}"), "one that is out")),
        }
    }

    fn came(&mut self, sent: Sent) -> Result<(), IllegalInput> {
        if !self.out.sent.remove(&sent) {
            return Err(IllegalInput::new("an answer", format!("{sent:?}"), "nothing asked"));
        }
        self.strategy.stale &= sent != Sent::Plan;
        self.out.members_stale &= sent != Sent::Members;
        Ok(())
    }

    fn stops(&mut self, from: Option<AgentSeq>, all: bool) -> Result<(), IllegalInput> {
        self.stage.stopping = from.map(|from| Stopping { from, all });
        // Finally steps are begun although the run is cancelled.
        let queued: Vec<_> = self.index.queue.iter().map(|(_, seq)| *seq).collect();
        for seq in queued {
            if self.present_role(seq) != Some(StepRole::Finally) {
                self.set_phase(seq, Phase::Idle)?;
            }
        }
        Ok(())
    }

    fn logged(&mut self, line: &LogLine) -> Result<(), IllegalInput> {
        let LogLine { level, event, source, message, .. } = line;
        let of_agent = line.agent.as_ref().map_or("", AgentId::as_str);
        let log = &mut self.run.progress.log;
        if line.attempt.is_none() {
            log.next_of_strategy(*event);
        }
        let number = log.add(*level, *event, &[message, source, of_agent]);
        log.bound();
        debug_assert_eq!(number, line.number, "lines are numbered without a gap");
        if let Some(key) = line.attempt {
            self.attempt_mut(key.agent)?.journal.log_lines = line.line;
        }
        Ok(())
    }

    /// Forgets what agents have said. It will be old by the time the run goes on, and they are asked again then.
    fn forget_fresh(&mut self) {
        self.strategy.refreshing.forget();
        self.strategy.around.forget();
    }

    pub(super) fn count_silent(&mut self) {
        let silent = &self.index.silent;
        let named = silent.iter().filter_map(|seq| self.find(*seq));
        let some = named.take(MAX_SILENT_NAMED).map(|agent| agent.record.agent.clone()).collect();
        let agents = u32::try_from(silent.len()).unwrap_or(u32::MAX);
        self.run.progress.silent = Silent { agents, some };
    }

    fn of_membership(&mut self, event: &OfMembership, at: Timestamp) -> Result<(), IllegalInput> {
        match event {
            OfMembership::Joins(who) => {
                (self.stage.joining, self.stage.joined) = (Arc::clone(who), 0);
            }
            OfMembership::TookIn(number) => {
                let (joined, all) = (self.stage.joined + number, self.stage.joining.len());
                if joined > all {
                    let found = format!("number {joined}");
                    return Err(IllegalInput::new("an agent that is taken in", found, all));
                }
                self.stage.joined = joined;
                if self.stage.joined >= self.stage.joining.len() {
                    (self.stage.joining, self.stage.joined) = (Arc::default(), 0);
                }
            }
            OfMembership::Noted(agent, changed) => {
                let before = self.stage.meanwhile.remove(agent);
                self.stage.meanwhile.insert(agent.clone(), changed.clone().after(before));
            }
            OfMembership::CatchesUp => {
                let what = "a change of a membership";
                let none =
                    || IllegalInput::missing(what, "one that is still to be made", "the run");
                self.stage.meanwhile.pop_first().ok_or_else(none)?;
            }
            OfMembership::Admits(admits) => self.stage.admitting = *admits,
            OfMembership::Absence(absence) => self.run.progress.mass_absence = *absence,
            OfMembership::Made { arrival, begins } => return self.made(arrival, begins, at),
        }
        Ok(())
    }

    /// Gives an agent its record.
    fn made(
        &mut self,
        arrival: &Arrival,
        begins: &Begins,
        at: Timestamp,
    ) -> Result<(), IllegalInput> {
        let Begins { state, skip_reason, error, undecided, bystander } = begins;
        let index = self.run.progress.stage.index;
        let steps = self.stage()?.steps.len();
        let (agent, address) = (arrival.agent.clone(), arrival.address.clone());
        let made = AgentRecord::new(self.run.id(), self.next_agent(), agent, address, steps);
        let about = arrival.about.clone();
        // The agents of the first stage were members before the run began.
        let is_later =
            !arrival.agent.is_run() && Some(index) > self.run.snapshot.first_with_agents();
        let (joins, goes_on) = (*state == AgentState::Added, *state == AgentState::Pending);
        let record = AgentRecord {
            attributes: about.attributes,
            node: about.node,
            datastore: about.datastore,
            node_seen_at: about.seen_at,
            declared: Arc::clone(&arrival.declared),
            identity: arrival.identity.clone(),
            identified_at: arrival.identified_at,
            undecided: *undecided,
            bystander: *bystander,
            chosen: self.chooses(*state) && !arrival.agent.is_run(),
            state: *state,
            stage: index,
            error: error.clone(),
            skip_reason: skip_reason.clone(),
            ended_at: (!goes_on && !joins).then_some(at),
            joined_at: (joins || is_later).then_some(at),
            ..made
        };
        if *state == AgentState::Failed {
            self.count_failure();
        }
        self.insert(Agent::new(record, None))?;
        *self.run.progress.counts.entry(*state).or_insert(0) += 1;
        self.recompute_shares();
        Ok(())
    }

    /// Whether an agent in this state is from then on one of those that the run is limited to.
    pub(super) fn chooses(&self, state: AgentState) -> bool {
        let takes_part = matches!(state, AgentState::Pending | AgentState::Failed);
        self.run.snapshot.narrowed.limit.is_some() && takes_part
    }

    /// A mistake that tests can turn on.
    pub(super) fn recompute_shares(&mut self) {
        if mutant!(SharesRecomputed) && !self.is_entering() {
            let progress = &mut self.run.progress;
            let away = progress.count(AgentState::Removed) + progress.count(AgentState::Skipped);
            progress.stage.selected = progress.counts.values().sum::<u32>() - away;
        }
    }

    /// Counts a failure against the budgets.
    pub(super) fn count_failure(&mut self) {
        self.run.progress.stage.failures += 1;
        self.run.progress.failures += 1;
    }

    /// Takes a counted failure back.
    pub(super) fn uncount_failure(&mut self) {
        let progress = &mut self.run.progress;
        progress.stage.failures = progress.stage.failures.saturating_sub(1);
        progress.failures = progress.failures.saturating_sub(1);
        progress.accepted_failures = progress.accepted_failures.min(progress.failures);
    }
}
