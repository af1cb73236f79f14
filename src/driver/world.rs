//! Everything through which a driver reaches the world: it is injected, so that tests and the simulator can
//! replace it.

use std::sync::Arc;

use super::{Followers, Signals};
use crate::agent::{AgentClient, AgentLimits};
use crate::clock::Clock;
use crate::outbound::Outbound;
use crate::plugin::PluginHost;
use crate::secrets::Secrets;
use crate::store::Store;

/// Everything through which a driver reaches the world. Cheap to clone.
#[derive(Clone)]
pub struct World {
    /// Where runs are kept, and who has which run.
    pub store: Arc<dyn Store>,
    /// Sends requests to agents.
    pub agents: Arc<dyn AgentClient>,
    /// Follow the members of clusters.
    pub followers: Followers,
    /// Sends the HTTP requests of steps.
    pub outbound: Arc<dyn Outbound>,
    /// The secrets of steps.
    pub secrets: Arc<dyn Secrets>,
    /// Runs steps and strategies.
    pub plugins: PluginHost,
    /// The engine's own clock. A run goes by the store's time instead.
    pub clock: Arc<dyn Clock>,
    /// Wake the engine, and whoever listens for changes of runs.
    pub signals: Signals,
    /// Time-outs of calls to agents.
    pub agent_limits: AgentLimits,
}
