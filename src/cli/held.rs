//! Agents that guards of their cluster hold, in words.

use super::text::{moment, plural};
use crate::api::wire::RunView;
use crate::playbook::{CLOSED, FREEZE, WINDOWS};
use crate::run::{AgentId, AgentState, Held, HeldAgent, HeldBy, RunStatus};

/// What holds agents of a run, in one line: `3 agents are held by one-zone: node-2 (1 of 1 out in zone b: node-5)`.
/// `None` if nobody is held.
pub(super) fn in_words(held: &Held) -> Option<String> {
    let Held { agents, some, guards, .. } = held;
    let verb = if *agents == 1 { "is" } else { "are" };
    let head =
        format!("{} {verb} held by {}", plural((*agents).into(), "agent"), guards.join(", "));
    let mut named: Vec<String> =
        some.iter().map(|HeldAgent { agent, by }| format!("{agent} ({})", why(by))).collect();
    let more = (*agents as usize).saturating_sub(named.len());
    named.extend((more > 0).then(|| format!("and {more} more")));
    (*agents > 0).then(|| format!("{head}: {}", named.join(", ")))
}

/// How many are held, by what and since when. The explanation of the run says the rest.
pub(super) fn in_short(held: &Held) -> Option<String> {
    let Held { agents, some: _, guards, since, until: _ } = held;
    let since = since.map_or_else(String::new, |at| format!(", since {}", moment(at)));
    let agents_of = plural((*agents).into(), "agent");
    (*agents > 0).then(|| format!("{agents_of} by {}{since}", guards.join(", ")))
}

/// The same as [`in_words`], but only for a run that stands still because nobody is at work.
pub(super) fn stands_still(run: &RunView) -> Option<String> {
    let is_at_work = run.counts.get(&AgentState::Running).is_some_and(|count| *count > 0);
    let is_going = run.status == RunStatus::Running;
    in_words(&run.held).filter(|_| is_going && !is_at_work)
}

/// Why one agent of a run is held: `held by one-zone: 1 of 1 out in zone b: node-5`. For one that the run does not name, only
/// which guards hold agents.
pub(super) fn of_agent(held: &Held, agent: &AgentId) -> String {
    let named = held.some.iter().find(|one| one.agent == *agent);
    match named {
        Some(HeldAgent { by, .. }) => format!("held by {}: {}", by.guard(), why(by)),
        None => format!("held by {}", held.guards.join(" or ")),
    }
}

/// Whether anybody is held because this agent is out.
pub(super) fn is_because_of(held: &Held, id: &str) -> bool {
    held.some.iter().any(|one| because(&one.by).iter().any(|agent| agent.as_str() == id))
}

fn because(by: &HeldBy) -> &[AgentId] {
    match by {
        HeldBy::Agents { because, .. } | HeldBy::Groups { because, .. } => because,
        HeldBy::Windows { .. } | HeldBy::Freeze { .. } | HeldBy::Closed { .. } => &[],
    }
}

/// What holds an agent, without the name of the guard.
fn why(by: &HeldBy) -> String {
    let named: Vec<&str> = because(by).iter().map(AgentId::as_str).collect();
    let named = match named.is_empty() {
        true => String::new(),
        false => format!(": {}", named.join(", ")),
    };
    match by {
        HeldBy::Agents { group, of, allowed: 0, .. } => {
            let group = group.as_ref().map_or_else(String::new, |group| format!(" in {group}"));
            format!("none of {} may be out{group}", plural((*of).into(), "agent"))
        }
        HeldBy::Agents { group: Some(group), out, allowed, .. } => {
            format!("{out} of {allowed} out in {group}{named}")
        }
        HeldBy::Agents { group: None, out, allowed, .. } => {
            format!("{out} of {allowed} out{named}")
        }
        HeldBy::Groups { touched, allowed, .. } => {
            format!("{touched} of {allowed} groups have somebody out{named}")
        }
        HeldBy::Windows { .. } | HeldBy::Freeze { .. } => over_time(by),
        HeldBy::Closed { reason } => format!("{CLOSED} for now: {reason}"),
    }
}

/// What a window or a freeze says.
fn over_time(by: &HeldBy) -> String {
    let until = by.until().map_or_else(String::new, |at| format!(" until {}", moment(at)));
    match by {
        HeldBy::Freeze { reason, .. } => format!("{FREEZE}{until}: {reason}"),
        HeldBy::Windows { .. }
        | HeldBy::Closed { .. }
        | HeldBy::Agents { .. }
        | HeldBy::Groups { .. } => {
            format!("outside of all {WINDOWS}{until}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample::{held, run_view};

    #[test]
    fn a_line_says_who_is_held_by_what_and_because_of_whom() {
        let expected = "5 agents are held by one-zone, quorum: node-2 (1 of 1 out in zone b: node-5), \
                        node-3 (2 of 2 groups have somebody out: node-5, node-1), and 3 more";
        assert_eq!(in_words(&held()).as_deref(), Some(expected));
        assert_eq!(in_words(&Held::default()), None);
        assert!(is_because_of(&held(), "node-1") && !is_because_of(&held(), "node-2"));
        let of = |agent: &str| of_agent(&held(), &AgentId::from(agent));
        assert_eq!(of("node-2"), "held by one-zone: 1 of 1 out in zone b: node-5");
        assert_eq!(of("node-9"), "held by one-zone or quorum");
    }

    #[test]
    fn a_guard_that_lets_nobody_go_and_guards_over_time_are_told_as_such() {
        let by = |by: HeldBy| why(&by);
        let guard = || "quorum".to_owned();
        let (group, because) = (None, Vec::new());
        let nobody = HeldBy::Agents { guard: guard(), group, of: 2, out: 0, allowed: 0, because };
        assert_eq!(by(nobody), "none of 2 agents may be out");
        let until = Some(crate::cli::sample::moment());
        assert_eq!(
            by(HeldBy::Windows { until }),
            "outside of all windows until 2025-11-22T09:00:00Z"
        );
        let (reason, until) = ("year end".to_owned(), None);
        assert_eq!(by(HeldBy::Freeze { reason, until }), "freeze: year end");
        let reason = "it goes alone".to_owned();
        assert_eq!(by(HeldBy::Closed { reason }), "closed for now: it goes alone");
    }

    #[test]
    fn a_run_stands_still_once_nobody_is_at_work() {
        let mut run = run_view(RunStatus::Running);
        run.held = held();
        assert!(stands_still(&run).is_some());
        run.counts.insert(AgentState::Running, 1);
        assert_eq!(stands_still(&run), None);
        run.counts.clear();
        run.status = RunStatus::Paused;
        assert_eq!(stands_still(&run), None);
    }
}
