//! The simulator has to notice every mistake that can be made on purpose: `make mutants`.

use replibook::mutants::{Mutant, choose};

use crate::campaign::{say, search};

/// How many histories it may take to notice a mistake: as many as each test run plays.
const SEEDS: u64 = crate::SEEDS;

#[test]
fn every_mistake_is_noticed() {
    // Plays only this mutant, to look at it again and again.
    let only = std::env::var("REPLIBOOK_MUTANT").ok();
    let is_meant =
        |mutant: &&Mutant| only.as_ref().is_none_or(|name| format!("{mutant:?}") == *name);
    let mut unnoticed = Vec::new();
    for &mutant in Mutant::ALL.iter().filter(is_meant) {
        let (failed, played) = search(0..SEEDS, 1, || choose(Some(mutant)));
        match failed.first() {
            Some(failure) => {
                let (seed, rule) = (failure.seed, failure.violation.rule);
                say(&format!("{mutant:?} is noticed by seed {seed}: \"{rule}\" ({played} played)"));
            }
            None => unnoticed.push(mutant),
        }
    }
    assert!(unnoticed.is_empty(), "{SEEDS} histories did not notice {unnoticed:?}");
}
