//! A stage as it goes: the run machine itself, with agents and people whose every move is chosen. What the machine asks for
//! is answered at once, and everything that it leaves to the world is an [`Event`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use super::bounds::{MOST_APPROVALS, MOST_DECISIONS, MOST_WAITS, PLAIN_WAITS, WAITS_IN_FLIGHT};
use super::event::Event;
use super::fleet::{self, Fleet};
use super::moved::Moved;
use super::property::{Broken, Property};
use super::scene::{START, Scene, Strategy};
use crate::run::{
    About, Activation, ActivationEnd, AgentId, AgentRecord, AgentSeq, AgentState, AskAgain,
    AttemptKey, Command, CommandId, Effect, FailureReason, IllegalInput, Input, JsonText, Machine,
    MembershipChange, Millis, PlannedNext, ReasonCode, Refreshed, Roster as _, RunStatus,
    Timestamp, Transition, Verb,
};

/// How much later agents answer than they are asked afresh. A strategy may compare the two moments.
const ANSWER_TIME: Millis = Millis(1);

/// How often something has happened, of what may happen only so often.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    pub(super) failures: u32,
    pub(super) joins: u32,
    pub(super) leaves: u32,
    pub(super) pauses: u32,
    /// How often in a row time has passed, and nothing else has happened.
    pub(super) waits: u32,
    /// How often in a row a person has approved, and nothing else has happened.
    pub(super) approvals: u32,
}

/// A stage at one moment. A clone goes its own way from there.
#[derive(Clone)]
pub(super) struct World<'s> {
    pub(super) scene: &'s Scene,
    pub(super) machine: Arc<Machine>,
    pub(super) now: Timestamp,
    pub(super) used: Used,
    /// The moment at which the machine wants to be woken.
    pub(super) wake: Option<Timestamp>,
    /// What agents are at work on.
    attempts: BTreeMap<AgentSeq, AttemptKey>,
    /// The group of each agent, by its number.
    pub(super) groups: Arc<Vec<u32>>,
    /// In how many groups agents may join.
    join_in: u32,
    commands: u128,
    /// Whether the last decision said that the stage is complete.
    pub(super) complete: bool,
    /// Whether the stage has ended.
    pub(super) over: bool,
    /// Whether the host refused a decision, so that nothing goes on.
    pub(super) refused: bool,
}

impl<'s> World<'s> {
    /// Begins the stage.
    ///
    /// # Errors
    /// Something that can't be: a mistake of this program.
    pub(super) fn begin(
        scene: &'s Scene,
        fleet: &Fleet,
        join_in: u32,
        strategy: &dyn Strategy,
    ) -> Result<(Self, Moved), IllegalInput> {
        let (machine, first) = Machine::load(scene.loaded(), START)?;
        let mut world = Self {
            scene,
            machine: Arc::new(machine),
            now: START,
            used: Used::default(),
            wake: None,
            attempts: BTreeMap::new(),
            groups: Arc::new(fleet.groups.clone()),
            join_in,
            commands: 0,
            complete: false,
            over: false,
            refused: false,
        };
        let mut moved = Moved::default();
        world.go_on(first.effects, strategy, &mut moved)?;
        Ok((world, moved))
    }

    /// What may happen next, in an order that is always the same.
    pub(super) fn may(&self) -> Vec<Event> {
        let mut may = Vec::new();
        if self.over || self.refused {
            return may;
        }
        let (bounds, used) = (&self.scene.bounds, self.used);
        let may_change = used.joins + used.leaves + used.pauses < bounds.changes;
        let id = |seq: &AgentSeq| self.machine.record(*seq).map(|record| record.agent.clone());
        let at_work: Vec<AgentId> = self.attempts.keys().filter_map(id).collect();
        may.extend(at_work.iter().cloned().map(Event::Ends));
        if used.failures < bounds.failures {
            may.extend(at_work.into_iter().map(Event::Fails));
        }
        if may_change && used.joins < bounds.joins {
            let agent = fleet::agent(self.groups.len());
            let new = self.groups.iter().max().map_or(0, |last| last + 1);
            let groups = (0..=new).take_while(|group| *group < self.join_in.max(1));
            may.extend(groups.map(|group| Event::Joins(agent.clone(), group)));
        }
        if may_change && used.leaves < bounds.leaves {
            let here =
                |record: &&AgentRecord| !record.leaving && record.state != AgentState::Removed;
            let leaving = self.machine.records().filter(here);
            may.extend(leaving.map(|record| Event::Leaves(record.agent.clone())));
        }
        may.extend(self.person_may(may_change));
        may.extend(self.time_may_pass().then_some(Event::Waits));
        may
    }

