//! Shows why a run is as it is: a paragraph, and the commands that would make it go on. The server works out
//! both; here they are only fitted to the terminal.

use super::next::again;
use crate::cli::client::Client;
use crate::cli::error::ClientError;
use crate::cli::output::{Room, command_line};
use crate::cli::text::{clean, wrap, wrap_line};
use crate::run::RunId;
use crate::why::Explanation;

/// The explanation of a run; `None` from a server that is too old to give one.
///
/// # Errors
/// Those of every request.
pub(crate) async fn explain(
    client: &Client,
    run: RunId,
) -> Result<Option<Explanation>, ClientError> {
    match client.explanation(run).await {
        Ok(explanation) => Ok(Some(explanation)),
        Err(ClientError::Refused(problem)) if problem.code == "route-not-found" => Ok(None),
        Err(error) => Err(error),
    }
}

/// The paragraph, with a line for each action that may still be running, and one for each command, ready to be
/// copied.
pub(crate) fn paragraph(client: &Client, explanation: &Explanation, room: Room) -> String {
    let any = usize::MAX;
    let mut text = wrap(&clean(&explanation.text), room.prose.unwrap_or(any));
    for action in &explanation.actions {
        let agent = clean(action.agent.as_str());
        let line = format!("  action of {agent}: {}", action.action_id);
        text.push_str(&(wrap_line(&line, room.line.unwrap_or(any), 4) + "\n"));
    }
    let effects = explanation.next.iter().map(|next| next.effect.chars().count());
    let width = effects.max().unwrap_or(0) + 1;
    for next in &explanation.next {
        let effect = format!("{}:", clean(&next.effect));
        let command = again(client, &clean(&next.command));
        let line = command_line(&format!("  {effect:<width$}"), &command, room.line);
        text.push_str(&(line + "\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample::{moment, run_view};
    use crate::run::{AgentId, RunStatus};
    use crate::why::{ActionOut, NextCommand};

    #[test]
    fn commands_stand_below_the_paragraph_in_a_column() {
        let client = Client::new("http://10.1.2.3:1/").unwrap();
        let next = |effect: &str, command: &str| NextCommand {
            effect: effect.to_owned(),
            command: command.to_owned(),
        };
        let explanation = Explanation {
            status: run_view(RunStatus::Paused).status,
            since: moment(),
            text: "It\u{1b} waits.".to_owned(),
            next: vec![next("go on", "run resume x"), next("give up", "run cancel x")],
            actions: vec![ActionOut {
                agent: AgentId::from("node-1"),
                action_id: uuid::Uuid::from_u128(7),
                notice: None,
            }],
        };
        let expected = "It  waits.
  action of node-1: 00000000-0000-0000-0000-000000000007
  go on:   replictl --server http://10.1.2.3:1 run resume x
  give up: replictl --server http://10.1.2.3:1 run cancel x
";
        let room = |line| Room { prose: Some(80), line };
        let shown = paragraph(&client, &explanation, room(None));
        assert_eq!(shown, expected.replace("It  ", "It "));
        let expected = "\
It waits.
  action of node-1:
    00000000-0000-0000-0000-000000000007
  go on:
    replictl --server http://10.1.2.3:1 run resume x
  give up:
    replictl --server http://10.1.2.3:1 run cancel x
";
        assert_eq!(paragraph(&client, &explanation, room(Some(50))), expected);
    }
}
