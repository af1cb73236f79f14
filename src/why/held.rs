//! Agents that guards of the cluster hold: who, by which guard and because of whom, and the command that overrides it.

use super::explain::Telling;
use super::words::{agents, at, quoted, since, word};
use crate::playbook::{CLOSED, FREEZE};
use crate::run::{AgentId, GuardGroup, Held, HeldAgent, HeldBy, Timestamp};

impl Telling<'_> {
    /// Says whom guards hold.
    pub(super) fn say_held(&mut self) {
        if let Some(text) = held(&self.run.progress.held_agents, self.now) {
            self.say(&text);
        }
    }

    /// Names the command that overrides each guard which holds somebody.
    pub(super) fn offer_override(&mut self) {
        let all = &self.run.progress.guards;
        // A cluster that is closed to the run opens by itself. Some stores have a guard of that name.
        let can_be = |guard: &&String| match guard.as_str() {
            CLOSED | FREEZE if all.is_closed() => false,
            CLOSED => all.counts(CLOSED),
            _ => true,
        };
        let guards: Vec<String> =
            self.run.progress.held_agents.guards.iter().filter(can_be).cloned().collect();
        for guard in guards {
            let effect = format!("override guard {guard} in this run");
            self.offer(&effect, &format!("resume --override-guard {} --reason WHY", word(&guard)));
        }
    }
}

/// Whom guards hold; `None` if they hold nobody.
fn held(held: &Held, now: Timestamp) -> Option<String> {
    let Held { agents: all, some, guards: _, since: from, until } = held;
    let (first, rest) = some.split_first()?;
    let from = from.map(|from| format!(" {}", since(from, now))).unwrap_or_default();
    if let HeldBy::Closed { .. } = &first.by {
        return Some(format!("{} held{from}: {}", are(*all), by(&first.by)));
    }
    // A window or a freeze holds all of them alike.
    if let HeldBy::Windows { .. } | HeldBy::Freeze { .. } = &first.by {
        let until = match until {
            Some(until) => format!("agents may start again {}", at(*until, now)),
            None => "it is not known when agents may start again".to_owned(),
        };
        let held = format!("{} held{from}", are(*all));
        return Some(format!("{held}: {}; {until}", by(&first.by)));
    }
    let mut named: Vec<String> = [first].into_iter().chain(rest).map(one).collect();
    let more = usize::try_from(*all).unwrap_or(usize::MAX).saturating_sub(named.len());
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    Some(format!("{} held{from}: {}", are(*all), named.join("; ")))
}

fn are(all: u32) -> String {
    format!("{} {}", agents(all), if all == 1 { "is" } else { "are" })
}

fn one(HeldAgent { agent, by: reason }: &HeldAgent) -> String {
    format!("{agent} ({})", by(reason))
}

/// An agent that is held, and by what.
pub fn held_in_words(held: &HeldAgent) -> String {
    one(held)
}

/// What holds an agent.
fn by(reason: &HeldBy) -> String {
    match reason {
        HeldBy::Agents { guard, group, of, out: _, allowed: 0, because: _ } => {
            format!("guard {guard} lets none of {} be out{}", agents(*of), in_group(group.as_ref()))
        }
        HeldBy::Agents { guard, group, of, out, allowed, because } => format!(
            "guard {guard} lets {allowed} of {} be out{}, and {out} {} already{}",
            agents(*of),
            in_group(group.as_ref()),
            if *out == 1 { "is" } else { "are" },
            names(because, *out),
        ),
        HeldBy::Groups { guard, group, touched: _, allowed, because } => format!(
            "guard {guard} lets agents be out in {}, and {group} would be one more{}",
            groups(*allowed),
            names(because, u32::try_from(because.len()).unwrap_or(u32::MAX)),
        ),
        HeldBy::Windows { .. } => "no window of the cluster is open".to_owned(),
        HeldBy::Freeze { reason, .. } => format!("the cluster is frozen: {}", quoted(reason)),
        HeldBy::Closed { reason } => format!("for now, {}", quoted(reason)),
    }
}

fn groups(number: u32) -> String {
    format!("{number} group{}", if number == 1 { "" } else { "s" })
}