    /// What a person may do.
    fn person_may(&self, may_change: bool) -> Option<Event> {
        let progress = &self.machine.run().progress;
        match (progress.status, progress.reason.as_ref().map(|reason| reason.code)) {
            (RunStatus::Running, _)
                if may_change && self.used.pauses < self.scene.bounds.pauses =>
            {
                Some(Event::Pauses)
            }
            (RunStatus::Paused, Some(ReasonCode::Operator)) => Some(Event::Resumes),
            (RunStatus::Paused, Some(ReasonCode::Approval)) => Some(Event::Approves),
            _ => None,
        }
    }

    /// Whether the strategy or a guard waits for a moment.
    fn time_may_pass(&self) -> bool {
        let progress = &self.machine.run().progress;
        let waits = matches!(progress.stage.next, Some(PlannedNext::WaitUntil { .. }));
        let waits = waits || !progress.held_agents.is_nobody();
        let is_time = progress.status == RunStatus::Running && waits && self.wake.is_some();
        is_time && (self.attempts.is_empty() || self.used.waits < WAITS_IN_FLIGHT)
    }

    /// Lets something happen, and everything that follows from it at once. `None` if it may not happen now.
    ///
    /// # Errors
    /// Something that can't be: a mistake of this program.
    pub(super) fn happen(
        &mut self,
        event: &Event,
        strategy: &dyn Strategy,
    ) -> Result<Option<Moved>, IllegalInput> {
        if !self.may().contains(event) {
            return Ok(None);
        }
        let mut moved = Moved::default();
        let Used { waits, approvals, .. } = self.used;
        (self.used.waits, self.used.approvals) = (0, 0);
        let input = match event {
            Event::Ends(agent) => {
                self.ended(agent, ActivationEnd::Done(JsonText::from(Value::Null)))
            }
            Event::Fails(agent) => {
                self.used.failures += 1;
                let message = "the action failed".to_owned();
                let reason = FailureReason::ActionFailed;
                self.ended(agent, ActivationEnd::Failed { reason, message, retryable: false })
            }
            Event::Joins(agent, group) => {
                self.used.joins += 1;
                Arc::make_mut(&mut self.groups).push(*group);
                let joined = vec![self.scene.member(agent.clone(), *group, self.now)];
                Some(Input::Membership(MembershipChange { joined, ..Default::default() }))
            }
            Event::Leaves(agent) => {
                self.used.leaves += 1;
                let left = vec![agent.clone()];
                Some(Input::Membership(MembershipChange { left, ..Default::default() }))
            }
            Event::Pauses => {
                self.used.pauses += 1;
                Some(self.command(Verb::Pause))
            }
            Event::Resumes => Some(self.command(Verb::Resume)),
            Event::Approves => {
                self.used.approvals = approvals + u32::from(self.attempts.is_empty());
                Some(self.command(Verb::Approve))
            }
            Event::Waits => {
                self.used.waits = waits + 1;
                self.pass_time(waits);
                Some(Input::Woken)
            }
        };
        let Some(input) = input else { return Ok(None) };
        let (progress, before) = (&self.machine.run().progress, self.used);
        let batches = (progress.stage.batches, progress.counts.clone());
        let transition = self.input(input)?;
        self.check_answer(&mut moved);
        self.go_on(transition.effects, strategy, &mut moved)?;
        let progress = &self.machine.run().progress;
        if (progress.stage.batches, progress.counts.clone()) != batches {
            (self.used.waits, self.used.approvals) = (0, 0);
        }
        self.check_patience(before, &mut moved);
        Ok(Some(moved))
    }

    /// Whether a strategy waits or asks people again and again, with nothing in flight.
    fn check_patience(&self, before: Used, moved: &mut Moved) {
        if !self.attempts.is_empty() || self.over {
            return;
        }
        if self.used.waits >= MOST_WAITS && before.waits >= MOST_WAITS {
            let held = &self.machine.run().progress.held_agents;
            let why = match held.guards.first() {
                Some(guard) => format!("guard {guard} holds an agent for ever"),
                None => "it waits for ever with nothing in flight: after more than thirty years it still waits".to_owned(),
            };
            moved.broken(Broken::new(Property::Ends, why));
        }
        if self.used.approvals >= MOST_APPROVALS && before.approvals >= MOST_APPROVALS {
            let why = format!("it asks people for ever: {MOST_APPROVALS} approvals change nothing");
            moved.broken(Broken::new(Property::Ends, why));
        }
    }

    /// The clock goes to the moment that was asked for, or beyond it if that was asked for again and again.
    fn pass_time(&mut self, waits: u32) {
        let at = self.wake.take().unwrap_or(self.now);
        let ahead = match waits.checked_sub(PLAIN_WAITS) {
            Some(further) => self.now.plus(Millis(1_000 << (3 * further.min(MOST_WAITS)))),
            None => self.now,
        };
        self.now = at.max(ahead);
    }

