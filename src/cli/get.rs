//! `get`: shows what the server has, as a list or one thing by its name. Runs have commands of their own too,
//! which can filter.

use clap::ValueEnum;

use super::choose::ChooseArgs;
use super::client::Client;
use super::cluster_agents::{Wanted, get_agent, get_agents};
use super::engine::{find_engine, say_problems};
use super::error::CliError;
use super::exit::Exit;
use super::output::{Console, Format};
use super::page::{MAX_LIMIT, PageArgs, say_damaged, say_if_more};
use super::run::find_run;
use crate::api::wire::{ClusterView, Listing, PlaybookView, PluginView, RunView};
use crate::api::{AGENT_ROOTS, RUN_ROOTS};
use crate::run::Digest;

/// What can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Things {
    /// Playbooks; a name may carry `@VERSION`
    #[value(alias = "playbook")]
    Playbooks,
    /// Clusters
    #[value(alias = "cluster")]
    Clusters,
    /// Plugins, by digest or by their own name
    #[value(alias = "plugin")]
    Plugins,
    /// Runs
    #[value(alias = "run")]
    Runs,
    /// Engines: the servers that share the store, according to their reports of the last 4 s; by name, or by
    /// the first digits of an identifier
    #[value(alias = "engine")]
    Engines,
    /// Agents of the cluster that --cluster names, as they are known now
    #[value(alias = "agent")]
    Agents,
}

/// Arguments of `get`.
#[derive(Debug, clap::Args)]
pub struct Get {
    /// What to show
    pub things: Things,
    /// Only the thing with this name
    pub name: Option<String>,
    /// The cluster whose agents to show
    #[arg(long, value_name = "CLUSTER", required_if_eq_any([("things", "agents"), ("things", "agent")]))]
    pub cluster: Option<String>,
    #[command(flatten)]
    pub choose: ChooseArgs,
    #[command(flatten)]
    pub page: PageArgs,
}

/// Characters of a digest that are enough to name a plugin.
const MIN_DIGEST_PREFIX: usize = 6;

pub(crate) async fn get(client: &Client, args: &Get, console: &Console) -> Result<Exit, CliError> {
    let cluster = args.cluster.as_deref();
    if cluster.is_some() && args.things != Things::Agents {
        let message = "--cluster goes with `get agents`; `run list` has it for runs";
        return Err(CliError::Usage(message.to_owned()));
    }
    match &args.name {
        Some(_) if !args.choose.is_plain() => {
            let message = "--selector and --sort-by go with lists, not with a name";
            return Err(CliError::Usage(message.to_owned()));
        }
        Some(name) => get_one(client, args.things, name, cluster, console).await?,
        None => get_all(client, args, console).await?,
    }
    Ok(Exit::Ok)
}

/// Checks the selector, which only some lists have.
fn check_selector(args: &Get, console: &Console) -> Result<(), CliError> {
    match args.things {
        Things::Runs => args.choose.check(&RUN_ROOTS, console),
        Things::Agents => args.choose.check(&AGENT_ROOTS, console),
        Things::Playbooks | Things::Clusters | Things::Plugins | Things::Engines => {
            match args.choose.selector {
                None => Ok(()),
                Some(_) => {
                    let message = "--selector goes with `get runs` and `get agents`";
                    Err(CliError::Usage(message.to_owned()))
                }
            }
        }
    }
}

async fn get_one(
    client: &Client,
    things: Things,
    name: &str,
    cluster: Option<&str>,
    console: &Console,
) -> Result<(), CliError> {
    match things {
        Things::Playbooks => {
            let (name, version) = split_version(name);
            let playbook = client.playbook(name, version).await?;
            match (&playbook.document, console.format) {
                (Some(document), Format::Yaml) => console.document(document),
                (Some(_) | None, _) => console.one(&playbook),
            }
        }
        Things::Clusters => {
            let cluster = client.cluster(name).await?;
            match (&cluster.document, console.format) {
                (Some(document), Format::Yaml) => console.document(document),
                (Some(_) | None, _) => console.one(&cluster),
            }
        }
        Things::Plugins => {
            let found = find_plugins(client, name).await?;
            match found.as_slice() {
                [plugin] => console.one(plugin),
                plugins => console.list(plugins),
            }
        }
        Things::Runs => console.one(&client.run(find_run(client, name).await?).await?),
        Things::Engines => {
            let all = client.engines().await?.items;
            let engine = find_engine(&all, name)?;
            console.one(engine)?;
            say_problems(console, std::slice::from_ref(engine), &all);
            Ok(())
        }
        Things::Agents => get_agent(client, cluster, name, console).await,
    }
}

