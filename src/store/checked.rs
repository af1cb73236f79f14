//! What a look at every document of a store finds. Such a look goes on past damage, so that one call shows all of
//! it.

use std::collections::BTreeMap;

use super::damage::Damage;
use replibook_core::run::RunId;

/// How many flaws are kept in full. All are counted, but people look at the first ones, and a failing disk damages
/// many documents at once.
pub const MAX_FLAWS: usize = 1_000;

/// The result of looking at every document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// How many documents of each kind were looked at, damaged ones too, by the name of the table or collection.
    pub read: BTreeMap<&'static str, u64>,
    /// The first [`MAX_FLAWS`] documents that can't be read, or that don't fit the others.
    pub flaws: Vec<Flaw>,
    /// How many such documents there are, including those that [`flaws`](Self::flaws) does not have.
    pub found: u64,
}

/// One document that can't be read, or that doesn't fit the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Name of its table or collection.
    pub place: &'static str,
    /// The run that it belongs to, if that is known.
    pub run: Option<RunId>,
    /// Which document it is, and what is wrong with it.
    pub damage: Damage,
}

impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.place)?;
        if let Some(run) = self.run {
            write!(f, "run {run}: ")?;
        }
        write!(f, "{}", self.damage)
    }
}

impl Checked {
    /// Whether every document can be read and fits the others.
    pub fn is_fine(&self) -> bool {
        self.found == 0
    }

    /// Counts a document.
    pub(super) fn read(&mut self, place: &'static str) {
        *self.read.entry(place).or_default() += 1;
    }

    /// Lists a place, even if there is nothing in it.
    pub(super) fn looked_at(&mut self, place: &'static str) {
        self.read.entry(place).or_default();
    }

    /// Records what is wrong with a document.
    pub(super) fn flaw(&mut self, place: &'static str, run: Option<RunId>, damage: Damage) {
        self.found += 1;
        if self.flaws.len() < MAX_FLAWS {
            self.flaws.push(Flaw { place, run, damage });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_flaws_are_kept_and_all_are_counted() {
        let mut checked = Checked::default();
        assert!(checked.is_fine());
        for key in 0..MAX_FLAWS + 7 {
            checked.flaw("logs", None, Damage::new("a log line", key.to_string(), &"cut"));
        }
        assert_eq!((checked.flaws.len(), checked.found), (MAX_FLAWS, MAX_FLAWS as u64 + 7));
        let said = checked.flaws[0].to_string();
        assert_eq!(said, "logs: a log line (0) in the store is damaged: cut");
    }
}
