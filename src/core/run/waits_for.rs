//! What keeps a run waiting that could go on otherwise: a place on an engine, or an engine at all.

/// Places of an engine that one cluster may have, of so many: half of them, rounded up, and 2 however few there
/// are. Whoever starts a hundred runs on one cluster, each of which allows the others beside it, leaves places for
/// the other clusters.
pub const fn cluster_share(places: usize) -> usize {
    let half = places.div_ceil(2);
    if half < FEWEST_PLACES { FEWEST_PLACES } else { half }
}

/// Places that one cluster may have however few there are.
pub const FEWEST_PLACES: usize = 2;

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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_gets_half_of_the_places_and_two_at_least() {
        assert_eq!([1, 2, 3, 4, 5, 10].map(cluster_share), [2, 2, 2, 2, 3, 5]);
    }
}
