//! The client of registries against registries that lie, and against those of others.

pub(crate) mod artefact;
pub(crate) mod liar;
mod lies;
mod logins;
mod others;
mod pushes;
mod signatures;
mod table;
