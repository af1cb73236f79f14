//! What the driver needs of secrets.

use async_trait::async_trait;

use crate::playbook::Destination;
use crate::run::{Caller, SecretError, SecretText};

/// The secrets that an engine can read, and what its policy says about them.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// Reads a secret as it is now.
    ///
    /// # Errors
    /// [`SecretError`] if it is not there, can't be read, or is not what a secret may be.
    async fn read(&self, name: &str) -> Result<SecretText, SecretError>;

    /// Whether the policy lets the plugin of the caller send this secret there. That the playbook does was checked before.
    ///
    /// # Errors
    /// [`SecretError::Refused`] if it does not, and [`SecretError::Unjudged`] if that can't be found out now.
    async fn allowed(
        &self,
        caller: &Caller,
        name: &str,
        to: &Destination,
    ) -> Result<(), SecretError>;
}

/// No secrets at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSecrets;

#[async_trait]
impl Secrets for NoSecrets {
    async fn read(&self, name: &str) -> Result<SecretText, SecretError> {
        Err(SecretError::None { name: name.to_owned() })
    }

    async fn allowed(&self, _: &Caller, name: &str, _: &Destination) -> Result<(), SecretError> {
        Err(SecretError::None { name: name.to_owned() })
    }
}
