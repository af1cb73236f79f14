//! What guards promise, counted anew from the stored records, the document of the cluster and what nodes said. Nothing
//! of it is taken from the machine.

use std::collections::{BTreeMap, BTreeSet};

use replibook_core::playbook::{Amount, ClusterGuards, FREEZE, Guard, WINDOWS};
use replibook_core::run::{
    AgentId, AgentRecord, AgentState, FACTS_AGE, Happened, Progress, Timestamp, Writes,
};

/// What a node says about its status. `None`: nothing.
pub(crate) type Said = Option<&'static str>;

/// When each node was last asked for guards or as a member, and what it said then.
pub(crate) type Told = BTreeMap<AgentId, (Timestamp, Said)>;

/// What is counted of a commit that starts agents.
pub(crate) struct Moment<'a> {
    pub(crate) now: Timestamp,
    pub(crate) guards: &'a ClusterGuards,
    pub(crate) progress: &'a Progress,
    /// All records after the commit.
    pub(crate) records: Vec<&'a AgentRecord>,
    pub(crate) told: &'a Told,
}

/// The agents that a commit starts.
pub(crate) fn started(writes: &Writes) -> BTreeSet<AgentId> {
    let of = |what: &Happened| match what {
        Happened::Agent {
            agent, from: Some(AgentState::Pending), to: AgentState::Running, ..
        } => Some(agent.clone()),
        _ => None,
    };
    writes.events.iter().filter_map(|event| of(&event.what)).collect()
}

impl Moment<'_> {
    /// Checks that no agent was started against a guard. The error says which one.
    pub(crate) fn check(&self, started: &BTreeSet<AgentId>) -> Result<(), String> {
        if started.is_empty() {
            return Ok(());
        }
        let overridden = |name: &str| self.progress.overridden.contains(name);
        if !overridden(WINDOWS) && !self.in_window() {
            return Err(format!("{started:?} started at {}, outside of all windows", self.now));
        }
        let frozen = self.guards.freezes.iter().find(|it| it.from <= self.now && self.now < it.to);
        if let Some(freeze) = frozen.filter(|_| !overridden(FREEZE)) {
            return Err(format!("{started:?} started at {}, in {freeze:?}", self.now));
        }
        let guards = self.guards.guards.iter().filter(|guard| !overridden(&guard.name));
        let mut counts = false;
        for guard in guards {
            counts = true;
            self.within(guard, started)?;
        }
        if counts { self.by_facts() } else { Ok(()) }
    }

    /// Whether a window is open. The only one that is made begins at 22:00 in Berlin in winter, one hour ahead of UTC.
    fn in_window(&self) -> bool {
        let hour = self.now.as_millis().div_euclid(3_600_000).rem_euclid(24);
        self.guards.windows.is_empty() || hour == 21
    }

    fn within(&self, guard: &Guard, started: &BTreeSet<AgentId>) -> Result<(), String> {
        let mut groups: BTreeMap<String, (u32, u32, bool)> = BTreeMap::new();
        for record in self.records.iter().filter(|record| record.state != AgentState::Removed) {
            let group = groups.entry(group_of(guard, record)).or_default();
            group.0 += 1;
            group.1 += u32::from(self.is_out(record));
            group.2 |= started.contains(&record.agent);
        }
        for (value, (size, out, _)) in groups.iter().filter(|(_, group)| group.2) {
            let allowed = match guard.max_out {
                Amount::Count(count) => count,
                Amount::Share(share) => size * share / 10_000,
            };
            if *out > allowed {
                return Err(format!(
                    "{started:?} started, and {out} of {size} are out in group {value:?} of {guard:?}"
                ));
            }
        }
        let touched = groups.values().filter(|group| group.1 > 0).count() as u32;
        match guard.groups.filter(|most| touched > *most) {
            Some(_) => {
                Err(format!("{started:?} started, and {touched} groups are touched of {guard:?}"))
            }
            None => Ok(()),
        }
    }

    fn is_out(&self, record: &AgentRecord) -> bool {
        let well = record.node.get("node_status").and_then(|status| status.as_str());
        let well = well.is_some_and(|word| self.guards.healthy.iter().any(|well| well == word));
        record.state == AgentState::Running || record.outstanding.is_some() || !well
    }

    /// Checks that the records say what nodes said, and that they said it lately and after their work.
    fn by_facts(&self) -> Result<(), String> {
        for record in &self.records {
            let counts = record.state != AgentState::Removed && record.state != AgentState::Running;
            if !counts || record.outstanding.is_some() {
                continue;
            }
            let said = self.told.get(&record.agent);
            let Some((at, said)) = said else {
                return Err(format!("{} was never asked", record.agent));
            };
            if self.now.since(*at) > FACTS_AGE {
                return Err(format!(
                    "{} was last asked at {at}, now it is {}",
                    record.agent, self.now
                ));
            }
            let worked = record.ended_at.filter(|_| record.started_at.is_some());
            if worked.is_some_and(|ended| *at < ended) {
                return Err(format!("{} has worked since it was asked", record.agent));
            }
            let known = record.node.get("node_status").and_then(|status| status.as_str());
            if known != *said {
                return Err(format!("{} said {said:?}, its record has {known:?}", record.agent));
            }
        }
        Ok(())
    }
}

fn group_of(guard: &Guard, record: &AgentRecord) -> String {
    let name = guard.by.as_deref().map(|by| by.trim_start_matches("attributes."));
    name.and_then(|name| record.attributes.get(name)).map(ToString::to_string).unwrap_or_default()
}

/// Whether each agent that waits may be started once all others are well and nobody is at work.
pub(crate) fn lets_everybody_go(guards: &ClusterGuards, records: &[AgentRecord]) -> bool {
    guards.guards.iter().all(|guard| {
        let there = || records.iter().filter(|record| record.state != AgentState::Removed);
        let waits = there().filter(|record| record.state == AgentState::Pending);
        guard.groups != Some(0)
            && waits.into_iter().all(|one| {
                let group = group_of(guard, one);
                let size = there().filter(|other| group_of(guard, other) == group).count();
                guard.max_out.of(size as u32) >= 1
            })
    })
}
