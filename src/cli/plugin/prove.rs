//! `plugin prove`: what a strategy does, whatever happens, from its bytes alone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::prove_text::text;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::files::{read_documents, read_plugin};
use crate::cli::output::{Console, Format, to_json, to_yaml};
use crate::cli::problems;
use crate::cli::run::ParamArgs;
use crate::cli::text::{clean, plural};
use crate::cli::validate::start_host;
use crate::cli::work::Work;
use crate::playbook::policy::MAX_PROOF_BYTES;
use crate::playbook::{
    ClusterGuards, PluginInfo, PluginKind, Template, check_arguments, parse_cluster,
};
use crate::plugin::PluginHost;
use crate::prove::{
    self, Bounds, Covered, DEFAULT_STATES, MAX_AGENTS, MAX_GROUPS, MAX_HAPPENINGS, MAX_LARGEST,
    MAX_SEEDS, MAX_STATES, Named, Plugin, Proof, Property, Report, Scene, Wanted,
};
use crate::run::MAX_MEMO_BYTES;

/// The stack of the thread that asks the strategy: what a plugin may take, and as much again for the core.
const STACK_BYTES: usize = 8 * 1024 * 1024;

/// The attribute that groups have without any option.
const DEFAULT_ATTRIBUTE: &str = "zone";

/// Arguments of `plugin prove`.
#[derive(Debug, clap::Args)]
pub struct Prove {
    /// Name of a built-in strategy, or the file of a component, with or without `file:` before it
    #[arg(value_name = "STRATEGY")]
    pub strategy: String,
    /// Arguments of the strategy, as a JSON object
    #[arg(long, value_name = "JSON")]
    pub arguments: Option<String>,
    /// Set an argument of the strategy, beside those of --arguments
    #[arg(short, long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Set an argument of the strategy to exactly this text
    #[arg(long = "set-string", value_name = "KEY=TEXT")]
    pub strings: Vec<String>,
    /// Write a certificate of what was proved to this file, for `minisign -S -t "$(cat FILE)"` over the component; nothing
    /// is written if a property does not hold
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// What must hold, and need not
    #[command(flatten)]
    pub wanted: WantedArgs,
    /// How far is looked
    #[command(flatten)]
    pub bounds: BoundsArgs,
}

/// What must hold, beyond what is always looked at.
#[derive(Debug, clap::Args)]
pub struct WantedArgs {
    /// Never more than this many agents at work
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Properties")]
    pub max_in_flight: Option<u32>,
    /// Never agents of two groups at work, by the values of this attribute
    #[arg(long, value_name = "ATTRIBUTE", help_heading = "Properties")]
    pub one_group: Option<String>,
    /// Names nobody whom the guards of this Cluster document would hold
    #[arg(long, value_name = "FILE", help_heading = "Properties")]
    pub guards: Option<PathBuf>,
    /// A property that need not hold: answers, ends, everybody, once, named, waits or memo
    #[arg(long, value_name = "PROPERTY", value_parser = parse_property, help_heading = "Properties")]
    pub without: Vec<Property>,
    /// An attribute that has the group of an agent; by default `zone`, and those that other options name
    #[arg(long = "by", value_name = "ATTRIBUTE", help_heading = "Properties")]
    pub by: Vec<String>,
}

/// How far is looked.
#[derive(Debug, clap::Args)]
pub struct BoundsArgs {
    /// Try everything over fleets of up to this many agents
    #[arg(long, value_name = "N", default_value_t = Bounds::default().agents, value_parser = up_to(1, MAX_AGENTS), help_heading = "Bounds")]
    pub agents: u32,
    /// The most groups of these fleets
    #[arg(long, value_name = "N", default_value_t = Bounds::default().groups, value_parser = up_to(1, MAX_GROUPS), help_heading = "Bounds")]
    pub groups: u32,
    /// How many agents may fail
    #[arg(long, value_name = "N", default_value_t = Bounds::default().failures, value_parser = up_to(0, MAX_HAPPENINGS), help_heading = "Bounds")]
    pub failures: u32,
    /// How many agents may join
    #[arg(long, value_name = "N", default_value_t = Bounds::default().joins, value_parser = up_to(0, MAX_HAPPENINGS), help_heading = "Bounds")]
    pub joins: u32,
    /// How many agents may leave
    #[arg(long, value_name = "N", default_value_t = Bounds::default().leaves, value_parser = up_to(0, MAX_HAPPENINGS), help_heading = "Bounds")]
    pub leaves: u32,
    /// How often a person may pause the run
    #[arg(long, value_name = "N", default_value_t = Bounds::default().pauses, value_parser = up_to(0, MAX_HAPPENINGS), help_heading = "Bounds")]
    pub pauses: u32,
    /// How many of these joins, departures and pauses there may be together
    #[arg(long, value_name = "N", default_value_t = Bounds::default().changes, value_parser = up_to(0, MAX_HAPPENINGS), help_heading = "Bounds")]
    pub changes: u32,
    /// Look at no more states than this
    #[arg(long, value_name = "N", default_value_t = DEFAULT_STATES, value_parser = clap::value_parser!(u64).range(1..=MAX_STATES), help_heading = "Bounds")]
    pub states: u64,
    /// Try this many random histories of larger fleets after that
    #[arg(long, value_name = "N", default_value_t = Bounds::default().seeds, value_parser = up_to(0, MAX_SEEDS), help_heading = "Bounds")]
    pub seeds: u32,
    /// The most agents of the larger fleets
    #[arg(long, value_name = "N", default_value_t = Bounds::default().largest, value_parser = up_to(1, MAX_LARGEST), help_heading = "Bounds")]
    pub largest: u32,
    /// The most bytes of a memo
    #[arg(long, value_name = "BYTES", default_value_t = Bounds::default().memo, value_parser = up_to(0, MAX_MEMO_BYTES as u32), help_heading = "Bounds")]
    pub memo: u32,
}

