//! What each of our HTTP servers needs: it knows its own names, so that other people's web pages can't
//! reach it through somebody's browser, and it has no more connections and bytes in memory than it can
//! bear.

mod connections;
mod guard;
mod memory;

pub(crate) use connections::Limited;
pub use guard::{BadHostName, HostName, OwnNames, Stranger};
pub(crate) use guard::{check_origin, is_json};
pub(crate) use memory::{Memory, Share};
