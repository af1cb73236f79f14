//! The driver: time and effects around the pure core.
//!
//! ```text
//! engine ─ claims runs, renews leases, hands out commands
//!   └─ run driver ─ one task for each run:
//!        inputs ─▶ machine ─▶ transitions ─▶ committer ─▶ store
//!          ▲                                    │ once committed
//!          └────────────── effects ◀────────────┘  activations, calls to agents, timers
//! ```
//!
//! Everything that it touches is injected: store, agents, clock and plugins. It needs no more than
//! a current-thread runtime.

mod admission;
mod committer;
mod crash;
mod effects;
mod engine;
mod lease;
mod members;
mod run_driver;
mod signals;

pub use crash::CrashPoints;
pub use engine::{Engine, EngineConfig};
pub use signals::Signals;

use std::sync::Arc;

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
    /// The way to plugins.
    pub plugins: PluginHost,
    /// The source of time.
    pub clock: Arc<dyn Clock>,
    /// Wakes the engine and those who listen to it.
    pub signals: Signals,
    /// Timeouts of calls to agents.
    pub agent_limits: AgentLimits,
}
