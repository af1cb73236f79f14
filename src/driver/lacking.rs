//! Runs whose secrets this engine can't read, or whose cluster it has no credentials for. It leaves them to engines that
//! can, for a while: what is lacking may come. Where no other engine has it either, by the names that engines report, the
//! run stays where it is: it would only go back and forth.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::run::{Digest, Millis, RunId, Timestamp};
use crate::store::{CREDENTIALS_FOLDER, SECRETS_FOLDER};

/// How long a run is left alone. After that it is looked at again, which costs loading it.
const LEFT_FOR: Millis = Millis::from_secs(10);

/// The most runs that are remembered. A claim names each of them to the store.
const REMEMBERED: usize = 200;

/// The most runs that stay in this engine although it lacks something for them. Each is in memory, and counts among those
/// that wait here: with more, no room would be left for others of their cluster.
const KEPT: usize = 20;

/// The files by which the server of an engine goes, as it reports them.
type Sums = BTreeMap<String, Option<Digest>>;

/// Whether an engine has something that a run needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Lack {
    /// It does, or the run needs nothing.
    #[default]
    No,
    /// It has nothing of the name.
    Name,
    /// It can't use what has the name.
    Use,
}

impl Lack {
    const fn is_any(self) -> bool {
        match self {
            Self::No => false,
            Self::Name | Self::Use => true,
        }
    }

    /// Whether another engine may have it. Engines report names, and not what can be used of them.
    const fn may_be_where(self, names_differ: bool) -> bool {
        match self {
            Self::No | Self::Use => true,
            Self::Name => names_differ,
        }
    }
}

/// What an engine lacks for a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lacks {
    pub(super) secrets: Lack,
    pub(super) credentials: Lack,
}

impl Lacks {
    pub(super) const fn any(self) -> bool {
        self.secrets.is_any() || self.credentials.is_any()
    }
}

/// Another engine that takes runs, and which of its names may be others than here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Other {
    secrets: bool,
    credentials: bool,
}

impl Other {
    /// By what both report. An engine that says nothing of its names may have any.
    pub(super) fn of(own: &Sums, other: &Sums) -> Self {
        let differ = |file| match (own.get(file), other.get(file)) {
            (Some(own), Some(other)) => own != other,
            (None, _) | (_, None) => true,
        };
        Self { secrets: differ(SECRETS_FOLDER), credentials: differ(CREDENTIALS_FOLDER) }
    }
}

/// The runs that are left to other engines, and until when.
#[derive(Debug, Default)]
pub(super) struct Lacking(Mutex<Runs>);

#[derive(Debug, Default)]
struct Runs {
    left: BTreeMap<RunId, Timestamp>,
    /// Runs of which the log says already what is lacking. Of more than may be remembered it says it again.
    told: BTreeSet<RunId>,
    /// The other engines that take runs.
    others: Vec<Other>,
    /// How many runs stay here.
    kept: usize,
}

/// A run stays in this engine until this is dropped.
#[derive(Debug)]
pub(super) struct Staying(Arc<Lacking>);

impl Drop for Staying {
    fn drop(&mut self) {
        let mut runs = self.0.lock();
        runs.kept = runs.kept.saturating_sub(1);
    }
}

impl Lacking {
    /// Leaves a run to others from now on.
    pub(super) fn note(&self, run: RunId, now: Timestamp) {
        let mut runs = self.lock();
        if runs.left.len() < REMEMBERED {
            runs.left.insert(run, now.plus(LEFT_FOR));
        }
    }

    /// The runs that are left to others at this moment.
    pub(super) fn runs(&self, now: Timestamp) -> Vec<RunId> {
        let mut runs = self.lock();
        runs.forget(now);
        runs.left.keys().copied().collect()
    }

    /// Notes which other engines take runs, by what engines last reported.
    pub(super) fn others(&self, others: Vec<Other>) {
        self.lock().others = others;
    }

    /// Whether there are others to which a run can be given that goes on here.
    pub(super) fn has_others(&self) -> bool {
        !self.lock().others.is_empty()
    }

    /// Keeps a run here that lacks this, if there are other engines and none of them can have it. `None` if it is to be left
    /// to others, or if too many stay here already.
    pub(super) fn keep(self: &Arc<Self>, lacks: Lacks) -> Option<Staying> {
        let mut runs = self.lock();
        if !runs.is_nowhere(lacks) || runs.kept >= KEPT {
            return None;
        }
        runs.kept += 1;
        Some(Staying(Arc::clone(self)))
    }

    /// Whether such a run would stay here.
    pub(super) fn may_keep(&self, lacks: Lacks) -> bool {
        let runs = self.lock();
        runs.is_nowhere(lacks) && runs.kept < KEPT
    }

    /// Whether there are other engines, and none of them can have what is lacking.
    pub(super) fn is_nowhere(&self, lacks: Lacks) -> bool {
        self.lock().is_nowhere(lacks)
    }

