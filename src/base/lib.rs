//! What each program stands on: its [`clock`], the address that it [`listen`]s at, and how it is asked to
//! [`stop`].

pub mod clock;
pub mod listen;
pub mod stop;
