//! Which secrets the policy lets plugins send, and where to. It is asked each time that a secret is about to be sent, so
//! that a policy that takes one away counts at once, also for runs that go on.

use async_trait::async_trait;

use super::pin_facts::PinFacts;
use crate::playbook::{Destination, Grants, SecretGrant};
use crate::run::{Caller, SecretError};
use crate::secrets::SecretPolicy;

/// What the rule for the plugin gives. Without a policy, what the playbook grants counts.
pub struct PolicySecrets(PinFacts);

impl PolicySecrets {
    /// What the policy gives to these plugins.
    pub fn new(plugins: PinFacts) -> Self {
        Self(plugins)
    }
}

#[async_trait]
impl SecretPolicy for PolicySecrets {
    async fn allowed(
        &self,
        caller: &Caller,
        name: &str,
        to: &Destination,
    ) -> Result<(), SecretError> {
        let (name, sent_to) = (name.to_owned(), to.to_string());
        let judged = match self.0.of(&caller.plugin, |_| true).await {
            Ok(judged) => judged,
            Err(error) => {
                let why = error.to_string();
                return Err(SecretError::Unjudged { name, to: sent_to, why });
            }
        };
        let Some((policy, facts)) = judged else { return Ok(()) };
        let Some(facts) = facts else {
            let why = format!("nothing is known about the plugin {}", caller.plugin.digest);
            return Err(SecretError::Refused { name, to: sent_to, why });
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
