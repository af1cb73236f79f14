//! Which plugins are in use: what makes room for others never takes their code.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use replibook_core::run::Digest;

/// The plugins that are in use, each with how often. Cheap to clone; clones share everything.
#[derive(Clone, Debug, Default)]
pub(super) struct InUse(Arc<Mutex<HashMap<Digest, usize>>>);

/// Keeps the code of some plugins, in memory and in the cache on disk, until this is dropped.
#[derive(Debug)]
#[must_use = "the code may be forgotten once this is dropped"]
pub struct Held {
    in_use: InUse,
    plugins: Vec<Digest>,
}

impl InUse {
    /// Holds these plugins, whether they are loaded by now or not.
    pub(super) fn hold(&self, plugins: impl IntoIterator<Item = Digest>) -> Held {
        let plugins: Vec<Digest> = plugins.into_iter().collect();
        let mut all = self.all();
        for plugin in &plugins {
            *all.entry(plugin.clone()).or_default() += 1;
        }
        drop(all);
        Held { in_use: self.clone(), plugins }
    }

    pub(super) fn has(&self, plugin: &Digest) -> bool {
        self.all().contains_key(plugin)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Digest, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut all = self.in_use.all();
        for plugin in &self.plugins {
            if let Some(times) = all.get_mut(plugin) {
                *times -= 1;
                if *times == 0 {
                    all.remove(plugin);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_in_use_until_the_last_of_its_users_has_gone() {
        let in_use = InUse::default();
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let first = in_use.hold([one.clone(), two.clone()]);
        let second = in_use.hold([one.clone()]);
        drop(first);
        assert_eq!((in_use.has(&one), in_use.has(&two)), (true, false));
        drop(second);
        assert!(!in_use.has(&one) && in_use.all().is_empty());
    }
}
