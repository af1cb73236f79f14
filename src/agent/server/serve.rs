//! Puts the reference agent together and stops it. The other modules know nothing of sockets, signals and the
//! command line; the order in which the parts start and stop is decided here.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::args::AgentArgs;
use super::config::{AgentConfig, ConfigError};
use super::error::StoreError;
use super::live::LiveOutput;
use super::router::{Shared, router};
use super::store::ActionStore;
use super::worker::Worker;
use crate::clock::{Clock, SystemClock};
use crate::credentials::{ServedTls, lacking, reread};
use crate::listen::{NotLoopback, check_listen};
use crate::playbook::Problems;
use crate::run::Millis;
use crate::stop::StopAsked;
use crate::web::{self, Limits, Times};

/// How long the agent may take to stop: requests in progress are short, and a killed command ends at once. What
/// is not done by then is dropped.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that are open at once. When a further one arrives, the one that has waited longest for a request
/// is closed. Each run of an engine keeps one, and there are few engines.
const MAX_CONNECTIONS: usize = 256;

/// How long a connection may pass no byte while a request is answered: twice the time that a request may take
/// until its answer begins. It frees the place and memory of a client that neither sends nor reads. (A
/// connection without a request is kept longer than engines keep it, see [`Times`].)
const MAX_IDLE: Duration = Duration::from_secs(60);

/// What a reference agent needs to start.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// The node and the commands, not checked yet.
    pub config: AgentConfig,
    /// Path of the SQLite database.
    pub data: PathBuf,
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether the address may be one that other machines reach, though the agent does not know who asks.
    pub insecure: bool,
    /// What the agent shows to clients and asks of them; `None`: it speaks plain HTTP.
    pub tls: Option<ServedTls>,
    /// How often the agent takes a step.
    pub tick: Duration,
    /// How long actions are kept after their end.
    pub retention: Duration,
}

/// Why the agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address is not loopback, so other machines would reach the agent.
    #[error(transparent)]
    NotLoopback(#[from] NotLoopback),
    /// The agent can't listen on the address.
    #[error("failed to listen on {address}")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
}

impl AgentSettings {
    /// The settings of a command line. Reads the configuration file that it names.
    pub fn from_args(args: &AgentArgs) -> Result<Self, ServeError> {
        let mut config = match &args.config {
            Some(path) => AgentConfig::load(path)?,
            None => AgentConfig::default(),
        };
        if let Some(id) = &args.node_id {
            config.node_id.clone_from(id);
        }
        if args.status_file.is_some() {
            config.status_file.clone_from(&args.status_file);
        }
        for (key, value) in &args.attributes {
            config.attributes.insert(key.clone(), Value::String(value.clone()));
        }
        config.allow_hosts.extend(args.allow_hosts.iter().cloned());
        Ok(Self {
            config,
            data: args.data.clone(),
            listen: SocketAddr::new(args.host, args.port),
            insecure: args.insecure,
            tls: None,
            tick: args.tick,
            retention: args.retention,
        })
    }
}

/// An agent that runs until it is stopped. If it is dropped instead, it ends as in a crash.
#[derive(Debug)]
pub struct RunningAgent {
    address: SocketAddr,
    scheme: &'static str,
    store: ActionStore,
    stop: CancellationToken,
    server: AbortOnDropHandle<io::Result<()>>,
    worker: AbortOnDropHandle<()>,
}

/// Starts an agent. It is listening when this returns.
pub async fn start(
    settings: AgentSettings,
    clock: Arc<dyn Clock>,
) -> Result<RunningAgent, ServeError> {
    settings.config.check().map_err(|problems: Problems| ConfigError::from(problems))?;
    check_listen(settings.listen, settings.insecure, lacking(settings.tls.as_ref()))?;
    let data = settings.data.clone();
    let opened = tokio::task::spawn_blocking(move || ActionStore::open(&data)).await;
    let store = opened.map_err(StoreError::from)??;
    let bind = |source| ServeError::Bind { address: settings.listen, source };
    let listener = TcpListener::bind(settings.listen).await.map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    let config = Arc::new(settings.config);
    let stop = CancellationToken::new();
    let live = LiveOutput::default();
    let worker = Worker {
        store: store.clone(),
        live: live.clone(),
        config: Arc::clone(&config),
        clock: Arc::clone(&clock),
        tick: settings.tick,
        retention: Millis(u64::try_from(settings.retention.as_millis()).unwrap_or(u64::MAX)),
        stop: stop.clone(),
    };
    let shared = Shared::new(store.clone(), live, config, clock);
    let times = Times::silent_for(MAX_IDLE);
    let limits = Limits::for_few(MAX_CONNECTIONS, times);
    let tls = settings.tls;
    let router = web::admitting(router(shared), tls.as_ref().map(ServedTls::tokens));
    let source = tls.as_ref().map(ServedTls::source);
    let until = stop.clone().cancelled_owned();
    let server = web::serve_secured(listener, limits, source, router, until);
    Ok(RunningAgent {
        address,
        scheme: tls.map_or("http", |_| "https"),
        store,
        stop,
        server: AbortOnDropHandle::new(tokio::spawn(server)),
        worker: AbortOnDropHandle::new(tokio::spawn(worker.run())),
    })
}

