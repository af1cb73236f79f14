//! Replibook: a playbook engine for clusters of agents, with WebAssembly plugins.

pub mod agent;
pub mod api;
pub mod cli;
pub mod clock;
pub mod driver;
pub mod playbook;
pub mod plugin;
pub mod run;
pub mod stop;
pub mod store;
