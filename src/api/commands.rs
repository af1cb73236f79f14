//! `/api/v1/runs/{id}/commands` and `…/signals`: asking a run to do something.
//!
//! A command is kept as a document, and whoever drives the run applies it. The answer waits for its outcome for
//! a while, so that most clients need not ask again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::access::{Caller, Deed, RunOf};
use super::approving::check_approval;
use super::bodies::{InJson, check_length};
use super::endpoint::Endpoint;
use super::error::{ApiError, Code, unless_broken};
use super::limits::{COMMAND_POLL, COMMAND_WAIT, MAX_ACTOR, MAX_AGENT, MAX_GUARD, MAX_REASON};
use super::params::{InPath, InQuery};
use super::runs;
use super::state::ApiState;
use super::wire::{CommandView, RunView, SendSignal, SubmitCommand};
use crate::playbook::{IDENTIFIER_EXPECTED, MAX_JSON_DEPTH, is_identifier};
use crate::run::{
    AgentId, Approves, Command, CommandId, CommandOutcome, Digest, MAX_PAYLOAD_BYTES, Millis,
    RunId, SentSignal, Verb, json_text_depth,
};

const ALL: &str = "/api/v1/runs/{id}/commands";
const SIGNALS: &str = "/api/v1/runs/{id}/signals";
const ONE: &str = "/api/v1/runs/{id}/commands/{command}";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::post(ALL, "submitCommand", "Asks something of a run.", submit)
            .does(Deed::CommandRun)
            .path::<RunId>("id", "The run.")
            .takes::<SubmitCommand>()
            .fails(&[Code::CommandRefused, Code::CommandIdReused])
            .fails(&[Code::ApprovalOutdated, Code::ApprovalNotWanted, Code::AccessNeeded])
            .urgent()
            .answers::<CommandView>(200, "It was applied.")
            .answers::<CommandView>(202, "It is kept, and has no outcome yet."),
        Endpoint::post(SIGNALS, "sendSignal", "Sends a signal to the steps of a run.", signal)
            .does(Deed::SteerRun)
            .path::<RunId>("id", "The run.")
            .takes::<SendSignal>()
            .fails(&[Code::CommandRefused, Code::CommandIdReused])
            .urgent()
            .answers::<CommandView>(200, "The run has it.")
            .answers::<CommandView>(202, "It is kept, and the run does not have it yet."),
        Endpoint::get(ONE, "getCommand", "Shows a command and its outcome.", get)
            .does(Deed::ViewRuns)
            .path::<RunId>("id", "The run.")
            .path::<CommandId>("command", "The command.")
            .fails(&[Code::CommandNotFound])
            .urgent()
            .answers::<CommandView>(200, "The command."),
    ]
}

async fn submit(
    State(state): State<ApiState>,
    caller: Caller,
    InPath(run): InPath<RunId>,
    query: InQuery,
    InJson(request): InJson<SubmitCommand>,
) -> Result<Response, ApiError> {
    query.finish()?;
    if request.command == Verb::Signal {
        let detail = format!("`command`: found \"signal\", expected a signal at {SIGNALS}");
        return Err(ApiError::new(Code::BadBody, detail));
    }
    check_override(&request)?;
    if let (Some(_), false) = (&request.seen, request.command == Verb::Approve) {
        let detail = format!("`seen`: found it with {}, expected it with approve", request.command);
        return Err(ApiError::new(Code::BadBody, detail));
    }
    keep(&state, &caller, run, request, None).await
}

/// Refuses to override a guard without a reason: the history has to say why agents that it held were started.
fn check_override(request: &SubmitCommand) -> Result<(), ApiError> {
    let Some(guard) = &request.override_guard else { return Ok(()) };
    check_length("override_guard", Some(guard), MAX_GUARD)?;
    let wrong = match (request.command, request.reason.as_deref().map(str::trim)) {
        (Verb::Resume, None | Some("")) => {
            format!("`reason`: found none, expected why guard {guard:?} is overridden")
        }
        (Verb::Resume, Some(_)) => return Ok(()),
        (verb, _) => format!("`override_guard`: found it with {verb}, expected it with resume"),
    };
    Err(ApiError::new(Code::BadBody, wrong))
}

