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
//! - What was read is understood by the [core](replibook_core::door), within its [`bounds`].

mod body;
mod coming;
mod places;

pub use body::Pace;
pub(crate) use body::{Bodies, Body, NoBody, Seat, describe, is_not_http};
pub(crate) use coming::{Coming, begun_within};
pub use replibook_core::door::{
    Bounds, Found, Malformed, bounds, cut, error_message, is_status_word, read_action,
    read_members, read_node, read_object, read_queue, read_scheduled, read_shards, read_store,
    told_error,
};
