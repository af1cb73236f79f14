//! The imports of the world `step`. Arguments and grants are checked here, before a call can become an effect.

use super::bindings::step::replicante::playbook::agent::{AgentError, NodeInfo};
use super::bindings::step::replicante::playbook::http::{HttpError, Request, Response};
use super::bindings::step::replicante::playbook::logging::Level;
use super::bindings::step::replicante::playbook::signal::SignalError;
use super::bindings::step::replicante::playbook::{
    agent, entropy, failing, http, logging, signal, timer, types,
};
use super::convert;
use super::error::{Stop, cut};
use super::grants;
use super::guest::{Attempt, Guest, Role, forbidden};
use super::replay::word;
use super::{json, limits};
use replibook_core::run::{
    Answer, Call, CallError, CallName, FailureReason, HttpRequest, JsonText, Millis,
};

impl types::Host for Guest {}

impl logging::Host for Guest {
    fn log(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        if let Role::Describe = self.role {
            return Err(forbidden("logging.log", "describe").into());
        }
        Ok(self.log.push(convert::level(level), message)?)
    }
}

impl failing::Host for Guest {
    fn fail(&mut self, message: String) -> wasmtime::Result<()> {
        Err(Stop::GaveUp(message).into())
    }
}

impl agent::Host for Guest {
    fn info(&mut self) -> wasmtime::Result<Result<NodeInfo, AgentError>> {
        if let Some(nobody) = nobody_there(self.attempt("agent.info")?) {
            return Ok(Err(nobody));
        }
        let Answer::Info(answer) = self.effect(Call::Info)? else {
            return Err(mismatch(CallName::Info).into());
        };
        let attempt = self.attempt("agent.info")?;
        let answer =
            answer.map(|node| convert::node_info(&attempt.agent, &attempt.attributes, node));
        Ok(answer.map_err(convert::agent_error))
    }

    fn run_action(
        &mut self,
        kind: String,
        arguments: String,
    ) -> wasmtime::Result<Result<String, AgentError>> {
        let attempt = self.attempt("agent.run-action")?;
        if let Some(nobody) = nobody_there(attempt) {
            return Ok(Err(nobody));
        }
        let arguments = match check_action(&kind, &arguments) {
            Ok(arguments) => attempt.replay.share(arguments),
            Err(message) => {
                attempt.replay.refused(FailureReason::StepFailed);
                return Ok(Err(AgentError::Invalid(message)));
            }
        };
        if let Err(message) = grants::action(&attempt.grants, &kind) {
            attempt.replay.refused(FailureReason::NotGranted);
            return Ok(Err(AgentError::NotGranted(message)));
        }
        let Answer::RunAction(answer) = self.effect(Call::RunAction { kind, arguments })? else {
            return Err(mismatch(CallName::RunAction).into());
        };
        Ok(answer.map(|payload| payload.to_string()).map_err(convert::agent_error))
    }

    fn wait_status(
        &mut self,
        statuses: Vec<String>,
        timeout: u32,
    ) -> wasmtime::Result<Result<String, AgentError>> {
        let attempt = self.attempt("agent.wait-status")?;
        if let Some(nobody) = nobody_there(attempt) {
            return Ok(Err(nobody));
        }
        if let Err(message) = check_statuses(&statuses) {
            attempt.replay.refused(FailureReason::StepFailed);
            return Ok(Err(AgentError::Invalid(message)));
        }
        let timeout = Millis(u64::from(timeout));
        let Answer::WaitStatus(answer) = self.effect(Call::WaitStatus { statuses, timeout })?
        else {
            return Err(mismatch(CallName::WaitStatus).into());
        };
        Ok(answer.map_err(convert::agent_error))
    }
}

impl timer::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<f64> {
        self.attempt("timer.now")?;
        Ok(convert::moment(self.logical_now()))
    }

    fn sleep(&mut self, milliseconds: u32) -> wasmtime::Result<()> {
        let length = Millis(u64::from(milliseconds));
        let Answer::Sleep = self.effect(Call::Sleep { length })? else {
            return Err(mismatch(CallName::Sleep).into());
        };
        Ok(())
    }
}

impl entropy::Host for Guest {
    fn bytes(&mut self, length: u32) -> wasmtime::Result<Vec<u8>> {
        self.attempt("entropy.bytes")?;
        Ok(self.random_bytes(u64::from(length))?)
    }
}

