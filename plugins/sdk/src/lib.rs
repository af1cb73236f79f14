//! A step or a strategy of Replibook as a plain function.
//!
//! [`step!`] and [`strategy!`] make a component of a function whose arguments and result are types
//! of serde. They read and write the JSON, give `?` an error that knows whether another attempt may
//! go well, and turn a panic into an error with its message: `failing.fail` of the WIT has the host
//! end the activation, since nothing can be caught on these targets.
//!
//! What a function calls is a trait ([`step::Calls`], [`strategy::Calls`]), so that a test on any
//! machine can answer it.

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod arena;
pub mod arguments;
pub mod batch;
mod macros;
mod span;
pub mod step;
pub mod strategy;

use serde::Deserialize;
#[doc(hidden)]
pub use wit_bindgen;

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));

/// Severity of a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For who looks for a mistake.
    Debug,
    /// What an operator reads.
    Info,
    /// What an operator should look at.
    Warn,
    /// What went wrong.
    Error,
}

/// Reads the arguments of a plugin, or says what is wrong with them.
fn arguments<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| format!("failed to read the arguments: {error}"))
}

/// Hands the message of a panic to `fail`, which does not return.
#[doc(hidden)]
pub fn on_panic(fail: fn(&str)) {
    std::panic::set_hook(Box::new(move |panic| fail(&format!("the plugin {panic}"))));
}
