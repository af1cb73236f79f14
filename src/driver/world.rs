//! All that a driver reaches the world through.

use std::sync::Arc;

use super::{Followers, Signals};
use crate::agent::{AgentClient, AgentLimits};
use crate::clock::Clock;
use crate::plugin::PluginHost;
use crate::store::Store;

/// All that a driver reaches the world through.
#[derive(Clone)]
pub struct World {
    /// The primary store.
    pub store: Arc<dyn Store>,
    /// The way to agents.
    pub agents: Arc<dyn AgentClient>,
    /// Who follows the members of clusters.
    pub followers: Followers,
    /// The way to plugins.
    pub plugins: PluginHost,
    /// The source of time.
    pub clock: Arc<dyn Clock>,
    /// Wakes the engine and those who listen to it.
    pub signals: Signals,
    /// Timeouts of calls to agents.
    pub agent_limits: AgentLimits,
}
