//! The door: every answer of an agent or a platform comes in here, and nothing of it goes further before it is
//! bounded.
//!
//! Whoever answers may be broken, or may be something else: a proxy, a captive portal, a program that listens
//! on a port by chance. So nothing about an answer is taken on trust: neither how many bytes it has and how
//! slowly they come, nor how deeply its values are nested, how many there are and how long their texts are.
//! What has passed the door is small enough to be kept in records, journals and events, to be committed, and to
//! be read back.
//!
//! - `Bodies` reads bodies: at most so many bytes, no slower than a [`Pace`], and only so many large ones at
//!   once.
//! - `begun_within` gives up a call whose answer does not begin in time, and no other call.
//! - The [core](replibook_core::door) interprets what was read, within its [`bounds`].

mod body;
mod coming;
mod places;

pub use body::Pace;
pub(crate) use body::{Bodies, Body, NoBody, Seat, describe, is_not_http};
pub(crate) use coming::{Coming, begun_within};
pub use replibook_core::door::{
    Bounds, Found, Malformed, StableStore, bounds, cut, error_message, is_known_already,
    is_status_word, read_action, read_members, read_node, read_object, read_queue, read_scheduled,
    read_shards, read_stable_action, read_stable_agent, read_stable_queue, read_stable_store,
    read_store, says_actions_are_off, stable_node, told_error,
};
