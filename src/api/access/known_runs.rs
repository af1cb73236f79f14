//! Remembers which playbook and cluster a run is of: neither ever changes, and each request for a run asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::api::error::ApiError;
use crate::playbook::access::Object;
use crate::run::RunId;
use crate::store::Store;

/// How many runs are remembered. Each takes some 200 bytes.
const MAX_KNOWN: usize = 20_000;

/// Which playbook and cluster a run is of, as far as that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::api) struct RunOf {
    pub(in crate::api) playbook: String,
    pub(in crate::api) cluster: String,
}

impl RunOf {
    pub(in crate::api) fn object(&self) -> Object<'_> {
        Object::Run { playbook: &self.playbook, cluster: &self.cluster }
    }
}

/// The runs that are remembered.
#[derive(Debug, Default)]
pub(in crate::api) struct KnownRuns {
    known: Mutex<HashMap<RunId, Arc<RunOf>>>,
}

impl KnownRuns {
    /// What a run is of. `None` if there is no such run, or nobody can tell because its documents are damaged.
    pub(in crate::api) async fn of(
        &self,
        store: &dyn Store,
        run: RunId,
    ) -> Result<Option<Arc<RunOf>>, ApiError> {
        let found = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&run).cloned();
        if found.is_some() {
            return Ok(found);
        }
        let Some(Ok(found)) = store.read_run(run).await? else { return Ok(None) };
        let snapshot = found.snapshot;
        let of =
            RunOf { playbook: snapshot.playbook.name.clone(), cluster: snapshot.cluster.clone() };
        Ok(Some(self.remember(run, of)))
    }

    fn remember(&self, run: RunId, of: RunOf) -> Arc<RunOf> {
        let of = Arc::new(of);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            // They are read again when somebody asks for them.
            known.clear();
        }
        known.insert(run, of.clone());
        of
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::store::StoreOptions;
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn so_many_runs_are_remembered_and_no_more() {
        let known = KnownRuns::default();
        let of = RunOf { playbook: "restart".to_owned(), cluster: "eu".to_owned() };
        let run = |number: usize| RunId(uuid::Uuid::from_u128(number as u128));
        let count = || known.known.lock().unwrap().len();
        for number in 0..MAX_KNOWN {
            known.remember(run(number), of.clone());
        }
        assert_eq!(count(), MAX_KNOWN);
        known.remember(run(MAX_KNOWN), of.clone());
        assert_eq!(count(), 1);
        // The last one is known, and the first is looked for in the store, which does not have it.
        let store = MemoryStore::new(StoreOptions::default(), Arc::new(SystemClock));
        let found = async |number| known.of(&store, run(number)).await.unwrap();
        assert_eq!(found(MAX_KNOWN).await.as_deref(), Some(&of));
        assert_eq!(found(0).await, None);
    }
}
