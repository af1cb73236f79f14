//! Which server a command asks, and what it sends to prove who asks.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use reqwest::Url;

use super::config::{Config, Context, ContextFile, LoginOf};
use crate::cli::client::{Client, DEFAULT_SERVER};
use crate::cli::error::CliError;
use crate::cli::login::fresh;
use crate::cli::root::SERVER_VARIABLE;
use crate::cli::trust::Trust;

/// The environment variable with a token.
pub(crate) const TOKEN_VARIABLE: &str = "REPLIBOOK_TOKEN";

/// The environment variable that names a context.
pub(crate) const CONTEXT_VARIABLE: &str = "REPLIBOOK_CONTEXT";

/// The environment variable that names a file with a token.
pub(crate) const TOKEN_FILE_VARIABLE: &str = "REPLIBOOK_TOKEN_FILE";

/// The largest token, in bytes: issuers put long lists of groups into theirs.
const MAX_TOKEN: u64 = 32 * 1024;

/// Arguments that every command has.
#[derive(Clone, Debug, clap::Args)]
pub struct GivenArgs {
    /// Base URL of the server; without it that of the context, or http://127.0.0.1:8900
    #[arg(long, global = true, env = SERVER_VARIABLE, hide_env_values = true, value_name = "URL")]
    pub server: Option<String>,
    /// Name of the context that counts, in place of the one that `context use` chose
    #[arg(long, global = true, env = CONTEXT_VARIABLE, hide_env_values = true, value_name = "NAME")]
    pub context: Option<String>,
    /// File with the token that proves who asks. Without it that of the context counts, then the variables
    /// REPLIBOOK_TOKEN_FILE, a file, and REPLIBOOK_TOKEN, a token
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// Which server is asked, and how. Its proof is no text for debugging.
pub(crate) struct Given {
    pub(crate) server: String,
    pub(crate) trust: Trust,
    file: Option<ContextFile>,
    /// The context that counts, if one does.
    pub(crate) name: Option<String>,
    proof: Proof,
}

/// What the environment has to prove who asks.
#[derive(Default)]
struct Variables {
    file: Option<PathBuf>,
    token: Option<String>,
}

impl Variables {
    fn read() -> Self {
        let token = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty());
        let file = std::env::var_os(TOKEN_FILE_VARIABLE).filter(|file| !file.is_empty());
        Self { file: file.map(PathBuf::from), token }
    }
}

/// What proves who asks.
enum Proof {
    None,
    Token(String),
    File(PathBuf),
    /// The login of the context.
    Login,
}

impl Given {
    /// What the arguments, the environment and the contexts say, in this order. The proofs of a context go to its own server
    /// alone, and come before those of the environment: whoever has exported a token for one server may ask another one.
    ///
    /// # Errors
    /// There is no such context, or the file of contexts can't be used.
    pub(crate) fn of(args: &GivenArgs, trust: Trust) -> Result<Self, CliError> {
        let file = match ContextFile::of_user() {
            Ok(file) => Some(file),
            // Whoever has no home has no contexts.
            Err(error) if args.context.is_some() => return Err(error),
            Err(_) => None,
        };
        let config = file.as_ref().map(ContextFile::read).transpose()?.unwrap_or_default();
        let given = Self::chosen(args, trust, &config, Variables::read())?;
        Ok(Self { file, ..given })
    }

