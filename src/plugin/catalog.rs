//! The catalog: from a digest to the compiled plugin, linked and ready to be instantiated.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::bindings::step::StepPre;
use super::bindings::strategy::StrategyPre;
use super::guest::Guest;
use super::limits::LOADED_PLUGINS;
use crate::playbook::PluginInfo;
use crate::run::Digest;

/// A compiled plugin.
pub(super) enum Compiled {
    Step(StepPre<Guest>),
    Strategy(StrategyPre<Guest>),
}

/// A plugin that is ready.
pub(super) struct Loaded {
    pub(super) info: PluginInfo,
    pub(super) compiled: Compiled,
}

/// The plugins that are ready, at most [`LOADED_PLUGINS`] besides the built-in ones.
pub(super) struct Catalog {
    builtins: HashMap<Digest, Arc<Loaded>>,
    others: RwLock<Recent<Arc<Loaded>>>,
}

impl Catalog {
    /// A catalog that never forgets these.
    pub(super) fn new(builtins: impl IntoIterator<Item = Arc<Loaded>>) -> Self {
        let builtins = builtins.into_iter().map(|plugin| (plugin.info.digest.clone(), plugin));
        Self { builtins: builtins.collect(), others: RwLock::new(Recent::new(LOADED_PLUGINS)) }
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Arc<Loaded>> {
        if let Some(builtin) = self.builtins.get(digest) {
            return Some(Arc::clone(builtin));
        }
        self.others.read().unwrap_or_else(PoisonError::into_inner).get(digest).map(Arc::clone)
    }

    pub(super) fn insert(&self, plugin: Arc<Loaded>) {
        let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
        others.insert(plugin.info.digest.clone(), plugin);
    }
}

/// A map that forgets what was not used for longest when it holds too much.
struct Recent<T> {
    most: usize,
    items: HashMap<Digest, (T, AtomicU64)>,
    uses: AtomicU64,
}

impl<T> Recent<T> {
    fn new(most: usize) -> Self {
        Self { most, items: HashMap::new(), uses: AtomicU64::new(0) }
    }

    fn now(&self) -> u64 {
        self.uses.fetch_add(1, Ordering::Relaxed)
    }

    fn get(&self, digest: &Digest) -> Option<&T> {
        let (item, used) = self.items.get(digest)?;
        used.store(self.now(), Ordering::Relaxed);
        Some(item)
    }

    fn insert(&mut self, digest: Digest, item: T) {
        let now = self.now();
        self.items.insert(digest, (item, AtomicU64::new(now)));
        while self.items.len() > self.most {
            let oldest =
                self.items.iter().min_by_key(|(_, (_, used))| used.load(Ordering::Relaxed));
            let Some(oldest) = oldest.map(|(digest, _)| digest.clone()) else { return };
            self.items.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_is_forgotten() {
        let digest = |number: u32| Digest::of(&number.to_le_bytes());
        let mut recent = Recent::new(3);
        for number in 0..3 {
            recent.insert(digest(number), number);
        }
        assert_eq!(recent.get(&digest(0)), Some(&0));
        recent.insert(digest(3), 3);
        recent.insert(digest(3), 3);
        let kept: Vec<_> = (0..4).filter(|number| recent.get(&digest(*number)).is_some()).collect();
        assert_eq!(kept, [0, 2, 3]);
    }
}
