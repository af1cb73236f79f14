//! The strategy `rolling`: starts agents in batches, or one by one as places free up.

use replibook_plugin_sdk::arguments::Size;
use replibook_plugin_sdk::batch::{Batch, Mode};
use replibook_plugin_sdk::size_pattern;
use replibook_plugin_sdk::strategy::{Decision, Input, Next, Roster, State};
use serde::Deserialize;

const ARGUMENTS: &str = concat!(
    r#"{
  "type": "object",
  "properties": {
    "batch": {
      "type": ["integer", "string"], "minimum": 1, "maximum": 4294967295,
      "pattern": ""#,
    size_pattern!(),
    r#"",
      "default": 1,
      "description": "How many agents at a time: a number, or a share of the agents of the stage such as 10%, rounded down but never to 0."
    },
    "mode": {
      "enum": ["batch", "window"], "default": "batch",
      "description": "batch: the next batch starts when the last one has ended. window: an agent starts as soon as a place is free."
    }
  },
  "additionalProperties": false
}"#
);

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

replibook_plugin_sdk::arena!();
replibook_plugin_sdk::strategy! {
    name: "rolling",
    summary: "Starts agents in batches, or as places free up.",
    arguments: ARGUMENTS,
    plan: plan,
}

fn plan(roster: &Roster<'_>, input: &Input, arguments: Arguments) -> Result<Decision, String> {
    let Arguments { batch: size, mode } = arguments;
    let memo: Batch = input.memo()?.unwrap_or_default();
    let counts = roster.counts();
    let batch = memo.next(mode, size.of(counts.selected), counts.running);
    let start = roster.first(State::Pending, batch.left.min(counts.pending).min(input.max_start));
    let started = start.len() as u32;
    if started == 0 {
        let next = match counts.pending == 0 && counts.running == 0 {
            true => Next::Complete,
            false => Next::Wait,
        };
        return Decision::new(next).remember(&Batch { left: 0, ..memo });
    }
    let decision = Decision::new(Next::Wait).start(start, &format!("batch {}", batch.number));
    decision.remember(&batch.started(mode, started, started == input.max_start))
}
