//! The strategy `rolling`: starts agents in batches, or one by one as places free up.

mod batch;

use batch::{Memo, Size};
use replibook_plugin_sdk::strategy::{Decision, Input, Next, Roster, State};
use serde::Deserialize;

const ARGUMENTS: &str = r#"{
  "type": "object",
  "properties": {
    "batch": {
      "oneOf": [
        { "type": "integer", "minimum": 1, "maximum": 4294967295 },
        { "type": "string", "pattern": "^(100|[1-9]?[0-9])(\\.[0-9]{1,2})?%$" }
      ],
      "default": 1,
      "description": "How many agents at a time: a number, or a share of the agents of the stage such as 10%, rounded down but never to 0."
    },
    "mode": {
      "enum": ["batch", "window"], "default": "batch",
      "description": "batch: the next batch starts when the last one has ended. window: an agent starts as soon as a place is free."
    }
  },
  "additionalProperties": false
}"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Arguments {
    batch: Size,
    mode: Mode,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { batch: Size::ONE, mode: Mode::Batch }
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Batch,
    Window,
}

replibook_plugin_sdk::arena!();
replibook_plugin_sdk::strategy! {
    name: "rolling",
    summary: "Starts agents in batches, or as places free up.",
    arguments: ARGUMENTS,
    plan: plan,
}

fn plan(roster: &Roster<'_>, input: &Input, arguments: Arguments) -> Result<Decision, String> {
    let memo = Memo::read(&input.memo)?;
    let counts = roster.counts();
    let size = arguments.batch.of(counts.selected);

    // What this decision may start, and what it leaves of its batch for the next: a batch that
    // is larger than one decision goes on in the decisions right after it.
    let (number, wanted) = match arguments.mode {
        Mode::Window => (memo.number + 1, size.saturating_sub(counts.running)),
        Mode::Batch if memo.left > 0 => (memo.number, memo.left),
        Mode::Batch if counts.running == 0 => (memo.number + 1, size),
        Mode::Batch => (memo.number, 0),
    };
    let limit = wanted.min(counts.pending).min(input.max_start);
    let start = roster.first(State::Pending, limit);
    let started = start.len() as u32;

    if started == 0 {
        let next = match counts.pending == 0 && counts.running == 0 {
            true => Next::Complete,
            false => Next::Wait,
        };
        let memo = Memo { number: memo.number, left: 0 }.write();
        return Ok(Decision::new(next).memo(memo));
    }
    let left = match arguments.mode {
        Mode::Batch if started == input.max_start => wanted - started,
        Mode::Batch | Mode::Window => 0,
    };
    let decision = Decision::new(Next::Wait).start(start, &format!("batch {number}"));
    Ok(decision.memo(Memo { number, left }.write()))
}
