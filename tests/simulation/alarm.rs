//! An engine that logs an error has met something that it believes to be impossible, so the alarm makes that
//! a violation.

use std::fmt::Write as _;

use replibook::run::RunId;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::ledger::SharedLedger;

/// Hears the errors of all engines of one history.
pub(crate) struct Alarm(SharedLedger);

impl Alarm {
    pub(crate) fn new(ledger: SharedLedger) -> Self {
        Self(ledger)
    }
}

impl Subscriber for Alarm {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR && metadata.target().starts_with("replibook")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        // Only the run that is made ill on purpose may be set aside.
        let is_ill = |run: &RunId| text.0.contains(&format!("run={run} "));
        if text.0.contains("is set aside") && self.0.read(|l| l.ill.as_ref().is_some_and(is_ill)) {
            return;
        }
        self.0.fail("an engine meets no error of its own", text.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}
