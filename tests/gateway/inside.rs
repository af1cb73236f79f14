//! What the gateway does on nodes: in each shell that nodes have, over SSH, and through the programs of containers.

#[path = "line.rs"]
mod line;
#[path = "mounts.rs"]
mod mounts;
#[path = "nodes.rs"]
mod nodes;
#[path = "nodes_in_trouble.rs"]
mod nodes_in_trouble;
#[path = "nodes_over_ssh.rs"]
mod nodes_over_ssh;
#[path = "scene.rs"]
mod scene;
#[path = "storm.rs"]
mod storm;
#[path = "storm_engine.rs"]
mod storm_engine;
