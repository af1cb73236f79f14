//! What is known about the plugins of runs that go on, for what is judged again at each use.

use std::sync::Arc;
use std::time::Duration;

use super::current::CurrentPolicy;
use super::facts::facts_of_pin;
use crate::clock::Clock;
use crate::playbook::PluginPin;
use crate::playbook::policy::{Facts, Policy};
use crate::plugin::PluginHost;
use crate::store::{Store, StoreError};

/// How long to wait before a store that was away is asked again, as the driver does.
const AGAIN: Duration = Duration::from_secs(1);

/// The policy that counts, and what the store knows about plugins. Cheap to clone; clones follow the same policy.
#[derive(Clone)]
pub struct PinFacts {
    policy: CurrentPolicy,
    store: Arc<dyn Store>,
    plugins: PluginHost,
    clock: Arc<dyn Clock>,
}

impl PinFacts {
    /// Facts about plugins of this store, for this policy.
    pub fn new(
        policy: CurrentPolicy,
        store: Arc<dyn Store>,
        plugins: PluginHost,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { policy, store, plugins, clock }
    }

    /// The policy that counts now, with the facts about a plugin by which it is judged. There are no facts about a plugin that
    /// is not in the store, and no policy where there is none that `matters`.
    pub(super) async fn of(
        &self,
        pin: &PluginPin,
        matters: impl Fn(&Policy) -> bool,
    ) -> Result<Option<(Arc<Policy>, Option<Facts>)>, StoreError> {
        loop {
            let policy = self.policy.now().filter(|policy| matters(policy));
            let Some(policy) = policy else { return Ok(None) };
            match facts_of_pin(pin, &policy, self.store.as_ref(), &self.plugins).await {
                Ok(facts) => return Ok(Some((policy, facts))),
                // That the store is away is no failure of an agent. Whoever asks gives up with its lease.
                Err(error) if error.retryable() => self.clock.sleep(AGAIN).await,
                Err(error) => return Err(error),
            }
        }
    }
}
