//! What may come in of an answer of an agent or a platform, and how it is read.
//!
//! Nothing of an answer is kept that is not within its bounds, so that all that is kept fits a commit and can be
//! read back. Whoever asks agents has the bytes; here is what becomes of them.
//!
//! - [`Bounds`] says how much an answer may hold; [`bounds`] has those of each call, with the reasons.
//! - [`read_object`] reads an answer whole, where all of it is kept.
//! - [`read_members`] reads the members that are understood, and passes over the others, where an answer
//!   holds more than is looked at.
//! - [`read_action`], [`read_scheduled`], [`read_queue`], [`read_node`], [`read_store`]
//!   and [`read_shards`] read the answers of the agent API.
//! - [`error_message`] and [`told_error`] make one text of what an agent says of a failure; [`cut`]
//!   bounds any text for people.
//!
//! A new call of the agent API gets bounds of its own, and a reader made of these.

mod action;
pub mod bounds;
mod json;
mod message;
mod node;
mod queue;
mod shards;

pub use action::{ActionPhase, ActionStatus, read_action, read_scheduled};
pub use bounds::Bounds;
pub use json::{Found, Malformed, read_members, read_object};
pub use message::{cut, error_message, told_error};
pub use node::{is_status_word, read_node};
pub use queue::{QueuedAction, read_queue};
pub use shards::{read_shards, read_store};
