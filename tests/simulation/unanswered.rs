//! What a client is told that got no good answer.

use replibook::agent::AgentError;

pub(crate) fn refused_connection(address: &str) -> AgentError {
    let message = "connection refused".to_owned();
    AgentError::Connect { address: address.to_owned(), message }
}

pub(crate) fn no_answer(address: &str) -> AgentError {
    let message = "connection reset".to_owned();
    AgentError::NoAnswer { address: address.to_owned(), message }
}

pub(crate) fn garbled(address: &str) -> AgentError {
    let message = "the body: found \"<html>\", expected a JSON object".to_owned();
    AgentError::Malformed { address: address.to_owned(), message }
}

/// What a gateway answers that does not reach the node at this address.
pub(crate) fn unreached(address: &str, status: u16) -> AgentError {
    let (address, message) = (address.to_owned(), "failed to reach the node".to_owned());
    AgentError::Broken { address, status, message }
}
