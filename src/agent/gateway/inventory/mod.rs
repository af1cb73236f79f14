//! Where a gateway has its nodes from, and what may be done there.
//!
//! An `Inventory` document says it; it is a file of the gateway, which is watched. Hosts that others know are added to
//! its nodes: those of Ansible (`ansible`, over `ansible_tree`, `ansible_ini`, `ansible_vars` and `range`) and the aliases of
//! an ssh_config. They bring names, groups and addresses along, and never what may be done. `source` says where hosts come
//! from, `keeper` reads it all again when it changes, and `known` is what the rest of the gateway asks.

mod ansible;
mod ansible_ini;
mod ansible_tree;
mod ansible_vars;
mod hosts;
mod keeper;
mod known;
mod range;
mod source;
mod ssh_config;

pub(crate) use ansible::ansible_hosts;
pub(crate) use ansible_tree::AnsibleHost;
pub(crate) use ansible_vars::node_of;
pub use keeper::InventoryError;
pub(super) use keeper::Keeper;
pub(super) use known::KnownNodes;
pub use source::HostsFrom;
pub(crate) use source::list_by_ansible;
