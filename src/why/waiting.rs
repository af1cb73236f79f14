//! What keeps a run waiting that could go on otherwise, in words.

use super::words::quoted;
use crate::run::{FEWEST_PLACES, OnEngine, WaitsFor};

/// What it waits for, after "it" or "the run": the same words for all who tell it, and no number that changes
/// all the time.
pub fn words(waits: &WaitsFor) -> String {
    match waits {
        WaitsFor::Place(_) => "waits for a place on its engine".to_owned(),
        WaitsFor::AnyPlace { .. } => "waits for a place on an engine".to_owned(),
        WaitsFor::Engine => "waits for an engine: none is there; start a server".to_owned(),
        WaitsFor::Undrained(1) => "waits for an engine: the only one is being drained".to_owned(),
        WaitsFor::Undrained(all) => format!("waits for an engine: all {all} are being drained"),
        WaitsFor::RightClock { name, .. } => {
            format!("waits for an engine: the clock of {name:?} is wrong")
        }
        WaitsFor::CanWrite { name, .. } => {
            format!("waits for an engine: {name:?} is there, but can't write to the store")
        }
        WaitsFor::Secrets { .. } => {
            "waits for an engine that can read its secrets: this server's can't".to_owned()
        }
        WaitsFor::Credentials { .. } => {
            "waits for an engine that can use the credentials of its cluster: this server's can't"
                .to_owned()
        }
        WaitsFor::SecretsAndCredentials { .. } => {
            "waits for an engine that can read its secrets and use the credentials of its cluster: this server's can do \
             neither"
                .to_owned()
        }
    }
}

/// The same with what is known of the engines: how full they are, or what is wrong.
pub(super) fn whole(waits: &WaitsFor) -> String {
    match waits {
        WaitsFor::Place(engine) => {
            let OnEngine { name, runs, max_runs } = engine;
            let share = share(&[engine]);
            format!("{}: {name} drives {runs} of at most {max_runs} runs{share}", words(waits))
        }
        WaitsFor::AnyPlace { engines, waiting } => {
            let count = |number: fn(&OnEngine) -> u32| {
                engines.iter().map(|engine| u64::from(number(engine))).sum::<u64>()
            };
            let (runs, places) = (count(|engine| engine.runs), count(|engine| engine.max_runs));
            let who = match engines.len() {
                1 => "the engine drives".to_owned(),
                several => format!("{several} engines drive"),
            };
            let wait = match waiting {
                0 | 1 => "1 run waits for one".to_owned(),
                several => format!("{several} runs wait for one"),
            };
            let share = share(&engines.iter().collect::<Vec<_>>());
            let words = words(waits);
            format!("{words}: {who} {runs} of at most {places} runs{share}, and {wait}")
        }
        WaitsFor::CanWrite { why, .. }
        | WaitsFor::Secrets { why }
        | WaitsFor::Credentials { why }
        | WaitsFor::SecretsAndCredentials { why } => {
            format!("{}: {}", words(waits), quoted(why))
        }
        WaitsFor::RightClock { off, .. } => format!("{}: {off} the store's", words(waits)),
        WaitsFor::Engine | WaitsFor::Undrained(_) => words(waits),
    }
}

/// The same without how many runs of others there are.
pub(super) fn without_others(waits: &WaitsFor) -> String {
    match waits {
        WaitsFor::Place(_) | WaitsFor::AnyPlace { .. } => words(waits),
        WaitsFor::CanWrite { .. }
        | WaitsFor::Secrets { .. }
        | WaitsFor::Credentials { .. }
        | WaitsFor::SecretsAndCredentials { .. }
        | WaitsFor::RightClock { .. }
        | WaitsFor::Engine
        | WaitsFor::Undrained(_) => whole(waits),
    }
}

