//! Which networks the policy lets the requests of steps go to.

use async_trait::async_trait;

use super::pin_facts::PinFacts;
use crate::outbound::{Caller, Networks, Reachable};
use crate::playbook::policy::Policy;
use crate::run::HttpError;

/// The networks of the rule that counts for the plugin. Without a policy there are none, as without a rule: then requests go
/// to public addresses only.
pub struct PolicyNetworks(PinFacts);

impl PolicyNetworks {
    /// The networks that the policy gives to these plugins.
    pub fn new(plugins: PinFacts) -> Self {
        Self(plugins)
    }
}

#[async_trait]
impl Reachable for PolicyNetworks {
    async fn networks(&self, caller: &Caller) -> Result<Networks, HttpError> {
        let judged = self.0.of(&caller.plugin, Policy::has_networks).await.map_err(|error| {
            HttpError::Failed(format!("failed to find out what the policy gives: {error}"))
        })?;
        let Some((policy, Some(facts))) = judged else { return Ok(Networks::default()) };
        Ok(policy.networks(&facts, &caller.playbook).into_iter().collect())
    }
}
