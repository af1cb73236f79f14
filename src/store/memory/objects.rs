//! Playbooks and clusters: what people apply.

use std::ops::Bound;

use semver::Version;

use super::damaged::Damaged;
use super::state::{RunEntry, State};
use crate::contract::Result;
use crate::damage::{Damage, Found};
use crate::documents::{Cluster, Object, Page, Put, StoredPlaybook, gets_guards};
use crate::error::StoreError;
use crate::keys::{page_limit, playbook_cursor};
use replibook_core::playbook::Playbook;

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
        self.pin(plugins.values().map(|pin| &pin.digest));
        self.damaged.remove(&place);
        match self.playbooks.insert(key, new.clone()) {
            Some(_) => Ok(Put::Updated),
            None => Ok(Put::Created),
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

    pub(super) fn put_cluster(&mut self, new: &Cluster) -> Result<Put> {
        let name = &new.spec.name;
        let place = Damaged::Cluster(name.clone());
        let known = self.clusters.get(name).filter(|_| !self.damaged.contains(&place));
        match known {
            Some(known) if known.text == new.text && known.spec == new.spec => {
                return Ok(Put::Unchanged);
            }
            Some(_) | None => {}
        }
        if gets_guards(known, new) {
            self.lock_with_guards(name)?;
        }
        self.damaged.remove(&place);
        match self.clusters.insert(name.clone(), new.clone()) {
            Some(_) => Ok(Put::Updated),
            None => Ok(Put::Created),
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
        let plugins = self.plugins.clone();
        let before = (self.playbooks.clone(), self.clusters.clone(), self.damaged.clone());
        let locks = self.locks.clone();
        let put = objects.iter().map(|object| match object {
            Object::Playbook(playbook) => self.put_playbook(playbook),
            Object::Cluster(cluster) => self.put_cluster(cluster),
        });
        let put: Result<Vec<Put>> = put.collect();
        if put.is_err() {
            (self.playbooks, self.clusters, self.damaged) = before;
            (self.plugins, self.locks) = (plugins, locks);
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
}
