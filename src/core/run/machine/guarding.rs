//! Keeps the guards of the cluster: which of the agents that a decision names may start, and who is held.
//!
//! Guards are kept here and nowhere else: an agent begins a stage only when a decision starts it, and a decision starts
//! only agents that [`Admission`] lets through. Agents at work go on, whatever guards say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::turn::{Legal, Turn};
use crate::mutants::mutant;
use crate::playbook::{CLOSED, ClosedBy, ClusterGuards, FREEZE, Gate, Guard, WINDOWS};
use crate::run::failure::beginning;
use crate::run::held::remembered;
use crate::run::state::{OfRun, OfStrategy, State, allowed};
use crate::run::{
    AgentId, AgentSeq, GuardGroup, Held, HeldAgent, HeldBy, HeldThen, MAX_BECAUSE, MAX_HELD_NAMED,
    RunStatus, Timestamp,
};

/// How much of the value of an attribute is kept as the name of a group. Every commit writes it.
const MAX_GROUP_BYTES: usize = 100;

/// Which agents of a decision may start, judged one after the other.
pub(super) struct Admission<'a> {
    state: &'a State,
    gate: Gate,
    /// Agents that the decision takes out in addition to those that are out, by guard and group.
    taken: BTreeMap<(usize, usize), u32>,
}

/// What holds an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Gate,
    /// The guard of this number: too many agents would be out.
    Agents(usize),
    /// The guard of this number: too many groups would be touched.
    Groups(usize),
}

impl<'a> Admission<'a> {
    fn at(state: &'a State, now: Timestamp) -> Self {
        Self { state, gate: state.gate(now), taken: BTreeMap::new() }
    }

    /// Lets an agent start if no guard forbids it, and counts it as out from then on.
    fn admit(&mut self, seq: AgentSeq) -> Result<(), Hold> {
        if let Some(hold) = self.hold(seq) {
            return Err(hold);
        }
        let guards = self.state.progress().guards.guards.len();
        for guard in (0..guards).filter(|_| !mutant!(GuardsBeforeOthers)) {
            if let Some((group, false)) = self.state.counting().place(guard, seq) {
                *self.taken.entry((guard, group)).or_insert(0) += 1;
            }
        }
        Ok(())
    }

    /// What holds an agent: the first guard that would be exceeded after its start.
    fn hold(&self, seq: AgentSeq) -> Option<Hold> {
        if self.gate != Gate::Open {
            return Some(Hold::Gate);
        }
        self.state.counted_guards().find_map(|(at, guard)| self.held_by(at, guard, seq))
    }

    fn held_by(&self, at: usize, guard: &Guard, seq: AgentSeq) -> Option<Hold> {
        let counting = self.state.counting();
        let (place, is_out) = counting.place(at, seq)?;
        let group = counting.group(at, place)?;
        let out = u32::try_from(group.out.len()).unwrap_or(u32::MAX);
        let out = out.saturating_add(self.taken.get(&(at, place)).copied().unwrap_or(0));
        // An agent that is out already takes nobody out.
        if out.saturating_add(u32::from(!is_out)) > allowed(guard, group.size) {
            return Some(Hold::Agents(at));
        }
        let most = guard.groups?;
        let touched = self.touched(at).saturating_add(u32::from(out == 0));
        (touched > most).then_some(Hold::Groups(at))
    }

    /// How many groups of a guard have agents that are out.
    fn touched(&self, at: usize) -> u32 {
        let touched = self.state.counting().touched(at);
        let taken = self.taken.range((at, 0)..(at + 1, 0)).map(|((_, group), _)| group);
        let new = taken.filter(|group| !touched.contains(group)).count();
        u32::try_from(touched.len() + new).unwrap_or(u32::MAX)
    }

    /// Name of the guard that holds.
    fn name(&self, hold: Hold) -> String {
        match (hold, &self.gate) {
            (Hold::Gate, Gate::Closed { by: ClosedBy::Freeze(_), .. }) => FREEZE.to_owned(),
            (Hold::Gate, Gate::Closed { by: ClosedBy::Closed(_), .. }) => CLOSED.to_owned(),
            (Hold::Gate, Gate::Closed { by: ClosedBy::Windows, .. } | Gate::Open) => {
                WINDOWS.to_owned()
            }
            (Hold::Agents(at) | Hold::Groups(at), _) => {
                let guard = self.state.progress().guards.guards.get(at);
                guard.map(|guard| guard.name.clone()).unwrap_or_default()
            }
        }
    }

    /// When agents may be started again, if they are held because of the time.
    const fn until(&self) -> Option<Timestamp> {
        match self.gate {
            Gate::Closed { until, .. } => until,
            Gate::Open => None,
        }
    }