impl http::Host for Guest {
    fn send(&mut self, request: Request) -> wasmtime::Result<Result<Response, HttpError>> {
        let attempt = self.attempt("http.send")?;
        let Request { method, url, headers, body, timeout } = request;
        let request = match HttpRequest::new(&method, &url, headers, &body, timeout) {
            Ok(request) => request,
            Err(message) => {
                attempt.replay.refused(FailureReason::StepFailed);
                return Ok(Err(HttpError::Invalid(message)));
            }
        };
        if let Err(message) = grants::http(&attempt.grants, &request) {
            attempt.replay.refused(FailureReason::NotGranted);
            return Ok(Err(HttpError::NotGranted(message)));
        }
        let Answer::HttpSend(answer) = self.effect(Call::HttpSend { request })? else {
            return Err(mismatch(CallName::HttpSend).into());
        };
        Ok(answer.map(convert::http_response).map_err(convert::http_error))
    }
}

impl signal::Host for Guest {
    fn wait(
        &mut self,
        name: String,
        timeout: u32,
    ) -> wasmtime::Result<Result<String, SignalError>> {
        let attempt = self.attempt("signal.wait")?;
        if let Err(message) = grants::signal(&attempt.grants, &name) {
            attempt.replay.refused(FailureReason::NotGranted);
            return Ok(Err(SignalError::NotGranted(cut(message, limits::MESSAGE_BYTES))));
        }
        let timeout = Millis(u64::from(timeout));
        let Answer::WaitSignal(answer) = self.effect(Call::WaitSignal { name, timeout })? else {
            return Err(mismatch(CallName::WaitSignal).into());
        };
        // A wait has no other error.
        let timed_out = |error: CallError| SignalError::TimedOut(error.to_string());
        Ok(answer.map(|received| received.payload.to_string()).map_err(timed_out))
    }
}

/// The answer to a call to an agent from a stage on the run, which has none. It is always the same, so it needs no journal.
fn nobody_there(attempt: &mut Attempt) -> Option<AgentError> {
    if !attempt.agent.is_run() {
        return None;
    }
    attempt.replay.refused(FailureReason::StepFailed);
    Some(AgentError::Invalid("a stage on the run has no agent".to_owned()))
}

/// The replay only returns an answer of the call's own kind. Should it ever not, this error says so.
pub(super) fn mismatch(call: CallName) -> Stop {
    Stop::NotDeterministic(format!("the journal has no answer for {}", word(call)))
}

fn check_action(kind: &str, arguments: &str) -> Result<JsonText, String> {
    let (chars, most) = (kind.chars().count(), limits::KIND_CHARS);
    if chars == 0 || chars > most {
        return Err(format!("found a kind of {chars} characters, expected 1 to {most}"));
    }
    if kind.chars().any(char::is_control) {
        return Err(format!("found the kind {kind:?}, expected one without control characters"));
    }
    json::read(arguments, limits::ARGUMENT_BYTES)
        .map(JsonText::from)
        .map_err(|refused| format!("found a text of arguments {refused}"))
}

fn check_statuses(statuses: &[String]) -> Result<(), String> {
    let (count, most) = (statuses.len(), limits::STATUSES);
    if count == 0 || count > most {
        return Err(format!("found {count} statuses, expected 1 to {most}"));
    }
    let most = limits::STATUS_CHARS;
    let fits = |status: &String| (1..=most).contains(&status.chars().count());
    match statuses.iter().find(|status| !fits(status)) {
        Some(status) => {
            let chars = status.chars().count();
            Err(format!("found a status of {chars} characters, expected 1 to {most}"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_an_action_are_checked_for_size_and_json() {
        assert!(check_action(&"k".repeat(256), "{\"a\": 1}").is_ok());
        assert!(check_action(&"k".repeat(257), "null").is_err());
        assert!(check_action("", "null").is_err());
        for kind in ["a\n", "\0", "a\u{85}b", "\u{1b}[2J"] {
            let message = check_action(kind, "null").unwrap_err();
            assert!(!message.contains(kind), "{message}");
        }
        assert!(check_action("k", "{").is_err());
        let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
        assert!(check_action("k", &text(limits::ARGUMENT_BYTES)).is_ok());
        assert!(check_action("k", &text(limits::ARGUMENT_BYTES + 1)).is_err());
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(check_action("k", &nested(limits::NESTING)).is_ok());
        let message = check_action("k", &nested(limits::NESTING + 1)).unwrap_err();
        assert!(message.contains("nested 65 deep"), "{message}");
    }

    #[test]
    fn statuses_are_checked_for_number_and_size() {
        let statuses = |count| vec!["HEALTHY".to_owned(); count];
        assert!(check_statuses(&statuses(0)).is_err());
        assert!(check_statuses(&statuses(16)).is_ok());
        assert!(check_statuses(&statuses(17)).is_err());
        assert!(check_statuses(&["x".repeat(65)]).is_err());
        assert!(check_statuses(&[String::new()]).is_err());
    }
}
