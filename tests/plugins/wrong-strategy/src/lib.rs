//! A strategy that is right but for one mistake, which its argument `mistake` names. Each is one that people make.

use replibook_plugin_sdk::strategy::{Counts, Decision, Input, Next, Roster, State};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Arguments {
    mistake: Mistake,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mistake {
    /// It goes zone by zone, in batches of a third: where that does not come out even, a batch has two zones.
    RoundsAcrossZones,
    /// It goes through the agents that there were at first.
    ForgetsJoined,
    /// After a failure in the last batch it waits.
    WaitsAfterFailure,
    /// It writes down each question.
    MemoGrows,
    /// It takes being asked for a sign that an agent has ended.
    OneMoreOnResume,
    /// It tries once more whoever failed.
    FailedAgain,
    /// It goes through its list, whoever has left.
    StartsWhoLeft,
    /// It starts two whenever fewer than two are at work.
    MoreInFlight,
    /// A failure is the end for it.
    EndsEarly,
    /// After a failure it looks again every minute, for ever.
    NeverEnds,
}

replibook_plugin_sdk::strategy! {
    name: "wrong-strategy",
    summary: "Makes the mistake that it is told to make.",
    arguments: r#"{ "type": "object", "required": ["mistake"], "properties": { "mistake": { "type": "string" } } }"#,
    plan: plan,
}

fn plan(roster: &Roster<'_>, input: &Input, arguments: Arguments) -> Result<Decision, String> {
    let counts = roster.counts();
    match arguments.mistake {
        Mistake::RoundsAcrossZones => Ok(zones(roster, &counts)),
        Mistake::ForgetsJoined => listed(roster, input, &counts, false),
        Mistake::StartsWhoLeft => listed(roster, input, &counts, true),
        Mistake::WaitsAfterFailure => {
            let decision = one_by_one(roster, &counts);
            let stuck = decision.next == Next::Complete && counts.failed > 0;
            Ok(if stuck { Decision::new(Next::Wait) } else { decision })
        }
        Mistake::MemoGrows => Ok(one_by_one(roster, &counts).memo(format!("{}asked;", input.memo))),
        Mistake::OneMoreOnResume => {
            let ended = counts.done + counts.failed;
            let seen = input.memo::<u32>()?;
            let mut decision = one_by_one(roster, &counts);
            if decision.start.is_empty() && seen == Some(ended) {
                decision = decision.start(roster.first(State::Pending, 1), "next");
            }
            decision.remember(&ended)
        }
        Mistake::FailedAgain => {
            let decision = one_by_one(roster, &counts);
            let failed = roster.first(State::Failed, 1);
            match decision.next == Next::Complete && !failed.is_empty() {
                true => Ok(Decision::new(Next::Wait).start(failed, "again")),
                false => Ok(decision),
            }
        }
        Mistake::MoreInFlight => {
            let free = if counts.running < 2 { 2 } else { 0 };
            Ok(next(roster.first(State::Pending, free), &counts))
        }
        Mistake::EndsEarly if counts.failed > 0 => Ok(Decision::new(Next::Complete)),
        Mistake::NeverEnds if counts.failed > 0 && counts.running == 0 => {
            Ok(Decision::new(Next::WaitUntil(input.now + 60_000.0)))
        }
        Mistake::EndsEarly | Mistake::NeverEnds => Ok(one_by_one(roster, &counts)),
    }
}

fn one_by_one(roster: &Roster<'_>, counts: &Counts) -> Decision {
    let free = if counts.running == 0 { 1 } else { 0 };
    next(roster.first(State::Pending, free), counts)
}

fn next(start: Vec<String>, counts: &Counts) -> Decision {
    let over = start.is_empty() && counts.pending == 0 && counts.running == 0;
    let next = if over { Next::Complete } else { Next::Wait };
    Decision::new(next).start(start, "next")
}

fn zones(roster: &Roster<'_>, counts: &Counts) -> Decision {
    if counts.running > 0 {
        return Decision::new(Next::Wait);
    }
    let mut waiting: Vec<_> = roster.agents(State::Pending).collect();
    waiting.sort_by_key(|id| zone(roster, id));
    waiting.truncate(counts.selected.div_ceil(3) as usize);
    next(waiting, counts)
}

fn zone(roster: &Roster<'_>, id: &str) -> String {
    let details = roster.details(id);
    let attributes = details.and_then(|it| serde_json::from_str::<Value>(&it.attributes).ok());
    attributes.map(|it| it["zone"].to_string()).unwrap_or_default()
}

/// Goes through the list of agents that there were at first, one after the other.
fn listed(
    roster: &Roster<'_>,
    input: &Input,
    counts: &Counts,
    whoever: bool,
) -> Result<Decision, String> {
    let mut list = match input.memo::<Vec<String>>()? {
        Some(list) => list,
        None => roster.agents(State::Pending).collect(),
    };
    if counts.running > 0 {
        return Decision::new(Next::Wait).remember(&list);
    }
    let waiting: Vec<_> = roster.agents(State::Pending).collect();
    if whoever {
        let joined = waiting.into_iter().filter(|id| !list.contains(id));
        list.extend(joined.collect::<Vec<_>>());
    } else {
        list.retain(|id| waiting.contains(id));
    }
    let first = if list.is_empty() { Vec::new() } else { vec![list.remove(0)] };
    let over = if first.is_empty() { Next::Complete } else { Next::Wait };
    Decision::new(over).start(first, "next").remember(&list)
}
