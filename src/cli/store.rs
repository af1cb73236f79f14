//! Which store a server uses, and `replibook store`, which checks and migrates it. Addresses may contain
//! passwords, so nothing here shows one.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;

use super::output::width_of;
use super::store_report::{documents, lines};
use super::text::wrap_line;
use crate::clock::{Clock, SystemClock};
use crate::run::Millis;
use crate::shown::clean;
use crate::store::mongodb::{MongoCredentials, MongoOptions};
use crate::store::{Keeping, MIN_PLUGIN_RETENTION, MongoStore, SqliteStore, Store, StoreOptions};

/// Exit code of a check that found something to correct.
const NOT_FINE: u8 = 1;

/// The arguments that name a store.
#[derive(Clone, Debug, clap::Args)]
pub struct StoreArgs {
    /// The store: sqlite (a file in --data), or mongodb://HOST:PORT/DATABASE of a replica set (or mongodb+srv://…)
    #[arg(
        long,
        value_name = "STORE",
        env = "REPLIBOOK_STORE",
        default_value = "sqlite",
        hide_env_values = true,
        value_parser = PlaceParser
    )]
    pub store: Place,

    /// File with user and password for MongoDB: YAML with username, password and, if needed, source
    #[arg(long, value_name = "FILE", env = "REPLIBOOK_STORE_CREDENTIALS", hide_env_values = true)]
    pub store_credentials: Option<PathBuf>,

    /// Directory for the sqlite store and compiled plugins; it is created if it is missing, and one server uses
    /// it at a time
    #[arg(long, value_name = "DIR", default_value = "./replibook-data")]
    pub data: PathBuf,

    /// How long a run is kept after it has finished, for example 12h or 30d. By default, what the store is set
    /// to, at first 30d. A shorter time than that is refused; `replibook store migrate` changes it
    #[arg(long, value_name = "TIME")]
    pub retention: Option<Millis>,

    /// How long to keep a plugin once no playbook or run pins it; at least 30m. By default, what the store is
    /// set to, at first 30d. A shorter time than that is refused; `replibook store migrate` changes it
    #[arg(long, value_name = "TIME", value_parser = parse_plugin_retention)]
    pub plugin_retention: Option<Millis>,
}

fn parse_plugin_retention(text: &str) -> Result<Millis, String> {
    let length = text.parse::<Millis>().map_err(|error| error.to_string())?;
    match length >= MIN_PLUGIN_RETENTION {
        true => Ok(length),
        false => Err(format!("found {text:?}, expected at least {MIN_PLUGIN_RETENTION}")),
    }
}

/// Where the data of a store is.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file in the data directory.
    Sqlite,
    /// In MongoDB, at this address.
    Mongodb(String),
}

/// Does not show the address, which may contain a password.
impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite => f.write_str("sqlite"),
            Self::Mongodb(_) => f.write_str("mongodb"),
        }
    }
}

/// Reads a [`Place`]. Clap's own error would repeat an address with its password.
#[derive(Clone)]
struct PlaceParser;

