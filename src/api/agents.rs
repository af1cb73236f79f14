//! `/api/v1/runs/{id}/agents`: the agent records of a run, page by page, since a run may have 100,000.

use axum::Json;
use axum::extract::State;

use super::access::Deed;
use super::endpoint::Endpoint;
use super::error::{ApiError, Code};
use super::limits::RECORD_BYTES;
use super::pages::{List, Paged, page};
use super::params::{InPath, InQuery};
use super::runs;
use super::shapes::Seq;
use super::state::ApiState;
use super::weigh::{Reads, Weighed};
use super::wire::Listing;
use crate::run::{AgentId, AgentRecord, AgentSeq, AgentState, RunId};

const ALL: &str = "/api/v1/runs/{id}/agents";
const ONE: &str = "/api/v1/runs/{id}/agents/{agent}";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(ALL, "listAgentRecords", "Lists the agent records of a run.", list)
            .does(Deed::ViewRuns)
            .path::<RunId>("id", "The run.")
            .query::<AgentState>("state", "Only agents in this state.")
            .paged_by::<Seq>()
            .answers::<Listing<AgentRecord>>(200, "A page, in the order of the run's sequence."),
        Endpoint::get(ONE, "getAgentRecord", "Shows the record of one agent of a run.", get)
            .does(Deed::ViewRuns)
            .path::<RunId>("id", "The run.")
            .path::<AgentId>("agent", "The agent; a slash in it is written as `%2F`.")
            .fails(&[Code::AgentNotFound])
            .answers::<AgentRecord>(200, "The record."),
    ]
}

async fn list(
    State(state): State<ApiState>,
    reads: Reads,
    InPath(run): InPath<RunId>,
    mut query: InQuery,
) -> Result<Paged, ApiError> {
    let expected = AgentState::ALL.map(AgentState::as_str).join(", ");
    let agent_state = query.take("state", &format!("one of {expected}"))?;
    let after: Option<u32> = query.take("after", "a whole number")?;
    let limit = query.limit()?;
    query.finish()?;
    let store = &state.store;
    let list = List {
        read: async |after: Option<u32>, limit| {
            Ok(store.read_records(run, agent_state, after.map(AgentSeq), limit).await?)
        },
        key: |record: &AgentRecord| record.seq.0.to_string(),
        view: |record| (view(record), 0),
        heaviest: RECORD_BYTES,
    };
    let page = page(&reads.0, after, limit, list).await?;
    runs::check_known(&state, run, page.is_empty).await?;
    Ok(page)
}

async fn get(
    State(state): State<ApiState>,
    reads: Reads,
    InPath((run, agent)): InPath<(RunId, AgentId)>,
    query: InQuery,
) -> Result<Weighed<Json<AgentRecord>>, ApiError> {
    query.finish()?;
    let share = reads.large().await;
    if let Some(record) = state.store.record(run, &agent).await? {
        return Ok(Weighed(Json(view(record)), share));
    }
    runs::find(&state, run).await?;
    Err(not_found(run, &agent))
}

/// A record with its last action, also if an early version wrote the record without it.
fn view(record: AgentRecord) -> AgentRecord {
    AgentRecord { action: record.last_action(), ..record }
}

pub(super) fn not_found(run: RunId, agent: &AgentId) -> ApiError {
    ApiError::new(Code::AgentNotFound, format!("run {run} has no agent {:?}", agent.as_str()))
}
