//! Which networks the policy lets the requests of steps go to.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ipnet::IpNet;

use super::current::CurrentPolicy;
use super::facts::facts_of_pin;
use crate::clock::Clock;
use crate::outbound::{Caller, Networks, Reachable};
use crate::plugin::PluginHost;
use crate::run::HttpError;
use crate::store::Store;

/// How long to wait before a store that was away is asked again, as the driver does.
const AGAIN: Duration = Duration::from_secs(1);

/// The networks of the rule that counts for the plugin. Without a policy there are none, as without a rule: then requests go
/// to public addresses only.
pub struct PolicyNetworks {
    policy: CurrentPolicy,
    store: Arc<dyn Store>,
    plugins: PluginHost,
    clock: Arc<dyn Clock>,
}

impl PolicyNetworks {
    /// The networks that this policy gives to plugins of this store.
    pub fn new(
        policy: CurrentPolicy,
        store: Arc<dyn Store>,
        plugins: PluginHost,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { policy, store, plugins, clock }
    }
}

#[async_trait]
impl Reachable for PolicyNetworks {
    async fn networks(&self, caller: &Caller) -> Result<Networks, HttpError> {
        let (policy, facts) = loop {
            let policy = self.policy.now().filter(|policy| policy.has_networks());
            let Some(policy) = policy else { return Ok(Networks::default()) };
            let store = self.store.as_ref();
            match facts_of_pin(&caller.plugin, &policy, store, &self.plugins).await {
                Ok(facts) => break (policy, facts),
                // That the store is away is no failure of an agent. Whoever sends gives up with its lease.
                Err(error) if error.retryable() => self.clock.sleep(AGAIN).await,
                Err(error) => {
                    let message = format!("failed to find out what the policy gives: {error}");
                    return Err(HttpError::Failed(message));
                }
            }
        };
        let Some(facts) = facts else { return Ok(Networks::default()) };
        let given = policy.networks(&facts, &caller.playbook);
        Ok(given.iter().filter_map(|one| IpNet::new(one.address(), one.bits()).ok()).collect())
    }
}
