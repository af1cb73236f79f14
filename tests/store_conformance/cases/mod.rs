//! The cases. Each gets a new store, and its name says what is promised.

mod commands;
mod commits;
mod damage;
mod damage_table;
mod door;
mod engines;
mod finishing;
mod history;
mod leases;
mod locks;
mod objects;
mod parked;
mod plugins;
mod retention;
mod runs;
mod troubled;
mod unpinned;

pub(crate) use commands::*;
pub(crate) use commits::*;
pub(crate) use damage::*;
pub(crate) use damage_table::*;
pub(crate) use door::*;
pub(crate) use engines::*;
pub(crate) use finishing::*;
pub(crate) use history::*;
pub(crate) use leases::*;
pub(crate) use locks::*;
pub(crate) use objects::*;
pub(crate) use parked::*;
pub(crate) use plugins::*;
pub(crate) use retention::*;
pub(crate) use runs::*;
pub(crate) use troubled::*;
pub(crate) use unpinned::*;
