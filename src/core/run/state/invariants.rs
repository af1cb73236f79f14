//! What holds after every event. Builds with debug assertions check it.

use super::agent::{Agent, Doing, Phase};
use super::event::{OfMembership, What};
use super::value::State;
use crate::run::{AgentSeq, AgentState};

impl State {
    /// The rule that an event broke; `None` if all rules hold. The check costs the same however many agents there
    /// are.
    pub(super) fn broken_by(&self, what: &What) -> Option<&'static str> {
        let agent = match what {
            What::Agent(seq, _) | What::Call(seq, _) => Some(*seq),
            What::Membership(OfMembership::Made { .. }) => self.last_agent(),
            What::Membership(_) | What::Run(_) | What::Strategy(_) => None,
        };
        agent.and_then(|seq| self.broken_in(seq)).or_else(|| self.broken())
    }

    fn broken_in(&self, seq: AgentSeq) -> Option<&'static str> {
        let agent = self.find(seq)?;
        let state = agent.record().state;
        let listed = self.index.by_state.get(&state).map_or(0, std::collections::BTreeSet::len);
        let rules = [
            (
                self.run.progress.count(state) as usize == listed,
                "agents are counted by their state",
            ),
            (self.is_indexed(agent, seq), "the index says what the agents say"),
        ];
        agent.broken().or_else(|| first_broken(&rules))
    }

    fn is_indexed(&self, agent: &Agent, seq: AgentSeq) -> bool {
        let trying = self.index.trying.contains(&seq) == agent.attempt().is_some();
        let looking = self.index.looking.contains(&seq) == agent.is_looking();
        let watched = self.index.watched.contains(&seq) == agent.watched().is_some();
        trying && looking && watched
    }

    fn broken(&self) -> Option<&'static str> {
        let progress = &self.run.progress;
        let settled = progress.status.is_settled();
        first_broken(&[
            (!settled || self.work().is_none(), "nothing is left to do once the end is settled"),
            (!settled || !self.strategy.due, "no strategy is asked once the end is settled"),
            (progress.finish_ts.is_none() || progress.status.is_final(), "the run ends last"),
            (progress.needs >= progress.needed(), "a run says which format it needs"),
        ])
    }
}

impl Agent {
    fn broken(&self) -> Option<&'static str> {
        let record = self.record();
        let runs = record.state == AgentState::Running;
        let idle = matches!(self.phase, Phase::Idle);
        let attempt = self.attempt();
        let is_last = attempt.is_none_or(|at| at.journal.key == record.present_attempt());
        let held = attempt.is_some_and(|attempt| attempt.doing == Doing::Held);
        let out = record.outstanding.is_some();
        first_broken(&[
            (runs || idle, "only a running agent does anything"),
            (idle || record.phase == self.phase.kept(), "a record says what its agent does"),
            (!self.watched || out, "what is looked at is out"),
            (attempt.is_none() || !out, "no attempt goes on while an action of another one is out"),
            (is_last, "only the last attempt of a step goes on"),
            (!held || self.phase.alarm().is_none(), "time on hold is not counted"),
        ])
    }
}

fn first_broken(rules: &[(bool, &'static str)]) -> Option<&'static str> {
    rules.iter().find(|(holds, _)| !holds).map(|(_, rule)| *rule)
}
