//! Makes a step or a strategy of Replibook from a plain function.
//!
//! [`step!`] and [`strategy!`] make a component from a function whose arguments and result are serde types.
//! They read and write the JSON, and give `?` an error that knows whether another attempt may succeed. A
//! panic can't be caught on these targets, so its message goes to `failing.fail` of the WIT package, by which
//! the host ends the activation with an error.
//!
//! The functions that a plugin can call are traits ([`step::Calls`], [`strategy::Calls`]), so that a test can
//! answer them on any machine.

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod arena;
pub mod arguments;
pub mod batch;
pub mod held;
mod macros;
pub mod outside;
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
    /// For somebody who looks for a mistake.
    Debug,
    /// For operators to read.
    Info,
    /// For operators to look into.
    Warn,
    /// Something went wrong.
    Error,
}

/// Reads the arguments of a plugin. The error says what is wrong with them.
fn arguments<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| format!("failed to read the arguments: {error}"))
}

/// Hands the message of a panic to `fail`, which does not return.
#[doc(hidden)]
pub fn on_panic(fail: fn(&str)) {
    std::panic::set_hook(Box::new(move |panic| fail(&format!("the plugin {panic}"))));
}
