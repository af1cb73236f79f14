//! What several crates test with, and no program has.

mod clock;

pub use clock::SetClock;
