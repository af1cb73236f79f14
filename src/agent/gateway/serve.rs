//! Puts the gateway together and stops it.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::args::{GatewayArgs, HostsArgs};
use super::inventory::{InventoryError, Keeper, KnownNodes};
use super::nodes::{
    Facts, Job, Jobs, Listed, Node, NodeError, Piece, Programs, Seen, Started, Stream,
};
use super::reach::Nodes;
use super::router::{Shared, router};
use crate::clock::{Clock, SystemClock};
use crate::credentials::{ServedTls, lacking, reread};
use crate::listen::{NotLoopback, check_listen};
use crate::run::{Millis, Timestamp};
use crate::stop::StopAsked;
use crate::web::{self, Limits, OwnNames, Times};

/// How long requests in progress may take after the stop was asked for: as long as any.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// Connections that are open at once. When a further one arrives, the one that has waited longest for a request is closed. An
/// engine has one for each node that is at work, and there are few engines.
const MAX_CONNECTIONS: usize = 2_048;

/// How long a connection may pass no byte while a request is answered: twice the time until an answer begins.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The inventory can't be used.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// The address is not loopback, so other machines would reach the gateway.
    #[error(transparent)]
    NotLoopback(#[from] NotLoopback),
    /// The gateway can't listen on the address.
    #[error("failed to listen on {address}")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
}

/// A gateway that runs until it is stopped or dropped.
#[derive(Debug)]
pub(super) struct RunningGateway {
    address: SocketAddr,
    scheme: &'static str,
    stop: CancellationToken,
    server: AbortOnDropHandle<io::Result<()>>,
    _keeper: AbortOnDropHandle<()>,
}

/// Reads an inventory, and the hosts of others.
pub(super) async fn opened(
    inventory: &Path,
    hosts: &HostsArgs,
) -> Result<(Keeper, KnownNodes), InventoryError> {
    let (keeper, known) = Keeper::open(inventory, &hosts.hosts_from, &hosts.host_vars).await?;
    tracing::info!(nodes = known.nodes().len(), cluster = known.cluster(), "the inventory is read");
    Ok((keeper, known))
}

/// What reaches the nodes.
pub(super) fn jobs(hosts: &HostsArgs, clock: &Arc<dyn Clock>) -> anyhow::Result<Jobs> {
    let programs = Programs { ssh_config: hosts.ssh_config.clone(), ..Programs::default() };
    Jobs::new(programs, Arc::clone(clock)).context("failed to make a folder for connections")
}

/// Starts a gateway. It is listening when this returns.
///
/// # Errors
/// [`GatewayError`]. An inventory that becomes unusable later is no error: the log says so, and the last good one counts.
pub(super) async fn start(
    args: &GatewayArgs,
    tls: Option<ServedTls>,
    nodes: Arc<dyn Nodes>,
    clock: Arc<dyn Clock>,
) -> Result<RunningGateway, GatewayError> {
    check_listen(args.listen, args.insecure, lacking(tls.as_ref()))?;
    let (keeper, known) = opened(&args.inventory, &args.hosts).await?;
    let bind = |source| GatewayError::Bind { address: args.listen, source };
    let listener = TcpListener::bind(args.listen).await.map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    let (sender, known) = watch::channel(Arc::new(known));
    let scheme = tls.as_ref().map_or("http", |_| "https");
    let names = OwnNames::with(args.allow_hosts.clone());
    let told = (args.url.clone(), scheme);
    let kept = Millis(u64::try_from(args.retention.as_millis()).unwrap_or(u64::MAX));
    let shared = Shared::new(known, nodes, Arc::clone(&clock), names, told, kept);
    let limits = Limits::for_few(MAX_CONNECTIONS, Times::silent_for(MAX_IDLE));
    let router = web::admitting(router(shared), tls.as_ref().map(ServedTls::tokens));
    let stop = CancellationToken::new();
    let source = tls.as_ref().map(ServedTls::source);
    let until = stop.clone().cancelled_owned();
    let server = web::serve_secured(listener, limits, source, router, until);
    Ok(RunningGateway {
        address,
        scheme,
        stop,
        server: AbortOnDropHandle::new(tokio::spawn(server)),
        _keeper: AbortOnDropHandle::new(tokio::spawn(keeper.run(clock, sender))),
    })
}

impl RunningGateway {
    /// Its base URL.
    pub(super) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Stops the gateway: it takes no new requests, and those in progress are finished. What was begun on nodes goes on there.
    ///
    /// # Errors
    /// The requests did not end in time, or the server had ended before.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        match tokio::time::timeout(STOP_TIMEOUT, self.server).await {
            Ok(ended) => Ok(ended.context("the gateway ended early")??),
            Err(_) => {
                anyhow::bail!("failed to stop the gateway within {} s", STOP_TIMEOUT.as_secs())
            }
        }
    }
}

/// Runs a gateway as a program: `replibook gateway`. Prints `listening on http://ADDRESS` to standard output once it listens,
/// and returns after SIGINT or SIGTERM, or, if that was asked for, after the end of standard input.
///
/// # Errors
/// It can't start, or could not end its requests in time.
pub async fn serve(args: GatewayArgs) -> anyhow::Result<()> {
    // Signals are caught before the address is printed, so that one that follows at once is not missed.
    let mut asked = StopAsked::listen(args.until_stdin_closes)?;
    let secured = args.tls.served()?;
    let tls = secured.as_ref().map(|(_, tls)| tls.clone());
    crate::descriptors::Descriptors::raise()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let jobs = jobs(&args.hosts, &clock)?;
    let gateway = start(&args, tls, Arc::new(jobs.clone()), clock).await?;
    let _rereading = secured.map(|(kept, _)| reread(&kept)).transpose()?;
    let mut stdout = io::stdout();
    writeln!(stdout, "listening on {}", gateway.url())
        .and_then(|()| stdout.flush())
        .context("failed to print the address")?;
    asked.wait().await;
    let stopped = gateway.stop().await;
    jobs.stop().await;
    stopped
}

#[async_trait]
impl Nodes for Jobs {
    async fn start(&self, node: &Node, job: &Job) -> Result<Started, NodeError> {
        Self::start(self, node, job).await
    }

    async fn look(&self, node: &Node, id: Uuid) -> Result<Option<Seen>, NodeError> {
        Self::look(self, node, id).await
    }

    async fn list(&self, node: &Node) -> Result<Vec<Listed>, NodeError> {
        Self::list(self, node).await
    }

    async fn output(
        &self,
        node: &Node,
        id: Uuid,
        stream: Stream,
        from: u64,
    ) -> Result<Option<Piece>, NodeError> {
        Self::output(self, node, id, stream, from).await
    }

    async fn facts(&self, node: &Node, status: Option<&[String]>) -> Result<Facts, NodeError> {
        Self::facts(self, node, status).await
    }

    async fn purge(&self, node: &Node, before: Timestamp) -> Result<u64, NodeError> {
        Self::purge(self, node, before).await
    }
}
