//! What the strategies may start, according to the events and to what is known of the agents.

use std::collections::BTreeSet;

use replibook::run::{
    AgentId, AgentRecord, AgentState, Asked, ReasonCode, StatusReason, Timestamp,
};

use crate::ledger::{Check, expect};
use crate::plan::StrategyPlan;
use crate::run_model::RunModel;

/// How far the strategy of the present stage has come.
#[derive(Debug, Default)]
pub(crate) struct StrategyModel {
    /// How many decisions have started agents since the canaries were started, theirs included.
    batches: usize,
    /// Agents whose health the others wait for: the canaries, and those of the last batch.
    canaries: BTreeSet<AgentId>,
    present: BTreeSet<AgentId>,
    /// When the last agent in flight last ended.
    idle_since: Timestamp,
    /// When the canaries had ended.
    landed: Option<Timestamp>,
    /// Whether a person let the run go on, and whether agents were ill then.
    approved: bool,
    approved_ill: bool,
    /// The group whose agents go; none before the first.
    group: Option<Option<String>>,
    /// The decision whose agents are being started.
    deciding: Option<Deciding>,
}

#[derive(Debug)]
struct Deciding {
    started: u32,
    running: u32,
    at: Timestamp,
    is_first: bool,
    /// The first group in which agents wait, by the order.
    first: Option<Option<String>>,
}

/// The group of an agent.
fn group_of(record: &AgentRecord) -> Option<String> {
    record.attributes.get("node_group")?.as_str().map(str::to_owned)
}

/// The place of a group in the order: by name or backwards. Agents without a group come last.
fn rank(group: &Option<String>, backwards: bool) -> (bool, Vec<u8>) {
    let name = group.as_deref().unwrap_or_default().bytes();
    let flip = |byte: u8| if backwards { u8::MAX - byte } else { byte };
    (group.is_none(), name.map(flip).collect())
}

impl RunModel {
    fn strategy_plan(&self) -> StrategyPlan {
        self.plan.stages[self.stage].strategy
    }

    /// An agent is no longer in flight, or takes part again.
    pub(crate) fn note_for_strategy(
        &mut self,
        agent: &AgentId,
        from: Option<AgentState>,
        to: AgentState,
        at: Timestamp,
    ) {
        match to {
            AgentState::Pending | AgentState::Added => {
                self.strategy.canaries.remove(agent);
                self.strategy.present.remove(agent);
            }
            _ => {}
        }
        if from == Some(AgentState::Running) && self.running == 0 {
            self.strategy.idle_since = at;
            if self.strategy.batches == 1 {
                self.strategy.landed.get_or_insert(at);
            }
        }
    }

    /// The run goes on after it was paused for this reason.
    pub(crate) fn resumed_after(&mut self, reason: &StatusReason) {
        if reason.code != ReasonCode::Approval {
            return;
        }
        self.strategy.approved = true;
        if reason.message.starts_with("ill after") {
            self.strategy.approved_ill = true;
            self.strategy.canaries.clear();
            self.strategy.present.clear();
        }
    }

    /// Checks a decision that starts agents.
    pub(crate) fn strategy_starts(
        &mut self,
        started: u32,
        asked: Option<Asked>,
        label: Option<&str>,
    ) -> Check {
        let (selected, running) = (self.budget.selected, self.running);
        let at = asked.ok_or(("a decision says what was asked", String::new()))?.at;
        // Whom guards hold is not counted here.
        if self.guards.ever {
            return Ok(());
        }
        let strategy = self.strategy_plan();
        let fits = match strategy {
            StrategyPlan::AllAtOnce | StrategyPlan::Grouped { .. } => true,
            StrategyPlan::Batches(size) => running == 0 && started <= size.of(selected).max(1),
            StrategyPlan::Window(size) => running + started <= size.of(selected).max(1),
            StrategyPlan::Canary { .. } => running == 0,
            StrategyPlan::Chatty { .. } => running == 0 && started <= 2,
        };
        expect(fits, "the strategy's limits hold", || {
            format!("{started} start while {running} of {selected} run: {strategy:?}")
        })?;
        self.next_of_canary(started, at, label)?;
        let first = self.first_waiting();
        self.strategy.deciding = Some(Deciding { started, running, at, is_first: true, first });
        Ok(())
    }

