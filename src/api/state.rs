//! What every handler works with.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::bodies::Budget;
use super::limits::MAX_STREAMS;
use super::metrics::Metrics;
use crate::clock::Clock;
use crate::driver::{Followers, Signals};
use crate::plugin::PluginHost;
use crate::store::Store;
use crate::web::OwnNames;

/// What every handler works with. Cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    pub(super) store: Arc<dyn Store>,
    pub(super) plugins: PluginHost,
    pub(super) signals: Signals,
    pub(super) followers: Followers,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) bodies: Budget,
    pub(super) streams: Arc<Semaphore>,
    /// Ends the event streams, which would never end by themselves.
    pub(super) stopping: CancellationToken,
    pub(super) names: OwnNames,
}

impl ApiState {
    /// State over these parts, which the driver of the same process shares.
    pub fn new(
        store: Arc<dyn Store>,
        plugins: PluginHost,
        signals: Signals,
        followers: Followers,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            store,
            plugins,
            signals,
            followers,
            clock,
            metrics: Arc::new(Metrics::new()),
            bodies: Budget::new(),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            stopping: CancellationToken::new(),
            names: OwnNames::default(),
        }
    }

    /// Answers requests for any host name: for a server that listens on more than loopback. Without
    /// this only `localhost` and addresses are answered, so that a web page that a person looks at
    /// can't reach the server through a name of its own.
    #[must_use]
    pub fn with_any_host(mut self) -> Self {
        self.names = OwnNames::any();
        self
    }
}
