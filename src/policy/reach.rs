//! Which networks the policy lets the requests of steps go to.

use std::sync::Arc;

use async_trait::async_trait;
use ipnet::IpNet;

use super::current::CurrentPolicy;
use super::facts::facts_of_pin;
use crate::outbound::{Caller, Networks, Reachable};
use crate::plugin::PluginHost;
use crate::run::HttpError;
use crate::store::Store;

/// The networks of the rule that counts for the plugin. Without a policy there are none, as without a rule: then requests go
/// to public addresses only.
pub struct PolicyNetworks {
    policy: CurrentPolicy,
    store: Arc<dyn Store>,
    plugins: PluginHost,
}

impl PolicyNetworks {
    /// The networks that this policy gives to plugins of this store.
    pub fn new(policy: CurrentPolicy, store: Arc<dyn Store>, plugins: PluginHost) -> Self {
        Self { policy, store, plugins }
    }
}

#[async_trait]
impl Reachable for PolicyNetworks {
    async fn networks(&self, caller: &Caller) -> Result<Networks, HttpError> {
        let policy = self.policy.now().filter(|policy| policy.has_networks());
        let Some(policy) = policy else { return Ok(Networks::default()) };
        let facts = facts_of_pin(&caller.plugin, &policy, self.store.as_ref(), &self.plugins).await;
        let facts = facts.map_err(|error| {
            HttpError::Failed(format!("failed to find out what the policy gives: {error}"))
        })?;
        let Some(facts) = facts else { return Ok(Networks::default()) };
        let given = policy.networks(&facts, &caller.playbook);
        Ok(given.iter().filter_map(|one| IpNet::new(one.address(), one.bits()).ok()).collect())
    }
}
