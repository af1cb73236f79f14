//! Platforms in memory that answer as a test says, for tests of the engine and for the simulator. They depend
//! on nothing but the clock and what the test says, so histories can be repeated.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::client::{Platform, PlatformError};
use crate::agent::door::Coming;
use crate::clock::Clock;
use crate::run::{Millis, PlatformNode, Timestamp};

/// Questions that are remembered for each platform; the oldest go first, so that a simulation of days does not
/// fill the memory.
const MAX_REMEMBERED: usize = 10_000;

/// Platforms in memory, named by their base URL. Cheap to clone; clones are the same platforms.
#[derive(Clone)]
pub struct FakePlatforms {
    clock: Arc<dyn Clock>,
    platforms: Arc<Mutex<BTreeMap<String, FakePlatform>>>,
}

#[derive(Default)]
struct FakePlatform {
    clusters: BTreeMap<String, Vec<PlatformNode>>,
    latency: Millis,
    slow: Millis,
    fails: Option<String>,
    asked: Vec<Timestamp>,
}

impl FakePlatforms {
    /// No platforms yet: nobody answers.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, platforms: Arc::default() }
    }

    /// Sets the nodes of a cluster, as (identifier, address). Creates the platform if it does not exist.
    pub fn set(&self, url: &str, cluster: &str, nodes: &[(&str, &str)]) {
        let node = |(id, address): &(&str, &str)| PlatformNode {
            node_id: Some((*id).to_owned()),
            agent_address: Some((*address).to_owned()),
            ..PlatformNode::default()
        };
        self.set_nodes(url, cluster, nodes.iter().map(node).collect());
    }

    /// Sets the nodes of a cluster, including nodes that are not usable.
    pub fn set_nodes(&self, url: &str, cluster: &str, nodes: Vec<PlatformNode>) {
        self.with(url, |platform| platform.clusters.insert(cluster.to_owned(), nodes));
    }

    /// Makes a platform forget a cluster.
    pub fn forget(&self, url: &str, cluster: &str) {
        self.with(url, |platform| platform.clusters.remove(cluster));
    }

    /// Makes each answer take this long; half of it passes before the answer is worked out.
    pub fn set_latency(&self, url: &str, latency: Millis) {
        self.with(url, |platform| platform.latency = latency);
    }

    /// Makes each answer take this long from its first byte to its last.
    pub fn set_slow(&self, url: &str, slow: Millis) {
        self.with(url, |platform| platform.slow = slow);
    }

    /// Makes every question fail with this message; `None` ends that.
    pub fn fail(&self, url: &str, message: Option<&str>) {
        self.with(url, |platform| platform.fails = message.map(str::to_owned));
    }

    /// When a platform was asked, oldest first; only the last times if there were many.
    pub fn asked(&self, url: &str) -> Vec<Timestamp> {
        self.with(url, |platform| platform.asked.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, FakePlatform>> {
        self.platforms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, url: &str, f: impl FnOnce(&mut FakePlatform) -> T) -> T {
        f(self.lock().entry(url.to_owned()).or_default())
    }

    /// Half of the latency of a platform; an error if there is no such platform.
    fn half(&self, url: &str) -> Result<Millis, PlatformError> {
        match self.lock().get(url) {
            Some(platform) => Ok(Millis(platform.latency.0 / 2)),
            None => Err(no_answer(url, "connection refused")),
        }
    }
}

fn no_answer(url: &str, message: &str) -> PlatformError {
    PlatformError::NoAnswer { url: url.to_owned(), message: message.to_owned() }
}

#[async_trait]
impl Platform for FakePlatforms {
    async fn discover(
        &self,
        url: &str,
        cluster: &str,
    ) -> Result<Option<Vec<PlatformNode>>, PlatformError> {
        let half = self.half(url)?;
        let now = self.clock.now();
        self.with(url, |platform| {
            if platform.asked.len() == MAX_REMEMBERED {
                platform.asked.remove(0);
            }
            platform.asked.push(now);
        });
        self.clock.sleep(half.to_std()).await;
        let answer = self.with(url, |platform| match &platform.fails {
            Some(message) => Err(no_answer(url, message)),
            None => Ok(platform.clusters.get(cluster).cloned()),
        });
        self.clock.sleep(half.to_std()).await;
        let _coming = Coming::begins();
        let slow = self.with(url, |platform| platform.slow);
        self.clock.sleep(slow.to_std()).await;
        answer
    }
}
