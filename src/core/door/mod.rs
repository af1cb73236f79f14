//! Decides how much of an agent's or a platform's answer may come in, and reads it.
//!
//! Nothing that is over its bounds is kept, so all that is kept fits a commit and can be read back. The callers
//! outside of the core make the requests and hand over bytes; this module does no I/O.
//!
//! - [`Bounds`] says how much an answer may hold; [`bounds`] has the bounds of each call, with the reasons.
//! - [`read_object`] reads an answer all of which is kept.
//! - [`read_members`] reads only the members that are wanted, and passes over the others.
//! - [`read_action`], [`read_scheduled`], [`read_queue`], [`read_node`], [`read_store`]
//!   and [`read_shards`] read the answers of the agent API.
//! - [`read_stable_action`] and its siblings read those of agents of the released generation, and give the same.
//! - [`error_message`] and [`told_error`] make one text of what an agent says about a failure; [`cut`] bounds any
//!   text for people.
//!
//! A new call of the agent API gets bounds of its own, and a reader that is made of the readers above.

mod action;
pub mod bounds;
mod json;
mod message;
mod node;
mod queue;
mod shards;
mod stable;

pub use action::{ActionPhase, ActionStatus, is_known_already, read_action, read_scheduled};
pub use bounds::Bounds;
pub use json::{Found, Malformed, read_list, read_members, read_object};
pub use message::{cut, error_message, told_error};
pub use node::{is_status_word, read_node};
pub use queue::{QueuedAction, read_queue};
pub use shards::{read_shards, read_store};
pub use stable::{
    StableStore, read_stable_action, read_stable_agent, read_stable_queue, read_stable_store,
    says_actions_are_off, stable_node,
};
