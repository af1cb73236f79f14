//! A platform that serves a file: `replibook platform`, for tests, demonstrations and small sites.
//!
//! `file` reads the file; `watch` checks again and again whether it changed; `serve` answers `GET /discover`
//! with the last content that was good, so that a mistake in the file never empties a cluster.

mod args;
mod file;
mod serve;
mod watch;

pub use crate::watched_file::FileError;
pub use args::PlatformArgs;
pub use serve::{PlatformServeError, RunningPlatform, serve, start};
