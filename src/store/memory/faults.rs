//! Faults on demand, for tests of what stands on a store. Only builds with the feature `faults` have them;
//! `faultless.rs` takes their place in any other.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::store::MemoryStore;
use crate::contract::Result;
use crate::error::StoreError;
use replibook_core::run::{Millis, RunId, Writes};

/// When a call fails that is to fail. A caller can't tell the two apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultMoment {
    /// Before it took effect: the request was lost.
    Before,
    /// After it took effect: the answer was lost.
    After,
}

/// Which calls of a [`MemoryStore`](super::MemoryStore) fail with
/// [`StoreError::Unavailable`]. At first none does.
#[derive(Debug, Default)]
pub struct Faults(Mutex<Plan>);

#[derive(Clone, Debug, Default)]
struct Plan {
    commits: Option<(u32, FaultMoment)>,
    calls: Option<FaultMoment>,
    spare_pings: bool,
    impossible: BTreeSet<RunId>,
    endless: BTreeSet<RunId>,
    ends_take: Millis,
}

impl MemoryStore {
    /// Which calls fail.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }
}

impl Faults {
    /// Makes the next `count` commits fail, in place of what was asked for commits before.
    pub fn fail_commits(&self, count: u32, moment: FaultMoment) {
        self.plan().commits = Some((count, moment));
    }

    /// Makes every call fail until [`heal`](Self::heal).
    pub fn fail_calls(&self, moment: FaultMoment) {
        let mut plan = self.plan();
        (plan.calls, plan.spare_pings) = (Some(moment), false);
    }

    /// Makes every call fail until [`heal`](Self::heal), but for pings: the store is there, and can't do what it is
    /// asked for.
    pub fn fail_calls_but_pings(&self, moment: FaultMoment) {
        let mut plan = self.plan();
        (plan.calls, plan.spare_pings) = (Some(moment), true);
    }

    /// Refuses every commit to a run as too large, until [`heal`](Self::heal).
    pub fn refuse_commits(&self, run: RunId) {
        self.plan().impossible.insert(run);
    }

    /// Refuses what would end a run, as a store does that can't write to one of its indexes: its last commit
    /// and each part of its end once it is abandoned, until [`heal`](Self::heal).
    pub fn refuse_end(&self, run: RunId) {
        self.plan().endless.insert(run);
    }

    /// Makes each part of the end of an abandoned run take so long, until [`heal`](Self::heal).
    pub fn slow_ends(&self, part: Millis) {
        self.plan().ends_take = part;
    }

    /// Refuses a commit if it is to be refused.
    pub(super) fn check_commit(&self, run: RunId, writes: &Writes) -> Result<()> {
        if self.plan().impossible.contains(&run) {
            return Err(StoreError::TooLarge { found: 1, unit: "bytes", limit: 0 });
        }
        match writes.progress.as_ref().and_then(|progress| progress.finish_ts) {
            Some(_) => self.check_end(run),
            None => Ok(()),
        }
    }

    /// Refuses the end of a run that is to be refused.
    pub(super) fn check_end(&self, run: RunId) -> Result<()> {
        match self.plan().endless.contains(&run) {
            true => Err(StoreError::Corrupt {
                what: format!("the end of run {run}"),
                source: "refused, as asked".into(),
            }),
            false => Ok(()),
        }
    }

    /// Whether pings are answered whatever becomes of other calls.
    pub(super) fn spare_pings(&self) -> bool {
        self.plan().spare_pings
    }

    /// How long one part of the end of an abandoned run takes.
    pub(super) fn ends_take(&self) -> Millis {
        self.plan().ends_take
    }

    /// Ends all faults. What was damaged stays damaged.
    pub fn heal(&self) {
        *self.plan() = Plan::default();
    }

    /// Makes one call, failing before or after `work` if a fault says so.
    pub(super) fn around<T>(&self, commit: bool, work: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.take(commit) {
            None => work(),
            Some(FaultMoment::Before) => Err(fault("the request was lost, as asked")),
            Some(FaultMoment::After) => {
                let _ = work()?;
                Err(fault("the answer was lost, as asked"))
            }
        }
    }

    fn take(&self, commit: bool) -> Option<FaultMoment> {
        let mut plan = self.plan();
        if plan.calls.is_some() || !commit {
            return plan.calls;
        }
        let (count, moment) = plan.commits?;
        plan.commits = count.checked_sub(1).map(|left| (left, moment));
        (count > 0).then_some(moment)
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fault(message: &str) -> StoreError {
    StoreError::Unavailable { message: message.to_owned(), source: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_fail_as_often_as_asked_and_nothing_else_does() {
        let faults = Faults::default();
        faults.fail_commits(2, FaultMoment::Before);
        let call = |commit| {
            let mut done = false;
            let result = faults.around(commit, || {
                done = true;
                Ok(())
            });
            (done, result.is_ok())
        };
        assert_eq!(call(false), (true, true));
        assert_eq!(
            [call(true), call(true), call(true)],
            [(false, false), (false, false), (true, true)]
        );

        faults.fail_commits(1, FaultMoment::After);
        assert_eq!([call(true), call(true)], [(true, false), (true, true)]);

        faults.fail_calls(FaultMoment::Before);
        assert_eq!([call(false), call(true)], [(false, false), (false, false)]);
        faults.heal();
        assert_eq!(call(false), (true, true));
    }
}
