//! The driver: time and effects around the pure core.

mod signals;

pub use signals::Signals;
