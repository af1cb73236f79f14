//! Logs when the machine's clock is off, once each time that this changes. Time in runs is the store's, but an
//! engine whose clock is too far off takes up no runs.

use crate::store::Skew;

/// What was logged last.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy, PartialOrd, Ord)]
enum Said {
    #[default]
    Fine,
    Off,
    TooFar,
}

/// Looks at the skew of the machine's clock, and says what changed.
#[derive(Debug, Default)]
pub(super) struct SkewWatch {
    said: Said,
}

impl SkewWatch {
    /// Looks at the present skew, and logs what changed. Returns whether runs may be claimed.
    pub(super) fn look(&mut self, skew: Skew) -> bool {
        let said = next(self.said, skew);
        let before = std::mem::replace(&mut self.said, said);
        match self.said {
            said if said == before => {}
            Said::Fine => tracing::info!("the clock of this machine is close to the store's again"),
            Said::Off => tracing::warn!(
                "the clock of this machine is {skew} the store's; time in runs is the store's, but set \
                 this clock right: past {} s no run is taken up here",
                Skew::MOST.0 / 1_000
            ),
            Said::TooFar => tracing::warn!(
                "the clock of this machine is {skew} the store's; no run is taken up here until it is \
                 within {} s",
                Skew::MOST.0 / 1_000
            ),
        }
        !skew.is_too_large()
    }
}

/// What to log. A warning is only taken back at half the skew at which it was given, so that a clock near the
/// bound does not cause a line with each look.
fn next(said: Said, skew: Skew) -> Said {
    let half = Skew::from_millis(skew.as_millis().saturating_mul(2));
    let of = |skew: Skew| match (skew.is_told(), skew.is_too_large()) {
        (_, true) => Said::TooFar,
        (true, false) => Said::Off,
        (false, false) => Said::Fine,
    };
    of(skew).max(said.min(of(half)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skew_is_said_when_it_begins_and_taken_back_when_it_is_well_over() {
        let mut watch = SkewWatch::default();
        let mut look = |millis| {
            let may_claim = watch.look(Skew::from_millis(millis));
            (watch.said, may_claim)
        };
        assert_eq!(look(4_000), (Said::Fine, true));
        assert_eq!(look(-5_001), (Said::Off, true));
        assert_eq!(look(4_000), (Said::Off, true));
        assert_eq!(look(2_500), (Said::Fine, true));
        assert_eq!(look(60_001), (Said::TooFar, false));
        assert_eq!(look(59_000), (Said::TooFar, true));
        assert_eq!(look(29_000), (Said::Off, true));
        assert_eq!(look(0), (Said::Fine, true));
    }
}
