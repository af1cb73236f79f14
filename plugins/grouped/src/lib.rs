//! The strategy `grouped`: goes through groups of agents one after the other, each in batches.
//!
//! Agents that wait are counted by group, a few thousand in one decision. They are counted again when the
//! roster has more or fewer of them than were counted. So agents that joined or returned meanwhile go with
//! their group, even if it was over already.

mod arguments;
mod group;

use arguments::{ARGUMENTS, Arguments, Others};
use group::{Groups, Name};
use replibook_plugin_sdk::Level;
use replibook_plugin_sdk::batch::Batch;
use replibook_plugin_sdk::strategy::{Counts, Decision, Input, Next, Roster, State};
use serde::{Deserialize, Serialize};

/// How many agents one decision looks at: a few thousand take some tens of milliseconds.
const LOOKED_AT: usize = 5_000;

/// How many agents one decision leaves out: fewer than the 260 that the host allows.
const LEFT_OUT: usize = 250;

/// The longest label, in characters.
const LABEL: usize = 63;

replibook_plugin_sdk::strategy! {
    name: "grouped",
    summary: "Goes through groups of agents one after the other, each in batches.",
    arguments: ARGUMENTS,
    plan: plan,
}

/// What one decision hands to the next.
#[derive(Default, Serialize, Deserialize)]
struct Memo {
    groups: Groups,
    phase: Phase,
    /// The last agent that was looked at in this phase; none at its beginning.
    after: Option<String>,
    /// What [`members`] said when the agents were counted.
    members: (u32, u32),
    /// Whether agents were started. Before that, a group that is not in the order ends the run; after it,
    /// such agents are left out.
    begun: bool,
    /// When the soak after the last group ends, in milliseconds since the Unix epoch.
    soaked: f64,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Phase {
    /// Agents are counted by group.
    #[default]
    Count,
    /// The agents of this group are started.
    Group(Name, Batch),
    /// A group is over, and nothing happens until this moment.
    Soak(f64),
}

fn plan(roster: &Roster<'_>, input: &Input, arguments: Arguments) -> Result<Decision, String> {
    let memo = input.memo()?.unwrap_or_default();
    Planning { roster, input, arguments, counts: roster.counts(), memo }.plan()
}

struct Planning<'a> {
    roster: &'a Roster<'a>,
    input: &'a Input,
    arguments: Arguments,
    counts: Counts,
    memo: Memo,
}