impl TypedValueParser for PlaceParser {
    type Value = Place;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Place, clap::Error> {
        let text = value.to_str().ok_or_else(|| "found something that is not UTF-8".to_owned());
        text.and_then(parse_place).map_err(|found| {
            let message = format!("invalid value for --store or REPLIBOOK_STORE: {found}\n");
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}

fn parse_place(text: &str) -> Result<Place, String> {
    const EXPECTED: &str =
        "expected sqlite, mongodb://HOST:PORT/DATABASE, or mongodb+srv://NAME/DATABASE";
    match text.split_once("://").map(|(scheme, _)| scheme) {
        Some("mongodb" | "mongodb+srv") => Ok(Place::Mongodb(text.to_owned())),
        None if text == "sqlite" => Ok(Place::Sqlite),
        // It may be a mistyped address with a password, so it is not shown.
        Some(_) | None => Err(format!("found something else, {EXPECTED}")),
    }
}

impl StoreArgs {
    /// Opens the store.
    ///
    /// # Errors
    /// The store can't be used; the error names it without any password.
    pub(super) async fn open(&self, clock: Arc<dyn Clock>) -> anyhow::Result<Arc<dyn Store>> {
        Ok(self.open_keeping(Keeping::Asked, clock).await?.0)
    }

    /// Opens the store, and returns how long it keeps finished runs. `keeping` says what to do with a retention
    /// that was asked for.
    async fn open_keeping(
        &self,
        keeping: Keeping,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<(Arc<dyn Store>, Millis)> {
        let options = self.options(keeping);
        match &self.store {
            Place::Sqlite => {
                let failed = || format!("failed to open the store in {}", self.data.display());
                // If the file has to be converted, this may take minutes.
                let data = self.data.clone();
                let open = move || SqliteStore::open(&data, options, clock);
                let store = tokio::task::spawn_blocking(open).await.with_context(failed)?;
                let store = store.with_context(failed)?;
                let retention = store.retention();
                Ok((Arc::new(store), retention))
            }
            Place::Mongodb(address) => {
                let store = MongoStore::open(&self.mongo_options(address)?, options, clock).await;
                let store = store.context("failed to open the store in MongoDB")?;
                let retention = store.retention();
                Ok((Arc::new(store), retention))
            }
        }
    }

    fn options(&self, keeping: Keeping) -> StoreOptions {
        // What is only a default gives way to what the store has.
        let keeping = |asked: Option<Millis>| asked.map_or(Keeping::Unsaid, |_| keeping);
        let defaults = StoreOptions::default();
        StoreOptions {
            retention: self.retention.unwrap_or(defaults.retention),
            keeping: keeping(self.retention),
            plugin_retention: self.plugin_retention.unwrap_or(defaults.plugin_retention),
            plugin_keeping: keeping(self.plugin_retention),
            ..defaults
        }
    }

    fn mongo_options(&self, address: &str) -> anyhow::Result<MongoOptions> {
        let credentials = self.store_credentials.as_deref();
        let credentials = credentials.map(MongoCredentials::read).transpose()?;
        Ok(MongoOptions { credentials, ..MongoOptions::new(address) })
    }
}

/// Check or migrate the store.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum StoreCommand {
    /// Read every document, report whether the store is in order, and change nothing. Servers may use it
    /// meanwhile
    Check(StoreArgs),
    /// Convert the store to the form that this version uses, as serve does when it starts, and set its
    /// retentions to --retention and --plugin-retention, even if they are shorter
    Migrate(StoreArgs),
}

/// Runs a command of `replibook store`, and returns its exit code: 1 when a check found something to correct.
///
/// # Errors
/// The store can't be used.
pub async fn look_after(command: StoreCommand) -> anyhow::Result<u8> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    match command {
        StoreCommand::Check(args) => {
            let (said, is_fine) = match &args.store {
                Place::Sqlite => check_sqlite(args.data.clone()).await?,
                Place::Mongodb(address) => check_mongodb(&args, address, clock).await?,
            };
            say(&said)?;
            Ok(if is_fine { 0 } else { NOT_FINE })
        }
        StoreCommand::Migrate(args) => {
            let (store, retention) = args.open_keeping(Keeping::Changed, clock).await?;
            let (name, of_plugins) = (store.name(), store.plugin_retention());
            store.close().await;
            // Dropping the store unlocks the data directory.
            drop(store);
            say(&[format!(
                "the store in {name} is ready for this version, and keeps a run for {retention} after it has finished, \
                 and a plugin for {of_plugins} once nothing pins it"
            )])?;
            if args.store == Place::Sqlite {
                rebuild_sqlite(args.data.clone()).await?;
            }
            Ok(0)
        }
    }
}

/// Rewrites the file of an earlier version once, so that it shrinks when documents are removed. If that fails,
/// for example for lack of room, the store can be used as it is.
async fn rebuild_sqlite(data: PathBuf) -> anyhow::Result<()> {
    let rebuilt = tokio::task::spawn_blocking(move || SqliteStore::rebuild(data)).await;
    let said = match rebuilt.context("the rewriting ended abnormally")? {
        Ok(true) => {
            "the file was rewritten: from now on it shrinks when documents are removed".to_owned()
        }
        Ok(false) => return Ok(()),
        Err(error) => {
            let why = anyhow::Error::from(error);
            format!("warning: the file was not rewritten ({why:#}), so it will only grow")
        }
    };
    say(&[said])
}

async fn check_sqlite(data: PathBuf) -> anyhow::Result<(Vec<String>, bool)> {
    let failed = format!("failed to check the store in {}", data.display());
    let checked = tokio::task::spawn_blocking(move || SqliteStore::check(data)).await;
    let checked = checked.context("the check ended abnormally")?.context(failed)?;
    Ok((documents(&checked), checked.is_fine()))
}

async fn check_mongodb(
    args: &StoreArgs,
    address: &str,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<(Vec<String>, bool)> {
    let options = args.mongo_options(address)?;
    let store = MongoStore::look(&options, args.options(Keeping::Asked), clock).await;
    let store = store.context("failed to look at the store")?;
    let report = store.check().await;
    store.close().await;
    let report = report.context("failed to check the store")?;
    Ok((lines(&report), report.is_fine()))
}

fn say(lines: &[String]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout();
    let width = width_of(std::io::stdout());
    let fit = |line: String| width.map(|width| wrap_line(&line, width, 2)).unwrap_or(line);
    let write = |stdout: &mut std::io::Stdout| {
        lines.iter().try_for_each(|line| writeln!(stdout, "{}", fit(clean(line))))?;
        stdout.flush()
    };
    write(&mut stdout).context("failed to print")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn a_retention_is_a_length_of_time() {
        #[derive(Debug, clap::Parser)]
        struct Cli {
            #[command(flatten)]
            store: StoreArgs,
        }
        let read = |text: &str| {
            Cli::try_parse_from(["x", "--retention", text]).map(|cli| cli.store.retention)
        };
        for (text, seconds) in [("30d", 30 * 86_400), ("90m", 5_400), ("PT1H30M", 5_400)] {
            assert_eq!(read(text).unwrap(), Some(Millis::from_secs(seconds)), "{text}");
        }
        let plugins = |text: &str| {
            let cli = Cli::try_parse_from(["x", "--plugin-retention", text]);
            cli.map(|cli| cli.store.options(Keeping::Asked))
        };
        let options = plugins("30m").unwrap();
        assert_eq!(options.plugin_retention, MIN_PLUGIN_RETENTION);
        assert_eq!((options.plugin_keeping, options.keeping), (Keeping::Asked, Keeping::Unsaid));
        let error = plugins("29m").unwrap_err().to_string();
        assert!(error.contains("found \"29m\", expected at least 30m"), "{error}");
        plugins("3661d").unwrap_err();
        for bad in ["30", "3661d", "1 fortnight", "1mo"] {
            let error = read(bad).unwrap_err().to_string();
            assert!(
                error.contains(&format!("found {bad:?}, expected a length of time")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_store_is_a_file_or_an_address_and_passwords_are_not_repeated() {
        assert_eq!(parse_place("sqlite"), Ok(Place::Sqlite));
        let address = "mongodb://ada:secret@a,b/books?replicaSet=rs0";
        let place = parse_place(address).unwrap();
        assert!(place == Place::Mongodb(address.to_owned()));
        assert!(!format!("{place:?}").contains("secret"));
        for bad in ["", "mongo://ada:secret@a", "mongodb+srv:ada:secret@a", "ada:secret@a"] {
            let error = parse_place(bad).unwrap_err();
            assert!(error.contains("expected") && !error.contains("secret"), "{error}");
        }
    }
}
