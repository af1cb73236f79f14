//! Which secrets the policy lets plugins send, and where to. It is asked each time that a secret is about to be sent, so
//! that a policy that takes one away counts at once, also for runs that go on.

use std::sync::Arc;

use async_trait::async_trait;

use super::current::CurrentPolicy;
use super::facts::facts_of_pin;
use crate::playbook::{Destination, Grants, SecretGrant};
use crate::plugin::PluginHost;
use crate::run::{Caller, SecretError};
use crate::secrets::Allowed;
use crate::store::Store;

/// What the rule for the plugin gives. Without a policy, what the playbook grants counts.
pub struct PolicySecrets {
    policy: CurrentPolicy,
    store: Arc<dyn Store>,
    plugins: PluginHost,
}

impl PolicySecrets {
    /// What this policy gives to plugins of this store.
    pub fn new(policy: CurrentPolicy, store: Arc<dyn Store>, plugins: PluginHost) -> Self {
        Self { policy, store, plugins }
    }
}

#[async_trait]
impl Allowed for PolicySecrets {
    async fn allowed(
        &self,
        caller: &Caller,
        name: &str,
        to: &Destination,
    ) -> Result<(), SecretError> {
        let Some(policy) = self.policy.now() else { return Ok(()) };
        let (name, sent_to) = (name.to_owned(), to.to_string());
        let found = facts_of_pin(&caller.plugin, &policy, self.store.as_ref(), &self.plugins).await;
        let facts = match found {
            Ok(Some(facts)) => facts,
            Ok(None) => {
                let why = format!("nothing is known about the plugin {}", caller.plugin.digest);
                return Err(SecretError::Refused { name, to: sent_to, why });
            }
            Err(error) => {
                let why = error.to_string();
                return Err(SecretError::Unjudged { name, to: sent_to, why });
            }
        };
        let grant = SecretGrant { name: name.clone(), to: vec![to.as_str().to_owned()] };
        let grants = Grants { secrets: vec![grant], ..Grants::default() };
        match policy.judge(&facts, &caller.playbook, &grants) {
            Ok(_) => Ok(()),
            Err(refusals) => {
                let why = refusals.first().map(ToString::to_string).unwrap_or_default();
                Err(SecretError::Refused { name, to: sent_to, why })
            }
        }
    }
}
