//! Who may do what on this server: who sends a request, and what a file of the operator lets them do. What that file says is
//! decided in the core ([`crate::playbook::access`]).
//!
//! `identity` is who somebody is, once that was proved: by a `token`, or by what an issuer says ([`oidc`]). `keeper` brings
//! these together for each request, with the `proof` that is asked for again while an answer goes on, with the `limits` on
//! how often anybody may ask, and with the `logins` of browsers that go on. `current` has what counts now, and `watch` reads
//! its file again when it changes. [`audit`] is where changes are written down.

pub mod audit;
mod current;
mod identity;
mod keeper;
mod limits;
mod logins;
pub mod oidc;
mod proof;
mod token;
mod watch;

pub use current::{AccessStanding, CurrentAccess};
pub use identity::{Identity, MAX_GROUPS, MAX_USER_NAME, Subject};
pub use keeper::{Keeper, Unknown};
pub use limits::{
    AccessLimits, FAILURES_AT_ONCE, FAILURES_PER_MINUTE, REFUSALS_AT_ONCE, REFUSALS_PER_MINUTE,
    REQUESTS_AT_ONCE, REQUESTS_PER_SECOND,
};
pub use proof::Proof;
pub use token::{TOKEN_BYTES, TOKEN_PREFIX, TokenRefused, new_token, token_sum};
pub use watch::{AccessFile, MAX_ACCESS_BYTES};