fn in_group(group: Option<&GuardGroup>) -> String {
    group.map(|group| format!(" in {group}")).unwrap_or_default()
}

/// `: node-1, node-2, …`
fn names(because: &[AgentId], all: u32) -> String {
    if because.is_empty() {
        return String::new();
    }
    let named: Vec<&str> = because.iter().map(AgentId::as_str).collect();
    let more = if usize::try_from(all).unwrap_or(usize::MAX) > named.len() { ", …" } else { "" };
    format!(": {}{more}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::explain::explain;
    use super::super::samples::{NOBODY, RUN, at, with};
    use super::*;
    use crate::run::{AgentState, RunStatus};

    fn told(some: Vec<HeldAgent>, agents: u32, until: Option<Timestamp>) -> (String, Vec<String>) {
        let guards = some.first().map(|one| vec![one.by.guard().to_owned()]).unwrap_or_default();
        let run = with(RunStatus::Running, |progress| {
            progress.counts = [(AgentState::Pending, 9)].into();
            progress.held_agents = Held { agents, some, guards, since: Some(at(200)), until };
        });
        let why = explain(&run, &NOBODY, at(245));
        (why.text, why.next.into_iter().map(|next| next.command).collect())
    }

    fn node(number: u32) -> AgentId {
        AgentId(format!("node-{number}"))
    }

    #[test]
    fn whoever_is_held_is_named_with_the_guard_and_with_whom_it_counts() {
        let group = GuardGroup { attribute: "zone".to_owned(), value: Some("a".to_owned()) };
        let guard = || "one-zone".to_owned();
        let agents = |allowed, out, because| HeldBy::Agents {
            guard: guard(),
            group: Some(group.clone()),
            of: 3,
            out,
            allowed,
            because,
        };
        let groups = HeldBy::Groups {
            guard: guard(),
            group: GuardGroup { attribute: "zone".to_owned(), value: None },
            touched: 1,
            allowed: 1,
            because: vec![node(9)],
        };
        let some = vec![
            HeldAgent { agent: node(1), by: agents(1, 1, vec![node(2)]) },
            HeldAgent { agent: node(4), by: agents(0, 0, Vec::new()) },
            HeldAgent { agent: node(7), by: groups },
        ];
        let (text, commands) = told(some, 8, None);
        let expected = " 8 agents are held since 09:03:20 (45s): node-1 (guard one-zone lets 1 of 3 agents be out in \
                        zone a, and 1 is already: node-2); node-4 (guard one-zone lets none of 3 agents be out in \
                        zone a); node-7 (guard one-zone lets agents be out in 1 group, and no zone would be one more: \
                        node-9); and 5 more.";
        assert!(text.contains(expected), "{text}");
        let command = format!("run resume {RUN} --override-guard one-zone --reason WHY");
        assert!(commands.contains(&command), "{commands:?}");
    }

    #[test]
    fn a_cluster_that_is_closed_says_until_when() {
        let window = HeldBy::Windows { until: Some(at(3_845)) };
        let some = vec![HeldAgent { agent: node(1), by: window }];
        let (text, _) = told(some, 1, Some(at(3_845)));
        let expected = " 1 agent is held since 09:03:20 (45s): no window of the cluster is open; agents may start \
                        again at 10:04:05 (in 1h00m).";
        assert!(text.contains(expected), "{text}");
        let freeze = HeldBy::Freeze { reason: "the fair.".to_owned(), until: None };
        let some = vec![HeldAgent { agent: node(1), by: freeze }];
        let (text, _) = told(some, 2, None);
        assert!(text.contains("the cluster is frozen: the fair; it is not known when"), "{text}");
        let closed = HeldBy::Closed { reason: "it waits for another run".to_owned() };
        let (text, commands) = told(vec![HeldAgent { agent: node(1), by: closed }], 2, None);
        let expected = "2 agents are held since 09:03:20 (45s): for now, it waits for another run.";
        assert!(text.contains(expected), "{text}");
        assert!(commands.iter().all(|command| !command.contains("override")), "{commands:?}");
    }
}
