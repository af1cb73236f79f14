//! What each of our HTTP servers needs, whatever it serves. A server answers only to its own names, so that other
//! people's web pages can't reach it through somebody's browser, and it never has more connections and bytes in
//! memory than it can bear.

mod bearer;
mod client;
mod connections;
mod guard;
mod holds;
mod memory;
mod places;
mod serve;
mod standing;
mod tls;

pub(crate) use bearer::{TokenSource, admitting};
pub(crate) use client::Client;
pub(crate) use connections::Times;
pub use guard::{BadHostName, HostName, OwnNames, Stranger};
pub(crate) use guard::{check_origin, is_json};
pub(crate) use holds::hold;
pub(crate) use memory::{Memory, Share};
pub(crate) use places::Closed;
pub(crate) use serve::{Limits, serve_secured};
pub(crate) use standing::Arrival;
pub(crate) use tls::{Secured, TlsSource};
