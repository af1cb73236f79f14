//! `replictl context`: shows and changes contexts.

use std::io::Read as _;
use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;

use super::config::{Config, Context, ContextFile};
use super::given::{GivenArgs, check_token};
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::{Console, Row};
use crate::cli::table::Narrower;
use crate::cli::text::Paint;
use crate::cli::trust::Trust;
use crate::playbook::access::is_access_name;

/// What to do with contexts.
#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// Show the contexts; the one that counts has a star
    List,
    /// Have a context count from now on
    Use {
        /// Name of the context
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Make a context, or change one: it keeps --server, --ca, --cert and --token-file of this command
    Set {
        /// Name of the context: lowercase letters, digits and dashes
        #[arg(value_name = "NAME")]
        name: String,
        /// Read a token from standard input and keep it in the context
        #[arg(long)]
        token_stdin: bool,
    },
    /// Forget a context, and what it has of tokens
    Delete {
        /// Name of the context
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// A context as it is shown: nothing of a token.
#[derive(Debug, Serialize)]
struct ContextView {
    name: String,
    current: bool,
    server: String,
    proof: String,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
}

/// Runs `context`.
pub(crate) fn context_command(
    command: &ContextCommand,
    args: &GivenArgs,
    trust: &Trust,
    console: &Console,
) -> Result<Exit, CliError> {
    let file = ContextFile::of_user()?;
    match command {
        ContextCommand::List => {
            let config = file.read()?;
            let shown: Vec<ContextView> =
                config.contexts.iter().map(|(name, one)| view(&config, name, one)).collect();
            console.list(&shown)?;
        }
        ContextCommand::Use { name } => {
            file.change(|config| {
                known(config, name)?;
                config.current = Some(name.clone());
                Ok(())
            })?;
            console.say(&format!("context {name} counts from now on"));
        }
        ContextCommand::Set { name, token_stdin } => {
            let token = token_stdin.then(token_of_stdin).transpose()?;
            file.change(|config| set(config, name, args, trust, token))?;
            console.say(&format!("context {name} is kept in {}", file.path().display()));
        }
        ContextCommand::Delete { name } => {
            file.change(|config| {
                known(config, name)?;
                config.contexts.remove(name);
                if config.current.as_ref() == Some(name) {
                    config.current = None;
                }
                Ok(())
            })?;
            console.say(&format!("context {name} is gone"));
        }
    }
    Ok(Exit::Ok)
}

fn known(config: &Config, name: &str) -> Result<(), CliError> {
    match config.contexts.contains_key(name) {
        true => Ok(()),
        false => {
            let known: Vec<&str> = config.contexts.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Err(CliError::NotFound(format!("there is no context {name:?}; there is {known}")))
        }
    }
}

fn set(
    config: &mut Config,
    name: &str,
    args: &GivenArgs,
    trust: &Trust,
    token: Option<String>,
) -> Result<(), CliError> {
    if !is_access_name(name) {
        return Err(CliError::Usage(format!(
            "NAME: found {name:?}, expected lowercase letters, digits and dashes, at most 63, with no dash at either end"
        )));
    }
    let mut context = config.contexts.get(name).cloned().unwrap_or_default();
    if let Some(server) = &args.server {
        if !context.server.is_empty() && context.server != *server {
            // What proved something to one server is not for another.
            context = Context::default();
        }
        context.server.clone_from(server);
    }
    if context.server.is_empty() {
        return Err(CliError::Usage(format!("context {name} is new: expected --server URL")));
    }
    let absolute = |path: &PathBuf| {
        std::path::absolute(path)
            .map_err(|source| CliError::Read { path: path.display().to_string(), source })
    };
    if let Some(ca) = &trust.ca {
        context.ca = Some(absolute(ca)?);
    }
    if let Some(cert) = &trust.cert {
        context.cert = Some(absolute(cert)?);
    }
    match (token, &args.token_file) {
        (Some(token), _) => (context.token_file, context.token) = (None, Some(token)),
        (None, Some(file)) => (context.token_file, context.token) = (Some(absolute(file)?), None),
        (None, None) => {}
    }
    config.contexts.insert(name.to_owned(), context);
    config.current.get_or_insert_with(|| name.to_owned());
    Ok(())
}

fn token_of_stdin() -> Result<String, CliError> {
    let mut text = String::new();
    let read = std::io::stdin().take(64 * 1024).read_to_string(&mut text);
    read.map_err(|source| CliError::Read { path: "standard input".to_owned(), source })?;
    check_token(&text, "standard input")
}

fn view(config: &Config, name: &str, context: &Context) -> ContextView {
    let proof = match (&context.token_file, &context.token, &context.login) {
        (Some(file), _, _) => format!("token in {}", file.display()),
        (None, Some(_), _) => "token".to_owned(),
        (None, None, Some(login)) => format!("login at {}", login.issuer),
        (None, None, None) => "none".to_owned(),
    };
    ContextView {
        name: name.to_owned(),
        current: config.current.as_deref() == Some(name),
        server: context.server.clone(),
        proof,
        ca: context.ca.clone(),
        cert: context.cert.clone(),
    }
}

impl Row for ContextView {
    fn headings(_: bool) -> Vec<&'static str> {
        vec!["CURRENT", "NAME", "SERVER", "PROOF"]
    }

    fn narrower() -> &'static [Narrower] {
        &[Narrower::Without("PROOF"), Narrower::Cut]
    }

    fn cells(&self, _: bool) -> Vec<String> {
        let star = if self.current { "*" } else { "" };
        vec![star.to_owned(), self.name.clone(), self.server.clone(), self.proof.clone()]
    }

    fn paint(&self) -> (&str, Paint) {
        ("*", Paint::Good)
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_that_gets_another_server_forgets_what_it_proved_to_the_first() {
        let args = |server: Option<&str>| GivenArgs {
            server: server.map(str::to_owned),
            context: None,
            token_file: None,
        };
        let mut config = Config::default();
        let trust = Trust::default();
        let set = |config: &mut Config, server, token: Option<&str>| {
            set(config, "a", &args(server), &trust, token.map(str::to_owned))
        };
        assert!(set(&mut config, None, None).is_err());
        set(&mut config, Some("https://a"), Some("t")).unwrap();
        assert_eq!(config.current.as_deref(), Some("a"));
        set(&mut config, None, None).unwrap();
        assert_eq!(config.contexts["a"].token.as_deref(), Some("t"));
        set(&mut config, Some("https://b"), None).unwrap();
        assert_eq!(
            (config.contexts["a"].token.as_deref(), config.contexts["a"].server.as_str()),
            (None, "https://b")
        );
    }
}
