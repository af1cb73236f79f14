//! A stage that a strategy plays over agents in memory, and in a time of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use replibook_core::run::{
    AgentId, AgentState, Decision, Digest, MAX_REFRESH, Next, PlanInput, Roster, Timestamp,
};
use serde_json::{Value, json};

use crate::fixtures::*;

/// The shortest wait that the host allows.
const SHORTEST_MILLIS: i64 = 100;

pub(crate) struct Stage {
    plugin: Digest,
    arguments: Value,
    pub(crate) agents: Arc<Agents>,
    pub(crate) now: i64,
    pub(crate) memo: String,
    pub(crate) max_start: u32,
    refresh: Vec<AgentId>,
    /// The status of each node that is not HEALTHY; none for an agent that does not answer.
    statuses: BTreeMap<AgentId, Option<&'static str>>,
    /// Agents whose steps fail.
    failing: Vec<AgentId>,
    /// How many decisions have started agents; and for each, its label and its agents.
    decisions: u32,
    pub(crate) started: Vec<(String, Vec<String>)>,
    /// When agents were asked, and how many.
    pub(crate) asked: Vec<(i64, usize)>,
    pub(crate) plans: usize,
    /// Whether the last decision started as many agents as one may: then the host asks again at once.
    full: bool,
}

impl Stage {
    pub(crate) fn new(strategy: &str, arguments: Value, agents: Agents) -> Self {
        Self {
            plugin: builtin(strategy),
            arguments,
            agents: Arc::new(agents),
            now: 0,
            memo: String::new(),
            max_start: 250,
            refresh: Vec::new(),
            statuses: BTreeMap::new(),
            failing: Vec::new(),
            decisions: 0,
            started: Vec::new(),
            asked: Vec::new(),
            plans: 0,
            full: false,
        }
    }

    /// From now on the node of this agent says this status; none for an agent that does not answer.
    pub(crate) fn say(&mut self, agent: &str, status: Option<&'static str>) {
        self.statuses.insert(agent.into(), status);
    }

    pub(crate) fn fail(&mut self, agent: &str) {
        self.failing.push(agent.into());
    }

    pub(crate) fn agents(&mut self) -> &mut Agents {
        Arc::get_mut(&mut self.agents).unwrap()
    }

    pub(crate) fn set(&mut self, agent: &str, state: AgentState) {
        self.agents().set(&agent.into(), state);
    }

    fn at(&self) -> Timestamp {
        Timestamp::from_millis(START.as_millis() + self.now)
    }

    /// Asks the strategy once, and starts and skips the agents that it names.
    pub(crate) async fn try_plan(&mut self) -> Result<Next, String> {
        self.ask_afresh();
        self.plans += 1;
        let input = PlanInput {
            stage: "all".to_owned(),
            arguments: self.arguments.clone(),
            memo: self.memo.clone(),
            now: self.at(),
            max_start: self.max_start,
        };
        let outcome = host().plan(&self.plugin, input, self.agents.clone()).await;
        let decision = outcome.result.map_err(|error| error.to_string())?;
        let Decision { start, skip, next, memo, label, refresh } = decision;
        assert!(refresh.len() <= MAX_REFRESH && start.len() <= self.max_start as usize);
        (self.memo, self.refresh) = (memo, refresh);
        self.full = start.len() == self.max_start as usize;
        self.decisions += u32::from(!start.is_empty());
        let batch = self.decisions;
        for agent in &start {
            assert_eq!(self.agents.record(agent).unwrap().state, AgentState::Pending);
            self.agents().start(agent, batch);
        }
        for (agent, _) in &skip {
            self.agents().set(agent, AgentState::Skipped);
        }
        if !start.is_empty() {
            let start = start.into_iter().map(|agent| agent.0).collect();
            self.started.push((label.unwrap(), start));
        }
        Ok(next)
    }

    pub(crate) async fn plan(&mut self) -> Next {
        self.try_plan().await.unwrap()
    }

    fn ask_afresh(&mut self) {
        let asked = std::mem::take(&mut self.refresh);
        if !asked.is_empty() {
            self.asked.push((self.now, asked.len()));
        }
        let at = Some(self.at());
        for agent in asked {
            let status = self.statuses.get(&agent).copied().unwrap_or(Some("HEALTHY"));
            let node = status.map_or(Value::Null, |status| json!({ "node_status": status }));
            self.agents().say(agent.as_str(), node, at);
        }
    }

    /// Lets all agents in flight end.
    pub(crate) fn end_all(&mut self) {
        for agent in self.agents.in_state(AgentState::Running) {
            let fails = self.failing.contains(&agent);
            let state = if fails { AgentState::Failed } else { AgentState::Done };
            self.agents().set(&agent, state);
        }
    }

    /// Goes on to what the strategy waits for. Returns the decision if it waits for nothing.
    fn pass(&mut self, next: Next) -> Option<Next> {
        match next {
            Next::Wait => {
                assert!(self.agents.count(AgentState::Running) > 0, "waits for nothing");
                if !self.full {
                    self.end_all();
                }
                None
            }
            Next::WaitUntil(at) => {
                let at = at.as_millis() - START.as_millis();
                self.now = at.max(self.now + SHORTEST_MILLIS);
                None
            }
            other => Some(other),
        }
    }

    /// Goes on until the strategy neither waits nor starts anything. Returns what it decided then.
    pub(crate) async fn run(&mut self) -> Next {
        self.run_until(|_| false).await.unwrap()
    }

    /// The same, but stops as soon as `wanted` holds, and returns none then.
    pub(crate) async fn run_until(&mut self, wanted: impl Fn(&Self) -> bool) -> Option<Next> {
        for _ in 0..5_000 {
            if wanted(self) {
                return None;
            }
            let next = self.plan().await;
            if let Some(next) = self.pass(next) {
                return Some(next);
            }
        }
        panic!("the stage never ends: {}", self.memo)
    }

    /// The labels of the batches with their numbers of agents. Decisions of one batch count together.
    pub(crate) fn batches(&self) -> Vec<(&str, usize)> {
        let mut batches: Vec<(&str, usize)> = Vec::new();
        for (label, agents) in &self.started {
            match batches.last_mut() {
                Some((last, count)) if last == label => *count += agents.len(),
                _ => batches.push((label, agents.len())),
            }
        }
        batches
    }

    /// The agents in the batches with this label.
    pub(crate) fn agents_of(&self, label: &str) -> Vec<&str> {
        let of = self.started.iter().filter(|(it, _)| it == label);
        of.flat_map(|(_, agents)| agents).map(String::as_str).collect()
    }
}
