//! The door: every answer of an agent or a platform comes in here, and nothing of it goes further before it
//! is bounded.
//!
//! Whoever answers may be broken, or somebody else: a proxy, a captive portal, a program that listens on a
//! port by chance. So nothing about an answer is taken on trust: not the number of bytes or how slowly they
//! come, not how deep the values are nested, and not how many they are or how long their texts. What has
//! passed is small enough to be kept in records, journals and events, to be committed, and to be read back.
//!
//! - `Bodies` reads bodies: up to so many bytes, no slower than a [`Pace`], and so many large ones at once.
//! - `begun_within` gives up calls whose answer does not begin in time, and no others.
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
mod body;
pub mod bounds;
mod coming;
mod json;
mod message;
mod node;
mod places;
mod queue;
mod shards;

pub use action::{read_action, read_scheduled};
pub use body::Pace;
pub(crate) use body::{Bodies, Body, NoBody, Seat, describe, is_not_http};
pub use bounds::Bounds;
pub(crate) use coming::{Coming, begun_within};
pub use json::{Found, Malformed, read_members, read_object};
pub use message::{cut, error_message, told_error};
pub use node::{is_status_word, read_node};
pub use queue::read_queue;
pub use shards::{read_shards, read_store};