    fn in_full(&self, hold: Hold, seq: AgentSeq) -> Option<HeldBy> {
        match hold {
            Hold::Gate => match &self.gate {
                Gate::Open => None,
                Gate::Closed { by: ClosedBy::Windows, until } => {
                    Some(HeldBy::Windows { until: *until })
                }
                Gate::Closed { by: ClosedBy::Freeze(reason), until } => {
                    Some(HeldBy::Freeze { reason: reason.clone(), until: *until })
                }
                Gate::Closed { by: ClosedBy::Closed(reason), .. } => {
                    Some(HeldBy::Closed { reason: reason.clone() })
                }
            },
            Hold::Agents(at) => self.too_many_agents(at, seq),
            Hold::Groups(at) => self.too_many_groups(at, seq),
        }
    }

    fn too_many_agents(&self, at: usize, seq: AgentSeq) -> Option<HeldBy> {
        let guard = self.state.progress().guards.guards.get(at)?;
        let (place, _) = self.state.counting().place(at, seq)?;
        let group = self.state.counting().group(at, place)?;
        let because = group.out.iter().take(MAX_BECAUSE).filter_map(|seq| self.state.id_of(*seq));
        Some(HeldBy::Agents {
            guard: guard.name.clone(),
            group: told_group(guard, group.value.as_deref()),
            of: group.size,
            out: u32::try_from(group.out.len()).unwrap_or(u32::MAX),
            allowed: allowed(guard, group.size),
            because: because.collect(),
        })
    }

    fn too_many_groups(&self, at: usize, seq: AgentSeq) -> Option<HeldBy> {
        let guard = self.state.progress().guards.guards.get(at)?;
        let counting = self.state.counting();
        let (place, _) = counting.place(at, seq)?;
        let touched = counting.touched(at).iter().take(MAX_BECAUSE);
        let first = touched.filter_map(|group| counting.group(at, *group)?.out.first().copied());
        Some(HeldBy::Groups {
            guard: guard.name.clone(),
            group: told_group(guard, counting.group(at, place)?.value.as_deref())?,
            touched: self.touched(at),
            allowed: guard.groups?,
            because: first.filter_map(|seq| self.state.id_of(seq)).collect(),
        })
    }
}

fn told_group(guard: &Guard, value: Option<&str>) -> Option<GuardGroup> {
    let attribute = guard.attribute()?.to_owned();
    let value = value.map(|value| beginning(value.to_owned(), MAX_GROUP_BYTES));
    Some(GuardGroup { attribute, value })
}

/// What becomes of the agents that a decision names to start.
#[derive(Debug, Default)]
pub(super) struct Admitted {
    /// Those that start, in the order of the decision.
    pub(super) start: Vec<AgentSeq>,
    /// All agents that are held then, by their numbers.
    pub(super) held: Vec<AgentSeq>,
    /// Whether somebody is held who was not held before.
    pub(super) grew: bool,
    /// The same, as the history has it.
    pub(super) holds: Option<HeldThen>,
}

impl State {
    /// Whether agents may be started at a moment.
    fn gate(&self, now: Timestamp) -> Gate {
        let overridden = &self.progress().overridden;
        self.counting().calendar().gate(
            now,
            overridden.contains(WINDOWS),
            overridden.contains(FREEZE),
        )
    }

    /// The guards that count agents and that nobody has overridden, with their numbers.
    fn counted_guards(&self) -> impl Iterator<Item = (usize, &Guard)> {
        let overridden = &self.progress().overridden;
        let all = self.progress().guards.guards.iter().enumerate();
        all.filter(move |(_, guard)| overridden.is_empty() || !overridden.contains(&guard.name))
    }

    fn id_of(&self, seq: AgentSeq) -> Option<AgentId> {
        self.find(seq).map(|agent| agent.record().agent.clone())
    }

    /// Whether nothing keeps agents from being started.
    fn is_unguarded(&self) -> bool {
        self.progress().guards.guard_nothing()
    }

    /// Whether guards would judge by what nodes say, if a decision starts anybody at a moment.
    pub(super) fn counts_nodes(&self, now: Timestamp) -> bool {
        self.counted_guards().next().is_some() && self.gate(now) == Gate::Open
    }

    /// Whether guards hold any of the agents that they held, apart from those that are named.
    pub(super) fn still_holds(&self, now: Timestamp) -> bool {
        let held = &self.progress().stage.held;
        if held.is_empty() {
            return false;
        }
        let admission = Admission::at(self, now);
        held.iter().any(|seq| admission.hold(*seq).is_some())
    }

