//! `run replay`: fetches or unpacks a finished run, plays it again on this machine, and shows what differs.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::fetch::fetch;
use super::find::find_run;
use crate::cli::client::Client;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::{Console, Format, Row, to_json, to_yaml};
use crate::cli::text::{Paint, clean, moment, plural};
use crate::cli::validate::start_host;
use crate::cli::work::Work;
use crate::plugin::PluginHost;
use crate::replay::{
    ArchiveLimits, Compared, Difference, Other, Player, Recording, ReplayError, Report,
    temporary_folder, unpack,
};
use crate::run::AgentId;

/// How many lines a person is shown about what was not replayed, and about what differs.
const SHOWN: usize = 20;

/// Arguments of `run replay`.
#[derive(Debug, clap::Args)]
pub struct Replay {
    /// A run that has ended, or a file of `run export`, for which no server is asked
    pub run: String,
    /// Replay only what was done on this agent
    #[arg(long, value_name = "AGENT")]
    pub agent: Option<String>,
    /// Ask another strategy at each recorded moment, and show both decisions side by side: the name of one that
    /// the playbook uses or that is built in, or the file of a component
    #[arg(long, value_name = "NAME|FILE", conflicts_with = "agent")]
    pub strategy: Option<String>,
    /// Arguments of that strategy in JSON; without this, those of the run's own strategy
    #[arg(long, value_name = "JSON", requires = "strategy")]
    pub with: Option<String>,
    /// Replay a file even if members of it were changed after the export
    #[arg(long)]
    pub force: bool,
    /// How many GiB a file may unpack to, in the folder for temporary files
    #[arg(long, value_name = "GIB", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pub unpack_gib: u16,
}

/// Runs `run replay`. The server is only asked for a run, not for a file.
pub(crate) async fn replay(
    client: &Client,
    args: &Replay,
    console: &Console,
) -> Result<Exit, CliError> {
    let with: Option<Value> = args.with.as_deref().map(read_with).transpose()?;
    let folder = temporary_folder().map_err(CliError::Setup)?;
    let work = Work::new(console);
    match file_of(&args.run) {
        Some(file) => {
            work.at(|| "unpacking".to_owned());
            let limits = ArchiveLimits::default().with_gib(args.unpack_gib);
            let (_, changed) = unpack(&file, folder.path(), limits)?;
            say_changed(&file, &changed, args.force, console)?;
        }
        None => {
            let run = find_run(client, &args.run).await?;
            fetch(client, run, folder.path(), &work).await?;
        }
    }
    let recording = Recording::open(folder.path())?;
    let host = start_host().map_err(CliError::PluginHost)?;
    let told = |report: &Report| {
        work.at(|| {
            let decisions = plural(report.decisions, "decision");
            format!("replaying · {decisions} · {}", plural(report.activations, "activation"))
        });
    };
    let mut player = Player::new(&host, &recording).await.watched(&told);
    if let Some(strategy) = &args.strategy {
        let plugin = other_strategy(&host, &recording, strategy).await?;
        let compared = player.compare(Other { plugin, with }).await?;
        drop(work);
        console.list(&compared)?;
        return Ok(Exit::Ok);
    }
    if let Some(agent) = &args.agent {
        player = player.only(AgentId(agent.clone()))?;
    }
    let report = player.replay().await?;
    drop(work);
    show(&report, console)?;
    Ok(if report.same { Exit::Ok } else { Exit::RunFailed })
}

fn read_with(text: &str) -> Result<Value, CliError> {
    let read = serde_json::from_str(text);
    read.map_err(|error| {
        CliError::Usage(format!("--with: found {text:?}, which is no JSON: {error}"))
    })
}

/// The file that is meant, if it is one: identifiers of runs contain neither dots nor slashes.
fn file_of(text: &str) -> Option<PathBuf> {
    (text.contains(['.', '/']) || Path::new(text).is_file()).then(|| PathBuf::from(text))
}

fn say_changed(
    file: &Path,
    changed: &[crate::replay::MemberName],
    force: bool,
    console: &Console,
) -> Result<(), CliError> {
    if changed.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = changed.iter().map(ToString::to_string).collect();
    let message = format!("it was changed after the export: {}", names.join(", "));
    if force {
        console.say(&format!("warning: {}: {message}", file.display()));
        return Ok(());
    }
    let message = format!("{message}; --force replays it all the same");
    Err(ReplayError::NotAnExport { path: file.to_owned(), message }.into())
}

/// The strategy to ask beside the run's own one, loaded into the host.
async fn other_strategy(
    host: &PluginHost,
    recording: &Recording,
    name: &str,
) -> Result<crate::run::Digest, CliError> {
    if let Some(pin) = recording.snapshot().playbook.plugins.get(name) {
        return Ok(pin.digest.clone());
    }
    if let Some(builtin) = host.builtins().iter().find(|builtin| builtin.info.name == name) {
        return Ok(builtin.info.digest.clone());
    }
    let bytes = crate::cli::files::read_plugin(Path::new(name));
    let bytes = bytes.map_err(|source| CliError::Read { path: name.to_owned(), source })?;
    let info = host.import(bytes.into()).await.map_err(ReplayError::Plugin)?;
    Ok(info.digest)
}

fn show(report: &Report, console: &Console) -> Result<(), CliError> {
    match console.format {
        Format::Json => return console.raw(&to_json(report)?),
        Format::Yaml => return console.raw(&to_yaml(report)?),
        Format::Picked => return console.pick(report),
        Format::Table | Format::Wide | Format::Name => {}
    }
    for left_out in report.not_replayed.iter().take(SHOWN) {
        console.say(&clean(&format!("not replayed: {}: {}", left_out.place, left_out.why)));
    }
    more(report.left_out, "not replayed", console);
    let replayed = format!(
        "{}, {} in {} replayed, {} left out",
        plural(report.decisions, "decision"),
        plural(report.activations, "activation"),
        plural(report.attempts, "attempt"),
        report.left_out
    );
    if report.same {
        return console.data(&format!("{}: {replayed}", Paint::Good.on("same", console.colour)));
    }
    console.data(&format!("{}: {replayed}", Paint::Bad.on("differs", console.colour)))?;
    for Difference { place, what, recorded, now } in report.differences.iter().take(SHOWN) {
        console.data(&clean(&format!("{place}: the {what} differs")))?;
        console.data(&clean(&format!("  recorded: {recorded}")))?;
        console.data(&clean(&format!("  now:      {now}")))?;
    }
    more(report.differing, "that differ", console);
    Ok(())
}

fn more(all: u64, what: &str, console: &Console) {
    let shown = SHOWN as u64;
    if all > shown {
        console.say(&format!("and {} more {what}; -o json has the first of them", all - shown));
    }
}

impl Row for Compared {
    fn headings(_: bool) -> Vec<&'static str> {
        vec!["EVENT", "TIME", "STAGE", "RECORDED", "OTHER"]
    }

    fn cells(&self, _: bool) -> Vec<String> {
        vec![
            self.event.to_string(),
            moment(self.at),
            self.stage.clone(),
            self.recorded.clone(),
            self.other.clone(),
        ]
    }

    fn name(&self) -> String {
        format!("event/{}", self.event)
    }
}
