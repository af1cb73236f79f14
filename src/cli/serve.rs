//! `replibook serve`: the server's command line, and the one place where store, plugin host, driver and API are
//! put together. It decides the order in which they start and stop.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::access_args::AccessArgs;
use super::file_sums::{FolderSums, file_sums};
use super::logging::LogArgs;
use super::registry_args::RegistryArgs;
use super::size::parse_size;
use super::store::{Place, StoreArgs};
use super::waiting;
use crate::agent::gateway::{HostsArgs, Within};
use crate::agent::platform::{HttpPlatforms, PlatformHttpConfig};
use crate::agent::{AgentHttpConfig, AgentLimits, AnyDialect, Found, HttpAgents, Inside, Shortage};
use crate::api::{self, ApiState, StoreCalls};
use crate::clock::{Clock, SystemClock};
use crate::credentials::{KeptCredentials, ServedTls};
use crate::descriptors::Descriptors;
use crate::driver::{Engine, EngineConfig, FileSums, Followers, Signals, World};
use crate::listen::{check_listen, is_loopback};
use crate::outbound::HttpOutbound;
use crate::playbook::LENGTH_EXPECTED;
use crate::plugin::{Compile, CompileApart, HostConfig, PluginHost};
use crate::policy::{self, CurrentPolicy, PinFacts, PolicyFile, PolicyNetworks, PolicySecrets};
use crate::run::{EngineId, Millis};
use crate::secrets::{NoSecrets, SecretFolder, Secrets};
use crate::shown::clean;
use crate::stop::StopAsked;
use crate::store::{HeardStore, Store, StoreClock};
use crate::web::OwnNames;

/// Arguments of `replibook serve`.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8900")]
    pub listen: SocketAddr,

    /// Where the data is kept
    #[command(flatten)]
    pub store: StoreArgs,

    /// How long an agent that gives no good answer is asked again before it counts as unreachable and so as
    /// failed: from 1s to 1d, long enough for a restart of its node
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = parse_patience)]
    pub agent_patience: Millis,

    /// The most runs that this server drives at the same time, from 1 to 100,000; runs that only wait for a
    /// person or for their cluster do not count
    #[arg(long, value_name = "NUMBER", default_value_t = EngineConfig::MAX_RUNS, value_parser = parse_max_runs)]
    pub max_runs: usize,

    /// Name of this server's engine; by default, that of the machine with a part of the engine's identifier
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub engine_name: Option<String>,

    /// How registries of plugins are reached
    #[command(flatten)]
    pub registries: RegistryArgs,

    /// File of a policy, which says what plugins this server takes and what they may be granted; it is read again
    /// when it changes, and on SIGHUP. Without it everything that a playbook grants counts
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,

    /// Who may do what
    #[command(flatten)]
    pub access: AccessArgs,

    /// Folder of secrets for runs, one file for each, as systemd and Kubernetes mount them; each is read when it is used.
    /// On an address that is not loopback, --policy has to say where they may go
    #[arg(long, value_name = "DIR")]
    pub secrets: Option<PathBuf>,

    /// Inventory of nodes without agents, in YAML or JSON: this server reaches them as `replibook gateway` does, with no port. The
    /// Cluster has `http://inventory.localhost` as `discovery.url`. Wants --access, since whoever may run commands does so on the
    /// nodes
    #[arg(long, value_name = "FILE")]
    pub inventory: Option<PathBuf>,

    /// Who else knows nodes, and how they are reached
    #[command(flatten)]
    pub hosts: HostsArgs,

    /// Limit for compiled plugins in --data, such as 512MiB or 4GiB, at least 64MiB. The least recently used are removed
    /// first, but never those that a run uses; a lower limit means more recompiling
    #[arg(long, value_name = "SIZE", default_value = "2GiB", value_parser = parse_cache_size)]
    pub plugin_cache_size: u64,

    /// Serve https with these credentials: a folder under --credentials with cert.pem, key.pem and a for.yaml of
    /// `use: server`. With a ca.pem in it clients have to show a certificate of that authority. New files count without a
    /// restart
    #[arg(long, value_name = "NAME", requires = "credentials")]
    pub tls: Option<String>,

    /// Listen on an address that is not loopback without what keeps strangers out there. For tests
    #[arg(long)]
    pub insecure: bool,

    /// What is logged, and how
    #[command(flatten)]
    pub log: LogArgs,

    /// Stop when stdin closes, so that the server does not outlive the program that started it
    #[arg(long)]
    pub until_stdin_closes: bool,
}