fn up_to(least: u32, most: u32) -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(i64::from(least)..=i64::from(most))
}

fn parse_property(word: &str) -> Result<Property, String> {
    Property::parse(word).ok_or_else(|| {
        let all: Vec<_> = Property::ALL.iter().map(|property| property.as_str()).collect();
        format!("found {word:?}, expected one of {}", all.join(", "))
    })
}

impl BoundsArgs {
    const fn bounds(&self) -> Bounds {
        let Self {
            agents,
            groups,
            failures,
            joins,
            leaves,
            pauses,
            changes,
            states,
            seeds,
            largest,
            memo,
        } = *self;
        Bounds {
            agents,
            groups,
            failures,
            joins,
            leaves,
            pauses,
            changes,
            states,
            seeds,
            largest,
            memo,
        }
    }
}

/// Runs `plugin prove`. No server is asked.
pub(super) async fn prove(args: &Prove, console: &Console) -> Result<Exit, CliError> {
    let host = start_host().map_err(CliError::PluginHost)?;
    let info = find(&host, &args.strategy).await?;
    let arguments = arguments(args, &info)?;
    let wanted = wanted(&args.wanted)?;
    let bounds = args.bounds.bounds();
    let mut by = args.wanted.by.clone();
    let guarded = wanted
        .guards
        .as_ref()
        .is_some_and(|(_, guards)| guards.guards.iter().any(|guard| guard.attribute().is_some()));
    if by.is_empty() && wanted.one_group.is_none() && !guarded {
        by.push(DEFAULT_ATTRIBUTE.to_owned());
    }
    let given = arguments.source().clone();
    let scene = Scene::new(arguments, by, wanted, bounds);
    let plugin = info.digest.clone();
    let proof = found(host, plugin, scene, Work::new(console)).await?;
    let Proof { proved, findings, covered, merged, not_covered } = proof;
    let report = Report {
        strategy: Named { name: info.name, version: info.version, digest: info.digest },
        arguments: given,
        proved,
        properties: findings,
        bounds,
        covered,
        merged,
        not_covered,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    if let Some(file) = args.certificate.as_ref().filter(|_| report.proved) {
        certify(&report, file, console)?;
    }
    match console.format {
        Format::Json => console.raw(&to_json(&report)?)?,
        Format::Yaml => console.raw(&to_yaml(&report)?)?,
        Format::Picked => console.pick(&report)?,
        Format::Name => console.data(&report.strategy.digest.to_string())?,
        Format::Table | Format::Wide => console.data(&text(&report, console))?,
    }
    Ok(if report.proved { Exit::Ok } else { Exit::RunFailed })
}

/// Writes what was proved to a file, as the comment that somebody signs together with the component.
fn certify(report: &Report, file: &Path, console: &Console) -> Result<(), CliError> {
    let path = file.display();
    let Some(line) = report.certificate().to_line() else {
        let message = format!(
            "--certificate {path}: the arguments are too long for one, expected at most {MAX_PROOF_BYTES} bytes in all"
        );
        return Err(CliError::Usage(clean(&message)));
    };
    std::fs::write(file, line + "\n").map_err(CliError::Output)?;
    console.say(&format!("certificate: {path}; it counts once a key of the policy has signed it:"));
    console.say_command("sign", &format!("minisign -S -m COMPONENT -t \"$(cat {path})\""));
    Ok(())
}

/// Looks at a strategy on a thread of its own: a plugin is asked many thousands of times, each time on the stack of the caller.
async fn found(
    host: PluginHost,
    digest: crate::run::Digest,
    scene: Scene,
    work: Work,
) -> Result<Proof, CliError> {
    let (done, end) = oneshot::channel();
    let look = move || {
        let told = |covered: &Covered| {
            work.at(|| {
                let fleets = plural(covered.fleets, "fleet");
                format!(
                    "proving · {fleets} · {} states · {} seeds",
                    covered.states, covered.histories
                )
            });
        };
        let plugin = Plugin { host: &host, digest };
        // Nobody may wait for the result any more.
        let _ = done.send(prove::prove(scene, &plugin, &told));
    };
    let thread = std::thread::Builder::new().name("prove".to_owned()).stack_size(STACK_BYTES);
    thread.spawn(look).map_err(CliError::Setup)?;
    let never = |why: String| CliError::Setup(std::io::Error::other(why));
    let proof = end.await.map_err(|_| never("the proof was not finished".to_owned()))?;
    proof.map_err(|illegal| never(format!("a mistake of Replibook: {illegal}")))
}

/// The strategy of this name or file, loaded into the host.
async fn find(host: &PluginHost, name: &str) -> Result<PluginInfo, CliError> {
    let builtin = host.builtins().iter().find(|builtin| builtin.info.name == name);
    let info = match builtin {
        Some(builtin) => builtin.info.clone(),
        None => {
            let path = name.strip_prefix("file:").unwrap_or(name);
            let is_file = name.contains(['.', '/', ':']) || Path::new(path).exists();
            if !is_file {
                let strategies = host.builtins().iter().filter(|it| is_strategy(&it.info));
                let names: Vec<_> = strategies.map(|it| it.info.name.as_str()).collect();
                return Err(CliError::NotFound(format!(
                    "found no strategy {name:?}, expected a file or one of {}",
                    names.join(", ")
                )));
            }
            let bytes = read_plugin(Path::new(path));
            let bytes = bytes.map_err(|source| CliError::Read { path: path.to_owned(), source })?;
            let info = host.import(Bytes::from(bytes)).await;
            info.map_err(|source| CliError::Plugin { source, of: path.to_owned() })?
        }
    };
    match is_strategy(&info) {
        true => Ok(info),
        false => Err(CliError::Usage(format!(
            "found the {} {}, expected a strategy",
            info.kind.as_str(),
            info.name
        ))),
    }
}

fn is_strategy(info: &PluginInfo) -> bool {
    info.kind == PluginKind::Strategy
}

/// The arguments of the strategy, which must fit the schema that it gives of them.
fn arguments(args: &Prove, info: &PluginInfo) -> Result<Template, CliError> {
    let mut given = match args.arguments.as_deref().map(serde_json::from_str).transpose() {
        Ok(None) => Map::new(),
        Ok(Some(Value::Object(given))) => given,
        Ok(Some(other)) => {
            let found = clean(&other.to_string());
            return Err(CliError::Usage(format!("--arguments: found {found}, expected an object")));
        }
        Err(error) => return Err(CliError::Usage(format!("--arguments: no JSON: {error}"))),
    };
    let (sets, strings) = (args.sets.clone(), args.strings.clone());
    let set = ParamArgs { sets, strings, params: None }.read(&info.arguments)?;
    given.extend(set);
    check_arguments(&info.arguments, Value::Object(given)).map_err(|problems| CliError::Invalid {
        file: format!("the arguments of {}", info.name),
        count: problems.0.len(),
        shown: problems::show_without_text(&problems.0, problems::Look::default()),
    })
}

fn wanted(args: &WantedArgs) -> Result<Wanted, CliError> {
    let guards = args.guards.as_deref().map(read_guards).transpose()?;
    Ok(Wanted {
        in_flight: args.max_in_flight,
        one_group: args.one_group.clone(),
        guards,
        without: args.without.iter().copied().collect::<BTreeSet<_>>(),
    })
}

/// The guards of the one Cluster document in a file.
fn read_guards(path: &Path) -> Result<(String, Arc<ClusterGuards>), CliError> {
    let documents = read_documents(path)?;
    let file = path.display().to_string();
    let [document] = documents.as_slice() else {
        let found = documents.len();
        let message = format!("--guards {file}: found {found} documents, expected one Cluster");
        return Err(CliError::Usage(clean(&message)));
    };
    let cluster = parse_cluster(document.text.as_bytes()).map_err(|wrong| CliError::Invalid {
        file: file.clone(),
        count: wrong.0.len(),
        shown: problems::show(document, &wrong.0, problems::Look::default()),
    })?;
    if cluster.guards.guards.is_empty() {
        let message = format!("--guards {file}: cluster {} has no guards", cluster.name);
        return Err(CliError::Usage(clean(&message)));
    }
    Ok((cluster.name, Arc::new(cluster.guards)))
}
