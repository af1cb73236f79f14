//! Plugins: sandboxed Wasm components, run as pure functions.

mod error;
mod host;

pub use error::PluginError;
pub use host::{Builtin, HostConfig, PlanOutcome, PluginHost};
