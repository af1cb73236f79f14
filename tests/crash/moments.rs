//! When a server dies.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// Moments at which the server dies by chance. With the two exact points it dies ten times.
const BY_CHANCE: u32 = 8;

/// The points in the code at which a server in a debug build can be told to die: the call is
/// committed but not sent; it is sent but its answer is not committed.
const POINTS: [&str; 2] = ["before-post", "after-post"];

/// When a server dies.
#[derive(Clone, Debug)]
pub(crate) enum Moment {
    /// It is killed so long after it began to listen: perhaps before it has taken up the run.
    Listening(Duration),
    /// It is killed so long after the run went on.
    GoingOn(Duration),
    /// It kills itself at a point in its code, when it comes there for the n-th time.
    Point(&'static str, u32),
}

pub(crate) fn moments(seed: u64) -> Vec<Moment> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut length = || Duration::from_millis(random.random_range(5..500));
    let first = Moment::GoingOn(length());
    let mut moments: Vec<Moment> = (1..BY_CHANCE)
        .map(|n| if n % 3 == 0 { Moment::Listening(length()) } else { Moment::GoingOn(length()) })
        .collect();
    moments.extend(POINTS.map(|point| Moment::Point(point, random.random_range(1..=3))));
    moments.shuffle(&mut random);
    // The first server is asked to start the run, so it must not die before it answered.
    moments.insert(0, first);
    moments
}

#[test]
fn the_moments_are_ten_and_repeat_with_their_seed() {
    let first = moments(7);
    assert_eq!(first.len(), 10);
    assert_eq!(format!("{first:?}"), format!("{:?}", moments(7)));
    assert_ne!(format!("{first:?}"), format!("{:?}", moments(8)));
    for point in POINTS {
        let at = |moment: &&Moment| matches!(moment, Moment::Point(name, _) if *name == point);
        assert_eq!(first.iter().filter(at).count(), 1);
    }
}
