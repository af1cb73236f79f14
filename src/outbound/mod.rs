//! The HTTP requests of steps: they leave from here, and nowhere else. `settings` has what all clients share that send
//! requests over HTTP.
//!
//! [`Outbound`] is what the driver needs: send one request, get one answer. [`HttpOutbound`] does it over the
//! network. Whatever a playbook grants, a name may resolve to anything, and also to another address than a moment
//! ago. So the names are resolved here, each address is checked against the [`Networks`] that the request may
//! reach, and the connection goes to an address that was checked.

mod client;
mod fake;
mod http;
mod networks;
mod resolver;
mod settings;

pub use client::{Caller, NoOutbound, Outbound, Sending};
pub use fake::{Exchange, FakeOutbound};
pub use http::{HttpOutbound, MAX_SENDING, OutboundError, Reachable};
pub use networks::Networks;
pub(crate) use settings::{client_builder, innermost};
