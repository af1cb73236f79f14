//! `/api/v1/imports`: plugins that the server brings from registries. An import goes on beside the requests that ask
//! how far it is, and the plugin is in the store when it ends; one that is cancelled, or that nobody asks about any
//! more, leaves nothing. What failed is remembered for a while.

mod endpoints;
mod failures;
mod signed;
mod table;
mod turns;
mod vetting;
mod work;

pub(super) use endpoints::endpoints;
pub(super) use table::Imports;
pub(super) use vetting::{known, vet};
