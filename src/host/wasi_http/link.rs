//! What is linked for steps.

use wasmtime::component::{HasSelf, Linker};

use crate::bindings::outgoing::wasi::http::{outgoing_handler, types};
use crate::guest::Guest;

/// The interfaces that are linked for steps, without their versions.
pub(crate) const INTERFACES: [&str; 2] = ["wasi:http/outgoing-handler", "wasi:http/types"];

/// Links [`INTERFACES`].
pub(crate) fn link(l: &mut Linker<Guest>) -> wasmtime::Result<()> {
    types::add_to_linker::<_, HasSelf<Guest>>(l, |guest| guest)?;
    outgoing_handler::add_to_linker::<_, HasSelf<Guest>>(l, |guest| guest)
}