    fn next_of_canary(&mut self, started: u32, at: Timestamp, label: Option<&str>) -> Check {
        let StrategyPlan::Canary { canaries, soak, approval, batches, .. } = self.strategy_plan()
        else {
            return Ok(());
        };
        let selected = self.budget.selected;
        if self.strategy.batches > 0 && label == Some("canary") {
            let done = |agent: &&AgentId| self.state_of(agent) == Some(AgentState::Done);
            let left = self.strategy.canaries.iter().find(done);
            let rule = "canaries are replaced when all have left";
            expect(left.is_none(), rule, || format!("{left:?} is there"))?;
            self.strategy = StrategyModel::default();
        }
        let size = match self.strategy.batches.checked_sub(1) {
            None => canaries,
            Some(index) => batches[index.min(batches.len() - 1)],
        };
        let rule = "a batch has its size";
        expect(started <= size.of(selected).max(1), rule, || {
            format!("{started} of {selected} start: {size:?}, {:?}", self.strategy)
        })?;
        if self.strategy.batches > 0 {
            self.after_canaries(at, soak, approval)?;
        }
        self.strategy.batches += 1;
        self.strategy.present.clear();
        Ok(())
    }

    /// Whether the canaries allow other agents to start.
    fn after_canaries(&self, at: Timestamp, soak: u64, approval: bool) -> Check {
        let StrategyModel { landed, approved, approved_ill, .. } = self.strategy;
        if !approved_ill {
            let soaked = landed.is_some_and(|landed| at.since(landed).0 >= soak);
            expect(soaked, "nothing starts before the soak is over", || {
                format!("{at} with {soak} ms: {:?}", self.strategy)
            })?;
            let rule = "nothing starts before it is approved";
            expect(approved || !approval, rule, || format!("{:?}", self.strategy))?;
        }
        let StrategyModel { canaries, present, idle_since, .. } = &self.strategy;
        for agent in canaries.union(present) {
            let Some(record) = self.record_of(agent) else { continue };
            let failed = record.state == AgentState::Failed && canaries.contains(agent);
            let asked = record.node_seen_at >= Some(*idle_since);
            let well = asked && record.node_status() == Some("HEALTHY");
            let fits = !failed && (well || record.state != AgentState::Done);
            expect(fits, "nothing starts after ill agents", || format!("{record:?}"))?;
        }
        Ok(())
    }

    /// The first group in which agents wait.
    fn first_waiting(&self) -> Option<Option<String>> {
        let StrategyPlan::Grouped { backwards, .. } = self.strategy_plan() else { return None };
        let waiting =
            |record: &&AgentRecord| self.state_of(&record.agent) == Some(AgentState::Pending);
        let groups = self.records.values().filter(waiting).map(group_of);
        groups.min_by_key(|group| rank(group, backwards))
    }

    /// Checks an agent that the last decision starts.
    pub(crate) fn strategy_started(&mut self, agent: &AgentId) -> Check {
        let is_canary = self.strategy.batches == 1;
        if self.guards.ever {
            return Ok(());
        }
        match self.strategy_plan() {
            StrategyPlan::Canary { .. } if is_canary => {
                self.strategy.canaries.insert(agent.clone());
            }
            StrategyPlan::Canary { .. } => drop(self.strategy.present.insert(agent.clone())),
            StrategyPlan::Grouped { .. } => self.in_its_group(agent)?,
            StrategyPlan::AllAtOnce
            | StrategyPlan::Batches(_)
            | StrategyPlan::Window(_)
            | StrategyPlan::Chatty { .. } => {}
        }
        Ok(())
    }

    fn in_its_group(&mut self, agent: &AgentId) -> Check {
        let StrategyPlan::Grouped { batch, window, soak, .. } = self.strategy_plan() else {
            return Ok(());
        };
        let record = self.record_of(agent);
        let group = record.and_then(group_of);
        let there = self.records.values().filter(|record| group_of(record) == group).count();
        let size = batch.of(u32::try_from(there).unwrap()).max(1);
        let model = &mut self.strategy;
        let Some(deciding) = &mut model.deciding else { return Ok(()) };
        let Deciding { started, running, at, is_first, ref first } = *deciding;
        let say = |what: &str| format!("{agent} of {group:?} starts: {what}; {deciding:?}");
        let in_batch =
            if window { running + started <= size } else { running == 0 && started <= size };
        expect(in_batch, "a batch has its size", || say(&format!("at most {size}")))?;
        if model.group.as_ref() != Some(&group) {
            expect(is_first, "groups go one at a time", || say("another began"))?;
            expect(running == 0, "groups go one at a time", || say("another runs"))?;
            expect(*first == Some(group.clone()), "groups go in order", || say("another waits"))?;
            let soaked = model.group.is_none() || at.since(model.idle_since).0 >= soak;
            expect(soaked, "nothing starts before the soak is over", || {
                say(&format!("{} with {soak} ms", model.idle_since))
            })?;
            model.group = Some(group);
        }
        deciding.is_first = false;
        Ok(())
    }
}
