//! Platforms: they know which nodes a cluster has.
//!
//! [`Platform`] is one question and its answer: `GET {url}/discover`. [`HttpPlatforms`] asks over HTTP,
//! [`FakePlatforms`] answers as a test says. What an answer means for a run is not decided here but by
//! [`Follower`](crate::run::Follower), so that it can be tested without any network. [`server`] is the other
//! side: a platform that serves a file.

mod client;
mod fake;
mod http;
pub mod server;
mod wire;

pub use client::{Platform, PlatformError};
pub use fake::FakePlatforms;
pub use http::{HttpPlatforms, PlatformHttpConfig};