async fn signal(
    State(state): State<ApiState>,
    caller: Caller,
    InPath(run): InPath<RunId>,
    query: InQuery,
    InJson(request): InJson<SendSignal>,
) -> Result<Response, ApiError> {
    query.finish()?;
    let SendSignal { id, name, agent, payload, actor, reason } = request;
    check_length("name", Some(&name), MAX_AGENT)?;
    if !is_identifier(&name) {
        let detail = format!("`name`: found {name:?}, expected {IDENTIFIER_EXPECTED}");
        return Err(ApiError::new(Code::BadBody, detail));
    }
    let (bytes, depth) = (payload.bytes(), json_text_depth(payload.as_str()));
    if bytes > MAX_PAYLOAD_BYTES {
        let detail =
            format!("`payload`: found {bytes} bytes, expected at most {MAX_PAYLOAD_BYTES}");
        return Err(ApiError::new(Code::BadBody, detail));
    }
    if depth > MAX_JSON_DEPTH {
        let detail =
            format!("`payload`: found JSON nested {depth} deep, expected at most {MAX_JSON_DEPTH}");
        return Err(ApiError::new(Code::BadBody, detail));
    }
    let command = Verb::Signal;
    let (again, override_guard, seen) = (false, None, None);
    let request = SubmitCommand { id, command, agent, again, override_guard, seen, actor, reason };
    keep(&state, &caller, run, request, Some(SentSignal { name, payload })).await
}

/// Keeps a command, and waits a while for its outcome.
async fn keep(
    state: &ApiState,
    caller: &Caller,
    run: RunId,
    request: SubmitCommand,
    signal: Option<SentSignal>,
) -> Result<Response, ApiError> {
    check_length("actor", request.actor.as_deref(), MAX_ACTOR)?;
    check_length("agent", request.agent.as_ref().map(AgentId::as_str), MAX_AGENT)?;
    check_length("reason", request.reason.as_deref(), MAX_REASON)?;
    let of = may_command(state, caller, run, &request).await?;
    let about = About::of(&request, of.as_deref());
    let mut command = Command {
        id: request.id.unwrap_or_else(|| CommandId(Uuid::new_v4())),
        run,
        verb: request.command,
        agent: request.agent,
        again: request.again,
        signal,
        override_guard: request.override_guard,
        approves: approves(request.command, request.seen, caller.groups()),
        actor: caller.actor(request.actor),
        why: request.reason,
        at: state.clock.now(),
        outcome: None,
        finish_ts: None,
    };
    if let Some(known) = known(state, caller, &command).await? {
        caller.changes_nothing();
        return answer(wait(state, known).await?);
    }
    // What could change nothing takes no room in the audit.
    refuse_ended(&runs::look(state, run).await?)?;
    let counted = match check_approval(state, &mut command).await {
        // Whoever may not approve this run is refused like those who may approve none.
        Err(error) if error.code == Code::ApprovalNotWanted => return Err(error),
        counted => counted,
    };
    about.begin(state, caller, run)?;
    counted?;
    state.store.submit(&command).await?;
    state.metrics.command_submitted(command.verb);
    state.signals.work();
    answer(wait(state, command).await?)
}

/// Checks that they may ask this of the run. Returns what it is of.
async fn may_command(
    state: &ApiState,
    caller: &Caller,
    run: RunId,
    request: &SubmitCommand,
) -> Result<Option<Arc<RunOf>>, ApiError> {
    let of = caller.run_of(state, run).await?;
    caller.may_with_run(deed_of(request).0, of.as_deref())?;
    Ok(of)
}

/// What the audit says of a command.
struct About {
    deed: Deed,
    urgent: bool,
    texts: Vec<(&'static str, String)>,
}

impl About {
    fn of(request: &SubmitCommand, of: Option<&RunOf>) -> Self {
        let (deed, urgent) = deed_of(request);
        let texts = [
            ("playbook", of.map_or("", |of| &of.playbook)),
            ("cluster", of.map_or("", |of| &of.cluster)),
            ("command", request.command.as_str()),
            ("agent", request.agent.as_ref().map_or("", AgentId::as_str)),
            ("guard", request.override_guard.as_deref().unwrap_or_default()),
            ("reason", request.reason.as_deref().unwrap_or_default()),
        ];
        let texts = texts.into_iter().map(|(key, text)| (key, text.to_owned())).collect();
        Self { deed, urgent, texts }
    }

