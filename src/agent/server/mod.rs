//! The reference agent: `replibook agent`.
//!
//! It answers the agent API as other agents do, works on one action at a time, and keeps its actions
//! in SQLite, so that a restart forgets none and repeats none. What it can do beyond the actions of
//! the specification's test set is declared in its configuration, as commands.
//!
//! A request goes `router` → `ActionStore`; the `worker` takes the actions from
//! there, one step per tick, and gives commands to `command`. `serve` puts them together and stops
//! them.

mod args;
mod command;
mod config;
mod node;
mod router;
mod serve;
mod store;
mod worker;

pub use args::AgentArgs;
pub use config::{
    AgentConfig, CommandSpec, ConfigError, NodeAddress, NodeStatus, Shard, ShardOffset,
};
pub use serve::{AgentSettings, RunningAgent, ServeError, serve, start};
pub use store::StoreError;
