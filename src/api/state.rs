//! What every handler works with: the parts that the API shares with the driver of the same process, and its
//! own limits and counts.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::access::KnownRuns;
use super::bodies::Budget;
use super::imports::Imports;
use super::limits::{MAX_ASKED, MAX_CONNECTIONS, MAX_READS};
use super::metrics::Metrics;
use super::shares::Shares;
use super::store_calls::StoreCalls;
use super::watched::Watched;
use crate::access::Keeper;
use crate::agent::{AgentClient, Shortage};
use crate::clock::Clock;
use crate::driver::{Activity, Followers, Signals};
use crate::plugin::PluginHost;
use crate::policy::CurrentPolicy;
use crate::registry::Registries;
use crate::secrets::{NoSecrets, Secrets};
use crate::store::{Skew, Store, StoreClock};
use crate::web::{Closed, Memory, OwnNames};

/// The state of the API. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct ApiState {
    pub(super) store: Arc<dyn Store>,
    pub(super) plugins: PluginHost,
    pub(super) signals: Signals,
    pub(super) followers: Followers,
    /// The store's clock: times that are kept come from it.
    pub(super) clock: Arc<dyn Clock>,
    /// The machine's clock.
    pub(super) own_clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) bodies: Budget,
    pub(super) shares: Arc<Shares>,
    /// What is brought from registries.
    pub(super) imports: Imports,
    /// The runs that clients follow.
    pub(super) watched: Watched,
    pub(super) shortage: Shortage,
    /// What the engine of this process did; `None` if it has no engine.
    pub(super) activity: Option<Arc<Activity>>,
    /// The memory for what is read in order to be sent.
    pub(super) reads: Memory,
    /// Counts connections that were closed for want of a place.
    pub(super) closed: Closed,
    /// Ends the event streams, which would never end by themselves.
    pub(super) stopping: CancellationToken,
    pub(super) names: OwnNames,
    /// Asks agents how they are, for people; `None` if nobody can be asked.
    pub(super) agents: Option<Arc<dyn AgentClient>>,
    /// Which plugins are taken, and what they may be granted.
    pub(super) policy: CurrentPolicy,
    /// The secrets that this process's engine has.
    pub(super) secrets: Arc<dyn Secrets>,
    /// Limits how many agents are asked at a time.
    pub(super) asking: Arc<Semaphore>,
    /// Finds out who sends a request, and what they may do.
    pub(super) keeper: Keeper,
    /// Which playbooks and clusters runs are of.
    pub(super) known_runs: Arc<KnownRuns>,
    /// Whether clients come over TLS.
    pub(super) secure: bool,
}

impl ApiState {
    /// The state over these parts, which the driver of the same process shares. `clock` is the machine's clock,
    /// which the store was given too.
    pub fn new(
        store: Arc<dyn Store>,
        plugins: PluginHost,
        signals: Signals,
        followers: Followers,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let stopping = CancellationToken::new();
        let shares = Shares::new(MAX_CONNECTIONS);
        Self {
            plugins,
            signals,
            followers,
            clock: Arc::new(StoreClock::new(store.clone(), clock.clone())),
            own_clock: clock,
            store,
            metrics: Arc::new(Metrics::new()),
            bodies: Budget::new(&stopping),
            reads: Memory::new(MAX_READS),
            shares,
            imports: Imports::new(Registries::default()),
            closed: Closed::default(),
            watched: Watched::default(),
            shortage: Shortage::default(),
            activity: None,
            stopping,
            names: OwnNames::default(),
            agents: None,
            policy: CurrentPolicy::default(),
            secrets: Arc::new(NoSecrets),
            asking: Arc::new(Semaphore::new(MAX_ASKED)),
            keeper: Keeper::default(),
            known_runs: Arc::default(),
            secure: false,
        }
    }

    /// How far the machine's clock is from the store's.
    pub(super) fn skew(&self) -> Skew {
        Skew::of(self.store.as_ref(), self.own_clock.as_ref())
    }

    /// Takes at most this many connections, and divides them into shares accordingly.
    #[must_use]
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.shares = Shares::new(connections.min(MAX_CONNECTIONS));
        self
    }

    /// Lets clients ask through this client how agents are.
    #[must_use]
    pub fn with_agents(self, agents: Arc<dyn AgentClient>) -> Self {
        Self { agents: Some(agents), ..self }
    }

    /// Takes only plugins that this policy lets in, and grants only what it gives.
    #[must_use]
    pub fn with_policy(self, policy: CurrentPolicy) -> Self {
        Self { policy, ..self }
    }

    /// Lets in whom this keeper knows. Without it everybody may do everything.
    #[must_use]
    pub fn with_keeper(self, keeper: Keeper) -> Self {
        Self { keeper, ..self }
    }

    /// Tells browsers that this server has TLS.
    #[must_use]
    pub fn with_tls(self) -> Self {
        Self { secure: true, ..self }
    }

    /// Starts runs that use these secrets.
    #[must_use]
    pub fn with_secrets(self, secrets: Arc<dyn Secrets>) -> Self {
        Self { secrets, ..self }
    }

    /// Reports what the client of the agents is short of.
    #[must_use]
    pub fn with_shortage(mut self, shortage: Shortage) -> Self {
        self.shortage = shortage;
        self
    }

    /// Includes the numbers of the store's calls in the metrics. Everything counted before is forgotten.
    #[must_use]
    pub fn with_store_calls(self, calls: &StoreCalls) -> Self {
        Self { metrics: Arc::new(Metrics::with_store_calls(calls)), ..self }
    }

    /// Brings plugins from these registries. Without this there are no credentials, and plain HTTP goes to this
    /// machine only.
    #[must_use]
    pub fn with_registries(self, registries: Registries) -> Self {
        Self { imports: Imports::new(registries), ..self }
    }

    /// Includes what this process's engine did in the metrics and in the list of engines.
    #[must_use]
    pub fn with_activity(self, activity: Arc<Activity>) -> Self {
        Self { activity: Some(activity), ..self }
    }

    /// Answers requests for any host name: for a server that listens on more than loopback. Without this only
    /// `localhost` and IP addresses are answered, so that a web page in somebody's browser can't reach the
    /// server through a name of its own.
    #[must_use]
    pub fn with_any_host(mut self) -> Self {
        self.names = OwnNames::any();
        self
    }
}
