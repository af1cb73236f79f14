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
    used: AtomicU64,
}

impl Loaded {
    pub(super) fn new(info: PluginInfo, compiled: Compiled) -> Self {
        Self { info, compiled, used: AtomicU64::new(0) }
    }
}

/// The plugins that are ready, at most [`LOADED_PLUGINS`] besides the built-in ones.
#[derive(Default)]
pub(super) struct Catalog {
    builtins: HashMap<Digest, Arc<Loaded>>,
    others: RwLock<HashMap<Digest, Arc<Loaded>>>,
    uses: AtomicU64,
}

impl Catalog {
    /// A catalog that never forgets these.
    pub(super) fn new(builtins: impl IntoIterator<Item = Arc<Loaded>>) -> Self {
        let builtins = builtins.into_iter().map(|plugin| (plugin.info.digest.clone(), plugin));
        Self { builtins: builtins.collect(), ..Self::default() }
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Arc<Loaded>> {
        if let Some(builtin) = self.builtins.get(digest) {
            return Some(Arc::clone(builtin));
        }
        let others = self.others.read().unwrap_or_else(PoisonError::into_inner);
        let plugin = others.get(digest)?;
        self.touch(plugin);
        Some(Arc::clone(plugin))
    }

    /// Keeps a plugin, and forgets the one that was not used for longest when there are too many.
    pub(super) fn insert(&self, plugin: Arc<Loaded>) {
        self.touch(&plugin);
        let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
        others.insert(plugin.info.digest.clone(), plugin);
        while others.len() > LOADED_PLUGINS {
            let used = |plugin: &Arc<Loaded>| plugin.used.load(Ordering::Relaxed);
            let oldest = others.iter().min_by_key(|(_, plugin)| used(plugin));
            let Some(oldest) = oldest.map(|(digest, _)| digest.clone()) else { return };
            others.remove(&oldest);
        }
    }

    fn touch(&self, plugin: &Loaded) {
        let now = self.uses.fetch_add(1, Ordering::Relaxed) + 1;
        plugin.used.store(now, Ordering::Relaxed);
    }
}
