//! What guards promise: no start leaves one exceeded. Agents are counted here anew, from the records that are
//! stored, whenever a commit starts any.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use replibook::playbook::{Amount, ClusterGuards, Guard};
use replibook::run::{AgentId, AgentRecord, AgentState, Happened, RunEvent, Timestamp};

use crate::ledger::{Check, expect};
use crate::run_model::RunModel;

/// When each node was last asked how it is. The question came not before that.
pub(crate) type NodesAsked = BTreeMap<AgentId, Timestamp>;

/// The guards that the run knows of.
#[derive(Debug, Default)]
pub(crate) struct GuardModel {
    pub(crate) guards: Arc<ClusterGuards>,
    /// Whether it ever had any: then strategies can't start everybody whom they want to.
    pub(crate) ever: bool,
}

impl GuardModel {
    pub(crate) fn are(&mut self, guards: &Arc<ClusterGuards>) {
        self.guards = Arc::clone(guards);
        self.ever |= !guards.guard_nothing();
    }
}

impl RunModel {
    /// Checks the agents that the last commit started, whose events are those after the first `known` ones.
    pub(crate) fn keeps_guards(&self, known: usize, asked: &NodesAsked) -> Check {
        let guards = &self.guards.guards;
        let new = self.events.get(known..).unwrap_or_default();
        let starts = |event: &&RunEvent| {
            let Happened::Agent { agent, from, to, .. } = &event.what else { return false };
            // A stage on the run takes nobody down.
            !agent.is_run() && *from == Some(AgentState::Pending) && *to == AgentState::Running
        };
        let Some(first) = new.iter().find(starts) else { return Ok(()) };
        let agents = new.iter().filter(starts).filter_map(|event| event.what.agent());
        let started: BTreeSet<&AgentId> = agents.collect();
        let say = || format!("{started:?} at {} under {guards:?}", first.at);
        let frozen = guards.freezes.iter().any(|it| it.from <= first.at && first.at < it.to);
        expect(!frozen, "nobody starts in a freeze", say)?;
        let open = guards.windows.is_empty()
            || guards.windows.iter().any(|window| is_open(&window.every, first.at));
        expect(open, "nobody starts outside of the windows", say)?;
        for guard in &guards.guards {
            self.within(guard, &started)?;
        }
        // At a name that only a platform made up, nobody is there who could note the question.
        let mut answers = self.agents().filter(|record| record.agent.as_str().starts_with("node-"));
        let known = guards.guards.is_empty() || answers.all(|it| knows(it, &started, asked));
        expect(known, "who has worked is asked before somebody starts", say)
    }

    /// The records of agents, without that of the run itself.
    fn agents(&self) -> impl Iterator<Item = &AgentRecord> {
        self.records.values().filter(|record| !record.agent.is_run())
    }

    fn within(&self, guard: &Guard, started: &BTreeSet<&AgentId>) -> Check {
        let mut groups: BTreeMap<String, (u32, u32, bool)> = BTreeMap::new();
        for record in self.agents().filter(|record| record.state != AgentState::Removed) {
            let name = guard.by.as_deref().map(|by| by.trim_start_matches("attributes."));
            let value = name.and_then(|name| record.attributes.get(name));
            let group =
                groups.entry(value.map(ToString::to_string).unwrap_or_default()).or_default();
            group.0 += 1;
            group.1 += u32::from(self.is_out(record));
            group.2 |= started.contains(&record.agent);
        }
        for (name, (size, out, _)) in groups.iter().filter(|(_, group)| group.2) {
            let allowed = match guard.max_out {
                Amount::Count(count) => count,
                Amount::Share(hundredths) => size * hundredths / 10_000,
            };
            expect(*out <= allowed, "no start leaves a guard exceeded", || {
                format!("{out} of {size} are out in {name:?}: {guard:?}, {started:?}")
            })?;
        }
        let touched = groups.values().filter(|group| group.1 > 0).count();
        let most = guard.groups.map_or(usize::MAX, |most| most as usize);
        expect(touched <= most, "no start touches too many groups", || {
            format!("{touched} groups are touched: {guard:?}, {started:?}")
        })
    }

    fn is_out(&self, record: &AgentRecord) -> bool {
        let healthy = &self.guards.guards.healthy;
        let well = record.node_status().is_some_and(|said| healthy.iter().any(|well| well == said));
        record.state == AgentState::Running || record.outstanding.is_some() || !well
    }
}

/// Whether a node was asked since the run worked on it.
fn knows(record: &AgentRecord, started: &BTreeSet<&AgentId>, asked: &NodesAsked) -> bool {
    let counts = record.state != AgentState::Removed && record.state != AgentState::Running;
    let idle = record.outstanding.is_none() && !started.contains(&record.agent);
    match record.ended_at.filter(|_| counts && idle && record.started_at.is_some()) {
        Some(ended) => asked.get(&record.agent).is_some_and(|at| *at >= ended),
        None => true,
    }
}

/// Whether a window of two minutes is open that opens at a minute and an hour in Berlin, in winter.
fn is_open(every: &str, at: Timestamp) -> bool {
    let mut fields = every.split(' ').map_while(|field| field.parse::<i64>().ok());
    let (Some(minute), Some(hour)) = (fields.next(), fields.next()) else { return false };
    let in_berlin = at.as_millis() + 3_600_000;
    let of_day = in_berlin.rem_euclid(86_400_000) - (hour * 60 + minute) * 60_000;
    (0..120_000).contains(&of_day)
}
