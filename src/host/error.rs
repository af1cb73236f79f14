//! Errors of plugins and of their host. Their codes are stable, and documented in `docs/`.

use super::limits;
use replibook_core::run::{Call, FailureReason};

/// Why a plugin was refused, or returned nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct PluginError {
    /// Stable code, for example `unknown-import` or `out-of-time`.
    pub code: &'static str,
    /// What happened: what was found and what was expected.
    pub message: String,
}

impl PluginError {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Whether trying the same plugin again later may succeed.
    pub fn retryable(&self) -> bool {
        matches!(self.code, "unavailable" | "not-loaded")
    }
}

/// Why the host unwinds a guest: the error that a host function returns to it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stop {
    /// The call has no answer yet. This is not a failure.
    #[error("waits for the answer to {0:?}")]
    Blocked(Box<Call>),
    #[error("{0}")]
    NotDeterministic(String),
    /// The guest asked to end with this message, as if it had returned it as an error.
    #[error("{0}")]
    GaveUp(String),
    #[error("the plugin used more than {} ms of CPU time", limits::CPU_TIME.as_millis())]
    OutOfTime,
    #[error("the plugin asked for more than {} MiB of memory", limits::MEMORY_BYTES >> 20)]
    OutOfMemory,
    #[error("{message}")]
    Limit { code: &'static str, message: String },
    #[error("the plugin called {call}, which it must not do in {during}")]
    Forbidden { call: &'static str, during: &'static str },
    #[error(
        "the plugin called {call}, and there are no sockets; other servers are reached through `wasi:http` or `http` of \
         replicante:playbook"
    )]
    NoSockets { call: String },
}

/// Why a guest returned nothing.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) code: &'static str,
    pub(super) reason: FailureReason,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(code: &'static str, reason: FailureReason, message: String) -> Self {
        Self { code, reason, message }
    }
}

impl From<Fault> for PluginError {
    fn from(fault: Fault) -> Self {
        Self::new(fault.code, fault.message)
    }
}

/// Why a guest ended before it returned.
pub(super) enum Unwound {
    /// It made a call that has no answer yet.
    Blocked(Call),
    /// It asked to end with this message.
    GaveUp(String),
    /// It failed.
    Fault(Fault),
}

impl Unwound {
    /// Interprets the error with which a guest ended.
    pub(super) fn from(error: wasmtime::Error) -> Self {
        let error = match error.downcast::<Stop>() {
            Ok(Stop::Blocked(call)) => return Self::Blocked(*call),
            Ok(Stop::GaveUp(message)) => {
                return Self::GaveUp(cut(message, limits::MESSAGE_BYTES));
            }
            Ok(stop) => return Self::Fault(stop.into()),
            Err(error) => error,
        };
        if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
            let message = format!("the plugin ended its program with exit code {}", exit.0);
            return Self::Fault(Fault::new("exited", FailureReason::PluginTrapped, message));
        }
        if let Some(trap) = error.downcast_ref::<wasmtime::Trap>() {
            return Self::Fault(Fault::from_trap(*trap));
        }
        if error.is::<wasmtime::component::ResourceTableError>() {
            let most = limits::WASI_HANDLES;
            let message =
                format!("the plugin misused the handles of WASI, or held more than {most}");
            return Self::Fault(Fault::new("handle-limit", FailureReason::PluginLimit, message));
        }
        if let Some(broken) = error.downcast_ref::<std::str::Utf8Error>() {
            let message = format!("the plugin gave the host a text that is not UTF-8: {broken}");
            return Self::Fault(Fault::new("bad-text", FailureReason::PluginTrapped, message));
        }
        let text = format!("{error:#}");
        // wasmtime does not export the type of this error.
        if text.contains("allocated for hostcalls has been exhausted") {
            let most = limits::CALL_BYTES >> 20;
            let message = format!("the plugin gave the host more than {most} MiB in one call");
            return Self::Fault(Fault::new("data-limit", FailureReason::PluginLimit, message));
        }
        if error.is::<wasmtime::PoolConcurrencyLimitError>() {
            return Self::Fault(Fault::new("unavailable", FailureReason::PluginUnavailable, text));
        }
        Self::Fault(Fault::new("trapped", FailureReason::PluginTrapped, text))
    }
}

impl From<Stop> for Fault {
    fn from(stop: Stop) -> Self {
        let message = stop.to_string();
        match stop {
            Stop::NotDeterministic(_) => {
                Self::new("not-deterministic", FailureReason::NotDeterministic, message)
            }
            Stop::OutOfTime => Self::new("out-of-time", FailureReason::PluginOutOfTime, message),
            Stop::OutOfMemory => {
                Self::new("out-of-memory", FailureReason::PluginOutOfMemory, message)
            }
            Stop::GaveUp(_) => Self::new("trapped", FailureReason::PluginTrapped, message),
            Stop::Limit { code, .. } => Self::new(code, FailureReason::PluginLimit, message),
            Stop::Blocked(_) | Stop::Forbidden { .. } | Stop::NoSockets { .. } => {
                Self::new("forbidden-call", FailureReason::PluginTrapped, message)
            }
        }
    }
}

impl Fault {
    fn from_trap(trap: wasmtime::Trap) -> Self {
        // Only errors that a plugin's author can do something about get their own message.
        if trap == wasmtime::Trap::StackOverflow {
            let message =
                format!("the plugin used more than {} KiB of stack", limits::STACK_BYTES >> 10);
            return Self::new("stack-overflow", FailureReason::PluginTrapped, message);
        }
        if trap == wasmtime::Trap::UnreachableCodeReached {
            let message = "the plugin panicked or aborted; its log may say why".to_owned();
            return Self::new("trapped", FailureReason::PluginTrapped, message);
        }
        let message = format!("the plugin trapped: {trap}");
        Self::new("trapped", FailureReason::PluginTrapped, message)
    }
}

/// Cuts a text from a guest to at most `most` bytes, and marks the cut with an ellipsis.
pub(super) fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(cut("äöü".to_owned(), 6), "äöü");
        assert_eq!(cut("äöü".to_owned(), 5), "äö…");
        assert_eq!(cut("äöü".to_owned(), 1), "…");
    }

    #[test]
    fn a_stop_comes_out_of_a_guest_as_itself() {
        let error = wasmtime::Error::new(Stop::Blocked(Box::new(Call::Info))).context("outer");
        assert!(matches!(Unwound::from(error), Unwound::Blocked(Call::Info)));
        let error = wasmtime::Error::new(Stop::GaveUp("x".repeat(limits::MESSAGE_BYTES + 1)));
        let Unwound::GaveUp(message) = Unwound::from(error) else { panic!("not given up") };
        assert!(message.len() > limits::MESSAGE_BYTES && message.ends_with('…'));
        let error = wasmtime::Error::new(Stop::OutOfTime);
        let Unwound::Fault(fault) = Unwound::from(error) else { panic!("not a fault") };
        assert_eq!((fault.code, fault.reason), ("out-of-time", FailureReason::PluginOutOfTime));
    }
}
