//! Reads what belongs to a run: agent records, journals, log lines and events.

use mongodb::bson::{Bson, Document, doc};

use super::base::{Base, integer, live, uuid};
use super::bodies;
use super::codec::from_document;
use super::rows::Question;
use crate::contract::Result;
use crate::damage::Found;
use crate::documents::LogCursor;
use crate::options::Moment;
use replibook_core::run::{
    AgentId, AgentRecord, AgentSeq, AgentState, AttemptKey, Journal, LogLine, RunEvent, RunId,
};

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
) -> Result<Found<AgentRecord>> {
    let mut filter = of_run(run, at);
    if let Some(state) = state {
        filter.insert("state", state.as_str());
    }
    if let Some(after) = after {
        filter.insert("seq", doc! { "$gt": integer(after.0.into()) });
    }
    let (collection, order) = (&base.agent_records, doc! { "seq": 1 });
    Question { collection, what: RECORD, filter, order, limit }.found(&["seq"], from_document).await
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
    Question { collection, what: RECORD, filter, order, limit: 1 }
        .first(agent.as_str(), from_document)
        .await
}

pub(super) async fn journals(
    base: &Base,
    run: RunId,
    agent: Option<AgentSeq>,
    after: Option<AttemptKey>,
    limit: u32,
    at: &Moment,
) -> Result<Found<Journal>> {
    let mut filter = of_run(run, at);
    let agent = agent.map(|agent| integer(agent.0.into()));
    if let Some(AttemptKey { agent, stage, step, attempt }) = after {
        let key = [
            ("key.agent", integer(agent.0.into())),
            ("key.stage", integer(stage.into())),
            ("key.step", integer(step.into())),
            ("key.attempt", integer(attempt.into())),
        ];
        filter.extend(after_key(&key));
    }
    if let Some(agent) = agent {
        let is = doc! { "key.agent": agent };
        filter = doc! { "$and": [is, filter] };
    }
    let collection = &base.journals;
    let order = doc! { "key.agent": 1, "key.stage": 1, "key.step": 1, "key.attempt": 1 };
    let key = ["key.agent", "key.stage", "key.step", "key.attempt"];
    let question = Question { collection, what: "a journal", filter, order, limit };
    question.found(&key, from_document).await
}

pub(super) async fn logs(
    base: &Base,
    run: RunId,
    agent: Option<&AgentId>,
    after: Option<&LogCursor>,
    limit: u32,
    at: &Moment,
) -> Result<Found<LogLine>> {
    let mut filter = of_run(run, at);
    if let Some(LogCursor { event, agent, line }) = after {
        let key = [
            ("event", integer(*event)),
            ("agent", bodies::agent_of_line(agent)),
            ("line", integer((*line).into())),
        ];
        filter.extend(after_key(&key));
    }
    let order = match agent {
        Some(agent) => {
            let is = doc! { "agent": &agent.0 };
            filter = doc! { "$and": [is, filter] };
            doc! { "event": 1, "line": 1 }
        }
        None => doc! { "event": 1, "agent": 1, "line": 1 },
    };
    let collection = &base.logs;
    let question = Question { collection, what: "a log line", filter, order, limit };
    question.found(&["event", "line", "agent"], from_document).await
}

/// Matches everything after a key of several fields, in their order. A bound on the first field limits what the
/// server has to look at.
fn after_key(key: &[(&str, Bson)]) -> Document {
    let mut later = Vec::new();
    for (index, (field, value)) in key.iter().enumerate() {
        let same = key.iter().take(index).map(|(field, value)| (*field, value.clone()));
        let mut one: Document = same.map(|(field, value)| (field.to_owned(), value)).collect();
        // In MongoDB nothing is greater than null, but everything that is not null sorts after it.
        let greater = if *value == Bson::Null { "$ne" } else { "$gt" };
        let mut than = Document::new();
        than.insert(greater, value.clone());
        one.insert(*field, than);
        later.push(one);
    }
    let first = key.first().map(|(field, value)| ((*field).to_owned(), doc! { "$gte": value }));
    let mut after: Document = first.into_iter().map(|(k, v)| (k, Bson::Document(v))).collect();
    after.insert("$or", later);
    after
}

pub(super) async fn events(
    base: &Base,
    run: RunId,
    after: u64,
    limit: u32,
    at: &Moment,
) -> Result<Found<RunEvent>> {
    let mut filter = of_run(run, at);
    filter.insert("seq", doc! { "$gt": integer(after) });
    let (collection, order) = (&base.events, doc! { "seq": 1 });
    let question = Question { collection, what: "an event", filter, order, limit };
    question.found(&["seq"], from_document).await
}
