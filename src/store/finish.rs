//! `finish_ts`, which every kind of record of a run has: expiry depends on it alone.

use replibook_core::run::{AgentRecord, Command, Journal, LogLine, RunEvent, Timestamp};

/// A record that gets the moment at which its run finished. None until then.
pub(super) trait Finishes {
    /// That moment, once it is known.
    fn finish_ts(&self) -> Option<Timestamp>;

    /// Sets it.
    fn set_finish_ts(&mut self, finish_ts: Option<Timestamp>);
}

macro_rules! finishes {
    ($($record:ty),*) => {
        $(impl Finishes for $record {
            fn finish_ts(&self) -> Option<Timestamp> {
                self.finish_ts
            }

            fn set_finish_ts(&mut self, finish_ts: Option<Timestamp>) {
                self.finish_ts = finish_ts;
            }
        })*
    };
}

finishes!(AgentRecord, Journal, LogLine, RunEvent, Command);
