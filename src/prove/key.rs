//! When two moments of a stage are one state: when everything that the strategy may ever learn, and everything that may
//! still happen, is the same in both. What it never asks for is left out, which the proof begins by leaving out everything,
//! and starts afresh whenever the strategy looks at something that was left out.

use sha2::{Digest as _, Sha256};

use super::looks::Looks;
use super::world::World;
use crate::run::{AgentRecord, AgentState, Roster as _};

/// The sum of a state. Two states have the same one only by a chance that nobody will see.
pub(super) type Key = [u8; 32];

impl World<'_> {
    /// The sum of the present state, for a strategy that looks only at this.
    pub(super) fn key(&self, looks: Looks) -> Key {
        let mut sum = Sha256::new();
        let mut add = |text: &str| {
            // With its length, so that no two lists of texts have the same sum.
            sum.update((text.len() as u64).to_le_bytes());
            sum.update(text);
        };
        let progress = &self.machine.run().progress;
        let stage = &progress.stage;
        add(progress.status.as_str());
        add(&format!("{:?}", progress.reason.as_ref().map(|reason| reason.code)));
        add(&stage.memo);
        add(&format!("{:?}", stage.next));
        add(&format!("{:?} {:?} {}", self.now, self.used, stage.selected));
        let wakes = matches!(stage.next, Some(crate::run::PlannedNext::WaitUntil { .. }))
            || !progress.held_agents.is_nobody();
        add(&format!("{:?} {}", self.wake.filter(|_| wakes), self.complete));
        for state in AgentState::ALL {
            add(&self.machine.count(state).to_string());
        }
        let groups = looks.sees_groups() || self.scene.wanted.is_about_groups();
        let of = |record: &AgentRecord| {
            let group = self.groups.get(record.seq.0 as usize).copied().unwrap_or_default();
            if groups { format!("{} {}", record.seq.0, group) } else { record.seq.0.to_string() }
        };
        // An agent that is at work and leaves becomes REMOVED, whatever else becomes of it.
        let mut leaving: Vec<String> = Vec::new();
        for record in self.machine.records() {
            let state = record.state;
            if record.leaving {
                leaving.push(state.as_str().to_owned());
            }
            if looks.sees_records() {
                let AgentRecord { batch, started_at, ended_at, node_seen_at, leaving, .. } = record;
                let times = (batch, started_at, ended_at, node_seen_at, leaving);
                add(&format!("{} {state} {times:?}", of(record)));
            } else if looks.has(Looks::page(state)) {
                add(&format!("{} {state} {}", of(record), record.leaving));
            }
        }
        add(&leaving.join(" "));
        if looks.sees_records() {
            add(&stage.batches.to_string());
        }
        if groups {
            // Who is in which group matters to guards, and to what is to be proved, even where the strategy sees no names.
            let place = |record: &AgentRecord| {
                let group = self.groups.get(record.seq.0 as usize).copied().unwrap_or_default();
                (record.state, group, record.leaving)
            };
            let mut places: Vec<_> = self.machine.records().map(place).collect();
            places.sort_unstable();
            add(&format!("{places:?}"));
        }
        // Whom guards hold follows from that, but not whom the strategy named.
        let held = self.machine.held(None, u32::MAX);
        match looks.held() {
            true => add(&format!("{held:?}")),
            false => add(&held.len().to_string()),
        }
        sum.finalize().into()
    }
}
