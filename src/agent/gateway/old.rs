//! What was done on nodes is kept there for some days, and then forgotten. A node is looked at when something is begun there:
//! so no connection is made for this alone, and a node at which nothing is done keeps what it has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::nodes::Node;
use super::reach::Nodes;
use crate::clock::Clock;
use crate::run::{Millis, Timestamp};

/// How often a node is looked at. What was done is kept for days, so a day more makes no difference.
const EVERY: Millis = Millis::from_secs(24 * 3_600);

/// When nodes were last looked at. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Old {
    retention: Millis,
    looked: Arc<Mutex<HashMap<String, Millis>>>,
}

impl Old {
    pub(super) fn kept_for(retention: Millis) -> Self {
        Self { retention, looked: Arc::default() }
    }

    /// Has a node forget what is old, besides, if it was not asked to for a day.
    pub(super) fn look_at(&self, id: &str, node: &Node, nodes: &Arc<dyn Nodes>, clock: &dyn Clock) {
        if !self.is_due(id, clock.passed()) {
            return;
        }
        let kept = i64::try_from(self.retention.0).unwrap_or(i64::MAX);
        let before = Timestamp::from_millis(clock.now().as_millis().saturating_sub(kept));
        let (node, nodes, id) = (node.clone(), Arc::clone(nodes), id.to_owned());
        tokio::spawn(async move {
            match nodes.purge(&node, before).await {
                Ok(0) => {}
                Ok(jobs) => tracing::debug!(node = id, jobs, "old actions are forgotten"),
                // The next day tries again.
                Err(error) => tracing::warn!(node = id, "failed to forget old actions: {error}"),
            }
        });
    }

    fn is_due(&self, id: &str, now: Millis) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        // Nodes that are gone from the inventory are not looked at any more.
        looked.retain(|_, at| now.0.saturating_sub(at.0) < EVERY.0);
        match looked.contains_key(id) {
            true => false,
            false => looked.insert(id.to_owned(), now).is_none(),
        }
    }
}
