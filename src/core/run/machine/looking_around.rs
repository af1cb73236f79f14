//! Asks agents about their nodes for the guards of the cluster: before anybody is started, and again and again while
//! guards hold somebody.

use std::sync::Arc;

use super::refreshing::TAKEN_AT_ONCE;
use super::steering::CHUNK_BYTES;
use super::turn::{Legal, Turn};
use crate::playbook::{CLOSED, FREEZE, WINDOWS};
use crate::run::state::{OfStrategy, State, group_of, node_status};
use crate::run::{
    About, AgentSeq, AgentState, AskAgain, Effect, LOOK_EVERY, Refreshed, Timestamp, Wanted,
};

/// How many answers one commit looks at. Most of them say nothing new, and then nothing is written.
const SEEN_AT_ONCE: usize = 10_000;

impl State {
    /// Whether guards know well enough how nodes are that agents may be started now, by a strategy that was `asked`
    /// before.
    pub(super) fn knows_nodes(&self, asked: Timestamp, now: Timestamp) -> bool {
        self.around().is_fresh_for(asked, now)
            && self.counting().stale().is_empty()
            && !self.around().is_needed()
    }

    /// When all agents are asked again because guards hold somebody.
    pub(super) fn next_look(&self) -> Option<Timestamp> {
        let held = &self.progress().held_agents;
        let is_over_time = |name: &str| [WINDOWS, FREEZE, CLOSED].contains(&name);
        let guards = &self.progress().guards;
        let counts = held.guards.iter().any(|name| !is_over_time(name) || guards.counts(name));
        if !counts || self.around().goes_on() {
            return None;
        }
        let last = self.around().whole_at();
        Some(last.map_or(self.progress().since, |last| last.plus(LOOK_EVERY)))
    }

    /// Whether what an agent says now is news for guards, or something that people should see.
    fn is_news_for_guards(&self, known: &About, new: &About) -> bool {
        let moves = || {
            let guards = self.progress().guards.guards.iter();
            known.attributes != new.attributes
                && guards.into_iter().any(|guard| {
                    group_of(guard, &known.attributes) != group_of(guard, &new.attributes)
                })
        };
        node_status(&known.node) != node_status(&new.node) || moves()
    }
}

impl Turn<'_> {
    /// Asks agents about their nodes: all that guards count or, if it is not a `whole` round, only those whose last
    /// answers no longer count. Agents at work are out anyway.
    pub(super) fn look_around(&mut self, whole: bool, needed: bool) -> Legal {
        if self.around().goes_on() {
            return match needed && !self.around().is_needed() {
                true => self.emit(OfStrategy::AwaitsLook),
                false => Ok(()),
            };
        }
        let needed = needed || !self.counting().stale().is_empty();
        let seqs: Vec<AgentSeq> = match whole {
            true => self
                .records()
                .filter(|record| !record.agent.is_run() && is_asked(record.state))
                .map(|r| r.seq)
                .collect(),
            false => self.counting().stale().iter().copied().collect(),
        };
        let asked = seqs.into_iter().map(|seq| {
            let record = self.record(seq)?;
            Ok(AskAgain {
                seq: record.seq,
                agent: record.agent.clone(),
                address: record.address.clone(),
                attributes: record.attributes.clone(),
                declared: record.declared.clone(),
                wanted: Wanted::default().and_compare(&record.identity),
            })
        });
        let asked = asked.collect::<Legal<Vec<_>>>()?;
        self.emit(OfStrategy::LooksAround { whole, needed })?;
        match asked.is_empty() {
            // Everybody is at work.
            true => self.emit(OfStrategy::LookedAround(Vec::new())),
            false => {
                self.effect(Effect::LookAround(asked));
                Ok(())
            }
        }
    }

    /// Asks the agents that have worked since they were last asked, before the strategy is asked. Returns false if there
    /// are none, or if all agents would have to be asked: that is done only once the strategy starts somebody.
    pub(super) fn looks_first(&mut self) -> Legal<bool> {
        let knows_others = self.around().is_fresh(self.now);
        if !knows_others || self.counting().stale().is_empty() || !self.counts_nodes(self.now) {
            return Ok(false);
        }
        self.look_around(false, true)?;
        Ok(self.around().is_needed())
    }

    /// Takes the answers of agents that were asked for the guards.
    pub(super) fn looked_around(&mut self, answers: Vec<Refreshed>) -> Legal {
        self.emit(OfStrategy::LookedAround(answers))?;
        self.take_around()
    }

    /// Takes over the next answers, as many as fit one commit. Only news is written.
    pub(super) fn take_around(&mut self) -> Legal {
        if !self.around().is_taking() {
            return Ok(());
        }
        let (mut seen, mut taken, mut bytes) = (0, 0, 0);
        while seen < SEEN_AT_ONCE && taken < TAKEN_AT_ONCE && bytes < CHUNK_BYTES {
            let Some(answer) = self.around().answer(seen) else { break };
            let Refreshed { agent, mut about, silence: _ } = answer.clone();
            seen += 1;
            let record = self.record(agent)?;
            if record.state == AgentState::Removed {
                continue;
            }
            let is_agent = record.check_identity(&about.node, &about.datastore.store).is_ok();
            let known = record.about();
            if !is_agent {
                // What another node says in the agent's place is not something that the agent said.
                about = About { node: Arc::default(), datastore: Arc::default(), ..known.clone() };
                about.seen_at = Some(self.now);
            } else if !about.node.is_null() {
                // It was not asked about its store, unless to compare who it is.
                about.datastore = Arc::clone(&known.datastore);
            }
            let (is_silent, is_news) =
                (about.node.is_null(), self.is_news_for_guards(&known, &about));
            if is_silent && record.identified_at.is_some() {
                self.forget_identity(agent)?;
                taken += 1;
            }
            if is_news {
                taken += 1;
                bytes += self.weight(agent)?;
                self.about(agent, about)?;
            }
        }
        self.emit(OfStrategy::TookAround(seen))
    }

    /// Does what is due because guards hold somebody: the strategy is asked when a window opens, and agents are asked
    /// from time to time.
    pub(super) fn wake_held(&mut self) -> Legal {
        if self.progress().held_agents.until.is_some_and(|until| until <= self.now) {
            self.plan_is_due()?;
        }
        match self.next_look().is_some_and(|at| at <= self.now) {
            true => self.look_around(true, false),
            false => Ok(()),
        }
    }
}

/// Whether an agent in this state is asked. One at work is out whatever it says, and one that has left is not counted.
const fn is_asked(state: AgentState) -> bool {
    match state {
        AgentState::Added
        | AgentState::Pending
        | AgentState::Done
        | AgentState::Failed
        | AgentState::Skipped => true,
        AgentState::Running | AgentState::Removed => false,
    }
}
