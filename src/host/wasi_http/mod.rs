//! `wasi:http/outgoing-handler` for steps: HTTP clients that are built on WASI send their requests through the journal.
//!
//! A request becomes whole when it was handed over and its body is finished. Nothing is sent until the guest waits. Then
//! whole requests are calls of `http.send`, one after the other, in the order in which they became whole, until what the
//! guest waits for is there; before any other effect, and when the guest returns a result, all of them are. So they are
//! in the journal like requests through our own `http`, with the same checks.
//!
//! `fields` has headers, `body` what a guest writes, `request` a request until it is handed over, `sending` what
//! becomes of it then, and `response` what the guest reads. `errors` says which code is which error, and `served` has what
//! belongs to servers, which steps are not.

// The resources are public for the generated bindings, which name them as types of their own; nobody else sees them.
#![allow(unreachable_pub)]

mod body;
mod errors;
mod fields;
mod link;
mod request;
mod response;
mod sending;
mod served;

pub use body::OutgoingBody;
pub use fields::Fields;
pub(super) use link::{INTERFACES, link};
pub use request::{OutgoingRequest, RequestOptions};
pub use response::{IncomingBody, IncomingResponse, Trailers};
pub use sending::FutureResponse;
pub(super) use sending::Requests;
pub use served::OutgoingResponse;
