//! The moments at which servers die.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};

/// How many servers die at random moments. With the two exact points that makes ten.
const BY_CHANCE: u32 = 8;

/// The points in the code at which a server in a debug build can be told to die: when the call is committed
/// but not sent, and when it is sent but its answer is not committed.
const POINTS: [&str; 2] = ["before-post", "after-post"];

/// When a server dies.
#[derive(Clone, Debug)]
pub(crate) enum Moment {
    /// It is killed this long after it began to listen: perhaps before it has taken up the run.
    Listening(Duration),
    /// It is killed this long after the run went on.
    GoingOn(Duration),
    /// It kills itself when it comes to this point in its code for the n-th time.
    Point(&'static str, u32),
}

/// Points from which two are drawn for every stage. Besides, the point at which the next stage is entered, or
/// at the last stage the end of the run, is always met.
const POINTS_OF_STAGES: [(&str, u32); 4] =
    [("before-post", 3), ("after-post", 3), ("before-commit", 8), ("after-commit", 8)];

/// Twenty moments in a run of three stages, in order. Each stage meets at least five of them, since the point
/// at which the next stage is entered, or at which the run ends, closes the moments of a stage.
pub(crate) fn twenty(seed: u64) -> Vec<Moment> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut moments = Vec::new();
    for (by_chance, end) in [(4, "enter-stage"), (4, "enter-stage"), (3, "stamp")] {
        let mut length = || Duration::from_millis(random.random_range(5..200));
        let mut of_stage: Vec<Moment> = (0..by_chance)
            .map(|n| if n == 2 { Moment::Listening(length()) } else { Moment::GoingOn(length()) })
            .collect();
        let points = POINTS_OF_STAGES.choose_multiple(&mut random, 2);
        let points: Vec<_> = points.copied().collect();
        let passage = |(point, most)| Moment::Point(point, random.random_range(1..=most));
        of_stage.extend(points.into_iter().map(passage));
        of_stage.shuffle(&mut random);
        moments.extend(of_stage);
        moments.push(Moment::Point(end, 1));
    }
    // The first server is asked to start the run, so it must not die before it has answered.
    let first = moments.iter().position(|moment| matches!(moment, Moment::GoingOn(_)));
    moments.swap(0, first.unwrap_or_default());
    moments
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
    // The first server is asked to start the run, so it must not die before it has answered.
    moments.insert(0, first);
    moments
}

#[test]
fn the_moments_of_three_stages_are_twenty_and_repeat_with_their_seed() {
    for seed in 0..100 {
        let moments = twenty(seed);
        assert_eq!(moments.len(), 20);
        assert_eq!(format!("{moments:?}"), format!("{:?}", twenty(seed)));
        assert!(matches!(moments[0], Moment::GoingOn(_)), "{moments:?}");
        let ends = [6, 13, 19].map(|index| format!("{:?}", moments[index]));
        let end = |point| format!("{:?}", Moment::Point(point, 1));
        assert_eq!(ends, [end("enter-stage"), end("enter-stage"), end("stamp")]);
    }
    assert_ne!(format!("{:?}", twenty(7)), format!("{:?}", twenty(8)));
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
