//! Exact moments at which a test may have the process killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use uuid::Uuid;

use crate::agent::{ActionRequest, ActionStatus, AgentClient, AgentError, Scheduled};
use crate::run::NodeInfo;

/// An [`AgentClient`] that kills this process at the n-th passage of a named point. The points are
/// `before-post` (the call is committed, nothing is sent) and `after-post` (the agent has accepted,
/// nothing more is committed). Only builds with debug assertions have it at all.
pub struct CrashPoints {
    inner: Arc<dyn AgentClient>,
    point: String,
    left: AtomicU32,
}

impl CrashPoints {
    /// Environment variable that names the point.
    pub const POINT: &str = "REPLIBOOK_CRASH_POINT";
    /// Environment variable that says at which passage, from 1.
    pub const AFTER: &str = "REPLIBOOK_CRASH_AFTER";

    /// `inner`, with the crash point that the environment names, if it names one.
    pub fn from_env(inner: Arc<dyn AgentClient>) -> Arc<dyn AgentClient> {
        let after = std::env::var(Self::AFTER).ok().and_then(|text| text.parse().ok());
        match std::env::var(Self::POINT) {
            Ok(point) if cfg!(debug_assertions) => {
                Arc::new(Self { inner, point, left: AtomicU32::new(after.unwrap_or(1)) })
            }
            Ok(_) | Err(_) => inner,
        }
    }

    fn pass(&self, point: &str) {
        if point == self.point && self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let own = rustix::process::getpid();
            if let Err(error) = rustix::process::kill_process(own, rustix::process::Signal::KILL) {
                tracing::error!(%error, "failed to die at {point}");
            }
        }
    }
}

#[async_trait]
impl AgentClient for CrashPoints {
    async fn schedule(
        &self,
        address: &str,
        request: &ActionRequest,
    ) -> Result<Scheduled, AgentError> {
        self.pass("before-post");
        let scheduled = self.inner.schedule(address, request).await;
        self.pass("after-post");
        scheduled
    }

    async fn action(&self, address: &str, id: Uuid) -> Result<Option<ActionStatus>, AgentError> {
        self.inner.action(address, id).await
    }

    async fn node(&self, address: &str) -> Result<NodeInfo, AgentError> {
        self.inner.node(address).await
    }
}
