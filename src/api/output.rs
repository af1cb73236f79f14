//! `/api/v1/runs/{id}/agents/{agent}/output`: what the last action of an agent has written so far. The agent is asked at
//! that moment, and nothing of its answer is kept.

use std::time::Duration;

use async_trait::async_trait;
use axum::Json;
use axum::extract::State;
use tokio::time::timeout;
use uuid::Uuid;

use super::access::Deed;
use super::agents;
use super::ask_agents::reaching;
use super::endpoint::Endpoint;
use super::error::{ApiError, Code};
use super::output_pieces::{Veil, Writes, piece};
use super::params::{InPath, InQuery};
use super::runs;
use super::state::ApiState;
use super::wire::OutputView;
use crate::agent::{AgentClient, AgentError, OutputPiece, OutputQuery, OutputStream};
use crate::driver::Ways;
use crate::run::{AgentId, AgentRecord, KnownSecrets, Run, RunId, SentAction};

const OUTPUT: &str = "/api/v1/runs/{id}/agents/{agent}/output";

/// How long to wait for an agent. A gateway may have to make a connection to the node first.
const PATIENCE: Duration = Duration::from_secs(15);

pub(super) fn endpoints() -> Vec<Endpoint> {
    let summary = "Asks an agent what its last action has written so far.";
    vec![
        Endpoint::get(OUTPUT, "getOutput", summary, get)
            .does(Deed::ViewRuns)
            .path::<RunId>("id", "The run.")
            .path::<AgentId>("agent", "The agent; a slash in it is written as `%2F`.")
            .query::<u64>("from", "The offset to begin with: `next` of the piece before. By default 0.")
            .query::<Uuid>(
                "action",
                "The action that `from` is an offset of. If the agent has been sent another one since, the \
                 answer is the beginning of what that has written.",
            )
            .query::<String>("stream", "`stdout`, which is the default, or `stderr`.")
            .fails(&[Code::AgentNotFound, Code::NoAction, Code::NoOutput, Code::AgentUnavailable])
            .answers::<OutputView>(
                200,
                "A piece of at most 64 KiB; if it is empty and `ended` is false, nothing more was written yet.",
            ),
    ]
}

async fn get(
    State(state): State<ApiState>,
    InPath((id, agent)): InPath<(RunId, AgentId)>,
    mut query: InQuery,
) -> Result<Json<OutputView>, ApiError> {
    let from = query.take("from", "a whole number")?.unwrap_or(0);
    let of: Option<Uuid> = query.take("action", "the identifier of an action")?;
    let stream = query.take::<OutputStream>("stream", "stdout or stderr")?.unwrap_or_default();
    query.finish()?;
    let run = runs::find(&state, id).await?;
    let record = state.store.record(id, &agent).await?;
    let record = record.ok_or_else(|| agents::not_found(id, &agent))?;
    let sent = record.last_action().ok_or_else(|| no_action(id, &agent))?;
    let from = if of.is_none_or(|of| of == sent.action_id) { from } else { 0 };
    let piece = ask(&state, &run, &record, &sent, OutputQuery { from, stream }).await?;
    Ok(Json(view(&run, &sent, stream, &piece)))
}

async fn ask(
    state: &ApiState,
    run: &Run,
    record: &AgentRecord,
    sent: &SentAction,
    query: OutputQuery,
) -> Result<OutputPiece, ApiError> {
    let agent = &record.agent;
    let unavailable = |why: String| {
        ApiError::new(Code::AgentUnavailable, format!("agent {:?}: {why}", agent.as_str()))
    };
    let Some(all) = state.agents.clone() else {
        return Err(unavailable("this server can't ask agents".to_owned()));
    };
    let known = state.followers.agents(&run.snapshot.cluster).await?;
    let ways = known.map_or(Ways::Unknown, |known| known.view.ways);
    let client = reaching(all, &ways);
    let written = Written {
        client: client.as_ref(),
        address: &record.address,
        action: sent.action_id,
        stream: query.stream,
    };
    let veil = veil(state, run).await;
    // The semaphore is never closed.
    let _turn = state.asking.acquire().await;
    let asked = async {
        match &veil {
            Some(veil) => piece(&written, query.from, veil).await,
            None => written.read(query.from).await,
        }
    };
    match timeout(PATIENCE, asked).await {
        Ok(Ok(Some(piece))) => Ok(piece),
        Ok(Ok(None)) => Err(no_output(agent, sent)),
        Ok(Err(error)) => Err(unavailable(error.to_string())),
        Err(_) => Err(unavailable(format!("no answer within {PATIENCE:?}"))),
    }
}

/// What the agent of an action tells of one stream.
struct Written<'a> {
    client: &'a dyn AgentClient,
    address: &'a str,
    action: Uuid,
    stream: OutputStream,
}

#[async_trait]
impl Writes for Written<'_> {
    async fn read(&self, from: u64) -> Result<Option<OutputPiece>, AgentError> {
        let query = OutputQuery { from, stream: self.stream };
        self.client.output(self.address, self.action, query).await
    }
}

/// What hides the secrets of a run; `None` if it has none.
async fn veil(state: &ApiState, run: &Run) -> Option<Veil> {
    let mut names = run.snapshot.secrets().into_iter().peekable();
    names.peek()?;
    let mut known = KnownSecrets::default();
    for name in names {
        let taken = state.secrets.read(name).await.and_then(|value| known.take(name, &value));
        if taken.is_err() {
            return Some(Veil::of_unknown());
        }
    }
    Some(Veil::of(&known))
}

fn view(run: &Run, sent: &SentAction, stream: OutputStream, piece: &OutputPiece) -> OutputView {
    let stage = run.snapshot.playbook.stages.get(usize::from(sent.key.stage));
    let step = stage.and_then(|stage| stage.steps.get(usize::from(sent.key.step)));
    let (text, base64) = OutputView::encode(&piece.bytes);
    OutputView {
        action_id: sent.action_id,
        step: step.map(|step| step.name.clone()).unwrap_or_default(),
        attempt: sent.key.attempt,
        stream: stream.as_str().to_owned(),
        from: piece.from,
        next: piece.next,
        ended: piece.ended,
        exit: piece.exit,
        text,
        base64,
    }
}

fn no_action(run: RunId, agent: &AgentId) -> ApiError {
    let detail = format!("run {run} has sent no action to agent {:?}", agent.as_str());
    ApiError::new(Code::NoAction, detail)
}

fn no_output(agent: &AgentId, sent: &SentAction) -> ApiError {
    let detail = format!(
        "agent {:?} can't tell what action {} has written: it does not know the action, has forgotten what it wrote, or has \
         no such call (docs/agents.md, Live output)",
        agent.as_str(),
        sent.action_id
    );
    ApiError::new(Code::NoOutput, detail)
}
