//! What every HTTP server of ours needs: to know its own names, so that a web page of a stranger can't
//! use a person's browser to reach it, and to have no more connections and bytes in memory than it can
//! bear.

mod connections;
mod guard;
mod memory;

pub(crate) use connections::Limited;
pub use guard::{BadHostName, HostName, OwnNames, Stranger};
pub(crate) use guard::{check_origin, is_json};
pub(crate) use memory::{Memory, Share};
