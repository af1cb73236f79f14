//! What keeps a run waiting that could go on otherwise: a place on an engine, or an engine at all.

/// How many of an engine's `places` one cluster may have: half of them, rounded up, but at least
/// [`FEWEST_PLACES`]. So a hundred runs that are started on one cluster, each of which allows the others beside
/// it, leave places for the other clusters.
pub const fn cluster_share(places: usize) -> usize {
    let half = places.div_ceil(2);
    if half < FEWEST_PLACES { FEWEST_PLACES } else { half }
}

/// How many places one cluster may have, however few an engine has.
pub const FEWEST_PLACES: usize = 2;

/// An engine, and how full it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnEngine {
    /// The name of the engine, as people are shown it.
    pub name: String,
    /// How many runs the engine drives.
    pub runs: u32,
    /// The most runs that the engine drives at the same time.
    pub max_runs: u32,
}

impl OnEngine {
    /// Whether all places of the engine are taken.
    pub const fn is_full(&self) -> bool {
        self.runs >= self.max_runs
    }

    /// How many of the engine's places one cluster may have, as [`cluster_share`] says.
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
        /// The engines that take runs.
        engines: Vec<OnEngine>,
        /// How many runs no engine has taken up.
        waiting: u32,
    },
    /// An engine, because there is none.
    Engine,
    /// An engine that is not being drained. The number is how many engines are being drained.
    Undrained(usize),
    /// An engine whose clock is right.
    RightClock {
        /// The name of an engine whose clock is wrong.
        name: String,
        /// How that clock differs, as text that fits into "is … the store's".
        off: String,
    },
    /// An engine that can write to the store.
    CanWrite {
        /// The name of an engine that can't.
        name: String,
        /// Why that engine can't.
        why: String,
    },
    /// An engine that can read its secrets.
    Secrets {
        /// Why the engine of the server that tells it can't.
        why: String,
    },
    /// An engine that can use the credentials of its cluster.
    Credentials {
        /// Why the engine of the server that tells it can't.
        why: String,
    },
    /// An engine that can do both.
    SecretsAndCredentials {
        /// Why the engine of the server that tells it can do neither.
        why: String,
    },
}

impl WaitsFor {
    /// Whether there are engines, but none of their places is free.
    pub const fn is_for_place(&self) -> bool {
        match self {
            Self::Place(_) | Self::AnyPlace { .. } => true,
            Self::Engine
            | Self::Undrained(_)
            | Self::RightClock { .. }
            | Self::CanWrite { .. }
            | Self::Secrets { .. }
            | Self::Credentials { .. }
            | Self::SecretsAndCredentials { .. } => false,
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
