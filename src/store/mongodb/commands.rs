//! Commands, from their submission until an engine takes them up.

use std::collections::HashSet;

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};

use super::base::{Base, live, uuid};
use super::bodies;
use super::parking::{unanswered_of, waking, without_outcome};
use super::rows::{Question, decode};
use super::time::date;
use super::transaction::{self, Failure, Transaction};
use crate::contract::{MAX_PAGE, Result};
use crate::documents::Put;
use crate::keys::page_limit;
use crate::options::Moment;
use replibook_core::run::{Command, CommandId, EngineId, RunId};

pub(super) const COMMAND: &str = "a command";

struct Submit<'a> {
    new: &'a Command,
    document: Document,
    at: &'a Moment,
}

pub(super) async fn submit(base: &Base, new: &Command, at: &Moment) -> Result<Put> {
    let document = bodies::command(new)?;
    transaction::make(base, &Submit { new, document, at }).await
}

#[async_trait]
impl Transaction for Submit<'_> {
    type Output = Put;

    const DOING: &'static str = "submit a command";

    async fn attempt(
        &self,
        base: &Base,
        session: &mut ClientSession,
    ) -> std::result::Result<Put, Failure> {
        let Self { new, document, at } = self;
        let id = doc! { "_id": uuid(new.id.0) };
        let mut known = id.clone();
        known.insert("finish_ts", live(at.cutoff));
        let known = base.commands.find_one(known).projection(doc! { "_id": 1 });
        if known.session(&mut *session).await?.is_some() {
            return Ok(Put::Unchanged);
        }
        let mut document = document.clone();
        if new.finish_ts.is_none()
            && let Some(finish_ts) = finish_ts_of_late(base, new, at, session).await?
        {
            document.insert("finish_ts", finish_ts);
        }
        base.commands.replace_one(id, document).upsert(true).session(session).await?;
        Ok(Put::Created)
    }
}

/// The `finish_ts` of a command that may come too late to be stamped together with its run. This writes to the
/// run, so that the run can't begin to finish at the same time.
async fn finish_ts_of_late(
    base: &Base,
    new: &Command,
    at: &Moment,
    session: &mut ClientSession,
) -> mongodb::error::Result<Option<Bson>> {
    let run = doc! { "_id": uuid(new.run.0), "finish_ts": live(at.cutoff) };
    let touched = base.runs.find_one_and_update(run, doc! { "$inc": { "commands": 1_i64 } });
    let touched = touched.projection(doc! { "finishing_at": 1, "finish_ts": 1, "lease": 1 });
    let touched = touched.session(&mut *session).await?;
    if let Some(wake) = touched.as_ref().and_then(|run| waking(run, at)) {
        base.runs.update_one(doc! { "_id": uuid(new.run.0) }, wake).session(session).await?;
    }
    Ok(match touched {
        Some(run) => run.get("finishing_at").filter(|at| **at != Bson::Null).cloned(),
        None => Some(date(at.now)),
    })
}

pub(super) async fn command(base: &Base, id: CommandId, at: &Moment) -> Result<Option<Command>> {
    let filter = doc! { "_id": uuid(id.0), "finish_ts": live(at.cutoff) };
    let question =
        Question { collection: &base.commands, what: COMMAND, filter, order: doc! {}, limit: 1 };
    question.first(&id.0.to_string(), bodies::read_command).await
}

pub(super) async fn unanswered(base: &Base, run: RunId, at: &Moment) -> Result<Vec<Command>> {
    let (collection, order) = (&base.commands, doc! { "at": 1, "_id": 1 });
    let filter = unanswered_of(run, at);
    let question = Question { collection, what: COMMAND, filter, order, limit: MAX_PAGE };
    let found = question.raw(None).await?;
    Ok(found.iter().filter_map(|raw| decode(raw, bodies::read_command).ok()).collect())
}

/// Few commands wait, so this asks for them first; mostly that is the only query.
pub(super) async fn waiting_commands(
    base: &Base,
    engine: &EngineId,
    limit: u32,
    at: &Moment,
) -> Result<Vec<Command>> {
    let limit = page_limit(limit) as usize;
    let mut waiting = Vec::new();
    let mut after = None;
    while waiting.len() < limit {
        let found = waiting_page(base, after.as_ref(), at).await?;
        let last = found.len() < MAX_PAGE as usize;
        after = found.last().and_then(place);
        // A command that can't be read must not hold up the others.
        let readable = found.iter().filter_map(|raw| decode(raw, bodies::read_command).ok());
        let found: Vec<Command> = readable.collect();
        let held = held(base, engine, &found, at).await?;
        let mine = found.into_iter().filter(|command| held.contains(&command.run.0));
        waiting.extend(mine.take(limit - waiting.len()));
        if last || after.is_none() {
            break;
        }
    }
    Ok(waiting)
}

/// The place of a command among those that wait: after all commands with a lower one.
pub(super) type Place = (Bson, Bson);

pub(super) fn place(command: &RawDocumentBuf) -> Option<Place> {
    let field =
        |name| command.get(name).ok().flatten().and_then(|value| Bson::try_from(value).ok());
    Some((field("at")?, field("_id")?))
}

/// A page of commands without an outcome, in order of their places: at most [`MAX_PAGE`].
pub(super) async fn waiting_page(
    base: &Base,
    after: Option<&Place>,
    moment: &Moment,
) -> Result<Vec<RawDocumentBuf>> {
    let mut filter = without_outcome(moment);
    if let Some((at, id)) = after {
        filter.insert("at", doc! { "$gte": at });
        filter
            .insert("$or", [doc! { "at": { "$gt": at } }, doc! { "_id": { "$gt": id } }].to_vec());
    }
    let (collection, order) = (&base.commands, doc! { "at": 1, "_id": 1 });
    Question { collection, what: COMMAND, filter, order, limit: MAX_PAGE }.raw(None).await
}

/// Which of the runs of these commands the engine holds.
async fn held(
    base: &Base,
    engine: &EngineId,
    commands: &[Command],
    at: &Moment,
) -> Result<HashSet<::uuid::Uuid>> {
    let runs: HashSet<_> = commands.iter().map(|command| command.run.0).collect();
    if runs.is_empty() {
        return Ok(HashSet::new());
    }
    let filter = doc! {
        "_id": { "$in": runs.into_iter().map(uuid).collect::<Vec<_>>() },
        "lease.engine": &engine.0,
        "lease.until": { "$gt": date(at.now) },
        "finish_ts": Bson::Null,
    };
    let (collection, order) = (&base.runs, doc! { "_id": 1 });
    let question = Question { collection, what: "a lease", filter, order, limit: MAX_PAGE };
    Ok(question.ids().await?.iter().filter_map(bodies::read_uuid).collect())
}
