//! Plugins in OCI registries: pulls and pushes artefacts of exactly one WebAssembly component, in the layout that
//! `wkg` and others use. A registry is a stranger: how long it may take, how much it may send, where it may send
//! us and who gets a password is decided here and not by what it answers, and only our own checksums count.
//!
//! - `client` is what others use; `pull` and `push` are its two directions.
//! - `session` sends the requests of one of them: redirects, repetitions, tokens.
//! - `reach` decides which addresses a request may go to, `login` and `challenge` who is told a password.
//! - `manifest` says what an artefact has to look like.
//! - `referrers` finds and pushes signatures, and `signature` says what they look like.
//! - `bounds` has all limits.

mod body;
mod bounds;
mod challenge;
mod client;
mod docker;
mod error;
mod login;
mod manifest;
mod origin;
mod pull;
mod push;
mod reach;
mod referrers;
mod session;
mod signature;
mod waiting;

pub use bounds::{Bounds, MAX_LAYER, MAX_MANIFEST, MAX_REFERRERS};
pub use client::{Artefact, Registries, RegistryConfig};
pub use error::RegistryError;
pub use origin::Origin;
pub use pull::{Progress, Resolved};
pub use push::Pushed;