impl Planning<'_> {
    /// Goes from phase to phase until there is something to decide.
    fn plan(mut self) -> Result<Decision, String> {
        loop {
            let decided = match self.memo.phase.clone() {
                Phase::Count => self.count()?,
                Phase::Group(name, batch) => self.go_on(&name, batch)?,
                Phase::Soak(until) if self.input.now < until => {
                    Some(Decision::new(Next::WaitUntil(until)))
                }
                Phase::Soak(_) => self.next_group(),
            };
            if let Some(decision) = decided {
                return decision.remember(&self.memo);
            }
        }
    }

    /// Counts the agents that wait by group, then enters the first group that has any.
    fn count(&mut self) -> Result<Option<Decision>, String> {
        if self.memo.after.is_none() {
            self.memo.members = members(&self.counts);
            self.memo.groups.0.iter_mut().for_each(|group| group.waiting = 0);
        }
        let mut waiting = self.roster.agents_after(State::Pending, self.memo.after.clone());
        let mut left_out = Decision::new(Next::WaitUntil(self.input.now));
        for _ in 0..LOOKED_AT {
            let Some(id) = waiting.next() else {
                self.memo.after = None;
                if !left_out.skip.is_empty() {
                    // The host must have left them out before the groups are entered.
                    return Ok(Some(left_out));
                }
                return Ok(self.counted());
            };
            let name = self.group_of(&id)?;
            self.memo.after = Some(id.clone());
            if self.memo.begun && self.is_refused(&name) {
                let by = &self.arguments.by;
                let reason = format!("it is {}, which is not in the order", name.found(by));
                left_out = left_out.skip(id, reason);
                if left_out.skip.len() == LEFT_OUT {
                    break;
                }
                continue;
            }
            self.memo.groups.count(name, &self.arguments.by)?;
        }
        Ok(Some(left_out))
    }

    fn counted(&mut self) -> Option<Decision> {
        let by = &self.arguments.by;
        if !self.memo.begun {
            let known = |name: &Name| self.memo.groups.0.iter().any(|group| group.name == *name);
            for name in self.arguments.order.iter().filter(|name| !known(name)) {
                self.roster.log(Level::Warn, &format!("no agent was found {}", name.found(by)));
            }
            if let Some(refused) = self.refused() {
                return Some(Decision::new(Next::Abort(refused)));
            }
        }
        let groups = &mut self.memo.groups;
        groups.0.iter_mut().for_each(|group| group.size = group.size.max(group.waiting));
        groups.sort(&self.arguments.order);
        self.enter_first()
    }

    /// Enters the first group in which agents wait.
    fn enter_first(&mut self) -> Option<Decision> {
        self.memo.after = None;
        match self.memo.groups.first() {
            Some(_) if self.input.now < self.memo.soaked => {
                self.memo.phase = Phase::Soak(self.memo.soaked);
                None
            }
            Some(name) => {
                let number = self.memo.groups.get_mut(&name).map_or(0, |group| group.batches);
                self.memo.phase = Phase::Group(name, Batch { number, left: 0 });
                None
            }
            None => Some(Decision::new(match self.counts.running {
                0 => Next::Complete,
                _ => Next::Wait,
            })),
        }
    }

    fn is_refused(&self, name: &Name) -> bool {
        self.arguments.others == Others::Refuse && !self.arguments.order.contains(name)
    }

    /// The reason to abort if there are groups that are not in the order; none if all groups are allowed.
    fn refused(&self) -> Option<String> {
        let by = &self.arguments.by;
        let refused = self.memo.groups.0.iter().filter(|group| self.is_refused(&group.name));
        let told: Vec<_> = refused
            .map(|group| match group.waiting {
                1 => format!("1 agent {}", group.name.found(by)),
                agents => format!("{agents} agents {}", group.name.found(by)),
            })
            .collect();
        let expected: Vec<_> = self.arguments.order.iter().map(|name| name.told(by)).collect();
        let (told, expected) = (told.join(", "), expected.join(", "));
        (!told.is_empty()).then(|| format!("found {told}; expected only {expected}"))
    }

    fn group_of(&self, id: &str) -> Result<Name, String> {
        let attributes = self.roster.details(id).map(|agent| agent.attributes);
        let name = Name::read(attributes.as_deref().unwrap_or("{}"), &self.arguments.by);
        name.map_err(|why| format!("agent {id}: {why}"))
    }

    /// Starts the next agents of a group. If there are none left, the group is over once all have ended.
    fn go_on(&mut self, name: &Name, batch: Batch) -> Result<Option<Decision>, String> {
        let mode = self.arguments.mode;
        let Some(group) = self.memo.groups.get_mut(name) else {
            return Err(format!("found a memo without {}", name.told(&self.arguments.by)));
        };
        let batch = batch.next(mode, self.arguments.batch.of(group.size), self.counts.running);
        if batch.left == 0 {
            return Ok(Some(Decision::new(Next::Wait)));
        }
        let most = batch.left.min(self.input.max_start);
        let (start, is_all) = self.find(name, most)?;
        let started = start.len() as u32;
        if started == 0 {
            self.memo.phase = Phase::Group(name.clone(), batch);
            return Ok(match (is_all, self.counts.running) {
                (false, _) => Some(Decision::new(Next::WaitUntil(self.input.now))),
                (true, 0) => self.leave(name),
                (true, _) => Some(Decision::new(Next::Wait)),
            });
        }
        self.memo.begun = true;
        if let Some(group) = self.memo.groups.get_mut(name) {
            group.waiting = group.waiting.saturating_sub(started);
            group.batches = batch.number;
        }
        let after = batch.started(mode, started, !is_all);
        self.memo.phase = Phase::Group(name.clone(), after);
        let next = match after.left > 0 && started < self.input.max_start {
            true => Next::WaitUntil(self.input.now),
            false => Next::Wait,
        };
        Ok(Some(Decision::new(next).start(start, &self.label(name, batch.number))))
    }

    /// The next agents of a group that wait, at most `most`; and whether there are no more of them.
    fn find(&mut self, name: &Name, most: u32) -> Result<(Vec<String>, bool), String> {
        let mut found = Vec::new();
        let mut waiting = self.roster.agents_after(State::Pending, self.memo.after.clone());
        for _ in 0..LOOKED_AT {
            if found.len() == most as usize {
                return Ok((found, false));
            }
            let Some(id) = waiting.next() else { return Ok((found, true)) };
            if self.group_of(&id)? == *name {
                found.push(id.clone());
            }
            self.memo.after = Some(id);
        }
        Ok((found, false))
    }

    /// A group is over.
    fn leave(&mut self, name: &Name) -> Option<Decision> {
        // Agents that were counted and not found have left the cluster, or will be found by the next count.
        if let Some(group) = self.memo.groups.get_mut(name) {
            group.waiting = 0;
        }
        self.memo.after = None;
        // The soak is set even if no agent waits: those that join later wait for it too.
        self.memo.soaked = self.input.now + self.arguments.soak.0 as f64;
        self.next_group()
    }

    /// Enters the next group. Counts first if agents joined, left or returned.
    fn next_group(&mut self) -> Option<Decision> {
        // While agents are gone, one may have left and another one returned, so equal numbers prove nothing.
        let as_counted = self.memo.members == members(&self.counts) && self.counts.removed == 0;
        if as_counted && self.memo.groups.waiting() == self.counts.pending {
            return self.enter_first();
        }
        self.memo.after = None;
        self.memo.phase = Phase::Count;
        None
    }

    /// For example `zone a 2`. The name is cut so that the number fits in.
    fn label(&self, name: &Name, number: u32) -> String {
        let number = format!(" {number}");
        let room = LABEL - number.len();
        let name: String = name.told(&self.arguments.by).chars().take(room).collect();
        name + &number
    }
}

/// The number of all agents, and of those that are left out. The second is needed as well: an agent that left
/// while it waited may return as left out, which the first number does not show.
fn members(counts: &Counts) -> (u32, u32) {
    let Counts { added, pending, running, done, failed, skipped, removed, selected: _ } = *counts;
    (added + pending + running + done + failed + skipped + removed, skipped)
}
