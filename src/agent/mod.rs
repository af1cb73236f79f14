//! Agents: what the engine needs from them, the HTTP client, how one call is followed to its end, and the
//! reference agent.
//!
//! [`AgentClient`] is one request and its answer. [`HttpAgents`] sends the request over HTTP, and [`StableAgents`] does so
//! to agents of the released generation; [`AnyDialect`] knows which of the two to use. [`FakeAgents`]
//! answers it from a script. [`run_action`], [`wait_status`] and [`info`] build the calls of a step from such
//! requests: they decide what is sent when, and what a failure means. This is apart from the clients so that
//! both kinds of client are followed by the same code. [`server`] is the other side: an agent that runs
//! commands. [`gateway`] is an agent for many nodes that have none; [`Inside`] is the way to one within the server. [`platform`] is about the platforms, which know
//! which agents exist. [`door`] is where the answers of both come in and are bounded.

mod client;
mod connections;
mod dialects;
pub mod door;
mod fake;
mod fake_script;
mod follow;
pub mod gateway;
mod http;
mod inside;
mod output_call;
pub mod platform;
pub mod server;
mod stable;
mod tls;
mod wire;

pub use client::{
    ActionPhase, ActionRequest, ActionStatus, AgentClient, AgentError, QueuedAction, Said,
    Scheduled, ask, ask_store,
};
pub use connections::{Short, Shortage};
pub use dialects::{AnyDialect, Found};
pub use fake::FakeAgents;
pub use fake_script::{Asked, FakeQueue, Fault, KnownId, Script, When};
pub use follow::{AgentLimits, FollowContext, LONGEST_HELD, Start, info, run_action, wait_status};
pub use http::{AgentHttpConfig, HttpAgents};
pub use inside::{INSIDE_URL, Inside};
pub use output_call::{NotAStream, OUTPUT_BYTES, OutputPiece, OutputQuery, OutputStream};
pub use stable::StableAgents;
pub use tls::AgentHttpError;
