//! What each program stands on: its [`clock`], the address that it [`listen`]s at, and how it is asked to
//! [`stop`]. Beside that, where a test may have it [`crash`].

pub mod clock;
#[cfg(feature = "faults")]
mod clock_offset;
pub mod crash;
pub mod listen;
pub mod stop;
