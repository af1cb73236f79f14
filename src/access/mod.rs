//! Who may do what on this server: who sends a request, and what a file of the operator lets them do.
//!
//! `identity` is who somebody is, once that was proved.

mod identity;

pub use identity::{Identity, MAX_GROUPS, MAX_USER_NAME, Subject};
