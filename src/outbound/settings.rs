//! What all clients share that send requests over HTTP: where an answer points to is never followed, nothing is sent twice
//! unless we say so, and no proxy of the environment sees it.

use std::error::Error;
use std::time::Duration;

use reqwest::ClientBuilder;

/// The settings of a client that connects within `connect`.
pub(crate) fn client_builder(connect: Duration) -> ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("replibook/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
}

/// The innermost cause of an error, as human-readable text: the layers around it tell a person nothing.
pub(crate) fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
