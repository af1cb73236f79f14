//! Asks the strategy, and looks whether what it says keeps the properties. What a decision may contain is decided by the
//! machine: what it refuses is refused here, and only sorted by what the mistake is.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::bounds::MEMO_ASKS;
use super::fleet;
use super::looks::{Looks, Watched};
use super::moved::{Moved, Told};
use super::property::{Broken, Property};
use super::scene::Strategy;
use super::world::World;
use crate::run::{
    AgentId, AgentState, Decision, Input, MAX_MEMO_BYTES, Next, PlanFailure, PlanInput, ReasonCode,
    Roster, RunStatus,
};

/// How many agents a text names; the others are only counted.
const NAMED: usize = 6;

/// How the machine begins its reasons. Here there is only one strategy, so its name says nothing.
const REFUSED: &str = "refused the decision of strategy strategy: ";
const UNDECIDED: &str = "strategy strategy gave no decision";

impl World<'_> {
    /// Asks the strategy, and notes what it looked at and what is wrong with its answer.
    pub(super) fn ask(
        &mut self,
        input: &PlanInput,
        strategy: &dyn Strategy,
        moved: &mut Moved,
    ) -> Input {
        let result = self.question(input, strategy, moved);
        if let Ok(decision) = &result {
            self.check_names(decision, moved);
            self.check_memo(input, decision, strategy, moved);
            self.complete = decision.next == Next::Complete;
        }
        moved.told.push(Told::of(&result));
        Input::Planned { result, logs: Vec::new() }
    }

    fn question(
        &self,
        input: &PlanInput,
        strategy: &dyn Strategy,
        moved: &mut Moved,
    ) -> Result<Decision, PlanFailure> {
        let roster = Arc::new(Watched::new(Arc::clone(&self.machine)));
        let result = strategy.plan(input, Arc::clone(&roster) as Arc<dyn Roster>);
        moved.asked += 1;
        moved.looks = moved.looks.and(roster.looks());
        if let Ok(decision) = &result {
            // It knows these from elsewhere, so it matters in which state they are.
            let skipped = decision.skip.iter().map(|(agent, _)| agent);
            let named = decision.start.iter().chain(&decision.refresh).chain(skipped);
            let state = |agent: &AgentId| Roster::record(&*self.machine, agent).map(|it| it.state);
            let knows = |agent| state(agent).is_some_and(|it| moved.looks.has(Looks::page(it)));
            if !named.clone().all(knows) {
                moved.looks = moved.looks.and(Looks::RECORDS);
            }
        }
        result
    }

    /// Looks at the states of the agents that a decision names.
    fn check_names(&self, decision: &Decision, moved: &mut Moved) {
        let mut named = BTreeSet::new();
        for agent in &decision.start {
            let state = Roster::record(&*self.machine, agent).map(|record| record.state);
            let broken = match state {
                Some(AgentState::Pending) if named.insert(agent) => None,
                Some(AgentState::Pending) => {
                    Some((Property::Once, format!("it names {agent} twice in one decision")))
                }
                Some(state @ (AgentState::Running | AgentState::Done | AgentState::Failed)) => {
                    Some((Property::Once, format!("it starts {agent} again, which is {state}")))
                }
                Some(state @ (AgentState::Added | AgentState::Skipped | AgentState::Removed)) => {
                    Some((Property::Named, format!("it starts {agent}, which is {state}")))
                }
                None => Some((Property::Named, format!("it starts {agent:?}, which is no agent"))),
            };
            if let Some((property, why)) = broken {
                moved.broken(Broken::new(property, why));
            }
        }
        for (agent, _) in &decision.skip {
            let state = Roster::record(&*self.machine, agent).map(|record| record.state);
            let may = matches!(state, Some(AgentState::Pending | AgentState::Added));
            if !may || !named.insert(agent) {
                let state = state.map_or("no agent, or is named twice", AgentState::as_str);
                let why = format!("it leaves out {agent}, which is {state}");
                moved.broken(Broken::new(Property::Named, why));
            }
        }
    }

    /// Whether the memo is too large, or grows although nothing happens. For the latter the strategy is asked again and
    /// again with what it returned.
    fn check_memo(
        &self,
        input: &PlanInput,
        decision: &Decision,
        strategy: &dyn Strategy,
        moved: &mut Moved,
    ) {
        let (bytes, most) = (decision.memo.len(), self.scene.bounds.memo as usize);
        if bytes > most.min(MAX_MEMO_BYTES) {
            let why = format!("its memo has {bytes} bytes, more than {most}");
            moved.broken(Broken::new(Property::Memo, why));
            return;
        }
        let idle = |of: &Decision| of.start.is_empty() && of.skip.is_empty();
        if bytes <= input.memo.len() || !idle(decision) {
            return;
        }
        let mut input = PlanInput { memo: decision.memo.clone(), ..input.clone() };
        for _ in 1..MEMO_ASKS {
            let again = self.question(&input, strategy, moved);
            match again {
                Ok(again) if idle(&again) && again.memo.len() > input.memo.len() => {
                    input.memo = again.memo;
                }
                Ok(_) | Err(_) => return,
            }
        }
        let now = input.memo.len();
        let why = format!(
            "its memo grows although nothing changes: from {bytes} to {now} bytes when it is asked {MEMO_ASKS} times"
        );
        moved.broken(Broken::new(Property::Memo, why));
    }

    /// Looks at what became of the last answer of the strategy, or of the end of the stage.
    pub(super) fn check_answer(&mut self, moved: &mut Moved) {
        self.check_refusal(moved);
        let wanted = &self.scene.wanted;
        let at_work = self.count(AgentState::Running);
        if let Some(most) = wanted.in_flight.filter(|most| at_work > *most) {
            let why = format!("{at_work} are in flight, at most {most} may be: {}", self.at_work());
            moved.broken(Broken::new(Property::InFlight, why));
        }
        if let Some(by) = &wanted.one_group {
            let groups: BTreeSet<u32> = self.running().map(|(_, group)| group).collect();
            if groups.len() > 1 {
                let names: Vec<_> = groups.into_iter().map(fleet::group).collect();
                let why = format!("{by} {} are in flight: {}", names.join(" and "), self.at_work());
                moved.broken(Broken::new(Property::OneGroup, why));
            }
        }
        if let Some(held) = self.machine.run().progress.held_agents.some.first()
            && wanted.guards.is_some()
        {
            let (agent, guard) = (&held.agent, held.by.guard());
            let why = format!("it names {agent}, which guard {guard} holds");
            moved.broken(Broken::new(Property::Guards, why));
        }
        let left = self.count(AgentState::Pending) + self.count(AgentState::Added);
        if self.machine.run().progress.status == RunStatus::Finishing && self.complete && left > 0 {
            let pending = self.machine.page(AgentState::Pending, None, 1_000);
            let added = self.machine.page(AgentState::Added, None, 1_000);
            let who: Vec<_> = pending.iter().chain(&added).collect();
            let why = format!("it is complete, and leaves out {}", names(&who));
            moved.broken(Broken::new(Property::Everybody, why));
        }
    }

    /// What the host refused, by what the mistake is.
    fn check_refusal(&mut self, moved: &mut Moved) {
        let progress = &self.machine.run().progress;
        let Some(reason) = progress.reason.as_ref() else { return };
        let is_refused = matches!(
            reason.code,
            ReasonCode::DecisionRefused
                | ReasonCode::StrategyFailed
                | ReasonCode::StrategyUnavailable
                | ReasonCode::ExpressionFailed
        );
        if progress.status != RunStatus::Paused || !is_refused {
            return;
        }
        let only_waits =
            |told: &Told| told.starts.is_empty() && told.next == Next::Wait.to_string();
        let waits = moved.told.last().is_some_and(only_waits);
        let idle = self.count(AgentState::Running) == 0;
        self.refused = true;
        if !moved.broken.is_empty() {
            // It is known already what is wrong.
            return;
        }
        let why = reason.message.replacen(REFUSED, "the host refuses its decision: ", 1);
        let why = why.replacen(UNDECIDED, "it gave no decision", 1);
        let property = match reason.code == ReasonCode::DecisionRefused && waits && idle {
            true => Property::Waits,
            false => Property::Answers,
        };
        moved.broken(Broken::new(property, why));
    }

    fn running(&self) -> impl Iterator<Item = (AgentId, u32)> + '_ {
        let running = self.machine.records().filter(|it| it.state == AgentState::Running);
        running.map(|record| {
            let group = self.groups.get(record.seq.0 as usize).copied().unwrap_or_default();
            (record.agent.clone(), group)
        })
    }

    fn at_work(&self) -> String {
        let agents: Vec<_> = self.running().map(|(agent, _)| agent).collect();
        names(&agents.iter().collect::<Vec<_>>())
    }
}

/// Agents as human-readable text.
pub(super) fn names(agents: &[&AgentId]) -> String {
    let some: Vec<_> = agents.iter().take(NAMED).map(|agent| agent.as_str()).collect();
    match agents.len().checked_sub(NAMED).filter(|more| *more > 0) {
        Some(more) => format!("{} and {more} more", some.join(", ")),
        None => some.join(", "),
    }
}
