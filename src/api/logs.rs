//! `/api/v1/runs/{id}/logs`: what the plugins of a run logged, page by page.

use axum::extract::State;

use super::access::Deed;
use super::endpoint::Endpoint;
use super::error::ApiError;
use super::journals::NotACursor;
use super::limits::LINE_BYTES;
use super::pages::{List, Paged, page};
use super::params::{InPath, InQuery};
use super::runs;
use super::state::ApiState;
use super::weigh::Reads;
use super::wire::Listing;
use crate::run::{AgentId, LogLine, RunId};
use crate::store::LogCursor;

const ALL: &str = "/api/v1/runs/{id}/logs";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(ALL, "listLogLines", "Lists the log lines of a run in order.", list)
            .does(Deed::ViewRuns)
            .path::<RunId>("id", "The run.")
            .query::<AgentId>("agent", "Only lines of this agent.")
            .paged()
            .answers::<Listing<LogLine>>(200, "A page."),
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
    let (store, agent) = (&state.store, agent.as_ref());
    let list = List {
        read: async |after: Option<Cursor>, limit| {
            let after = after.map(|Cursor(place)| place);
            Ok(store.read_logs(run, agent, after.as_ref(), limit).await?)
        },
        key: write,
        view: |line| (line, 0),
        heaviest: LINE_BYTES,
    };
    let page = page(&reads.0, after, limit, list).await?;
    runs::check_known(&state, run, page.is_empty).await?;
    Ok(page)
}

/// The place of a line as text: `EVENT.LINE.AGENT`. The agent comes last since it may contain dots.
fn write(line: &LogLine) -> String {
    let agent = line.agent.as_ref().map(AgentId::as_str).unwrap_or_default();
    format!("{}.{}.{agent}", line.event, line.line)
}

#[derive(Clone, Debug)]
struct Cursor(LogCursor);

impl std::str::FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let mut parts = text.splitn(3, '.');
        let (Some(event), Some(line), Some(agent)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(NotACursor);
        };
        Ok(Self(LogCursor {
            event: event.parse().map_err(|_| NotACursor)?,
            agent: agent.to_owned(),
            line: line.parse().map_err(|_| NotACursor)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_also_with_dots_in_the_agent_and_without_one() {
        let read = |text: &str| text.parse::<Cursor>().map(|cursor| cursor.0);
        let cursor = |agent: &str| LogCursor { event: 12, agent: agent.to_owned(), line: 3 };
        assert_eq!(read("12.3.node-1.example").unwrap(), cursor("node-1.example"));
        assert_eq!(read("12.3.").unwrap(), cursor(""));
        for bad in ["", "12", "12.3", "x.3.a", "12.-3.a"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
