//! What every program of the project stands on: its [`clock`], the address that it [`listen`]s at, and how it is
//! asked to [`stop`]. Of the project itself these use only the core, so that the store and the host can use them
//! too. In a build for tests the process may also be made to [`crash`].

pub mod clock;
#[cfg(feature = "faults")]
mod clock_offset;
pub mod crash;
pub mod listen;
pub mod stop;
