//! Agents over real sockets: the HTTP client against recorded answers, the reference agent against
//! raw requests, both against each other, and the agent as a process that is killed.

// Clippy's configuration allows these in test functions only, not in their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod answers;
mod client;
mod door;
mod handshakes;
mod hidden;
mod memory;
mod output;
mod platform;
mod process;
mod server;
mod stable;
mod strangers;
mod support;
mod tls;
