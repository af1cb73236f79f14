//! What strategies decide, well and badly.

use replibook_core::run::{
    AgentId, AgentState, Decision, Effect, Input, MAX_START, Machine, Next, PluginLine, Roster,
};

use super::{World, view};
use crate::refresh::some_agents;

impl World {
    /// The decision of a plain rolling strategy, or of one that does everything that a strategy may.
    pub(super) fn decide(&mut self, max_start: u32) -> Decision {
        self.looks.asked(&self.machine);
        let roster: &dyn Roster = &self.machine;
        self.asked = (view(roster, self.records.values()), self.asked.1 + 1);
        let running = roster.count(AgentState::Running);
        let free = self.setup.batch.saturating_sub(running);
        let mut start = roster.page(AgentState::Pending, None, free.min(max_start));
        let idle = running == 0 && start.is_empty();
        let next = if idle { Next::Complete } else { Next::Wait };
        let (memo, refresh) = (String::new(), vec![]);
        let mut decision =
            Decision { start: vec![], skip: vec![], next, memo, label: None, refresh };
        if self.setup.batch == 3 {
            decision.refresh = some_agents(&self.machine);
        }
        if self.varied {
            let asked = self.asked.1;
            decision.memo = format!("memo {}", asked / 2);
            decision.label = asked.is_multiple_of(2).then(|| format!("label {asked}"));
            if start.len() > 1 && asked.is_multiple_of(3) {
                let left_out = start.pop().map(|id| (id, format!("left out by {asked}")));
                decision.skip = left_out.into_iter().collect();
            }
        }
        decision.start = start;
        decision
    }

    /// Answers the strategy's question with a changed decision. Returns why the run has its status then.
    pub(crate) fn decide_to(&mut self, change: impl Fn(&mut Decision, &Machine)) -> String {
        self.decide_with(change, vec![])
    }

    /// The same with lines for the log.
    pub(crate) fn decide_with(
        &mut self,
        change: impl Fn(&mut Decision, &Machine),
        logs: Vec<PluginLine>,
    ) -> String {
        let asked = self.effects.iter().position(|e| matches!(e, Effect::Plan { .. })).unwrap();
        self.effects.remove(asked);
        let mut decision = self.decide(MAX_START);
        change(&mut decision, &self.machine);
        self.apply(Input::Planned { result: Ok(decision), logs });
        self.progress().reason.clone().map(|reason| reason.message).unwrap_or_default()
    }

    /// Answers for the agents that were asked for the strategy, which is then asked.
    pub(crate) fn answer_refresh(&mut self, answers: Input) {
        self.give_refresh(answers);
        self.start();
    }

    /// Answers for the agents that were asked for the strategy.
    pub(crate) fn give_refresh(&mut self, answers: Input) {
        self.effects.retain(|effect| !matches!(effect, Effect::Refresh(_)));
        self.apply(answers);
    }

    pub(super) fn decide_badly(&mut self, kind: u16) {
        let Some(asked) = self.effects.iter().position(|e| matches!(e, Effect::Plan { .. })) else {
            return;
        };
        self.effects.remove(asked);
        let mut decision = self.decide(MAX_START);
        let nobody = AgentId::from("nobody");
        match kind % 8 {
            0 => decision.start = vec![nobody],
            1 => {
                let id = self.records.values().next().unwrap().agent.clone();
                decision.start = vec![id.clone(), id];
            }
            2 => (decision.start, decision.next) = (vec![], Next::Wait),
            3 => decision.memo = "x".repeat(70_000),
            4 => decision.label = Some("x".repeat(64)),
            5 => decision.start = vec![nobody; 251],
            7 => decision.refresh = vec![nobody],
            _ => decision.skip = vec![(nobody, String::new()); 261],
        }
        if kind % 8 == 6 {
            decision.start.clear();
        }
        self.apply(Input::Planned { result: Ok(decision), logs: vec![] });
    }
}
