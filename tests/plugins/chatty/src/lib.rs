//! A strategy that is asked again and again while it waits, and logs each time.

use replibook_plugin_sdk::Level;
use replibook_plugin_sdk::strategy::{Decision, Input, Next, Roster, State};
use serde::Deserialize;

/// How many agents go at a time.
const BATCH: u32 = 2;

/// How many milliseconds later it wants to be asked again.
const AGAIN: f64 = 300.0;

/// It fails in one of this many seconds.
const STUMBLES: u64 = 4;

#[derive(Deserialize)]
struct Arguments {
    /// Whether its memo is different each time.
    counts: bool,
    /// Whether it sometimes returns an error, once agents have ended.
    stumbles: bool,
}

replibook_plugin_sdk::strategy! {
    name: "chatty",
    summary: "Talks all the time.",
    arguments: "{}",
    plan: plan,
}

fn plan(roster: &Roster<'_>, input: &Input, arguments: Arguments) -> Result<Decision, String> {
    let counts = roster.counts();
    roster.log(Level::Debug, "asked once more");
    roster.log(Level::Info, &format!("{} wait, {} go", counts.pending, counts.running));
    let second = (input.now / 1_000.0) as u64;
    if arguments.stumbles && counts.done > 0 && second.is_multiple_of(STUMBLES) {
        return Err("stumbled".to_owned());
    }
    let most = if counts.running == 0 { BATCH.min(input.max_start) } else { 0 };
    let start = roster.first(State::Pending, most);
    let is_over = counts.running == 0 && start.is_empty();
    let next = if is_over { Next::Complete } else { Next::WaitUntil(input.now + AGAIN) };
    // It has agents that are done asked afresh all the time.
    roster.refresh(&roster.first(State::Done, BATCH))?;
    let asked: u64 = input.memo()?.unwrap_or_default();
    let decision = match start.is_empty() {
        true => Decision::new(next),
        false => Decision::new(next).start(start, "two more"),
    };
    decision.remember(&(asked + u64::from(arguments.counts)))
}
