//! The files by which the server of an engine goes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::run::Digest;

/// What files are called, with the digests of their contents, or none where the server has no such file.
type Sums = BTreeMap<String, Option<Digest>>;

/// Says which contents of its files the server goes by. It is asked before each report of the engine, since files change.
/// The default says nothing of any file.
#[derive(Clone)]
pub struct FileSums(Arc<dyn Fn() -> Sums + Send + Sync>);

impl FileSums {
    /// Asks `sums` each time.
    pub fn of(sums: impl Fn() -> Sums + Send + Sync + 'static) -> Self {
        Self(Arc::new(sums))
    }

    pub(super) fn now(&self) -> Sums {
        (self.0)()
    }
}

impl Default for FileSums {
    fn default() -> Self {
        Self::of(BTreeMap::new)
    }
}

impl fmt::Debug for FileSums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FileSums").field(&self.now()).finish()
    }
}
