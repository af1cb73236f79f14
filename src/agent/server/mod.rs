//! The reference agent: `replibook agent`.
//!
//! It answers the agent API as other agents do and works on one action at a time. It keeps its actions in
//! SQLite, so that a restart forgets none and repeats none, and ends what a crash left running. What it can do
//! beyond the actions of the specification's test set is declared in its configuration, as commands.
//!
//! A request goes from `router` to `store`, over the file that `database` keeps private. The `worker` takes the
//! actions from there, one step per tick, and gives commands to `command`. `process` finds those again after a
//! crash, and `left` ends them. `output` turns what they print into results, `live` shows it before they end, and
//! `kept_output` later. `json` checks JSON that is passed on as text. Secrets in arguments are `hidden` from the database. `node` says what the agent tells about
//! its node, `config` and `args` read its settings, and `serve` puts everything together and stops it.
//! `request` reads what is to be done and refuses what can't be, and `shown_action` shows it: the gateway does so in the
//! same way. `docs/agent.md` is for users.

mod args;
mod command;
mod config;
mod database;
mod error;
mod hidden;
mod json;
mod kept_output;
mod left;
mod live;
mod node;
mod output;
mod process;
mod request;
mod router;
mod serve;
mod shown_action;
mod store;
mod worker;

pub use args::AgentArgs;
pub(super) use config::read_length;
pub use config::{
    AgentConfig, CommandSpec, ConfigError, NodeAddress, NodeStatus, Shard, ShardOffset,
};
pub use error::StoreError;
pub(super) use hidden::{Hidden, Kept};
pub(super) use output::{Output, Tail};
pub(super) use request::{MAX_BODY_BYTES, Refusal, Sent, body, check_stranger, declared, text};
pub use serve::{AgentSettings, RunningAgent, ServeError, serve, start};
pub(super) use shown_action::{ShownAction, ShownState, phase_word};