    fn ended(&mut self, agent: &AgentId, end: ActivationEnd) -> Option<Input> {
        let seq = crate::run::Roster::record(&*self.machine, agent)?.seq;
        let key = self.attempts.remove(&seq)?;
        Some(Input::Activated { key, activation: Activation { end, logs: Vec::new() } })
    }

    fn command(&mut self, verb: Verb) -> Input {
        self.commands += 1;
        Input::Command(Command {
            id: CommandId(uuid::Uuid::from_u128(self.commands)),
            run: self.machine.run().id(),
            verb,
            agent: None,
            again: false,
            signal: None,
            override_guard: None,
            approves: None,
            actor: None,
            why: None,
            at: self.now,
            outcome: None,
            finish_ts: None,
        })
    }

    pub(super) fn input(&mut self, input: Input) -> Result<Transition, IllegalInput> {
        Arc::make_mut(&mut self.machine).apply(input, self.now)
    }

    /// Does what the machine asks for, until it waits for the world.
    fn go_on(
        &mut self,
        effects: Vec<Effect>,
        strategy: &dyn Strategy,
        moved: &mut Moved,
    ) -> Result<(), IllegalInput> {
        let mut queue = VecDeque::from(effects);
        loop {
            let Some(effect) = queue.pop_front() else {
                if self.over || self.refused {
                    break;
                }
                let settled = Arc::make_mut(&mut self.machine).settle(self.now)?;
                queue.extend(settled.effects);
                if queue.is_empty() {
                    break;
                }
                continue;
            };
            if matches!(effect, Effect::LoadMembers) {
                // As the driver does it, they come before the members.
                let guards = self.input(Input::Guards(self.scene.guards()))?;
                queue.extend(guards.effects);
            }
            if let Some(input) = self.answer(effect, strategy, moved) {
                let transition = self.input(input)?;
                queue.extend(transition.effects);
                self.check_answer(moved);
                if moved.told.len() > MOST_DECISIONS {
                    let why = format!("it decides {MOST_DECISIONS} times, and nothing happens");
                    moved.broken(Broken::new(Property::Ends, why));
                    self.refused = true;
                }
            }
        }
        Ok(())
    }

    fn answer(
        &mut self,
        effect: Effect,
        strategy: &dyn Strategy,
        moved: &mut Moved,
    ) -> Option<Input> {
        match effect {
            Effect::AwaitCluster => Some(Input::ClusterFree),
            Effect::LoadMembers => {
                let agents = self.groups.iter().enumerate();
                let member = |(index, group): (usize, &u32)| {
                    self.scene.member(fleet::agent(index), *group, self.now)
                };
                Some(Input::Members(agents.map(member).collect()))
            }
            Effect::Refresh(asked) => {
                self.now = self.now.plus(ANSWER_TIME);
                Some(Input::Refreshed(self.all_well(asked)))
            }
            Effect::LookAround(asked) => Some(Input::LookedAround(self.all_well(asked))),
            Effect::Plan { input, .. } => Some(self.ask(&input, strategy, moved)),
            Effect::Activate(activate) => {
                self.attempts.insert(activate.key.agent, activate.key);
                None
            }
            Effect::Abandon(key) => {
                self.attempts.retain(|_, attempt| *attempt != key);
                None
            }
            Effect::WakeAt(at) => {
                self.wake = Some(at);
                None
            }
            Effect::Forget(lines) => Some(Input::Forgotten(lines)),
            Effect::Continue => Some(Input::Continue),
            Effect::Stamp(_) => {
                self.over = true;
                None
            }
            // The step makes no call and has no precondition, nobody sends signals, and members are never absent.
            Effect::Check { .. }
            | Effect::Look { .. }
            | Effect::Perform(_)
            | Effect::Signal { .. }
            | Effect::AcceptAbsence(_) => None,
        }
    }

    /// The answers of agents that are asked about their nodes.
    fn all_well(&self, asked: Vec<AskAgain>) -> Vec<Refreshed> {
        let now = self.now;
        let say = |asked: AskAgain| {
            let node = Arc::new(self.scene.node(&asked.agent));
            let (attributes, datastore) = (asked.attributes, Arc::default());
            let about = About { attributes, node, datastore, seen_at: Some(now) };
            Refreshed { agent: asked.seq, about, silence: None }
        };
        asked.into_iter().map(say).collect()
    }

    /// How many agents are in this state.
    pub(super) fn count(&self, state: AgentState) -> u32 {
        self.machine.count(state)
    }
}
