//! `run signal`: sends a signal to the steps of a run that wait for it.

use uuid::Uuid;

use super::find::find_run;
use super::steer::{MAX_WAIT, tell, until_outcome};
use crate::api::wire::SendSignal;
use crate::cli::client::Client;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::Console;
use crate::cli::who::who;
use crate::run::{AgentId, CommandId, JsonText};

/// Arguments of `run signal`.
#[derive(Debug, clap::Args)]
pub struct Signal {
    /// Identifier of the run, 6 or more consecutive digits of it, or `last`
    pub run: String,
    /// Name of the signal; the playbook grants it to the steps that may wait for it
    pub name: String,
    /// The agent that it is for; without it, it is for all agents of the run
    #[arg(short, long, value_name = "AGENT")]
    pub agent: Option<String>,
    /// What the step that waits gets: JSON, at most 16 KiB
    #[arg(short, long, value_name = "JSON", default_value = "null", value_parser = parse_payload)]
    pub payload: JsonText,
    /// Why, for the history of the run
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

fn parse_payload(text: &str) -> Result<JsonText, String> {
    serde_json::from_str(text).map_err(|error| {
        format!("found {error}, expected JSON: text needs quotes of its own, such as '\"yes\"'")
    })
}

pub(crate) async fn signal(
    client: &Client,
    args: &Signal,
    console: &Console,
) -> Result<Exit, CliError> {
    let run = find_run(client, &args.run).await?;
    let request = SendSignal {
        id: Some(CommandId(Uuid::new_v4())),
        name: args.name.clone(),
        agent: args.agent.clone().map(AgentId),
        payload: args.payload.clone(),
        actor: who(),
        reason: args.reason.clone(),
    };
    let view = until_outcome(MAX_WAIT, async || client.signal(run, &request).await).await?;
    tell(view, console)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_json() {
        assert_eq!(parse_payload("{\"moved\": 3}").unwrap().as_str(), r#"{"moved":3}"#);
        assert_eq!(parse_payload("\"yes\"").unwrap().as_str(), "\"yes\"");
        let error = parse_payload("yes").unwrap_err();
        assert!(error.contains("text needs quotes"), "{error}");
    }
}
