//! The host: the one way to plugins for everything else.

use std::sync::Arc;

use bytes::Bytes;

use super::error::PluginError;
use crate::playbook::PluginInfo;
use crate::run::{Activate, Activation, Decision, Digest, PlanInput, PluginLine, Roster};

/// Settings of the host.
#[derive(Clone, Debug, Default)]
pub struct HostConfig {
    /// Threads that run plugins; none: one per processor.
    pub threads: Option<usize>,
}

/// A plugin that is compiled into the binary.
#[derive(Clone, Debug)]
pub struct Builtin {
    /// What it says about itself.
    pub info: PluginInfo,
    /// Its bytes.
    pub bytes: Bytes,
}

/// What came of asking a strategy.
#[derive(Debug)]
pub struct PlanOutcome {
    /// The decision, not yet checked against the roster.
    pub result: Result<Decision, PluginError>,
    /// What it wrote to its log.
    pub logs: Vec<PluginLine>,
}

/// Runs plugins, on threads of its own and within limits. Cheap to clone.
#[derive(Clone)]
pub struct PluginHost {
    _inner: Arc<()>,
}

impl PluginHost {
    /// Starts a host with the built-in plugins loaded.
    pub fn start(config: HostConfig) -> Result<Self, PluginError> {
        let _ = config;
        Err(PluginError { code: "not-built", message: String::new() })
    }

    /// The built-in plugins.
    pub fn builtins(&self) -> &[Builtin] {
        &[]
    }

    /// Checks that the bytes are a plugin, compiles and keeps it, and asks what it says about itself.
    pub async fn import(&self, bytes: Bytes) -> Result<PluginInfo, PluginError> {
        let _ = bytes;
        Err(PluginError { code: "not-built", message: String::new() })
    }

    /// Whether the plugin is compiled and ready; if not, [`import`](Self::import) its bytes.
    pub fn is_loaded(&self, digest: &Digest) -> bool {
        let _ = digest;
        false
    }

    /// Makes one activation of a step.
    pub async fn activate(&self, activate: Activate) -> Activation {
        let _ = activate;
        std::future::pending().await
    }

    /// Asks a strategy. The roster is lent for as long as it thinks.
    pub async fn plan(
        &self,
        plugin: &Digest,
        input: PlanInput,
        roster: Arc<dyn Roster>,
    ) -> PlanOutcome {
        let _ = (plugin, input, roster);
        std::future::pending().await
    }
}
