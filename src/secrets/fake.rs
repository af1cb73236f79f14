//! Secrets in memory: for tests of the engine and for simulations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::client::Secrets;
use crate::playbook::Destination;
use crate::run::{Caller, SecretError, SecretText};

/// Secrets in memory, and a policy that refuses some destinations. Cheap to clone; clones are the same secrets.
#[derive(Clone, Default)]
pub struct FakeSecrets(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    values: BTreeMap<String, String>,
    refused: BTreeSet<(String, String)>,
}

impl FakeSecrets {
    /// The secret has this value from now on.
    pub fn put(&self, name: &str, value: &str) {
        self.lock().values.insert(name.to_owned(), value.to_owned());
    }

    /// The secret is gone.
    pub fn remove(&self, name: &str) {
        self.lock().values.remove(name);
    }

    /// The policy does not let the secret go to this origin, or to actions of this kind.
    pub fn refuse(&self, name: &str, to: &str) {
        self.lock().refused.insert((name.to_owned(), to.to_owned()));
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Secrets for FakeSecrets {
    async fn read(&self, name: &str) -> Result<SecretText, SecretError> {
        let value = self.lock().values.get(name).cloned();
        let value = value.ok_or_else(|| SecretError::Gone { name: name.to_owned() })?;
        SecretText::read(name, value.as_bytes())
    }

    async fn allowed(&self, _: &Caller, name: &str, to: &Destination) -> Result<(), SecretError> {
        let to = to.as_str().to_owned();
        match self.lock().refused.contains(&(name.to_owned(), to.clone())) {
            true => {
                let why = "the policy does not give it".to_owned();
                Err(SecretError::Refused { name: name.to_owned(), to, why })
            }
            false => Ok(()),
        }
    }
}