    fn chosen(
        args: &GivenArgs,
        trust: Trust,
        config: &Config,
        variables: Variables,
    ) -> Result<Self, CliError> {
        let name = args.context.as_ref().or(config.current.as_ref());
        let context = match name {
            None => None,
            Some(name) => match config.contexts.get(name) {
                Some(context) => Some((name, context)),
                None => return Err(unknown(name, config)),
            },
        };
        // Another server that is named on the command line has nothing to do with the context.
        let is_own = |context: &Context| {
            args.server.as_ref().is_none_or(|server| same(server, &context.server))
        };
        let context = context.filter(|(_, context)| is_own(context));
        let of_context = context.map(|(_, context)| context.clone()).unwrap_or_default();
        let server = args.server.clone().or(context.map(|(_, context)| context.server.clone()));
        let login = of_context.login.is_some();
        let proof = args.token_file.clone().map(Proof::File);
        let proof = proof.or_else(|| of_context.token_file.map(Proof::File));
        let proof = proof.or_else(|| of_context.token.map(Proof::Token));
        let proof = proof.or_else(|| login.then_some(Proof::Login));
        let proof = proof.or_else(|| variables.file.map(Proof::File));
        let proof = proof.or_else(|| variables.token.map(Proof::Token)).unwrap_or(Proof::None);
        Ok(Self {
            server: server.unwrap_or_else(|| DEFAULT_SERVER.to_owned()),
            trust: Trust { ca: trust.ca.or(of_context.ca), cert: trust.cert.or(of_context.cert) },
            file: None,
            name: context.map(|(name, _)| name.clone()),
            proof,
        })
    }

    /// A client that proves nothing.
    pub(crate) fn stranger(&self) -> Result<Client, CliError> {
        Ok(Client::trusting(&self.server, &self.trust)?)
    }

    /// The client.
    ///
    /// # Errors
    /// The address or the certificates are wrong, or the token can't be used.
    pub(crate) async fn client(&self) -> Result<Client, CliError> {
        let client = self.stranger()?;
        let token = match &self.proof {
            Proof::None => return Ok(client),
            Proof::Token(token) => token.trim().to_owned(),
            Proof::File(path) => read_token(path)?,
            Proof::Login => match (&self.file, &self.name) {
                (Some(file), Some(context)) => {
                    let login = fresh(&LoginOf { file, context }).await?;
                    let Some(login) = login else { return Ok(client) };
                    login.token
                }
                (None, _) | (_, None) => return Ok(client),
            },
        };
        Ok(client.proving(&token)?)
    }

    /// Where a login is kept: in the context that counts.
    ///
    /// # Errors
    /// None counts.
    pub(crate) fn login_place(&self) -> Result<LoginOf<'_>, CliError> {
        match (&self.file, &self.name) {
            (Some(file), Some(context)) => Ok(LoginOf { file, context }),
            (None, _) | (_, None) => Err(CliError::Usage(
                "a login is kept in a context: expected one, which `replictl --server URL context set NAME` makes"
                    .to_owned(),
            )),
        }
    }
}

fn unknown(name: &str, config: &Config) -> CliError {
    let known: Vec<&str> = config.contexts.keys().map(String::as_str).collect();
    let known = match known.is_empty() {
        true => "there are none".to_owned(),
        false => format!("expected one of {}", known.join(", ")),
    };
    CliError::NotFound(format!("there is no context {name:?}: {known}"))
}

/// Whether two addresses are of the same server.
fn same(one: &str, other: &str) -> bool {
    let read = |text: &str| Url::parse(text.trim_end_matches('/')).ok();
    match (read(one), read(other)) {
        (Some(one), Some(other)) => one == other,
        (None, _) | (_, None) => one == other,
    }
}

/// Reads a token: one line.
pub(super) fn read_token(path: &Path) -> Result<String, CliError> {
    let failed =
        |source| CliError::Read { path: format!("the token in {}", path.display()), source };
    let mut text = String::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(MAX_TOKEN + 1).read_to_string(&mut text).map_err(failed)?;
    check_token(&text, &path.display().to_string())
}

