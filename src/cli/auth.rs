//! `replictl auth`: who somebody is to the server, and what they may do.

use clap::Subcommand;

use super::client::Client;
use super::error::CliError;
use super::exit::Exit;
use super::output::{Console, Row};
use super::rows::or_dash;
use super::table::Narrower;
use super::text::{Paint, moment};
use crate::api::wire::{CanI, WhoAmI};
use crate::playbook::access::Verb;

/// What to ask about oneself.
#[derive(Debug, Subcommand)]
pub enum AuthCommand {
    /// Show who one is to the server, and what one may do there at all
    Whoami,
    /// Say whether one may do something; exits with 11 if not
    CanI {
        /// What: view, start, steer, approve, apply, upload, operate, exec or admin
        #[arg(value_name = "VERB", value_parser = parse_verb)]
        verb: Verb,
        /// Name of the playbook with which
        #[arg(long, value_name = "NAME")]
        playbook: Option<String>,
        /// Name of the cluster on which
        #[arg(long, value_name = "NAME")]
        cluster: Option<String>,
    },
}

fn parse_verb(text: &str) -> Result<Verb, String> {
    Verb::named(text).ok_or_else(|| {
        format!("found {text:?}, expected one of {}", Verb::ALL.map(Verb::as_str).join(", "))
    })
}

/// Runs `auth`.
pub(crate) async fn auth_command(
    client: &Client,
    command: &AuthCommand,
    console: &Console,
) -> Result<Exit, CliError> {
    match command {
        AuthCommand::Whoami => {
            console.one(&client.who_am_i().await?)?;
            Ok(Exit::Ok)
        }
        AuthCommand::CanI { verb, playbook, cluster } => {
            let found = client.can_i(*verb, playbook.as_deref(), cluster.as_deref()).await?;
            console.one(&found)?;
            if !found.allowed && found.somewhere {
                console.say("with others you may; --playbook and --cluster ask about one");
            }
            Ok(if found.allowed { Exit::Ok } else { Exit::NotAllowed })
        }
    }
}

impl Row for WhoAmI {
    fn headings(wide: bool) -> Vec<&'static str> {
        let mut headings = vec!["WHO", "MAY", "EXPIRES"];
        if wide {
            headings.push("GROUPS");
        }
        headings
    }

    fn narrower() -> &'static [Narrower] {
        &[Narrower::Without("EXPIRES"), Narrower::Cut]
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let who = match self.is_asked {
            true => or_dash(self.actor.as_deref()),
            false => "anybody (the server asks nobody)".to_owned(),
        };
        let may: Vec<&str> = self.may.iter().map(|verb| verb.as_str()).collect();
        let may = Some(may.join(", ")).filter(|may| !may.is_empty());
        let expires = self.expires.map(moment);
        let mut cells = vec![who, or_dash(may.as_deref()), or_dash(expires.as_deref())];
        if wide {
            let groups = Some(self.groups.join(", ")).filter(|groups| !groups.is_empty());
            cells.push(or_dash(groups.as_deref()));
        }
        cells
    }

    fn paint(&self) -> (&str, Paint) {
        ("", Paint::Plain)
    }

    fn name(&self) -> String {
        self.actor.clone().unwrap_or_default()
    }
}

impl Row for CanI {
    fn headings(_: bool) -> Vec<&'static str> {
        vec!["ALLOWED"]
    }

    fn narrower() -> &'static [Narrower] {
        &[]
    }

    fn cells(&self, _: bool) -> Vec<String> {
        vec![self.name()]
    }

    fn paint(&self) -> (&str, Paint) {
        if self.allowed { ("yes", Paint::Good) } else { ("no", Paint::Bad) }
    }

    fn name(&self) -> String {
        if self.allowed { "yes" } else { "no" }.to_owned()
    }
}