    /// Whether one more run can be left to others now. One that can't be is claimed again at once.
    pub(super) fn has_room(&self, now: Timestamp) -> bool {
        let mut runs = self.lock();
        runs.forget(now);
        runs.left.len() < REMEMBERED
    }

    /// Whether it has to be said what this engine lacks for a run: it is said once.
    pub(super) fn is_new(&self, run: RunId) -> bool {
        let mut runs = self.lock();
        let is_new = runs.told.insert(run);
        if runs.told.len() > REMEMBERED {
            runs.told.retain(|told| *told == run);
        }
        is_new
    }

    /// The engine lacks nothing for the run any more.
    pub(super) fn found(&self, run: RunId) {
        self.lock().told.remove(&run);
    }

    fn lock(&self) -> MutexGuard<'_, Runs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runs {
    fn is_nowhere(&self, lacks: Lacks) -> bool {
        let may_have = |other: &Other| {
            lacks.secrets.may_be_where(other.secrets)
                && lacks.credentials.may_be_where(other.credentials)
        };
        lacks.any() && !self.others.is_empty() && !self.others.iter().any(may_have)
    }

    fn forget(&mut self, now: Timestamp) {
        // A clock that was set back must not make them wait for longer.
        self.left.retain(|_, until| now < *until && until.since(now) <= LEFT_FOR);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_run_is_left_for_a_while_and_not_too_many_are() {
        let lacking = Lacking::default();
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        let run = |number: u128| RunId(Uuid::from_u128(number));
        lacking.note(run(1), at(100));
        assert_eq!(lacking.runs(at(109)), [run(1)]);
        assert_eq!(lacking.runs(at(110)), []);
        lacking.note(run(1), at(100));
        assert_eq!(lacking.runs(at(50)), [], "the clock was set back");
        for number in 0..1_000 {
            lacking.note(run(number), at(100));
        }
        assert_eq!(lacking.runs(at(100)).len(), REMEMBERED);
        assert!(!lacking.has_room(at(109)) && lacking.has_room(at(110)));
    }

    #[test]
    fn that_a_secret_is_lacking_is_said_once_until_it_is_found() {
        let lacking = Lacking::default();
        let run = |number: u128| RunId(Uuid::from_u128(number));
        assert!(lacking.is_new(run(1)) && !lacking.is_new(run(1)) && lacking.is_new(run(2)));
        lacking.found(run(1));
        assert!(lacking.is_new(run(1)) && !lacking.is_new(run(2)));
        for number in 0..1_000 {
            lacking.is_new(run(number));
        }
        assert!(lacking.lock().told.len() <= REMEMBERED);
    }
    fn sums(secrets: &[u8], credentials: Option<&[u8]>) -> Sums {
        BTreeMap::from([
            (SECRETS_FOLDER.to_owned(), Some(Digest::of(secrets))),
            (CREDENTIALS_FOLDER.to_owned(), credentials.map(Digest::of)),
        ])
    }

    #[test]
    fn what_has_the_same_names_lacks_the_same() {
        let own = sums(b"a", None);
        let lacking = Lacking::default();
        let is_nowhere = |others: &[&Sums], secrets, credentials| {
            lacking.others(others.iter().map(|other| Other::of(&own, other)).collect());
            lacking.is_nowhere(Lacks { secrets, credentials })
        };
        let (same, silent) = (sums(b"a", None), Sums::new());
        let (secrets, credentials) = (sums(b"b", None), sums(b"a", Some(b"c")));
        for (others, lacks, expected) in [
            (&[][..], (Lack::Name, Lack::No), false),
            (&[&same], (Lack::Name, Lack::No), true),
            (&[&same], (Lack::No, Lack::Name), true),
            (&[&same], (Lack::No, Lack::No), false),
            (&[&same], (Lack::Use, Lack::No), false),
            (&[&same], (Lack::Use, Lack::Name), true),
            (&[&same, &silent], (Lack::Name, Lack::No), false),
            (&[&secrets], (Lack::Name, Lack::No), false),
            (&[&secrets], (Lack::No, Lack::Name), true),
            (&[&secrets, &credentials], (Lack::No, Lack::Name), false),
            // Each has one of the two, and none has both.
            (&[&secrets, &credentials], (Lack::Name, Lack::Name), true),
        ] {
            assert_eq!(is_nowhere(others, lacks.0, lacks.1), expected, "{others:?} {lacks:?}");
        }
    }

    #[test]
    fn only_so_many_runs_stay() {
        let lacking = Arc::new(Lacking::default());
        let lacks = Lacks { secrets: Lack::Name, credentials: Lack::No };
        let own = sums(b"a", None);
        lacking.others(vec![Other::of(&own, &own)]);
        let mut kept: Vec<_> = (0..KEPT).map(|_| lacking.keep(lacks).unwrap()).collect();
        assert!(lacking.keep(lacks).is_none());
        kept.pop();
        assert!(lacking.keep(lacks).is_some());
    }
}
