//! What the gateway does on nodes: in each shell that nodes have, over SSH, and through the programs of containers.

#[path = "nodes.rs"]
mod nodes;
#[path = "nodes_over_ssh.rs"]
mod nodes_over_ssh;
#[path = "scene.rs"]
mod scene;
