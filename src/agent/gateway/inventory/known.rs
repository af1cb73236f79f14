//! The nodes that a gateway knows at the moment, by their identifiers.

use std::collections::HashMap;
use std::sync::Arc;

use crate::playbook::inventory::{Inventory, InventoryNode};

/// The nodes of an inventory, ready to be asked for.
#[derive(Debug)]
pub(in crate::agent::gateway) struct KnownNodes {
    cluster: String,
    nodes: Vec<Arc<InventoryNode>>,
    by_id: HashMap<String, Arc<InventoryNode>>,
}

impl KnownNodes {
    pub(in crate::agent::gateway) fn new(inventory: Inventory) -> Self {
        let Inventory { cluster, nodes, .. } = inventory;
        let nodes: Vec<_> = nodes.into_iter().map(Arc::new).collect();
        let by_id = nodes.iter().map(|node| (node.id.clone(), Arc::clone(node))).collect();
        Self { cluster, nodes, by_id }
    }

    /// The cluster that the nodes are.
    pub(in crate::agent::gateway) fn cluster(&self) -> &str {
        &self.cluster
    }

    /// All nodes, in the order of the inventory.
    pub(in crate::agent::gateway) fn nodes(&self) -> &[Arc<InventoryNode>] {
        &self.nodes
    }

    /// The node of this identifier.
    pub(in crate::agent::gateway) fn get(&self, id: &str) -> Option<Arc<InventoryNode>> {
        self.by_id.get(id).cloned()
    }
}
