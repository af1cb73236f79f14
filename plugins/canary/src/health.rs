//! The health of agents. Agents that are done are asked afresh, in parts, since one decision may ask only so
//! many of them.

use replibook_plugin_sdk::strategy::{Roster, State};

use crate::LOOKED_AT;
use crate::memo::Memo;

/// How many agents are asked at a time: the most that the host asks for one decision.
const ASKED: usize = 1_000;

/// How many ill agents a message names; the others are only counted.
const NAMED: usize = 10;

/// The result of a look.
pub(crate) enum Health {
    /// The look is not over: more agents are being asked.
    NotKnown,
    /// All are well; this is their number.
    Well(u32),
    /// Some are not well. The text names them and says why.
    Ill(String),
}

/// The agents that are looked at next.
struct Part {
    ids: Vec<String>,
    /// The last agent that was passed in the roster, whether or not it is in `ids`.
    last: Option<String>,
    /// Whether the roster has no more agents that are done.
    is_all: bool,
}

/// Goes on with a look: judges the agents that were asked by what they said, and asks the next ones. The look is
/// over when this returns anything but [`Health::NotKnown`].
pub(crate) fn look(
    roster: &Roster<'_>,
    memo: &mut Memo,
    healthy: &[String],
    now: f64,
) -> Result<Health, String> {
    if let Some(failed) = failed_canaries(roster, memo) {
        return Ok(Health::Ill(failed));
    }
    let Some(asked) = memo.look.asked.take() else { return ask(roster, memo, now) };
    let part = next(roster, memo);
    let mut ill = Ill::default();
    let mut not_asked = Vec::new();
    for id in &part.ids {
        let Some(view) = roster.node(id) else { continue };
        match view.status {
            _ if view.seen_at.is_none_or(|at| at < asked) => not_asked.push(id.clone()),
            Some(status) if healthy.contains(&status) => {}
            Some(status) => ill.add(id, &format!("is {status}")),
            None => ill.add(id, "did not answer"),
        }
    }
    if let Some(ill) = ill.told() {
        return Ok(Health::Ill(ill));
    }
    if !not_asked.is_empty() {
        // These agents were done only after the others had been asked.
        roster.refresh(&not_asked)?;
        memo.look.asked = Some(asked);
        return Ok(Health::NotKnown);
    }
    memo.look.well += part.ids.len() as u32;
    memo.look.after = part.last;
    if part.is_all {
        return Ok(Health::Well(memo.look.well));
    }
    ask(roster, memo, now)
}

/// Asks the next agents afresh.
pub(crate) fn ask(roster: &Roster<'_>, memo: &mut Memo, now: f64) -> Result<Health, String> {
    let part = next(roster, memo);
    if !part.ids.is_empty() {
        roster.refresh(&part.ids)?;
        memo.look.asked = Some(now);
        return Ok(Health::NotKnown);
    }
    memo.look.after = part.last;
    match part.is_all {
        true => Ok(Health::Well(memo.look.well)),
        false => Ok(Health::NotKnown),
    }
}

/// The next agents to look at. Only agents that are done are looked at, and no agent is in flight meanwhile,
/// so the same agents are found again after they were asked.
fn next(roster: &Roster<'_>, memo: &Memo) -> Part {
    let mut ids = Vec::new();
    let mut last = memo.look.after.clone();
    let mut done = roster.agents_after(State::Done, last.clone());
    for _ in 0..LOOKED_AT {
        let Some(id) = done.next() else { return Part { ids, last, is_all: true } };
        last = Some(id.clone());
        let batch = roster.details(&id).and_then(|agent| agent.batch);
        if batch.is_some_and(|decision| memo.looks_at(decision)) {
            ids.push(id);
            if ids.len() == ASKED {
                break;
            }
        }
    }
    Part { ids, last, is_all: false }
}

/// The canaries that failed, as text; none if none did. Failures of other agents are left to the stage's
/// budget.
fn failed_canaries(roster: &Roster<'_>, memo: &Memo) -> Option<String> {
    let mut ill = Ill::default();
    for id in roster.agents(State::Failed).take(LOOKED_AT) {
        let Some(agent) = roster.details(&id) else { continue };
        if agent.batch.is_some_and(|decision| memo.is_canary(decision)) {
            let why = agent.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            ill.add(&id, &format!("failed{why}"));
        }
    }
    ill.told()
}

/// Agents that are ill, with reasons, for a message.
#[derive(Default)]
struct Ill {
    named: Vec<String>,
    others: usize,
}

impl Ill {
    fn add(&mut self, agent: &str, why: &str) {
        if self.named.len() < NAMED {
            // A reason may be as long as a page.
            let why: String = why.chars().take(200).collect();
            self.named.push(format!("{agent} {why}"));
        } else {
            self.others += 1;
        }
    }

    fn told(self) -> Option<String> {
        let more = match self.others {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        (!self.named.is_empty()).then(|| format!("{}{more}", self.named.join(", ")))
    }
}