async fn get_all(client: &Client, args: &Get, console: &Console) -> Result<(), CliError> {
    let Get { things, choose, page, .. } = args;
    check_selector(args, console)?;
    let next = match things {
        Things::Playbooks => {
            let list: Listing<PlaybookView> =
                choose.read(client.playbooks(), page, console).await?;
            console.list(&list.items)?;
            say_damaged(console, &list.damaged);
            list.next
        }
        Things::Clusters => {
            let list: Listing<ClusterView> = choose.read(client.clusters(), page, console).await?;
            console.list(&list.items)?;
            say_damaged(console, &list.damaged);
            list.next
        }
        Things::Plugins => {
            let list: Listing<PluginView> = choose.read(client.plugins(), page, console).await?;
            show_plugins(&list, console)?;
            list.next
        }
        Things::Runs => {
            let list: Listing<RunView> = choose.read(client.runs(), page, console).await?;
            console.list(&list.items)?;
            say_damaged(console, &list.damaged);
            list.next
        }
        Things::Engines => {
            let all = client.engines().await?;
            let shown = choose.first_sorted(all.clone(), page, console)?.items;
            console.list(&shown)?;
            say_problems(console, &all.items, &all.items);
            None
        }
        Things::Agents => {
            let wanted = Wanted { cluster: args.cluster.as_deref(), choose, page };
            get_agents(client, wanted, console).await?
        }
    };
    say_if_more(console, next.as_deref());
    Ok(())
}

/// Lists the plugins of the server.
pub(crate) async fn list_plugins(
    client: &Client,
    page: &PageArgs,
    console: &Console,
) -> Result<(), CliError> {
    let (after, limit) = (page.after.clone(), page.limit());
    let list: Listing<PluginView> = client.plugins().read_to_show(after, limit).await?;
    show_plugins(&list, console)?;
    say_if_more(console, list.next.as_deref());
    Ok(())
}

fn show_plugins(list: &Listing<PluginView>, console: &Console) -> Result<(), CliError> {
    console.list(&list.items)?;
    say_damaged(console, &list.damaged);
    Ok(())
}

/// Splits `NAME@VERSION`; the version may be missing.
pub(crate) fn split_version(name: &str) -> (&str, Option<&str>) {
    match name.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (name, None),
    }
}

/// The plugins that match a digest, the beginning of one, `NAME` or `NAME@VERSION`.
pub(crate) async fn find_plugins(client: &Client, name: &str) -> Result<Vec<PluginView>, CliError> {
    if let Ok(digest) = name.parse::<Digest>() {
        return Ok(vec![client.plugin(&digest).await?]);
    }
    let limit = usize::try_from(MAX_LIMIT).unwrap_or(usize::MAX);
    let all: Listing<PluginView> = client.plugins().read(None, limit).await?;
    let found: Vec<_> = all.items.into_iter().filter(|plugin| goes_by(plugin, name)).collect();
    if found.is_empty() {
        return Err(CliError::NotFound(format!(
            "found no plugin {name:?}; expected a digest, at least {MIN_DIGEST_PREFIX} digits of \
             one, NAME or NAME@VERSION"
        )));
    }
    Ok(found)
}

fn goes_by(plugin: &PluginView, name: &str) -> bool {
    let digits = name.strip_prefix("sha256:").unwrap_or(name);
    let by_digest =
        digits.len() >= MIN_DIGEST_PREFIX && plugin.info.digest.hex().starts_with(digits);
    let (own_name, version) = split_version(name);
    let by_name = plugin.info.name == own_name
        && version.is_none_or(|version| version == plugin.info.version);
    by_digest || by_name
}
