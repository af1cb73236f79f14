//! Plugins: sandboxed Wasm components, run as pure functions.
//!
//! [`PluginHost`] is the only way in. A plugin comes in as bytes; `import` checks it, has `code` compile it, and
//! puts it into the `catalog`, where those of `builtin` are from the start; what is `in_use` makes no room for others.
//! `activate` runs a step: the step's calls go through `step_imports` to `replay`, which answers them from the journal
//! or unwinds the guest; `grants` decides what a step may reach. `strategy` asks a strategy, which reads its roster
//! through `strategy_imports`.
//!
//! `engine` is wasmtime with its settings, and `workers` are the threads on which guests run. `guest` is what the
//! host keeps for a guest while it lives, `limits` has every limit on it, `pace` knows which plugins take long,
//! and `wasi` is all that a guest sees of a machine; `drafts` has what there is of WASI without a release, `wasi_http`
//! makes calls of the journal of a step's requests, and `absent` stands for sockets, which nobody gets. `log` takes
//! what a guest writes, `json` reads the JSON that it sends, and `error` says why it failed. `interfaces` reads what a
//! component imports without compiling it, and `offered` says which of that there is, and what to use instead of the
//! rest. The types of the WIT come from `bindings` and end at `convert`.

mod absent;
mod activate;
mod bindings;
mod builtin;
mod catalog;
mod code;
mod convert;
mod drafts;
mod engine;
mod error;
mod grants;
mod guest;
mod host;
mod import;
mod in_use;
mod interfaces;
mod json;
mod limits;
mod log;
mod offered;
mod pace;
mod replay;
mod step_imports;
mod strategy;
mod strategy_imports;
mod wasi;
mod wasi_http;
mod workers;

pub use code::{Compile, CompileApart, CompileLimits, compile_if_asked};
pub use error::PluginError;
pub use host::{Builtin, HostConfig, PlanOutcome, PluginCounts, PluginHost};
pub use in_use::Held;
pub use interfaces::Interfaces;
