//! Reaches nodes by the OpenSSH client of this machine, with its configuration, its keys and its known hosts.
//!
//! A *master* is a connection that stays: an `ssh` process, which other `ssh` processes find at a socket. [`masters`]
//! keeps them, [`master`] starts and ends one, and [`said`] understands what `ssh` says when that fails.

mod master;
mod masters;
mod said;

pub use masters::{MAX_CONNECTING, MAX_MASTERS, MAX_SESSIONS};
pub(super) use masters::{Masters, Session, Target};
pub(super) use said::{is_full, nothing_was_sent};
