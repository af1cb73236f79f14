//! The API over a real socket: the real router, plugins and documents, on the store in memory.

// Clippy's configuration allows these in test functions only, not in their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod access_audit;
mod access_hidden;
mod access_matrix;
mod approvals;
mod cluster_agents;
mod documents;
mod engine;
mod engines;
mod errors;
mod events;
mod exec;
mod guards;
mod imports;
mod narrowed;
mod plugins;
mod policy;
mod policy_followed;
mod policy_imports;
mod policy_networks;
mod policy_proved;
mod policy_signed;
mod pressure;
mod queries;
mod retry;
mod runs;
mod server;
mod vetting;
