//! A store whose calls fail only where they should: what is built without the feature `faults` has this in the
//! place of `faults.rs`.

use crate::contract::Result;
use replibook_core::run::{Millis, RunId, Writes};

#[derive(Debug, Default)]
pub(super) struct Faults {}

impl Faults {
    pub(super) const fn check_commit(&self, _run: RunId, _writes: &Writes) -> Result<()> {
        Ok(())
    }

    pub(super) const fn check_end(&self, _run: RunId) -> Result<()> {
        Ok(())
    }

    pub(super) const fn spare_pings(&self) -> bool {
        false
    }

    pub(super) const fn ends_take(&self) -> Millis {
        Millis(0)
    }

    pub(super) fn around<T>(&self, _commit: bool, work: impl FnOnce() -> Result<T>) -> Result<T> {
        work()
    }
}
