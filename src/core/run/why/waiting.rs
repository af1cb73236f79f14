//! What keeps a run waiting that could go on otherwise: a place on an engine, or an engine at all.

use super::words::quoted;

/// Places of an engine that one cluster may have, of so many: half of them, rounded up, and 2 however few there
/// are. Whoever starts a hundred runs on one cluster, each of which allows the others beside it, leaves places for
/// the other clusters.
pub const fn cluster_share(places: usize) -> usize {
    let half = places.div_ceil(2);
    if half < FEWEST { FEWEST } else { half }
}

/// Places that one cluster may have however few there are.
const FEWEST: usize = 2;

/// An engine, and how full it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnEngine {
    /// Its name for people.
    pub name: String,
    /// Runs that it drives.
    pub runs: u32,
    /// The most runs that it drives at the same time.
    pub max_runs: u32,
}

impl OnEngine {
    /// Whether all of its places are taken.
    pub const fn is_full(&self) -> bool {
        self.runs >= self.max_runs
    }

    /// Its places that one cluster may have, as [`cluster_share`] says.
    pub fn cluster_share(&self) -> u32 {
        let places = usize::try_from(self.max_runs).unwrap_or(usize::MAX);
        u32::try_from(cluster_share(places)).unwrap_or(u32::MAX)
    }
}

/// What keeps a run waiting that could go on otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// A place on the engine that has taken it up.
    Place(OnEngine),
    /// A place on any of the engines that take runs.
    AnyPlace {
        /// Each of them.
        engines: Vec<OnEngine>,
        /// Runs that no engine has taken up.
        waiting: u32,
    },
    /// An engine: none is there.
    Engine,
    /// An engine that is not being drained; so many are.
    Undrained(usize),
    /// An engine whose clock is right.
    RightClock {
        /// The name of one whose clock is not.
        name: String,
        /// How its clock is, as in "is … the store's".
        off: String,
    },
    /// An engine that can write to the store.
    CanWrite {
        /// The name of one that can't.
        name: String,
        /// Why it can't.
        why: String,
    },
}

impl WaitsFor {
    /// Whether there is an engine, and it has no place.
    pub const fn is_for_place(&self) -> bool {
        match self {
            Self::Place(_) | Self::AnyPlace { .. } => true,
            Self::Engine | Self::Undrained(_) | Self::RightClock { .. } | Self::CanWrite { .. } => {
                false
            }
        }
    }

    /// What it waits for, after "it" or "the run": the same words for all who tell it, and no number that changes
    /// all the time.
    pub fn words(&self) -> String {
        match self {
            Self::Place(_) => "waits for a place on its engine".to_owned(),
            Self::AnyPlace { .. } => "waits for a place on an engine".to_owned(),
            Self::Engine => "waits for an engine: none is there; start a server".to_owned(),
            Self::Undrained(1) => "waits for an engine: the only one is being drained".to_owned(),
            Self::Undrained(all) => format!("waits for an engine: all {all} are being drained"),
            Self::RightClock { name, .. } => {
                format!("waits for an engine: the clock of {name:?} is wrong")
            }
            Self::CanWrite { name, .. } => {
                format!("waits for an engine: {name:?} is there, but can't write to the store")
            }
        }
    }

    /// The same with what is known of the engines: how full they are, or what is wrong.
    pub(super) fn whole(&self) -> String {
        match self {
            Self::Place(engine) => {
                let OnEngine { name, runs, max_runs } = engine;
                let share = share(&[engine]);
                format!("{}: {name} drives {runs} of at most {max_runs} runs{share}", self.words())
            }
            Self::AnyPlace { engines, waiting } => {
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
                let words = self.words();
                format!("{words}: {who} {runs} of at most {places} runs{share}, and {wait}")
            }
            Self::CanWrite { why, .. } => format!("{}: {}", self.words(), quoted(why)),
            Self::RightClock { off, .. } => format!("{}: {off} the store's", self.words()),
            Self::Engine | Self::Undrained(_) => self.words(),
        }
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
            format!(" (of each engine's, one cluster gets half, and {FEWEST} at least)")
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
    fn a_cluster_gets_half_of_the_places_and_two_at_least() {
        assert_eq!([1, 2, 3, 4, 5, 10].map(cluster_share), [2, 2, 2, 2, 3, 5]);
    }

    #[test]
    fn an_engine_that_cant_write_is_named_and_the_reason_only_where_there_is_room() {
        let why = "the store is full.".to_owned();
        let waits = WaitsFor::CanWrite { name: "engine-1".to_owned(), why };
        let words = "waits for an engine: \"engine-1\" is there, but can't write to the store";
        assert_eq!(waits.words(), words);
        assert_eq!(waits.whole(), format!("{words}: the store is full"));
    }

    #[test]
    fn what_one_cluster_gets_is_said_where_it_may_be_why() {
        let whole = |runs, max_runs| WaitsFor::Place(engine(runs, max_runs)).whole();
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
            WaitsFor::AnyPlace { engines: engines.to_vec(), waiting }.whole()
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
