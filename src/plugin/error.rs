//! Errors of plugins and of their host.

/// Why a plugin was refused, or gave no answer.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub struct PluginError {
    /// Stable code, for example `unknown-import` or `out-of-time`.
    pub code: &'static str,
    /// What happened, what was found and what was expected.
    pub message: String,
}
