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
        let of = Arc::new(of);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(run, of.clone());
        Ok(Some(of))
    }
}
