//! Replibook in the process of its tests: agents and the API over real sockets, and the engine and replays in
//! virtual time.
//!
//! They are one binary for the same reason as in `tests/programs.rs`.

// Clippy's configuration allows these in test functions only, not in their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

#[path = "agent/main.rs"]
mod agent;
#[path = "api/main.rs"]
mod api;
#[path = "driver/main.rs"]
mod driver;
#[path = "gateway/inside.rs"]
mod gateway;
#[path = "oidc/main.rs"]
mod oidc;
#[path = "registry/main.rs"]
mod registry;
#[path = "replay/main.rs"]
mod replay;

// Modules that these tests share.
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/engine.rs"]
mod engine;
#[path = "support/examples.rs"]
mod examples;
#[path = "support/exports.rs"]
mod exports;
#[path = "support/minisign.rs"]
mod minisign;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/plugins.rs"]
mod plugins;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/registry.rs"]
mod registry_server;
#[path = "driver/scene.rs"]
mod scene;
#[path = "support/sshd.rs"]
mod sshd;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/stable_agent.rs"]
mod stable_agent;
#[path = "support/wait.rs"]
mod wait;
