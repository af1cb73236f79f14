//! Helpers that the tests of several crates share. No program has them.

mod clock;

pub use clock::SetClock;