/// Runs the server as a program: `replibook serve`. Prints `listening on http://ADDRESS` to standard output
/// once it serves, and returns after SIGINT or SIGTERM, or, if that was asked for, after the end of standard
/// input.
///
/// # Errors
/// It can't start, or can't serve the socket any more. The store is released in any case, and runs go on with
/// the next server.
pub async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    // Signals are caught before the address is printed, so that one that follows at once is not missed.
    let mut asked = StopAsked::listen(args.until_stdin_closes)?;
    check_listen(args.listen, args.insecure, &lacking(&args))?;
    let registries = args.registries.registries()?;
    let folder = args.registries.opened_credentials()?;
    let kept = folder.clone().map(KeptCredentials::open).transpose()?.unwrap_or_default();
    let tls = args.tls.as_deref().map(|name| ServedTls::of(&kept, name)).transpose()?;
    let folders = FolderSums::of(folder, args.secrets.clone())?;
    let policy = args.policy.as_deref().map(PolicyFile::open).transpose()?;
    check_policy(&args, policy.as_ref())?;
    check_inventory(&args)?;
    let access = args.access.open()?;
    let descriptors = Descriptors::raise()?;
    let listener = TcpListener::bind(args.listen).await.and_then(TcpListener::into_std);
    let listener = listener.with_context(|| format!("failed to listen on {}", args.listen))?;
    let address = listener.local_addr().context("failed to tell the address")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let open = || args.store.open(clock.clone());
    let door = (&listener, tls.as_ref());
    let Some(store) = patiently(&args, door, &mut asked, open).await? else { return Ok(()) };
    let calls = StoreCalls::default();
    let store = Arc::new(HeardStore::new(store, Arc::new(calls.clone())));
    let counts = policy.as_ref().map(PolicyFile::current).unwrap_or_default();
    let gateway = gateway(&args, &clock).await?;
    let reach = (kept.clone(), gateway.as_ref().map(Within::inside));
    let (world, shortage) = world(&args, descriptors, store, &counts, reach, clock.clone())?;
    policy.as_ref().map_or(Ok(()), |file| file.check(&world.plugins))?;
    if args.secrets.is_some() {
        // Other processes of this user must not read secrets from its memory, nor from what is left after a crash. The
        // plugin host has opened what it needs of this process by now.
        set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .context("failed to keep the memory of this process to itself")?;
    }
    let kept_at = StoreClock::new(world.store.clone(), clock);
    let install = || async {
        let installed = api::install_builtins(world.store.as_ref(), &world.plugins, &kept_at);
        installed.await.context("failed to keep the built-in plugins")
    };
    if patiently(&args, door, &mut asked, install).await?.is_none() {
        return Ok(());
    }
    let listener = TcpListener::from_std(listener).context("failed to serve")?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    print_address(scheme, address)?;
    tracing::info!(%address, store = world.store.name(), "serving");

    let stop = CancellationToken::new();
    let at = format!("{scheme}://{address}");
    let config = engine_config(&args, at, file_sums(counts.clone(), folders.clone(), &access));
    let activity = config.activity.clone();
    let engine = tokio::spawn(Engine::new(world.clone(), config).run(stop.clone()));
    let following = policy.map(|file| tokio::spawn(follow(file, &world, stop.clone())));
    let looking: Vec<_> = folders
        .all()
        .map(|folder| tokio::spawn(folder.follow(world.clock.clone(), stop.clone())))
        .collect();
    let rereading = kept.follow(world.clock.clone(), stop.clone());
    let rereading = tokio::spawn(rereading.context("failed to listen for SIGHUP")?);
    // A browser takes a server with TLS for none but those that its certificate names.
    let state = state(&world, args.insecure || tls.is_some())
        .with_policy(counts)
        .with_keeper(access.keeper(world.clock.clone()))
        .with_connections(descriptors.clients())
        .with_shortage(shortage)
        .with_registries(registries)
        .with_store_calls(&calls)
        .with_activity(activity);
    let reading = access.follow(world.clock.clone(), stop.clone());
    let stopping = stop.clone();
    let served = api::serve_secured(listener, tls.as_ref(), state, async move {
        asked.wait().await;
        tracing::info!("stopping; runs go on with the next server");
        // Stops beside the requests in progress: neither waits for the other.
        stopping.cancel();
    })
    .await;
    stop.cancel();
    engine.await.context("the engine ended abnormally")?;
    if let Some(following) = following {
        following.await.context("the watch over the policy ended abnormally")?;
    }
    for looking in looking {
        looking.await.context("the watch over a folder ended abnormally")?;
    }
    if let Some(reading) = reading {
        reading.await.context("the watch over who may do what ended abnormally")?;
    }
    rereading.await.context("the watch over the credentials ended abnormally")?;
    if let Some(gateway) = gateway {
        gateway.stop().await;
    }
    world.store.close().await;
    served.context("failed to serve the API")
}