    fn begin(&self, state: &ApiState, caller: &Caller, run: RunId) -> Result<(), ApiError> {
        let run = run.to_string();
        let texts = self.texts.iter().map(|(key, text)| (*key, text.as_str()));
        let about: Vec<_> = [("run", run.as_str())].into_iter().chain(texts).collect();
        caller.begin(self.deed, &about, self.urgent, state.own_clock.now())
    }
}

/// What a command does, in the table of who may do what; and whether it stops something, so that it has to go through even
/// if the audit is full.
fn deed_of(request: &SubmitCommand) -> (Deed, bool) {
    match request.command {
        Verb::Approve => (Deed::ApproveRun, false),
        Verb::Reject => (Deed::ApproveRun, true),
        Verb::Pause | Verb::PauseNow | Verb::Cancel => (Deed::SteerRun, true),
        Verb::Resume if request.override_guard.is_some() => (Deed::OverrideGuard, false),
        Verb::Resume | Verb::Retry | Verb::GiveUp | Verb::Signal => (Deed::SteerRun, false),
    }
}

/// What an approval says beyond who gives it.
fn approves(verb: Verb, seen: Option<Digest>, groups: Vec<String>) -> Option<Approves> {
    let approves = Approves { seen, groups };
    (verb == Verb::Approve && approves != Approves::default()).then_some(approves)
}

async fn get(
    State(state): State<ApiState>,
    InPath((run, id)): InPath<(RunId, CommandId)>,
    query: InQuery,
) -> Result<Json<CommandView>, ApiError> {
    query.finish()?;
    match state.store.command(id).await? {
        Some(command) if command.run == run => Ok(Json(view(command))),
        Some(_) | None => {
            let detail = format!("run {run} has no command {}", id.0);
            Err(ApiError::new(Code::CommandNotFound, detail))
        }
    }
}

/// The command that was submitted with this identifier before, if it is the same one; an error if it is not. What another one
/// is, or who sent it, is not told: it may be of a run that they may not view.
async fn known(
    state: &ApiState,
    caller: &Caller,
    command: &Command,
) -> Result<Option<Command>, ApiError> {
    // If the store can't tell, it will itself refuse a command that it can't keep.
    let known = unless_broken(state.store.command(command.id).await)?;
    let Some(known) = known else { return Ok(None) };
    let is_same = known.verb == command.verb
        && known.agent == command.agent
        && known.again == command.again
        && known.signal == command.signal
        && known.override_guard == command.override_guard
        && seen(&known) == seen(command)
        // Where nobody is asked who they are, they may say something else the next time.
        && (!caller.is_asked() || known.actor == command.actor);
    if known.run == command.run && is_same {
        return Ok(Some(known));
    }
    let detail = format!("the identifier {} was used for another command", command.id.0);
    Err(ApiError::new(Code::CommandIdReused, detail))
}

fn seen(command: &Command) -> Option<&Digest> {
    command.approves.as_ref().and_then(|approves| approves.seen.as_ref())
}

fn refuse_ended(run: &RunView) -> Result<(), ApiError> {
    if !run.status.is_final() {
        return Ok(());
    }
    let detail = format!("run {} has ended as {}", run.id, run.status);
    Err(ApiError::new(Code::CommandRefused, detail))
}

/// Waits until the command has its outcome, or for [`COMMAND_WAIT`].
async fn wait(state: &ApiState, mut command: Command) -> Result<Command, ApiError> {
    let from = state.clock.now();
    while command.outcome.is_none() {
        if state.clock.now().since(from) >= Millis(COMMAND_WAIT.as_millis() as u64) {
            // A run that has ended in the meantime applies no more commands.
            refuse_ended(&runs::look(state, command.run).await?)?;
            break;
        }
        tokio::select! {
            biased;
            // The command is kept, and the next server applies it.
            () = state.stopping.cancelled() => break,
            () = state.clock.sleep(COMMAND_POLL) => {}
        }
        command = unless_broken(state.store.command(command.id).await)?.unwrap_or(command);
    }
    Ok(command)
}

fn answer(command: Command) -> Result<Response, ApiError> {
    match &command.outcome {
        Some(CommandOutcome::Refused { reason }) => {
            Err(ApiError::new(Code::CommandRefused, reason.clone()))
        }
        Some(CommandOutcome::Applied) => Ok((StatusCode::OK, Json(view(command))).into_response()),
        None => Ok((StatusCode::ACCEPTED, Json(view(command))).into_response()),
    }
}

fn view(command: Command) -> CommandView {
    CommandView {
        id: command.id,
        run: command.run,
        command: command.verb,
        agent: command.agent,
        override_guard: command.override_guard,
        outcome: command.outcome,
    }
}
