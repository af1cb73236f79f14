//! The zones of a cluster, drawn side by side: who is done, who is at work, who waits and who is ill.

use std::collections::{BTreeMap, BTreeSet};

use crate::run::AgentState;

/// The most characters of one zone: three of them and their names fit a line of 80 columns.
const WIDTH: usize = 18;

/// The agents of a cluster by zone.
#[derive(Debug)]
pub(super) struct Zones {
    /// The agents of each zone, in the order in which they were given.
    zones: BTreeMap<&'static str, Vec<String>>,
    states: BTreeMap<String, AgentState>,
    ill: BTreeSet<String>,
}

impl Zones {
    pub(super) fn new(agents: impl IntoIterator<Item = (String, &'static str)>) -> Self {
        let mut zones: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (agent, zone) in agents {
            zones.entry(zone).or_default().push(agent);
        }
        Self { zones, states: BTreeMap::new(), ill: BTreeSet::new() }
    }

    pub(super) fn set(&mut self, agent: &str, state: AgentState) {
        self.states.insert(agent.to_owned(), state);
    }

    pub(super) fn set_ill(&mut self, agent: &str, is_ill: bool) {
        match is_ill {
            true => self.ill.insert(agent.to_owned()),
            false => self.ill.remove(agent),
        };
    }

    /// How many agents are done.
    pub(super) fn done(&self) -> usize {
        self.states.values().filter(|state| **state == AgentState::Done).count()
    }

    /// How many agents are at work, and in how many zones.
    pub(super) fn at_work(&self) -> (usize, usize) {
        let is_at_work = |agent: &&String| self.states.get(*agent) == Some(&AgentState::Running);
        let by_zone = self.zones.values().map(|agents| agents.iter().filter(is_at_work).count());
        let by_zone: Vec<usize> = by_zone.filter(|count| *count > 0).collect();
        (by_zone.iter().sum(), by_zone.len())
    }

    /// All zones in one line.
    pub(super) fn draw(&self) -> String {
        let zones =
            self.zones.iter().map(|(zone, agents)| format!("{zone} {}", self.cells(agents)));
        zones.collect::<Vec<_>>().join("   ")
    }

    /// A character for each agent of a zone. In a large zone a character stands for several agents, and shows the one that
    /// matters most.
    fn cells(&self, agents: &[String]) -> String {
        let each = agents.len().div_ceil(WIDTH).max(1);
        agents.chunks(each).map(|some| self.cell(some)).collect()
    }

    fn cell(&self, agents: &[String]) -> char {
        let states: Vec<_> = agents.iter().filter_map(|agent| self.states.get(agent)).collect();
        let has = |state: AgentState| states.contains(&&state);
        let is_ill = agents.iter().any(|agent| self.ill.contains(agent));
        match (is_ill, has(AgentState::Running), has(AgentState::Failed)) {
            (true, _, _) => '!',
            (false, true, _) => '▓',
            (false, false, true) => 'x',
            (false, false, false) => match has(AgentState::Pending) || states.is_empty() {
                true => '·',
                false => '█',
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(agents: usize) -> Zones {
        let all = (1..=agents).zip(["a", "b", "c"].into_iter().cycle());
        Zones::new(all.map(|(number, zone)| (format!("node-{number}"), zone)))
    }

    #[test]
    fn each_agent_has_its_place_in_its_zone() {
        let mut zones = zones(9);
        assert_eq!(zones.draw(), "a ···   b ···   c ···");
        zones.set("node-1", AgentState::Done);
        zones.set("node-4", AgentState::Running);
        zones.set("node-2", AgentState::Failed);
        zones.set("node-3", AgentState::Pending);
        assert_eq!(zones.draw(), "a █▓·   b x··   c ···");
        assert_eq!((zones.at_work(), zones.done()), ((1, 1), 1));
        zones.set("node-5", AgentState::Running);
        zones.set("node-8", AgentState::Running);
        assert_eq!(zones.at_work(), (3, 2));
        zones.set_ill("node-1", true);
        assert!(zones.draw().starts_with("a !▓·"), "{}", zones.draw());
        zones.set_ill("node-1", false);
        assert!(zones.draw().starts_with("a █▓·"), "{}", zones.draw());
    }

    #[test]
    fn a_hundred_agents_fit_a_line_and_one_that_is_ill_is_seen() {
        let mut zones = zones(100);
        for number in 1..=100 {
            zones.set(&format!("node-{number}"), AgentState::Done);
        }
        zones.set_ill("node-50", true);
        let drawn = zones.draw();
        assert!(drawn.chars().count() <= 70, "{drawn}");
        assert_eq!(drawn.matches('!').count(), 1, "{drawn}");
    }
}
