//! Playbooks, clusters and plugins: what people apply and upload.

use std::ops::Bound;

use bytes::Bytes;
use semver::Version;

use super::damaged::Damaged;
use super::state::{RunEntry, State};
use crate::contract::Result;
use crate::damage::{Damage, Found, PLUGIN_BYTES};
use crate::documents::{Cluster, Object, Page, Plugin, PluginSignature, Put, StoredPlaybook};
use crate::error::StoreError;
use crate::keys::{page_limit, playbook_cursor, plugin_cursor};
use crate::options::Moment;
use replibook_core::playbook::Playbook;
use replibook_core::run::Digest;

impl State {
    pub(super) fn put_playbook(&mut self, new: &StoredPlaybook) -> Result<Put> {
        let Playbook { name, version, plugins, .. } = &new.playbook;
        let key = (name.clone(), version.clone());
        let place = Damaged::Playbook(name.clone(), version.clone());
        match self.playbooks.get(&key).map(|known| known.content == new.content) {
            Some(true) if !self.damaged.contains(&place) => return Ok(Put::Unchanged),
            Some(true) | None => {}
            Some(false) => {
                let what = format!("playbook {name} version {version}");
                return Err(StoreError::Conflict { what });
            }
        }
        self.pinned_are_there(plugins.values().map(|pin| &pin.digest))?;
        self.damaged.remove(&place);
        match self.playbooks.insert(key, new.clone()) {
            Some(_) => Ok(Put::Updated),
            None => Ok(Put::Created),
        }
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

    pub(super) fn playbook(
        &self,
        name: &str,
        version: Option<&Version>,
    ) -> Result<Option<StoredPlaybook>> {
        let found = self
            .playbooks
            .iter()
            .rfind(|((n, v), _)| n == name && version.is_none_or(|version| v == version));
        Ok(found.map(|found| self.intact_playbook(found)).transpose()?)
    }

    fn intact_playbook(
        &self,
        ((name, version), playbook): (&(String, Version), &StoredPlaybook),
    ) -> std::result::Result<StoredPlaybook, Damage> {
        let place = Damaged::Playbook(name.clone(), version.clone());
        self.intact("a playbook", &place, format!("{name}@{version}"), playbook)
    }

    pub(super) fn playbooks(&self, page: &Page) -> Result<Found<StoredPlaybook>> {
        let after = match playbook_cursor(page)? {
            Some((name, version)) => Bound::Excluded((name.to_owned(), version)),
            None => Bound::Unbounded,
        };
        let found = self.playbooks.range((after, Bound::Unbounded));
        let found = found.take(page_limit(page.limit) as usize);
        Ok(found.map(|found| self.intact_playbook(found)).collect())
    }

    pub(super) fn delete_playbook(&mut self, name: &str, version: &Version) -> bool {
        self.damaged.remove(&Damaged::Playbook(name.to_owned(), version.clone()));
        self.playbooks.remove(&(name.to_owned(), version.clone())).is_some()
    }

    pub(super) fn put_cluster(&mut self, new: &Cluster) -> Put {
        let name = &new.spec.name;
        let is_damaged = self.damaged.remove(&Damaged::Cluster(name.clone()));
        match self.clusters.get(name).filter(|_| !is_damaged) {
            Some(known) if known.text == new.text && known.spec == new.spec => {
                return Put::Unchanged;
            }
            Some(_) | None => {}
        }
        match self.clusters.insert(name.clone(), new.clone()) {
            Some(_) => Put::Updated,
            None => Put::Created,
        }
    }

    pub(super) fn cluster(&self, name: &str) -> Result<Option<Cluster>> {
        let found = self.clusters.get(name).map(|found| self.intact_cluster(found));
        Ok(found.transpose()?)
    }

    fn intact_cluster(&self, cluster: &Cluster) -> std::result::Result<Cluster, Damage> {
        let name = cluster.spec.name.clone();
        self.intact("a cluster", &Damaged::Cluster(name.clone()), name, cluster)
    }

    pub(super) fn clusters(&self, page: &Page) -> Found<Cluster> {
        let after = match &page.after {
            Some(name) => Bound::Excluded(name.clone()),
            None => Bound::Unbounded,
        };
        let found = self.clusters.range((after, Bound::Unbounded)).map(|(_, found)| found);
        let found = found.take(page_limit(page.limit) as usize);
        found.map(|found| self.intact_cluster(found)).collect()
    }

    /// Keeps all of the documents, or none: if one can't be kept, those before it are taken back.
    pub(super) fn put_all(&mut self, objects: &[Object]) -> Result<Vec<Put>> {
        let before = (self.playbooks.clone(), self.clusters.clone(), self.damaged.clone());
        let put = objects.iter().map(|object| match object {
            Object::Playbook(playbook) => self.put_playbook(playbook),
            Object::Cluster(cluster) => Ok(self.put_cluster(cluster)),
        });
        let put: Result<Vec<Put>> = put.collect();
        if put.is_err() {
            (self.playbooks, self.clusters, self.damaged) = before;
        }
        put
    }

    pub(super) fn delete_cluster(&mut self, name: &str) -> Result<bool> {
        let is_of_it = |entry: &&RunEntry| !entry.finished() && entry.run.snapshot.cluster == name;
        if let Some(entry) =
            self.runs.values().find(is_of_it).filter(|_| self.clusters.contains_key(name))
        {
            let (cluster, run) = (name.to_owned(), entry.run.id());
            return Err(StoreError::ClusterInUse { cluster, run });
        }
        // All its runs have ended, so nobody holds the lock.
        self.locks.remove(name);
        Ok(self.clusters.remove(name).is_some())
    }

    pub(super) fn put_plugin(&mut self, plugin: &Plugin, bytes: Bytes) -> Put {
        let digest = &plugin.info.digest;
        let is_damaged = self.damaged.remove(&Damaged::Plugin(digest.clone()))
            | self.damaged.remove(&Damaged::PluginBytes(digest.clone()));
        if let Some((known, _)) = self.plugins.get_mut(digest) {
            if !is_damaged {
                let learnt = known.learn(&plugin.provenance);
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
        let pinned = |by| Err(StoreError::Pinned { digest: digest.clone(), by });
        let pins = |playbook: &Playbook| playbook.plugins.values().any(|p| p.digest == *digest);
        if let Some(found) = self.playbooks.values().find(|found| pins(&found.playbook)) {
            let Playbook { name, version, .. } = &found.playbook;
            return pinned(format!("playbook {name} version {version}"));
        }
        if let Some(entry) = self.all_live(at).find(|entry| pins(&entry.run.snapshot.playbook)) {
            return pinned(format!("run {}", entry.run.id()));
        }
        Ok(self.plugins.remove(digest).is_some())
    }
}
