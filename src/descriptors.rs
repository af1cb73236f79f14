//! How many files and connections a process may have open, and who gets how many of them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The most that a process asks the system for. Tables of so many take little memory, and no server here needs
/// more.
const MOST: u64 = 65_536;

/// The fewest with which a server works: below that a few clients leave nothing for its agents.
const FEWEST: u64 = 96;

/// What is left for the store, plugins that are compiled, files and the runtime: two dozen are open at rest, and
/// the connections to a MongoDB are some dozens more.
const OWN: std::ops::RangeInclusive<u64> = 48..=512;

/// Connections of clients at most: [`ApiState`](crate::api::ApiState) takes no more.
const CLIENTS: u64 = 4_096;

/// Connections to agents at most: those of the largest clusters are not all asked at once.
const AGENTS: u64 = 16_384;

/// The descriptors of a process, shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    limit: u64,
}

/// A process may have too few files open.
#[derive(Debug, thiserror::Error)]
#[error(
    "found a limit of {found} open files, expected at least {FEWEST}, better some thousands: see `ulimit -n`, \
     or LimitNOFILE of systemd"
)]
pub struct TooFew {
    found: u64,
}

impl Descriptors {
    /// Has the system give this process as many as it may have.
    ///
    /// # Errors
    /// These are too few for a server.
    pub fn raise() -> Result<Self, TooFew> {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let (current, may) = (current.unwrap_or(MOST), maximum.unwrap_or(MOST).min(MOST));
        let mut limit = current;
        if current < may {
            match setrlimit(Resource::Nofile, Rlimit { current: Some(may), maximum }) {
                Ok(()) => limit = may,
                Err(error) => {
                    tracing::warn!(%error, current, "failed to raise the limit of open files")
                }
            }
        }
        tracing::debug!(current, limit, "the limit of open files");
        Self::of(limit)
    }

    fn of(limit: u64) -> Result<Self, TooFew> {
        if limit < FEWEST { Err(TooFew { found: limit }) } else { Ok(Self { limit }) }
    }

    /// For connections of clients.
    pub fn clients(self) -> usize {
        as_count((self.shared() * 2 / 5).min(CLIENTS))
    }

    /// For connections to agents.
    pub fn agents(self) -> usize {
        as_count((self.shared() - self.shared() * 2 / 5).min(AGENTS))
    }

    fn shared(self) -> u64 {
        self.limit - (self.limit / 8).clamp(*OWN.start(), *OWN.end())
    }
}

fn as_count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_share_and_some_are_left() {
        for limit in [96, 128, 256, 1_024, 4_096, 65_536, u64::MAX / 8] {
            let all = Descriptors::of(limit).unwrap();
            let (clients, agents) = (all.clients() as u64, all.agents() as u64);
            assert!(clients >= 16 && agents >= 24, "{limit}: {clients}, {agents}");
            assert!(limit - clients - agents >= *OWN.start(), "{limit}: {clients}, {agents}");
            assert!(clients <= CLIENTS && agents <= AGENTS, "{limit}: {clients}, {agents}");
        }
        let error = Descriptors::of(95).unwrap_err().to_string();
        assert!(
            error.starts_with("found a limit of 95 open files, expected at least 96"),
            "{error}"
        );
    }

    #[test]
    fn the_limit_is_raised() {
        let all = Descriptors::raise().unwrap();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert!(current.unwrap_or(MOST) >= maximum.unwrap_or(MOST).min(MOST));
        assert!(all.limit >= current.unwrap_or(MOST).min(MOST));
    }
}
