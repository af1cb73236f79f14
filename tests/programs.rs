//! The programs themselves: as a person types them, killed in the middle of a run, on MongoDB, and compiling
//! what strangers send.
//!
//! They are one binary because each binary with all of Replibook is large and takes long to link. As they
//! share its process, no test changes the environment, the folder or the limits of this process: it gives
//! them only to the processes that it starts.

// Clippy's configuration allows these in test functions only, not in their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
// Code that is shared with the tests of the host needs this.
#![allow(clippy::wildcard_enum_match_arm)]

mod cli;
#[path = "plugin_host/compiling.rs"]
mod compiling;
#[path = "crash/main.rs"]
mod crash;
mod demo;
#[path = "gateway/described.rs"]
mod described;
#[path = "gateway/from_ansible.rs"]
mod from_ansible;
#[path = "gateway/door.rs"]
mod gateway_door;
#[path = "gateway/in_server.rs"]
mod gateway_in_server;
#[path = "gateway/killed.rs"]
mod gateway_killed;
mod guarded;
#[path = "hardening/main.rs"]
mod hardening;
#[path = "logins/main.rs"]
mod logins;
#[path = "on_mongodb/main.rs"]
mod on_mongodb;
#[path = "openapi/main.rs"]
mod openapi;
#[path = "registries/main.rs"]
mod registries;
mod secured;
mod stable_agents;

// Modules that these tests share.
#[allow(dead_code, reason = "shared with the tests of the host, which use the rest")]
#[path = "plugin_host/bytes.rs"]
mod bytes;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/engine.rs"]
mod engine;
#[path = "support/examples.rs"]
mod examples;
#[path = "support/exports.rs"]
mod exports;
#[allow(dead_code, reason = "shared with the tests of the host, which use the rest")]
#[path = "plugin_host/fixtures.rs"]
mod fixtures;
#[path = "support/issuer.rs"]
mod issuer;
#[path = "support/minisign.rs"]
mod minisign;
#[path = "support/mongodb.rs"]
mod mongodb;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "gateway/mounts.rs"]
mod mounts;
#[path = "support/noise.rs"]
mod noise;
#[path = "support/plugins.rs"]
mod plugins;
#[path = "support/proxy.rs"]
mod proxy;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/registry.rs"]
mod registry_server;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/sshd.rs"]
mod sshd;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/stable_agent.rs"]
mod stable_agent;
#[path = "support/wait.rs"]
mod wait;
