//! Agents: what the engine needs of them, the HTTP client, and the reference agent.

mod client;

pub use client::{ActionPhase, ActionRequest, ActionStatus, AgentClient, AgentError, Scheduled};