impl RunningAgent {
    /// The address that it listens on, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Stops the agent: it takes no new requests, and a running command is killed, so that its action ends in
    /// FAILED.
    ///
    /// Errors: its work did not end in time, or one of its parts had ended before.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        let both = async {
            (&mut self.worker).await.context("the worker of the agent ended early")?;
            (&mut self.server).await.context("the server of the agent ended early")??;
            anyhow::Ok(())
        };
        match tokio::time::timeout(STOP_TIMEOUT, both).await {
            Ok(ended) => ended,
            Err(_) => anyhow::bail!("failed to stop the agent within {} s", STOP_TIMEOUT.as_secs()),
        }
    }

    /// Returns when one of its parts has ended by itself, which should not happen.
    async fn broken(&mut self) -> anyhow::Error {
        let cause = tokio::select! {
            ended = &mut self.worker => ended.err().map(anyhow::Error::from),
            ended = &mut self.server => match ended {
                Ok(served) => served.err().map(anyhow::Error::from),
                Err(error) => Some(error.into()),
            },
        };
        let message = "the agent ended by itself";
        cause.map_or_else(|| anyhow::anyhow!(message), |cause| cause.context(message))
    }
}

impl Drop for RunningAgent {
    /// Connections may outlast the server. The database is closed here, so that they do not keep another agent
    /// from opening it.
    fn drop(&mut self) {
        self.store.close();
    }
}

/// Runs an agent as a program: `replibook agent`. Prints `listening on http://HOST:PORT` to standard output
/// once it listens, and returns after SIGINT or SIGTERM, or, if that was asked for, after the end of standard
/// input.
pub async fn serve(args: AgentArgs) -> anyhow::Result<()> {
    // Signals are caught before the address is printed, so that one that follows at once is not missed.
    let mut asked = StopAsked::listen(args.until_stdin_closes)?;
    let secured = args.tls.served()?;
    let tls = secured.as_ref().map(|(_, tls)| tls.clone());
    let settings = AgentSettings { tls, ..AgentSettings::from_args(&args)? };
    let mut agent = start(settings, Arc::new(SystemClock)).await?;
    let _rereading = secured.map(|(kept, _)| reread(&kept)).transpose()?;
    let mut stdout = io::stdout();
    writeln!(stdout, "listening on {}", agent.url())
        .and_then(|()| stdout.flush())
        .context("failed to print the address")?;
    tokio::select! {
        () = asked.wait() => agent.stop().await,
        error = agent.broken() => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &tempfile::TempDir) -> AgentSettings {
        AgentSettings {
            config: AgentConfig::default(),
            data: folder.path().join("agent.sqlite"),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            insecure: false,
            tls: None,
            tick: Duration::from_millis(10),
            retention: Duration::from_secs(60),
        }
    }

    #[tokio::test]
    async fn it_does_not_listen_for_other_machines_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let listen = SocketAddr::from(([0, 0, 0, 0], 0));
        let settings = AgentSettings { listen, ..settings(&folder) };
        let error = start(settings, Arc::new(SystemClock)).await.unwrap_err();
        assert!(matches!(error, ServeError::NotLoopback(_)), "{error}");
    }

    #[tokio::test]
    async fn a_configuration_that_is_wrong_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(&folder);
        settings.config.node_id.clear();
        let error = start(settings, Arc::new(SystemClock)).await.unwrap_err();
        assert!(error.to_string().contains("/node_id"), "{error}");
    }

    #[tokio::test]
    async fn the_command_line_counts_over_the_configuration() {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            agent: AgentArgs,
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{ node_id: a, attributes: { zone: x, rack: 1 } }").unwrap();
        let path = file.path().to_str().unwrap();
        let args = ["agent", "--config", path, "--node-id", "b", "--attribute", "zone=y"];
        let args = <Cli as clap::Parser>::try_parse_from(args).unwrap().agent;
        let config = AgentSettings::from_args(&args).unwrap().config;
        assert_eq!(config.node_id, "b");
        assert_eq!(Value::Object(config.attributes), serde_json::json!({"zone": "y", "rack": 1}));
    }
}