/// How many places one cluster gets on these engines, where not all are taken, so that this may be why.
fn share(engines: &[&OnEngine]) -> String {
    let share =
        |engine: &OnEngine| Some(engine.cluster_share()).filter(|share| *share < engine.max_runs);
    let is_full = engines.iter().all(|engine| engine.is_full());
    match engines {
        [only] if !is_full => match share(only) {
            Some(most) => format!(" (one cluster gets at most {most} of them)"),
            None => String::new(),
        },
        [_, _, ..] if !is_full => {
            format!(" (of each engine's, one cluster gets half, and {FEWEST_PLACES} at least)")
        }
        [] | [_] | [_, _, ..] => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(runs: u32, max_runs: u32) -> OnEngine {
        OnEngine { name: "engine-1".to_owned(), runs, max_runs }
    }

    #[test]
    fn an_engine_that_cant_write_is_named_and_the_reason_only_where_there_is_room() {
        let why = "the store is full.".to_owned();
        let waits = WaitsFor::CanWrite { name: "engine-1".to_owned(), why };
        let told = "waits for an engine: \"engine-1\" is there, but can't write to the store";
        assert_eq!(words(&waits), told);
        assert_eq!(whole(&waits), format!("{told}: the store is full"));
    }

    #[test]
    fn a_secret_that_cant_be_read_is_named_where_there_is_room() {
        let waits = WaitsFor::Secrets { why: "secret-gone: no \"key\"".to_owned() };
        let told = "waits for an engine that can read its secrets: this server's can't";
        assert_eq!(words(&waits), told);
        assert_eq!(whole(&waits), format!("{told}: secret-gone: no \"key\""));
    }

    #[test]
    fn credentials_that_are_lacking_are_not_called_secrets() {
        let waits = WaitsFor::Credentials { why: "found no credentials \"prod\"".to_owned() };
        let told =
            "waits for an engine that can use the credentials of its cluster: this server's can't";
        assert_eq!(words(&waits), told);
        for whole in [whole(&waits), without_others(&waits)] {
            assert_eq!(whole, format!("{told}: found no credentials \"prod\""));
        }
    }

    #[test]
    fn where_both_are_lacking_both_are_named() {
        let why = "secret-gone: no \"key\"; found no credentials \"prod\"".to_owned();
        let waits = WaitsFor::SecretsAndCredentials { why: why.clone() };
        let told = words(&waits);
        assert!(told.contains("secrets") && told.contains("credentials of its cluster"), "{told}");
        assert_eq!(whole(&waits), format!("{told}: {why}"));
    }

    #[test]
    fn without_others_there_is_no_number_of_theirs() {
        let any = WaitsFor::AnyPlace { engines: vec![engine(4, 10)], waiting: 3 };
        for waits in [any, WaitsFor::Place(engine(4, 10))] {
            let told = without_others(&waits);
            assert!(!told.chars().any(|c| c.is_ascii_digit()), "{told}");
        }
        let why = "secret-gone".to_owned();
        assert!(without_others(&WaitsFor::Secrets { why }).ends_with("secret-gone"));
    }

    #[test]
    fn what_one_cluster_gets_is_said_where_it_may_be_why() {
        let whole = |runs, max_runs| whole(&WaitsFor::Place(engine(runs, max_runs)));
        let waits = "waits for a place on its engine: engine-1 drives";
        assert_eq!(whole(10, 10), format!("{waits} 10 of at most 10 runs"));
        let share = "(one cluster gets at most 5 of them)";
        assert_eq!(whole(5, 10), format!("{waits} 5 of at most 10 runs {share}"));
        // Of three places two are more than half.
        let share = "(one cluster gets at most 2 of them)";
        assert_eq!(whole(2, 3), format!("{waits} 2 of at most 3 runs {share}"));
        assert_eq!(whole(1, 2), format!("{waits} 1 of at most 2 runs"));
    }

    #[test]
    fn whoever_waits_for_any_place_is_counted_in_words_that_fit() {
        let whole = |engines: &[OnEngine], waiting| {
            whole(&WaitsFor::AnyPlace { engines: engines.to_vec(), waiting })
        };
        let waits = "waits for a place on an engine:";
        assert_eq!(
            whole(&[engine(10, 10)], 1),
            format!("{waits} the engine drives 10 of at most 10 runs, and 1 run waits for one")
        );
        assert_eq!(
            whole(&[engine(4, 10), engine(3, 4)], 3),
            format!(
                "{waits} 2 engines drive 7 of at most 14 runs (of each engine's, one cluster gets half, and 2 \
                 at least), and 3 runs wait for one"
            )
        );
    }
}