/// Takes the line ends off a token.
pub(super) fn check_token(text: &str, place: &str) -> Result<String, CliError> {
    let token = text.trim();
    let is_plain = token.bytes().all(|byte| byte.is_ascii_graphic());
    if token.is_empty() || token.len() as u64 > MAX_TOKEN || !is_plain {
        let found = format!("{} bytes", token.len());
        let expected = "expected a token: one line of visible characters";
        return Err(CliError::Usage(format!("{place}: found {found}, {expected}")));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(server: Option<&str>, context: Option<&str>, token_file: Option<&str>) -> GivenArgs {
        GivenArgs {
            server: server.map(str::to_owned),
            context: context.map(str::to_owned),
            token_file: token_file.map(PathBuf::from),
        }
    }

    fn config() -> Config {
        let context = |server: &str, token: Option<&str>| Context {
            server: server.to_owned(),
            token: token.map(str::to_owned),
            ca: Some(PathBuf::from("ca.pem")),
            ..Context::default()
        };
        let contexts = [
            ("prod".to_owned(), context("https://prod", Some("of-prod"))),
            ("lab".to_owned(), context("https://lab", None)),
        ];
        Config { current: Some("prod".to_owned()), contexts: contexts.into() }
    }

    fn chosen(args: &GivenArgs, variable: Option<&str>) -> Given {
        let variables = Variables { token: variable.map(str::to_owned), file: None };
        Given::chosen(args, Trust::default(), &config(), variables)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    fn proof(given: &Given) -> String {
        match &given.proof {
            Proof::None => "none".to_owned(),
            Proof::Token(token) => token.clone(),
            Proof::File(path) => format!("file {}", path.display()),
            Proof::Login => "login".to_owned(),
        }
    }

    #[test]
    fn the_nearest_word_counts_and_a_context_says_nothing_to_other_servers() {
        let table = [
            (args(None, None, None), None, "https://prod", "of-prod"),
            (args(None, Some("lab"), None), None, "https://lab", "none"),
            (args(Some("https://prod/"), None, None), None, "https://prod/", "of-prod"),
            (args(Some("https://evil"), None, None), None, "https://evil", "none"),
            (args(Some("https://evil"), Some("prod"), None), None, "https://evil", "none"),
            (args(None, None, None), Some("of-variable"), "https://prod", "of-prod"),
            (args(None, Some("lab"), None), Some("of-variable"), "https://lab", "of-variable"),
            (args(Some("https://b"), None, None), Some("of-variable"), "https://b", "of-variable"),
            (args(None, None, Some("t")), Some("of-variable"), "https://prod", "file t"),
            (args(None, Some("lab"), Some("t")), None, "https://lab", "file t"),
        ];
        for (args, variable, server, expected) in table {
            let given = chosen(&args, variable);
            assert_eq!(
                (given.server.as_str(), proof(&given)),
                (server, expected.to_owned()),
                "{args:?}"
            );
            assert_eq!(given.trust.ca.is_some(), given.name.is_some(), "{args:?}");
        }
        let missing = Given::chosen(
            &args(None, Some("x"), None),
            Trust::default(),
            &config(),
            Variables::default(),
        );
        let error = missing.err().unwrap().to_string();
        assert_eq!(error, "there is no context \"x\": expected one of lab, prod");
        let (nothing, unset) = (args(None, None, None), Variables::default());
        let none = Given::chosen(&nothing, Trust::default(), &Config::default(), unset);
        assert_eq!(none.unwrap_or_else(|error| panic!("{error}")).server, DEFAULT_SERVER);
    }

    #[test]
    fn what_is_exported_comes_after_what_a_context_has() {
        for (context, expected) in [("prod", "of-prod"), ("lab", "file exported")] {
            let file = Some(PathBuf::from("exported"));
            let variables = Variables { file, token: Some("of-variable".to_owned()) };
            let args = args(None, Some(context), None);
            let given = Given::chosen(&args, Trust::default(), &config(), variables);
            assert_eq!(proof(&given.unwrap_or_else(|error| panic!("{error}"))), expected);
        }
    }

    #[test]
    fn a_token_is_one_line() {
        assert_eq!(check_token("rpb_x\n", "x").unwrap(), "rpb_x");
        for bad in ["", "\n", "a b", "a\nb", "ä", &"x".repeat(40_000)] {
            let error = check_token(bad, "x").unwrap_err().to_string();
            assert!(
                error.starts_with("x: found ") && error.ends_with("visible characters"),
                "{error}"
            );
        }
    }
}
