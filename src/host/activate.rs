//! Activations of steps. An activation is a pure function: from what a step is given, and the answers so far, to
//! how far the step gets with them.

use super::catalog::{Compiled, Loaded};
use super::convert;
use super::engine::Runtime;
use super::error::{Fault, PluginError, Unwound};
use super::guest::{Attempt, Guest, Role, Seed};
use super::json::{self, Refused};
use super::limits;
use super::replay::Replay;
use replibook_core::run::{Activate, Activation, ActivationEnd, FailureReason, JsonText};

/// Makes one activation.
///
/// The guest is made for this activation and thrown away with it, so that nothing but the journal carries over to
/// the next one. Calls that the journal holds are answered from there; the first other call ends the activation.
/// The same `activate` always gives the same activation, as far as the machine has the CPU time and memory for it.
pub(super) fn activate(runtime: &Runtime, plugin: &Loaded, activate: Activate) -> Activation {
    let Compiled::Step(step) = &plugin.compiled else {
        return unavailable(format!("the plugin {} is not a step", plugin.info.name), false);
    };
    let input = convert::step_input(&activate);
    let Activate { journal, agent, attributes, grants, .. } = activate;
    let seed = Seed::Attempt(journal.seed_key(), journal.run);
    let started_at = journal.started_at;
    let replay = Replay::new(journal);
    let attempt = Box::new(Attempt::new(agent, attributes, grants, replay));
    let guest = Guest::new(Role::Step(attempt), started_at, seed);

    let mut store = guest.into_store(&runtime.engine);
    let returned = step
        .instantiate(&mut store)
        .and_then(|step| step.replicante_playbook_working().call_run(&mut store, &input))
        .and_then(|returned| taken(store.data_mut(), returned.map_err(convert::step_error)));
    let guest = store.into_data();
    let logs = guest.log.take();
    let end = match returned {
        Ok(returned) => ended(&guest, returned),
        Err(error) => match Unwound::from(error) {
            Unwound::Blocked(call) => ActivationEnd::Blocked(call),
            Unwound::GaveUp(message) => ended(&guest, Err((message, false))),
            Unwound::Fault(fault) => failed(fault),
        },
    };
    Activation { end, logs }
}

/// What a step returned: a result, which may be none that can be taken, or an error and whether to try again.
type Returned = Result<Result<JsonText, Fault>, (String, bool)>;

/// Takes what a step returned. Requests for whose responses it has not waited are sent as well, unless it failed.
fn taken(
    guest: &mut Guest,
    returned: Result<String, (String, bool)>,
) -> wasmtime::Result<Returned> {
    let text = match returned {
        Ok(text) => text,
        Err(error) => return Ok(Err(error)),
    };
    let result = read_result(&text, &guest.attempt("run")?.replay);
    if result.is_ok() {
        guest.send_whole()?;
    }
    Ok(Ok(result))
}

/// How an activation ended, if its guest returned.
fn ended(guest: &Guest, returned: Returned) -> ActivationEnd {
    let Role::Step(attempt) = &guest.role else {
        return unavailable("the guest is not a step".to_owned(), false).end;
    };
    if let Err(stop) = attempt.replay.finished() {
        return failed(stop.into());
    }
    match returned {
        Ok(Ok(result)) => ActivationEnd::Done(result),
        Ok(Err(fault)) => failed(fault),
        Err((message, retryable)) => {
            let reason = attempt.replay.trouble().unwrap_or(FailureReason::StepFailed);
            ActivationEnd::Failed { reason, message, retryable }
        }
    }
}

fn read_result(text: &str, replay: &Replay) -> Result<JsonText, Fault> {
    if let Some(payload) = replay.handed_on(text).filter(|_| text.len() <= limits::RESULT_BYTES) {
        return Ok(payload);
    }
    json::read(text, limits::RESULT_BYTES).map(JsonText::from).map_err(|refused| {
        let message = format!("found a result {refused}");
        match refused {
            Refused::TooLong { .. } | Refused::TooDeep { .. } => {
                Fault::new("result-limit", FailureReason::PluginLimit, message)
            }
            Refused::TooLarge { .. } | Refused::NotJson(_) => {
                Fault::new("bad-result", FailureReason::StepFailed, message)
            }
        }
    })
}

fn failed(fault: Fault) -> ActivationEnd {
    // Trying again does not help unless the host is to blame: another attempt starts afresh, but with the same
    // plugin and arguments.
    let retryable = fault.reason == FailureReason::PluginUnavailable;
    let reason = fault.reason;
    // The message includes the code, which is finer than the reason, and which the WIT promises.
    ActivationEnd::Failed { reason, message: PluginError::from(fault).to_string(), retryable }
}

/// An activation that could not be made: it has no log.
pub(super) fn unavailable(message: String, retryable: bool) -> Activation {
    let reason = FailureReason::PluginUnavailable;
    Activation { end: ActivationEnd::Failed { reason, message, retryable }, logs: Vec::new() }
}
