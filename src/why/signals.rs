//! Names the signals that a run waits for, with the commands that send them.

use std::collections::BTreeSet;

use super::explain::Telling;
use super::explanation::NAMED;

impl Telling<'_> {
    /// Names the signals that agents wait for, each once.
    pub(super) fn offer_signals(&mut self) {
        let waiting = self.known.running.iter();
        let names = waiting.filter_map(|agent| agent.record.waits_for_signal.as_deref());
        let names: BTreeSet<String> = names.map(as_word).collect();
        for name in names.into_iter().take(NAMED) {
            self.offer(&format!("send signal {name}"), &format!("signal {name}"));
        }
    }
}

/// A name as a word on a command line.
fn as_word(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@".contains(c);
    match name.chars().all(is_plain) {
        true => name.to_owned(),
        false => format!("'{}'", name.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::explain::explain;
    use super::super::samples::{RUN, at, in_flight, known, with};
    use crate::run::{AgentState, CallName, RunStatus, StepPhase};

    #[test]
    fn a_signal_that_is_waited_for_is_named_with_its_command() {
        let run = with(RunStatus::Running, |progress| {
            progress.counts = [(AgentState::Running, 2)].into();
        });
        let waits = |number, name: &str| {
            let mut agent =
                in_flight(number, StepPhase::Trying, Some((CallName::WaitSignal, 60, false)));
            agent.record.waits_for_signal = Some(name.to_owned());
            if let Some(attempt) = &mut agent.attempt {
                attempt.asks_for = Some(name.to_owned());
            }
            agent
        };
        let agents = vec![waits(1, "go"), waits(2, "go"), waits(3, "it's on")];
        let why = explain(&run, &known(agents), at(90));
        assert!(why.text.contains("for signal go"), "{}", why.text);
        let commands: Vec<_> = why.next.iter().map(|next| next.command.as_str()).collect();
        let signals = [format!(r"run signal {RUN} 'it'\''s on'"), format!("run signal {RUN} go")];
        assert_eq!(commands[..2], signals);
    }
}
