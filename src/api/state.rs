//! What every handler works with.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::bodies::Budget;
use super::limits::{MAX_ASKED, MAX_CONNECTIONS, MAX_READS};
use super::metrics::Metrics;
use super::shares::Shares;
use super::store_calls::StoreCalls;
use super::watched::Watched;
use crate::agent::{AgentClient, Shortage};
use crate::clock::Clock;
use crate::driver::{Activity, Followers, Signals};
use crate::plugin::PluginHost;
use crate::store::{Skew, Store, StoreClock};
use crate::web::{Closed, Memory, OwnNames};

/// What every handler works with. Cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    pub(super) store: Arc<dyn Store>,
    pub(super) plugins: PluginHost,
    pub(super) signals: Signals,
    pub(super) followers: Followers,
    /// The store's clock: what is kept has its time from there.
    pub(super) clock: Arc<dyn Clock>,
    /// The machine's.
    pub(super) own_clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) bodies: Budget,
    pub(super) shares: Arc<Shares>,
    /// Runs that are followed.
    pub(super) watched: Watched,
    pub(super) shortage: Shortage,
    /// What the engine of this process did; none where there is none.
    pub(super) activity: Option<Arc<Activity>>,
    /// Memory for what is read to be sent.
    pub(super) reads: Memory,
    /// Connections for which there was no place.
    pub(super) closed: Closed,
    /// Ends the event streams, which would never end by themselves.
    pub(super) stopping: CancellationToken,
    pub(super) names: OwnNames,
    /// Asks agents how they are, for people; none where nobody can be asked.
    pub(super) agents: Option<Arc<dyn AgentClient>>,
    /// Agents that are asked at a time.
    pub(super) asking: Arc<Semaphore>,
}

impl ApiState {
    /// State over these parts, which the driver of the same process shares; `clock` is the machine's, which
    /// the store was given.
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
            closed: Closed::default(),
            watched: Watched::default(),
            shortage: Shortage::default(),
            activity: None,
            stopping,
            names: OwnNames::default(),
            agents: None,
            asking: Arc::new(Semaphore::new(MAX_ASKED)),
        }
    }

    /// How far the machine's clock is from the store's.
    pub(super) fn skew(&self) -> Skew {
        Skew::of(self.store.as_ref(), self.own_clock.as_ref())
    }

    /// Has this many connections at most, and shares them out accordingly.
    #[must_use]
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.shares = Shares::new(connections.min(MAX_CONNECTIONS));
        self
    }

    /// Asks agents with this client how they are, for people who want to know.
    #[must_use]
    pub fn with_agents(self, agents: Arc<dyn AgentClient>) -> Self {
        Self { agents: Some(agents), ..self }
    }

    /// Says what the client of the agents is short of.
    #[must_use]
    pub fn with_shortage(mut self, shortage: Shortage) -> Self {
        self.shortage = shortage;
        self
    }

    /// Shows the numbers of the store's calls too. All that was counted before is forgotten.
    #[must_use]
    pub fn with_store_calls(self, calls: &StoreCalls) -> Self {
        Self { metrics: Arc::new(Metrics::with_store_calls(calls)), ..self }
    }

    /// Tells what this engine did.
    #[must_use]
    pub fn with_activity(self, activity: Arc<Activity>) -> Self {
        Self { activity: Some(activity), ..self }
    }

    /// Answers requests for any host name: for a server that listens on more than loopback. Without
    /// this only `localhost` and addresses are answered, so that a web page that a person looks at
    /// can't reach the server through a name of its own.
    #[must_use]
    pub fn with_any_host(mut self) -> Self {
        self.names = OwnNames::any();
        self
    }
}