    /// Judges the agents that a decision names to start, in its order.
    pub(super) fn admit_named(
        &self,
        start: &[AgentSeq],
        skip: &[AgentSeq],
        now: Timestamp,
    ) -> Admitted {
        if self.is_unguarded() {
            return Admitted { start: start.to_vec(), ..Admitted::default() };
        }
        let mut admission = Admission::at(self, now);
        let (mut admitted, mut named, mut names) =
            (Admitted::default(), Vec::new(), BTreeSet::new());
        for seq in start {
            match admission.admit(*seq) {
                Ok(()) => admitted.start.push(*seq),
                Err(hold) => {
                    names.insert(admission.name(hold));
                    named.push(*seq);
                }
            }
        }
        let known = &self.progress().stage.held;
        let is_decided = |seq: &AgentSeq| start.contains(seq) || skip.contains(seq);
        let mut before = Vec::new();
        for seq in known.iter().filter(|seq| !is_decided(seq)) {
            if let Some(hold) = admission.hold(*seq) {
                names.insert(admission.name(hold));
                before.push(*seq);
            }
        }
        admitted.held = remembered(known, &named, &before);
        admitted.grew = admitted.held.iter().any(|seq| known.binary_search(seq).is_err());
        let ids = |all: &[AgentSeq]| all.iter().filter_map(|seq| self.id_of(*seq)).collect();
        admitted.holds = (!admitted.held.is_empty()).then(|| HeldThen {
            named: ids(&named),
            before: ids(&before),
            by: names.into_iter().collect(),
            until: admission.until(),
        });
        admitted
    }

    /// Whether a person may override this guard. The error says why not.
    pub(super) fn may_override(&self, guard: &str, why: Option<&str>) -> Result<(), String> {
        let progress = self.progress();
        if !progress.guards.has(guard) {
            return Err(format!("its cluster has no guard {guard:?}"));
        }
        if progress.overridden.contains(guard) {
            return Err(format!("guard {guard} is overridden already"));
        }
        if [CLOSED, FREEZE].contains(&guard) && progress.guards.is_closed() {
            // Otherwise, agents would be out that the run does not count: those of another run, or of other members.
            return Err("its cluster is closed to it, which opens by itself".to_owned());
        }
        match why.is_some_and(|why| !why.trim().is_empty()) {
            true => Ok(()),
            false => Err("say why the guard is overridden".to_owned()),
        }
    }

    /// Whom guards hold at a moment, of those that the strategy wants to start. `None` if any of these may start now.
    fn holds(&self, now: Timestamp) -> Option<Held> {
        let held = &self.progress().stage.held;
        if held.is_empty() {
            return Some(Held::default());
        }
        let admission = Admission::at(self, now);
        let (mut some, mut guards) = (Vec::new(), BTreeSet::new());
        for seq in held {
            let hold = admission.hold(*seq)?;
            guards.insert(admission.name(hold));
            if some.len() < MAX_HELD_NAMED
                && let (Some(agent), Some(by)) = (self.id_of(*seq), admission.in_full(hold, *seq))
            {
                some.push(HeldAgent { agent, by });
            }
        }
        Some(Held {
            agents: u32::try_from(held.len()).unwrap_or(u32::MAX),
            some,
            guards: guards.into_iter().collect(),
            since: self.progress().held_agents.since.or(Some(now)),
            until: admission.until(),
        })
    }
}

impl Turn<'_> {
    /// The cluster has these guards now.
    pub(super) fn guards(&mut self, guards: Arc<ClusterGuards>) -> Legal {
        if self.progress().guards == guards {
            return Ok(());
        }
        self.emit(OfRun::Guards(guards))?;
        match self.acts_as() {
            RunStatus::Running => self.plan_is_due(),
            RunStatus::PendingApprove
            | RunStatus::Pending
            | RunStatus::Starting
            | RunStatus::Paused
            | RunStatus::Cancelling
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => Ok(()),
        }
    }

    /// A person overrides a guard for this run.
    pub(super) fn override_guard(&mut self, guard: &str) -> Legal {
        self.emit(OfRun::Overridden(guard.to_owned()))
    }

    /// Says whom guards hold, if that has changed. If any of them may start now, the strategy is asked.
    pub(super) fn say_who_is_held(&mut self) -> Legal {
        match self.holds(self.now) {
            Some(held) if held == self.progress().held_agents => {
                if self.counting().has_changed() {
                    self.emit(OfStrategy::Judged)?;
                }
                Ok(())
            }
            Some(held) => self.emit(OfRun::Holds(held)),
            None => {
                self.emit(OfStrategy::Judged)?;
                self.plan_is_due()
            }
        }
    }

    /// Looks whom guards hold now, after a change that may hold agents or let them go.
    pub(super) fn judge_again(&mut self) -> Legal {
        let is_held =
            !self.progress().stage.held.is_empty() || !self.progress().held_agents.is_nobody();
        let goes = self.acts_as() == RunStatus::Running && !self.is_plan_due();
        match is_held && goes && self.counting().has_changed() {
            true => self.say_who_is_held(),
            false => Ok(()),
        }
    }
}
