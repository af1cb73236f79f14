//! What people are told about commands that have no outcome yet.

use super::explanation::{Explanation, NAMED};
use super::words::{quoted, since};
use crate::run::{Command, Timestamp};

/// Says which commands to the run are kept and were not applied yet, oldest first: its engine applies them.
pub fn explain_commands(explanation: &mut Explanation, commands: &[Command], now: Timestamp) {
    if commands.is_empty() || explanation.status.is_final() {
        return;
    }
    let named: Vec<_> = commands.iter().take(NAMED).map(|command| asked(command, now)).collect();
    let more = match commands.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let text = format!(" Accepted, and not applied yet: {}{more}.", named.join(", "));
    explanation.text.push_str(&text);
}

/// `cancel by ann since 09:00:00 (4m05s)`.
fn asked(command: &Command, now: Timestamp) -> String {
    let agent = command.agent.as_ref().map(|agent| format!(" of {agent}")).unwrap_or_default();
    let by = command.actor.as_deref().map(quoted).map(|by| format!(" by {by}")).unwrap_or_default();
    format!("{}{agent}{by} {}", command.verb, since(command.at, now))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::run::{AgentId, CommandId, RunId, RunStatus, Verb};

    const NOW: Timestamp = Timestamp::from_millis(1_763_802_600_000);

    fn command(verb: Verb, seconds: i64) -> Command {
        Command {
            id: CommandId(Uuid::nil()),
            run: RunId(Uuid::nil()),
            verb,
            agent: None,
            again: false,
            signal: None,
            override_guard: None,
            approves: None,
            actor: Some("ada@build-7".to_owned()),
            why: None,
            at: Timestamp::from_millis(NOW.as_millis() - seconds * 1_000),
            outcome: None,
            finish_ts: None,
        }
    }

    fn told(status: RunStatus, commands: &[Command]) -> String {
        let text = "It waits.".to_owned();
        let (next, actions) = (Vec::new(), Vec::new());
        let mut told = Explanation { status, since: NOW, text, next, actions };
        explain_commands(&mut told, commands, NOW);
        told.text
    }

    #[test]
    fn a_command_that_waits_is_named_with_who_asked_and_since_when() {
        let agent = Some(AgentId::from("node-1"));
        let give_up = Command { agent, actor: None, ..command(Verb::GiveUp, 5) };
        let commands = [command(Verb::Cancel, 31), give_up];
        let expected = "It waits. Accepted, and not applied yet: cancel by ada@build-7 since 09:09:29 (31s), \
                        give-up of node-1 since 09:09:55 (5s).";
        assert_eq!(told(RunStatus::Running, &commands), expected);
    }

    #[test]
    fn many_are_counted_and_those_for_a_run_that_has_ended_are_not_told() {
        let commands = vec![command(Verb::Pause, 1); NAMED + 2];
        assert!(told(RunStatus::Paused, &commands).ends_with(" and 2 more."));
        assert_eq!(told(RunStatus::Paused, &[]), "It waits.");
        assert_eq!(told(RunStatus::Done, &commands), "It waits.");
    }
}
