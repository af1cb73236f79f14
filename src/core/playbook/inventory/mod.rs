//! Nodes that have no agent, and how each is reached. Everything here is pure.
//!
//! [`parse_inventory`] makes a valid [`Inventory`] from a text: what groups say and what a node says of itself is put
//! together (`merge`), so that nobody else has to know which of them counts. A gateway reads it, and keeps to it:
//! nothing that a node is asked to do goes beyond its inventory.

mod document;
mod merge;
mod model;
mod read;

pub(crate) use document::InventoryFile;
pub use document::{
    MAX_ACTIONS, MAX_ATTRIBUTES, MAX_COMMAND_BYTES, MAX_COMMAND_WORDS, MAX_GROUPS,
    MAX_GROUPS_OF_NODE, MAX_NODES,
};
pub use merge::{ALL_NODES, GROUP_ATTRIBUTE, MAX_ATTRIBUTES_OF_ALL};
pub use model::{
    Allowance, ContainerEngine, Inventory, InventoryAction, InventoryNode, InventoryPlace,
};
pub use read::{inventory_not_applied, is_group_name, is_node_name, parse_inventory};
