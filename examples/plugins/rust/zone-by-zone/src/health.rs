//! The health of a zone that is done: its agents are asked afresh, and an expression has to hold for each
//! of them.

use replibook_plugin_sdk::strategy::{Roster, State};
use serde::{Deserialize, Serialize};

/// How many agents are asked at a time: the most that the host asks for one decision.
const ASKED: usize = 1_000;

/// How many agents that are not well a message names; the others are only counted.
const NAMED: usize = 10;

/// A look that is not over, which one decision hands to the next: which agents are being asked.
#[derive(Deserialize, Serialize)]
pub(crate) struct Look {
    /// When the agents were asked, in milliseconds since the Unix epoch.
    asked: u64,
    /// The last agent that was looked at before them; empty at first.
    after: String,
}

/// The result of a look.
pub(crate) enum Health {
    /// The look is not over: more agents are being asked.
    Asking(Look),
    Well,
    /// Some agents are not well. The text names them and says why.
    Ill(String),
}

/// Goes on with a look: judges the agents that were asked, and has the next ones asked. `agents` gives the
/// agents of the zone that are done and come after a given one.
pub(crate) fn look<I: Iterator<Item = String>>(
    roster: &Roster<'_>,
    agents: impl Fn(Option<String>) -> I,
    healthy: &str,
    look: Option<Look>,
    now: u64,
) -> Result<Health, String> {
    let (mut asked, mut after) = match look {
        Some(Look { asked, after }) => (Some(asked), after),
        None => (None, String::new()),
    };
    let ask = |ids: &[String], asked, after| {
        roster.refresh(ids)?;
        Ok(Health::Asking(Look { asked, after }))
    };
    loop {
        let from = Some(after.clone()).filter(|after| !after.is_empty());
        let ids: Vec<String> = agents(from).take(ASKED).collect();
        let Some(last) = ids.last().cloned() else { return Ok(Health::Well) };
        let Some(at) = asked.take() else { return ask(&ids, now, after) };
        let (ill, missed) = judge(roster, &ids, healthy, at)?;
        if !ill.is_empty() {
            return Ok(Health::Ill(told(ill)));
        }
        if !missed.is_empty() {
            // These agents were done only after the others had been asked.
            return ask(&missed, at, after);
        }
        after = last;
    }
}

/// The agents that are not well, and those that have not been asked since `asked`.
fn judge(
    roster: &Roster<'_>,
    ids: &[String],
    healthy: &str,
    asked: u64,
) -> Result<(Vec<String>, Vec<String>), String> {
    let (mut ill, mut missed) = (Vec::new(), Vec::new());
    for id in ids {
        let view = roster.node(id).unwrap_or_default();
        match view.status {
            _ if view.seen_at.is_none_or(|at| at < asked as f64) => missed.push(id.clone()),
            None => ill.push(format!("{id} did not answer")),
            Some(status) => {
                let holds = roster.matches(id, healthy);
                if !holds.map_err(|why| format!("agent {id}: {why}"))? {
                    ill.push(format!("{id} is {status}"));
                }
            }
        }
    }
    Ok((ill, missed))
}

fn told(ill: Vec<String>) -> String {
    let named = ill.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match ill.len().saturating_sub(NAMED) {
        0 => named,
        others => format!("{named} and {others} more"),
    }
}

/// The agents of a zone that are done, in the order of the run.
pub(crate) fn done<'a>(
    roster: &'a Roster<'_>,
    is_of_zone: impl Fn(&str) -> bool + 'a,
    after: Option<String>,
) -> impl Iterator<Item = String> + 'a {
    roster.agents_after(State::Done, after).filter(move |id| is_of_zone(id))
}
