//! Who may do what on a server. Everything here is pure.
//!
//! [`parse_access`] makes a valid [`Access`] from a text. [`Access::rights`] adds up the rules that are about somebody, and
//! [`Rights`] say what they may do with what; who somebody is was found out before. [`loosened`] says what a changed
//! cluster would let pass that the one before held up.

mod document;
mod judge;
mod loosened;
mod model;
mod read;
mod verb;
mod who;

pub(crate) use document::AccessFile;
pub use document::{MAX_ISSUERS, MAX_PATTERNS, MAX_RULES, MAX_TOKENS, MAX_WHO};
pub use judge::{Object, Rights, Sight};
pub use loosened::loosened;
pub use model::{Access, AccessRule, AccessToken, OidcIssuer};
pub use read::{access_not_applied, parse_access};
pub use verb::Verb;

pub use who::{WHO_EXPECTED, Who, is_access_name};
