//! The catalog: from a digest to the compiled plugin, linked and ready to be instantiated. It is bounded, since
//! anyone may upload plugins; a plugin that it has forgotten is loaded again from the store or the cache.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::bindings::step::StepPre;
use super::bindings::strategy::StrategyPre;
use super::guest::Guest;
use super::in_use::InUse;
use super::limits::{LOADED_BYTES, LOADED_PLUGINS};
use super::pace::Pace;
use replibook_core::playbook::PluginInfo;
use replibook_core::run::Digest;

/// A plugin's code, linked against the imports of its world.
pub(super) enum Compiled {
    Step(StepPre<Guest>),
    Strategy(StrategyPre<Guest>),
}

/// A plugin that is ready to be called.
pub(super) struct Loaded {
    pub(super) info: PluginInfo,
    pub(super) compiled: Compiled,
    pub(super) pace: Pace,
    /// Bytes of machine code.
    pub(super) code_bytes: u64,
}

/// The plugins that are ready: the built-in ones, and at most [`LOADED_PLUGINS`] others with [`LOADED_BYTES`] of
/// code, or as many more as are in use.
pub(super) struct Catalog {
    builtins: HashMap<Digest, Arc<Loaded>>,
    others: RwLock<Recent<Arc<Loaded>>>,
    in_use: InUse,
}

impl Catalog {
    /// An empty catalog, except for these plugins, which it never forgets. It forgets none that is in use, either.
    pub(super) fn new(builtins: impl IntoIterator<Item = Arc<Loaded>>, in_use: InUse) -> Self {
        let builtins = builtins.into_iter().map(|plugin| (plugin.info.digest.clone(), plugin));
        let others = RwLock::new(Recent::new(LOADED_PLUGINS, LOADED_BYTES));
        Self { builtins: builtins.collect(), others, in_use }
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Arc<Loaded>> {
        if let Some(builtin) = self.builtins.get(digest) {
            return Some(Arc::clone(builtin));
        }
        self.others.read().unwrap_or_else(PoisonError::into_inner).get(digest).map(Arc::clone)
    }

    pub(super) fn insert(&self, plugin: Arc<Loaded>) {
        let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
        let is_in_use = |other: &Digest| self.in_use.has(other);
        others.insert(plugin.info.digest.clone(), plugin.code_bytes, plugin, is_in_use);
    }
}

/// A map that forgets the least recently used items when it holds too much, but none that is in use.
struct Recent<T> {
    most: usize,
    most_bytes: u64,
    items: HashMap<Digest, Item<T>>,
    uses: AtomicU64,
}

struct Item<T> {
    item: T,
    bytes: u64,
    used: AtomicU64,
}

impl<T> Recent<T> {
    fn new(most: usize, most_bytes: u64) -> Self {
        Self { most, most_bytes, items: HashMap::new(), uses: AtomicU64::new(0) }
    }

    fn now(&self) -> u64 {
        self.uses.fetch_add(1, Ordering::Relaxed)
    }

    fn get(&self, digest: &Digest) -> Option<&T> {
        let found = self.items.get(digest)?;
        found.used.store(self.now(), Ordering::Relaxed);
        Some(&found.item)
    }

    fn insert(&mut self, digest: Digest, bytes: u64, item: T, is_in_use: impl Fn(&Digest) -> bool) {
        let used = AtomicU64::new(self.now());
        let new = digest.clone();
        self.items.insert(digest, Item { item, bytes, used });
        while self.is_over() {
            // The new item stays, however large it is: it is about to be used.
            let others = self.items.iter().filter(|&(other, _)| *other != new && !is_in_use(other));
            let oldest = others.min_by_key(|(_, it)| it.used.load(Ordering::Relaxed));
            let Some(oldest) = oldest.map(|(digest, _)| digest.clone()) else { return };
            self.items.remove(&oldest);
        }
    }

    fn is_over(&self) -> bool {
        let bytes: u64 = self.items.values().map(|it| it.bytes).sum();
        self.items.len() > self.most || bytes > self.most_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u32) -> Digest {
        Digest::of(&number.to_le_bytes())
    }

    fn kept(recent: &Recent<u32>) -> Vec<u32> {
        (0..9).filter(|number| recent.get(&digest(*number)).is_some()).collect()
    }

    #[test]
    fn what_was_not_used_for_longest_is_forgotten() {
        let mut recent = Recent::new(3, 100);
        for number in 0..3 {
            recent.insert(digest(number), 1, number, |_| false);
        }
        assert_eq!(recent.get(&digest(0)), Some(&0));
        recent.insert(digest(3), 1, 3, |_| false);
        recent.insert(digest(3), 1, 3, |_| false);
        assert_eq!(kept(&recent), [0, 2, 3]);
    }

    #[test]
    fn large_ones_are_fewer() {
        let mut recent = Recent::new(3, 100);
        recent.insert(digest(0), 60, 0, |_| false);
        recent.insert(digest(1), 40, 1, |_| false);
        assert_eq!(kept(&recent), [0, 1]);
        recent.insert(digest(2), 1, 2, |_| false);
        assert_eq!(kept(&recent), [1, 2]);
        recent.insert(digest(3), 101, 3, |_| false);
        assert_eq!(kept(&recent), [3]);
    }

    #[test]
    fn what_is_in_use_stays_and_goes_once_it_is_not() {
        let mut recent = Recent::new(2, 100);
        let in_use = InUse::default();
        let held = in_use.hold([digest(0), digest(1), digest(2)]);
        for number in 0..4 {
            recent.insert(digest(number), 50, number, |other| in_use.has(other));
        }
        assert_eq!(kept(&recent), [0, 1, 2, 3], "there is nothing else that could go");
        recent.insert(digest(4), 50, 4, |other| in_use.has(other));
        assert_eq!(kept(&recent), [0, 1, 2, 4]);
        drop(held);
        recent.insert(digest(5), 50, 5, |other| in_use.has(other));
        assert_eq!(kept(&recent), [4, 5]);
    }
}