/// What is missing of what keeps strangers out where others can reach the server.
fn lacking(args: &ServeArgs) -> Vec<&'static str> {
    let wanted =
        [(args.tls.is_none(), "--tls NAME"), (args.access.access.is_none(), "--access FILE")];
    wanted.into_iter().filter_map(|(lacks, what)| lacks.then_some(what)).collect()
}

/// What others can reach should have a policy, and must have one where there are secrets.
fn check_policy(args: &ServeArgs, policy: Option<&PolicyFile>) -> anyhow::Result<()> {
    let listen = args.listen;
    if policy.is_some() || is_loopback(listen) {
        return Ok(());
    }
    if args.secrets.is_some() {
        anyhow::bail!(
            "others can reach {listen}, and --secrets is given without --policy FILE, which says where secrets may go"
        );
    }
    tracing::warn!(
        "others can reach {listen}, and there is no policy: whatever a playbook grants to a plugin counts; \
         --policy FILE sets bounds"
    );
    Ok(())
}

/// Whoever can start a run can do on the nodes of an inventory what it allows.
fn check_inventory(args: &ServeArgs) -> anyhow::Result<()> {
    if args.inventory.is_some() && args.access.access.is_none() && !args.insecure {
        anyhow::bail!(
            "--inventory lets everybody who reaches this server do on its nodes what the inventory allows; expected \
             --access FILE, which says who may do what"
        );
    }
    Ok(())
}

async fn gateway(args: &ServeArgs, clock: &Arc<dyn Clock>) -> anyhow::Result<Option<Within>> {
    match &args.inventory {
        Some(inventory) => Within::start(inventory, &args.hosts, clock).await.map(Some),
        None => Ok(None),
    }
}

/// Tells the address on standard output, where whoever asked for port 0 reads it.
fn print_address(scheme: &str, address: SocketAddr) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {scheme}://{address}")
        .and_then(|()| stdout.flush())
        .context("failed to print the address")
}

fn engine_config(args: &ServeArgs, address: String, files: FileSums) -> EngineConfig {
    let id = EngineId(Uuid::new_v4().to_string());
    let host = host_name();
    EngineConfig {
        name: args.engine_name.clone().unwrap_or_else(|| default_name(&host, &id)),
        host,
        address: Some(address),
        files,
        ..EngineConfig::new(id, args.max_runs)
    }
}

/// With a shorter time a single lost request would fail its agent; with a longer one nobody would learn of the
/// failure.
fn parse_patience(text: &str) -> Result<Millis, String> {
    let bounds = Millis::from_secs(1)..=Millis::from_secs(24 * 3_600);
    let length = text.parse::<Millis>().ok().filter(|length| bounds.contains(length));
    length.ok_or_else(|| format!("found {text:?}, expected {LENGTH_EXPECTED}, from 1s to 1d"))
}

/// Without a place no run goes on; with more places than this the memory would be exhausted long before.
fn parse_max_runs(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=100_000).contains(number));
    number.ok_or_else(|| format!("found {text:?}, expected a number from 1 to 100000"))
}

/// With less, a server that has a few large plugins would compile them again and again.
fn parse_cache_size(text: &str) -> Result<u64, String> {
    let size = parse_size(text).filter(|size| *size >= 64 << 20);
    size.ok_or_else(|| format!("found {text:?}, expected a size such as 2GiB, of at least 64MiB"))
}

/// The longest name of an engine, in characters: names are columns of tables.
const MAX_NAME: usize = 63;

fn parse_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    match !text.is_empty() && text.len() <= MAX_NAME && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "found {text:?}, expected at most {MAX_NAME} letters, digits, dots, dashes and underscores"
        )),
    }
}

/// The name of the machine; empty if it is not known.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    clean(name.trim()).chars().take(MAX_NAME).collect()
}

/// A name that differs between the engines of one machine.
fn default_name(host: &str, id: &EngineId) -> String {
    let part: String = id.0.chars().take(4).collect();
    if host.is_empty() { part } else { format!("{host}-{part}") }
}

/// Does the part of a start that needs the store. A store in MongoDB is waited for. `None` if the server is
/// asked to stop meanwhile.
async fn patiently<T, F>(
    args: &ServeArgs,
    (listener, tls): (&std::net::TcpListener, Option<&ServedTls>),
    asked: &mut StopAsked,
    work: impl Fn() -> F,
) -> anyhow::Result<Option<T>>
where
    F: Future<Output = anyhow::Result<T>>,
{
    match &args.store.store {
        Place::Sqlite => waiting::opened_once(work(), &SystemClock).await.map(Some),
        Place::Mongodb(_) => {
            let answering = listener.try_clone().and_then(TcpListener::from_std);
            let answering =
                answering.context("failed to answer requests while waiting for the store")?;
            let any = args.insecure || tls.is_some();
            let names = if any { OwnNames::any() } else { OwnNames::default() };
            let tells = args.access.access.is_none();
            let door = (answering, tls, tells);
            waiting::opened(work, door, names, asked, &SystemClock).await
        }
    }
}

