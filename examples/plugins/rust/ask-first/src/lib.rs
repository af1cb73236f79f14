//! The strategy `ask-first`: goes over a few agents, has a person look at them, and goes over the rest
//! once that person approves.
//!
//! The memo says whether it has asked, so that it asks only once. While the run waits for the person, the
//! strategy is not asked for decisions; when it is asked again, somebody has approved.

use replibook_plugin_sdk::strategy::{Decision, Input, Next, Roster, State};
use serde::{Deserialize, Serialize};

const ARGUMENTS: &str = r#"{
  "type": "object",
  "properties": {
    "first": { "type": "integer", "minimum": 1, "maximum": 300, "default": 1, "description": "How many agents go before a person is asked." },
    "max_parallel": { "type": "integer", "minimum": 1, "maximum": 300, "default": 1, "description": "How many of the others go at a time." },
    "question": { "type": "string", "minLength": 1, "default": "go on with the others?", "description": "What the person is asked." }
  },
  "additionalProperties": false
}"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Arguments {
    first: u32,
    max_parallel: u32,
    question: String,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { first: 1, max_parallel: 1, question: "go on with the others?".to_owned() }
    }
}

/// What one decision hands to the next.
#[derive(Clone, Copy, Default, Deserialize, Serialize)]
struct Memo {
    asked: bool,
}

replibook_plugin_sdk::strategy! {
    name: "ask-first",
    summary: "Goes over a few agents, asks a person, and goes over the rest.",
    arguments: ARGUMENTS,
    plan: plan,
}

fn plan(roster: &Roster<'_>, input: &Input, arguments: Arguments) -> Result<Decision, String> {
    let counts = roster.counts();
    let memo: Memo = input.memo()?.unwrap_or_default();
    if counts.pending == 0 {
        let next = if counts.running == 0 { Next::Complete } else { Next::Wait };
        return Decision::new(next).remember(&memo);
    }
    let tried = counts.running + counts.done + counts.failed;
    if memo.asked {
        let free = arguments.max_parallel.saturating_sub(counts.running);
        return start(roster, input, free, "the others", memo);
    }
    if tried < arguments.first {
        return start(roster, input, arguments.first - tried, "the first ones", memo);
    }
    if counts.running > 0 {
        return Decision::new(Next::Wait).remember(&memo);
    }
    let message = format!(
        "{} done, {} failed, {} to go: {}",
        counts.done, counts.failed, counts.pending, arguments.question
    );
    Decision::new(Next::Approval(message)).remember(&Memo { asked: true })
}

fn start(
    roster: &Roster<'_>,
    input: &Input,
    count: u32,
    label: &str,
    memo: Memo,
) -> Result<Decision, String> {
    let agents = roster.first(State::Pending, count.min(input.max_start));
    Decision::new(Next::Wait).start(agents, label).remember(&memo)
}
