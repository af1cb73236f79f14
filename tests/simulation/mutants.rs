//! The simulator has to notice each mistake that can be made on purpose: `make mutants`.

use replibook::mutants::{Mutant, choose};

use crate::campaign::{say, search};

/// Histories within which a mistake has to be noticed: as many as every run of the tests plays.
const SEEDS: u64 = crate::SEEDS;

#[test]
fn every_mistake_is_noticed() {
    let mut unnoticed = Vec::new();
    for &mutant in Mutant::ALL {
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
