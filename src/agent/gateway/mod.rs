//! The gateway: an agent for many nodes that have none, and the platform that tells of them.
//!
//! A request comes in through `router`, which refuses strangers (`serve` puts it together with TLS). `inventory` knows which
//! nodes there are and what may be done there; `actions` makes a job of an action, or refuses it. [`nodes`] reaches the node,
//! and `troubles` says what becomes of it if it can't be reached. What the node knows is `shown` as the agent API has it,
//! with its `output` and what it says about itself (`facts`); `secrets` are taken out of all of it, and what is `old` is forgotten.
//! `discover` tells of all nodes. A server with an inventory has a gateway `within` itself. `docs/gateway.md` is for users.

mod actions;
mod args;
mod discover;
mod facts;
#[cfg(test)]
mod fake_nodes;
mod inventory;
pub mod nodes;
mod old;
mod output;
mod reach;
mod router;
mod secrets;
mod serve;
mod shown;
mod troubles;
mod within;

pub use args::{GatewayArgs, HostsArgs};
pub(crate) use inventory::{AnsibleHost, ansible_hosts, list_by_ansible, node_of};
pub use inventory::{HostsFrom, InventoryError};
pub use serve::{GatewayError, serve};
pub use within::Within;
