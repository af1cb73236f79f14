//! What is written while nothing happens: no repetitions, so that no run grows by waiting.

use replibook::run::{AgentId, Happened, HeldThen, LogLevel, Progress, RunEvent, Writes};

use crate::ledger::{Check, expect};

/// How many decisions in a row may differ only in their memos. After that, they are no longer written one by
/// one.
const TOLD: u32 = 42;

/// What an engine wrote last while it had the run. The next engine may write the same once more.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    epoch: u64,
    /// Whether the last commit may come again, because its answer was lost.
    again: bool,
    wait: Option<Wait>,
    /// The strategy's lines with its last decision.
    lines: Vec<(LogLevel, String)>,
}

/// The decision to wait that the last event tells of.
#[derive(Debug)]
struct Wait {
    seq: u64,
    until: bool,
    label: Option<String>,
    refresh: Vec<AgentId>,
    /// Whom guards held, as the event has it: it tells when nobody is held any more.
    held: Option<HeldThen>,
    in_row: u32,
}

impl Repeats {
    /// The engine does not know whether its last commit took effect.
    pub(crate) fn unsure(&mut self) {
        self.again = true;
    }

    /// Checks a commit that takes effect, before the model takes it in.
    pub(crate) fn commit(&mut self, epoch: u64, writes: &Writes, known: &Progress) -> Check {
        let again = std::mem::take(&mut self.again);
        if self.epoch != epoch {
            *self = Self { epoch, ..Self::default() };
        }
        let is_new = writes.progress.as_ref() != Some(known) || writes.documents() > 0;
        expect(is_new || again, "a commit changes something", || format!("{known:?}"))?;
        if again {
            return Ok(());
        }
        for event in &writes.events {
            self.event(event)?;
        }
        self.lines(writes)
    }

    fn event(&mut self, event: &RunEvent) -> Check {
        let Happened::Decision { label, started: 0, skipped: 0, next, memo, refresh, held, .. } =
            &event.what
        else {
            self.wait = None;
            return Ok(());
        };
        let until = next.starts_with("wait until");
        if !until && next != "wait" {
            self.wait = None;
            return Ok(());
        }
        let last = self.wait.take().filter(|last| last.seq + 1 == event.seq);
        let is_same = last.as_ref().is_some_and(|last| {
            last.until == until
                && last.label == *label
                && last.refresh == *refresh
                && last.held == *held
        });
        let in_row = last.map_or(0, |last| last.in_row) + 1;
        let is_new = !is_same || memo.is_some() && in_row <= TOLD;
        let (label, refresh, held) = (label.clone(), refresh.clone(), held.clone());
        self.wait = Some(Wait { seq: event.seq, until, label, refresh, held, in_row });
        expect(is_new, "a decision that changes nothing is no event", || format!("{event:?}"))
    }

    fn lines(&mut self, writes: &Writes) -> Check {
        let of_strategy = writes.logs.iter().filter(|line| line.attempt.is_none());
        let lines: Vec<_> = of_strategy.map(|line| (line.level, line.message.clone())).collect();
        if lines.is_empty() {
            return Ok(());
        }
        let waits = writes.events.is_empty() && writes.records.is_empty();
        let is_new = !waits || self.lines != lines;
        self.lines.clone_from(&lines);
        expect(is_new, "what a strategy logs again is not written", || format!("{lines:?}"))
    }
}
