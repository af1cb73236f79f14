//! Reading what belongs to a run: agent records, journals, log lines and events.

use mongodb::bson::{Bson, Document, doc};

use super::base::{Base, integer, live, uuid};
use super::bodies;
use super::rows::Question;
use crate::run::{
    AgentId, AgentRecord, AgentSeq, AgentState, AttemptKey, Journal, LogLine, RunEvent, RunId,
};
use crate::store::contract::Result;
use crate::store::documents::LogCursor;
use crate::store::options::Moment;

const RECORD: &str = "an agent record";

fn of_run(run: RunId, at: &Moment) -> Document {
    doc! { "run": uuid(run.0), "finish_ts": live(at.cutoff) }
}

pub(super) async fn records(
    base: &Base,
    run: RunId,
    state: Option<AgentState>,
    after: Option<AgentSeq>,
    limit: u32,
    at: &Moment,
) -> Result<Vec<AgentRecord>> {
    let mut filter = of_run(run, at);
    if let Some(state) = state {
        filter.insert("state", state.as_str());
    }
    if let Some(after) = after {
        filter.insert("seq", doc! { "$gt": integer(after.0.into()) });
    }
    let (collection, order) = (&base.agent_records, doc! { "seq": 1 });
    Question { collection, what: RECORD, filter, order, limit }.all().await
}

pub(super) async fn record(
    base: &Base,
    run: RunId,
    agent: &AgentId,
    at: &Moment,
) -> Result<Option<AgentRecord>> {
    let mut filter = of_run(run, at);
    filter.insert("agent", &agent.0);
    let (collection, order) = (&base.agent_records, doc! { "seq": 1 });
    Question { collection, what: RECORD, filter, order, limit: 1 }.first().await
}

pub(super) async fn journals(
    base: &Base,
    run: RunId,
    agent: Option<AgentSeq>,
    after: Option<AttemptKey>,
    limit: u32,
    at: &Moment,
) -> Result<Vec<Journal>> {
    const WHAT: &str = "a journal";
    let mut filter = of_run(run, at);
    let mut range = Document::new();
    if let Some(after) = &after {
        range.insert("$gt", bodies::body(WHAT, after)?);
    }
    if let Some(agent) = agent {
        let number = integer(agent.0.into());
        if after.is_some_and(|after| after.agent > agent) {
            return Ok(Vec::new());
        }
        if after.is_none_or(|after| after.agent < agent) {
            // A document with fewer fields comes before those that go on.
            range.insert("$gt", doc! { "agent": &number });
        }
        range.insert("$lt", doc! { "agent": number, "stage": Bson::MaxKey });
    }
    if !range.is_empty() {
        filter.insert("key", range);
    }
    let (collection, order) = (&base.journals, doc! { "key": 1 });
    Question { collection, what: WHAT, filter, order, limit }.all().await
}

pub(super) async fn logs(
    base: &Base,
    run: RunId,
    agent: Option<&AgentId>,
    after: Option<&LogCursor>,
    limit: u32,
    at: &Moment,
) -> Result<Vec<LogLine>> {
    let mut filter = of_run(run, at);
    if let Some(agent) = agent {
        filter.insert("agent", &agent.0);
    }
    if let Some(after) = after {
        filter.insert("place", doc! { "$gt": bodies::place(after) });
    }
    let (collection, order) = (&base.logs, doc! { "place": 1 });
    Question { collection, what: "a log line", filter, order, limit }.all().await
}

pub(super) async fn events(
    base: &Base,
    run: RunId,
    after: u64,
    limit: u32,
    at: &Moment,
) -> Result<Vec<RunEvent>> {
    let mut filter = of_run(run, at);
    filter.insert("seq", doc! { "$gt": integer(after) });
    let (collection, order) = (&base.events, doc! { "seq": 1 });
    Question { collection, what: "an event", filter, order, limit }.all().await
}