fn world(
    args: &ServeArgs,
    descriptors: Descriptors,
    store: Arc<dyn Store>,
    policy: &CurrentPolicy,
    (kept, inside): (KeptCredentials, Option<Inside>),
    clock: Arc<dyn Clock>,
) -> anyhow::Result<(World, Shortage)> {
    let config = AgentHttpConfig {
        connections: descriptors.agents(),
        credentials: kept.clone(),
        inside: inside.clone(),
        ..AgentHttpConfig::default()
    };
    let agents = HttpAgents::new(&config).context("failed to make the client for agents")?;
    let shortage = agents.shortage();
    let platforms = HttpPlatforms::new(PlatformHttpConfig::default())?
        .with_credentials(kept.clone())
        .with_inside(inside)
        .sharing_connections(&agents);
    let followers =
        Followers::new(Arc::new(platforms), store.clone(), clock.clone()).with_credentials(kept);
    let plugins =
        PluginHost::start(host_config(args)?).context("failed to start the plugin host")?;
    let judged = PinFacts::new(policy.clone(), store.clone(), plugins.clone(), clock.clone());
    let reached = PolicyNetworks::new(judged.clone());
    let secrets: Arc<dyn Secrets> = match &args.secrets {
        Some(folder) => Arc::new(SecretFolder::open(folder, Arc::new(PolicySecrets::new(judged)))?),
        None => Arc::new(NoSecrets),
    };
    let world = World {
        store,
        followers,
        agents: Arc::new(AnyDialect::over(agents, None, Found::default())),
        outbound: Arc::new(HttpOutbound::new(Arc::new(reached))?),
        secrets,
        plugins,
        clock,
        signals: Signals::new(),
        agent_limits: AgentLimits {
            unreachable_after: args.agent_patience,
            ..AgentLimits::default()
        },
    };
    Ok((world, shortage))
}

/// Follows the file of the policy until `stop`.
fn follow(
    file: PolicyFile,
    world: &World,
    stop: CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let World { store, plugins, clock, .. } = world.clone();
    policy::follow(file, store, plugins, clock, stop)
}

/// Strangers send plugins to a server, so plugins are compiled in a process of their own.
fn host_config(args: &ServeArgs) -> anyhow::Result<HostConfig> {
    let apart = CompileApart::this_program().context("failed to find this program")?;
    let cache = Some(args.store.data.join("plugin-cache"));
    let cache_bytes = Some(args.plugin_cache_size);
    Ok(HostConfig { compile: Compile::Apart(apart), cache, cache_bytes, ..HostConfig::default() })
}

fn state(world: &World, any_host: bool) -> ApiState {
    let World { store, plugins, signals, followers, clock, agents, secrets, .. } = world.clone();
    let state = ApiState::new(store, plugins, signals, followers, clock)
        .with_agents(agents)
        .with_secrets(secrets);
    if any_host { state.with_any_host() } else { state }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_have_names_that_fit_a_table() {
        assert_eq!(parse_name("web-1.example_a").as_deref(), Ok("web-1.example_a"));
        for bad in ["", "a b", "ü", "a\u{1b}", &"a".repeat(64)] {
            assert!(parse_name(bad).is_err_and(|e| e.contains("expected")), "{bad}");
        }
        let id = EngineId("0123-4567".to_owned());
        assert_eq!([default_name("web", &id), default_name("", &id)], ["web-0123", "0123"]);
    }

    #[test]
    fn a_server_drives_at_least_one_run() {
        assert_eq!(parse_max_runs("1"), Ok(1));
        assert_eq!(parse_max_runs("100000"), Ok(100_000));
        for bad in ["0", "100001", "-1", "many", ""] {
            assert!(parse_max_runs(bad).is_err_and(|e| e.contains("expected")), "{bad}");
        }
    }

    #[test]
    fn the_cache_of_plugins_has_room_for_some() {
        assert_eq!(parse_cache_size("64MiB"), Ok(64 << 20));
        for bad in ["63MiB", "2", "", "2GB"] {
            assert!(parse_cache_size(bad).is_err_and(|e| e.contains("expected")), "{bad}");
        }
    }

    #[test]
    fn the_patience_with_agents_has_bounds() {
        assert_eq!(parse_patience("2m"), Ok(AgentLimits::default().unreachable_after));
        assert_eq!(parse_patience("1s"), Ok(Millis::from_secs(1)));
        assert_eq!(parse_patience("1d"), Ok(Millis::from_secs(86_400)));
        for bad in ["", "2", "999ms", "25h", "-1s"] {
            assert!(parse_patience(bad).is_err_and(|e| e.contains("expected")), "{bad}");
        }
    }
}
