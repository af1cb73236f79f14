//! `/api/v1/runs/{id}/journals`: the journals of a run's attempts, page by page.

use std::fmt;
use std::str::FromStr;

use axum::extract::State;

use super::access::Deed;
use super::endpoint::Endpoint;
use super::error::{ApiError, Code};
use super::limits::JOURNAL_BYTES;
use super::pages::{List, Paged, page};
use super::params::{InPath, InQuery};
use super::state::ApiState;
use super::weigh::Reads;
use super::wire::{JournalView, Listing};
use super::{agents, runs};
use crate::run::{AgentId, AgentSeq, AttemptKey, Journal, RunId};

const ALL: &str = "/api/v1/runs/{id}/journals";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(ALL, "listJournals", "Lists the journals of a run by attempt.", list)
            .does(Deed::ViewRuns)
            .path::<RunId>("id", "The run.")
            .query::<AgentId>("agent", "Only journals of this agent.")
            .paged()
            .fails(&[Code::AgentNotFound])
            .answers::<Listing<JournalView>>(200, "A page."),
    ]
}

async fn list(
    State(state): State<ApiState>,
    reads: Reads,
    InPath(run): InPath<RunId>,
    mut query: InQuery,
) -> Result<Paged, ApiError> {
    let agent = query.take::<String>("agent", "an agent")?.map(AgentId);
    let after = query.take::<Cursor>("after", "`next` of the page before")?;
    let limit = query.limit()?;
    query.finish()?;
    let agent = match agent {
        Some(agent) => Some(find_seq(&state, run, &agent).await?),
        None => None,
    };
    let store = &state.store;
    let list = List {
        read: async |after: Option<Cursor>, limit| {
            Ok(store.read_journals(run, agent, after.map(|Cursor(key)| key), limit).await?)
        },
        key: |journal: &Journal| Cursor(journal.key).to_string(),
        view: |journal| (JournalView::of(journal), 0),
        heaviest: JOURNAL_BYTES,
    };
    let page = page(&reads.0, after, limit, list).await?;
    runs::check_known(&state, run, page.is_empty).await?;
    Ok(page)
}

async fn find_seq(state: &ApiState, run: RunId, agent: &AgentId) -> Result<AgentSeq, ApiError> {
    if let Some(record) = state.store.record(run, agent).await? {
        return Ok(record.seq);
    }
    runs::find(state, run).await?;
    Err(agents::not_found(run, agent))
}

/// The key of a journal as text: `AGENT.STAGE.STEP.ATTEMPT`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cursor(AttemptKey);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AttemptKey { agent, stage, step, attempt } = self.0;
        write!(f, "{}.{stage}.{step}.{attempt}", agent.0)
    }
}

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let parts: Vec<_> = text.split('.').collect();
        let [agent, stage, step, attempt] = parts.as_slice() else { return Err(NotACursor) };
        Ok(Self(AttemptKey {
            agent: AgentSeq(agent.parse().map_err(|_| NotACursor)?),
            stage: stage.parse().map_err(|_| NotACursor)?,
            step: step.parse().map_err(|_| NotACursor)?,
            attempt: attempt.parse().map_err(|_| NotACursor)?,
        }))
    }
}

/// The text is not a place in the list.
#[derive(Debug)]
pub(super) struct NotACursor;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back() {
        let cursor = Cursor(AttemptKey { agent: AgentSeq(7), stage: 1, step: 2, attempt: 3 });
        assert_eq!(cursor.to_string(), "7.1.2.3");
        assert_eq!("7.1.2.3".parse::<Cursor>().unwrap(), cursor);
        for bad in ["", "7", "7.1.2", "7.1.2.3.4", "7.1.2.x", "7.70000.2.3"] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    }
}
