//! Plugins, their bytes, and what pins them.

use std::collections::BTreeSet;
use std::ops::Bound;

use bytes::Bytes;

use super::damaged::Damaged;
use super::state::State;
use crate::contract::{MAX_PAGE, MAX_SWEPT_PLUGINS, Result};
use crate::damage::{Damage, Found, PLUGIN_BYTES};
use crate::documents::{Page, Plugin, PluginSignature, Put, SweptPlugins};
use crate::error::StoreError;
use crate::keys::{page_limit, plugin_cursor};
use crate::options::Moment;
use crate::upkeep::{Fate, fate, goes_on_after};
use replibook_core::playbook::Playbook;
use replibook_core::run::Digest;

impl State {
    pub(super) fn put_plugin(&mut self, plugin: &Plugin, bytes: Bytes) -> Put {
        let digest = &plugin.info.digest;
        let is_damaged = self.damaged.remove(&Damaged::Plugin(digest.clone()))
            | self.damaged.remove(&Damaged::PluginBytes(digest.clone()));
        if let Some((known, _)) = self.plugins.get_mut(digest) {
            if !is_damaged {
                let learnt = known.learn(&plugin.provenance);
                if let Some(at) = plugin.unpinned_at {
                    known.renew(at);
                }
                return if learnt { Put::Updated } else { Put::Unchanged };
            }
            known.clone_from(plugin);
            return Put::Updated;
        }
        self.plugins.insert(digest.clone(), (plugin.clone(), bytes));
        Put::Created
    }

    pub(super) fn sign_plugin(
        &mut self,
        digest: &Digest,
        signatures: &[PluginSignature],
    ) -> Result<Option<Plugin>> {
        let Some(mut plugin) = self.plugin(digest)? else { return Ok(None) };
        plugin.sign(signatures)?;
        if let Some((known, _)) = self.plugins.get_mut(digest) {
            known.clone_from(&plugin);
        }
        Ok(Some(plugin))
    }

    pub(super) fn plugin(&self, digest: &Digest) -> Result<Option<Plugin>> {
        let found = self.plugins.get(digest).map(|(plugin, _)| self.intact_plugin(plugin));
        Ok(found.transpose()?)
    }

    pub(super) fn plugin_bytes(&self, digest: &Digest) -> Result<Option<Bytes>> {
        let Some((_, bytes)) = self.plugins.get(digest) else { return Ok(None) };
        let place = Damaged::PluginBytes(digest.clone());
        Ok(Some(self.intact(PLUGIN_BYTES, &place, digest.to_string(), bytes)?))
    }

    fn intact_plugin(&self, plugin: &Plugin) -> std::result::Result<Plugin, Damage> {
        let digest = plugin.info.digest.clone();
        self.intact("a plugin", &Damaged::Plugin(digest.clone()), digest.to_string(), plugin)
    }

    pub(super) fn plugin_by_name(&self, name: &str, version: &str) -> Result<Option<Plugin>> {
        let named = self.plugins.values().map(|(plugin, _)| plugin);
        let named = named.filter(|p| p.info.name == name && p.info.version == version);
        let last = named.max_by_key(|plugin| (plugin.added_at, &plugin.info.digest));
        Ok(last.map(|plugin| self.intact_plugin(plugin)).transpose()?)
    }

    pub(super) fn plugins(&self, page: &Page) -> Result<Found<Plugin>> {
        let after = match plugin_cursor(page)? {
            Some(digest) => Bound::Excluded(digest),
            None => Bound::Unbounded,
        };
        let found = self.plugins.range((after, Bound::Unbounded)).map(|(_, (plugin, _))| plugin);
        let found = found.take(page_limit(page.limit) as usize);
        Ok(found.map(|found| self.intact_plugin(found)).collect())
    }

    pub(super) fn delete_plugin(&mut self, digest: &Digest, at: &Moment) -> Result<bool> {
        if let Some(by) = self.pinned_by(digest, at) {
            return Err(StoreError::Pinned { digest: digest.clone(), by });
        }
        Ok(self.plugins.remove(digest).is_some())
    }

    /// What pins a plugin, as human-readable text: a playbook, or a run that has not expired. None if nothing does.
    fn pinned_by(&self, digest: &Digest, at: &Moment) -> Option<String> {
        let pins = |playbook: &Playbook| playbook.plugins.values().any(|p| p.digest == *digest);
        if let Some(found) = self.playbooks.values().find(|found| pins(&found.playbook)) {
            let Playbook { name, version, .. } = &found.playbook;
            return Some(format!("playbook {name} version {version}"));
        }
        let run = self.all_live(at).find(|entry| pins(&entry.run.snapshot.playbook));
        run.map(|entry| format!("run {}", entry.run.id()))
    }

    /// Fails if a digest is not in the store, naming the lowest such digest.
    pub(super) fn pinned_are_there<'a>(
        &self,
        digests: impl Iterator<Item = &'a Digest>,
    ) -> Result<()> {
        match digests.filter(|digest| !self.plugins.contains_key(*digest)).min() {
            Some(digest) => Err(StoreError::MissingPlugin { digest: digest.clone() }),
            None => Ok(()),
        }
    }

    /// Ends the retention of plugins that are pinned from now on.
    pub(super) fn pin<'a>(&mut self, digests: impl Iterator<Item = &'a Digest>) {
        for digest in digests {
            if let Some((plugin, _)) = self.plugins.get_mut(digest) {
                plugin.unpinned_at = None;
            }
        }
    }

    pub(super) fn renew_plugins(&mut self, digests: &[Digest], at: &Moment) -> u64 {
        let digests: BTreeSet<_> = digests.iter().take(MAX_PAGE as usize).collect();
        let mut there = 0;
        for digest in digests {
            if let Some((plugin, _)) = self.plugins.get_mut(digest) {
                there += 1;
                plugin.renew(at.now);
            }
        }
        there
    }

    pub(super) fn sweep_plugins(&mut self, limit: u32, at: &Moment) -> Option<SweptPlugins> {
        let after = self.round.take(at)?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let limit = limit.min(MAX_SWEPT_PLUGINS);
        let next = self.plugins.range((from, Bound::Unbounded)).map(|(digest, _)| digest.clone());
        let next: Vec<_> = next.take(limit as usize).collect();
        self.round.after = goes_on_after(&next, limit).cloned();
        let looked_at = u32::try_from(next.len()).unwrap_or(limit);
        let removed = next.into_iter().filter(|digest| self.sweep_plugin(digest, at)).collect();
        Some(SweptPlugins { looked_at, removed })
    }

    /// Does what is to be done with one plugin. Returns whether it is gone.
    fn sweep_plugin(&mut self, digest: &Digest, at: &Moment) -> bool {
        let is_pinned = self.pinned_by(digest, at).is_some();
        if self.damaged.contains(&Damaged::Plugin(digest.clone())) {
            return false;
        }
        let Some((plugin, _)) = self.plugins.get_mut(digest) else { return false };
        match fate(plugin, is_pinned, at) {
            Fate::Stays => {}
            Fate::Pinned => plugin.unpinned_at = None,
            Fate::Unpinned => plugin.unpinned_at = Some(at.now),
            Fate::Goes => return self.plugins.remove(digest).is_some(),
        }
        false
    }
}
