//! How long the same thing took, many times.

use std::time::{Duration, Instant};

/// Times of the same thing. They are sorted whenever a quantile is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample(Vec<Duration>);

impl Sample {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Runs the call and adds the time that it took.
    pub(crate) fn time<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = call();
        self.push(start.elapsed());
        done
    }

    /// The time that `part` (0 to 1) of all times do not exceed; zero without any times.
    pub(crate) fn quantile(&self, part: f64) -> Duration {
        let mut times = self.0.clone();
        times.sort_unstable();
        let last = times.len().saturating_sub(1);
        let index = (part.clamp(0.0, 1.0) * last as f64).round() as usize;
        times.get(index).copied().unwrap_or_default()
    }

    pub(crate) fn median(&self) -> Duration {
        self.quantile(0.5)
    }

    pub(crate) fn p99(&self) -> Duration {
        self.quantile(0.99)
    }
}

impl Sample {
    /// Takes in the times of another one.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

impl FromIterator<Duration> for Sample {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        Self(times.into_iter().collect())
    }
}

/// Times two calls in turn, so that whatever else the machine does falls on both. The input of the first call
/// is made before its time counts, and the first `warm_up` rounds do not count.
pub(crate) fn interleaved<T>(
    warm_up: usize,
    rounds: usize,
    mut prepare: impl FnMut() -> T,
    mut one: impl FnMut(T),
    mut other: impl FnMut(),
) -> (Sample, Sample) {
    for _ in 0..warm_up {
        one(prepare());
        other();
    }
    let (mut ones, mut others) = (Sample::default(), Sample::default());
    for _ in 0..rounds {
        let given = prepare();
        ones.time(|| one(given));
        others.time(&mut other);
    }
    (ones, others)
}
