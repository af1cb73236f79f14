//! Mistakes that are made on purpose, which the random histories must find.

use proptest::test_runner::{Config, TestRunner};
use replibook_core::mutants::{Mutant, choose};

use super::histories::{play, settings};

#[test]
fn mistakes_with_guards_are_found() {
    for mutant in [
        Mutant::GuardsBeforeOthers,
        Mutant::RemovedGuarded,
        Mutant::ShareRoundedUp,
        Mutant::WindowInUtc,
        Mutant::FactsKept,
    ] {
        choose(Some(mutant));
        let config = Config {
            cases: 5_000,
            max_shrink_iters: 0,
            failure_persistence: None,
            ..Config::default()
        };
        let found = TestRunner::new(config).run(&settings(), |setting| {
            play(setting).map_err(proptest::test_runner::TestCaseError::fail)
        });
        choose(None);
        assert!(found.is_err(), "{mutant:?} was not found");
    }
}
