//! Commits. A commit is one transaction, whose first write is to the run and only matches if the lease is still
//! ours.

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, doc};

use super::base::{Base, integer, live, uuid};
use super::batch::Batch;
use super::bodies;
use super::failure::is_too_large;
use super::transaction::{self, Failure, Transaction};
use crate::contract::Result;
use crate::documents::LogCursor;
use crate::error::StoreError;
use crate::options::Moment;
use crate::size::{CommitSize, commit_size};
use replibook_core::run::{RunId, Writes};

/// The largest document that a server stores.
const MAX_DOCUMENT: usize = 16 * 1024 * 1024;

struct Commit<'a> {
    run: RunId,
    epoch: u64,
    writes: &'a Writes,
    at: &'a Moment,
    size: CommitSize,
}

/// Writes the documents of a transition, if `epoch` is that of the run's lease.
pub(super) async fn commit(
    base: &Base,
    run: RunId,
    epoch: u64,
    writes: &Writes,
    at: &Moment,
) -> Result<()> {
    let size = commit_size(writes);
    size.check()?;
    transaction::make(base, &Commit { run, epoch, writes, at, size }).await
}

#[async_trait]
impl Transaction for Commit<'_> {
    type Output = ();

    const DOING: &'static str = "commit to a run";

    async fn attempt(
        &self,
        base: &Base,
        session: &mut ClientSession,
    ) -> std::result::Result<(), Failure> {
        let Self { run, epoch, writes, at, ref size } = *self;
        // Build the batch anew for each try: mostly there is only one, and then nothing has to be copied.
        let batch = batch(base, run, epoch, writes, at, size.largest())?;
        let wanted = batch.len();
        match batch.send(base, session).await {
            // Every other write finds its document or creates it, so a missing one can only be the run.
            Ok(found) if found == wanted => {
                if writes.progress.as_ref().is_some_and(|progress| progress.finish_ts.is_some()) {
                    let trouble = base.troubles.delete_one(doc! { "_id": uuid(run.0) });
                    trouble.session(session).await?;
                }
                Ok(())
            }
            Ok(_) => Err(StoreError::Fenced { run, epoch }.into()),
            Err(error) if is_too_large(&error) => {
                let found = size.largest();
                Err(StoreError::TooLarge { found, unit: "bytes", limit: MAX_DOCUMENT }.into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Matches the run while `epoch` is that of its lease.
pub(super) fn fence(run: RunId, epoch: u64, at: &Moment) -> Document {
    doc! {
        "_id": uuid(run.0),
        "lease.epoch": integer(epoch),
        "lease.engine": { "$ne": Bson::Null },
        "finish_ts": live(at.cutoff),
    }
}

/// A change for writes to the run that may have no other: without a change, the server would not notice that two
/// transactions write to it.
pub(super) fn counted() -> Document {
    doc! { "commits": 1_i64 }
}

fn batch(
    base: &Base,
    run: RunId,
    epoch: u64,
    writes: &Writes,
    at: &Moment,
    largest: usize,
) -> Result<Batch> {
    let Writes { progress, records, journals, logs, events, commands } = writes;
    let id = uuid(run.0);
    let mut batch = Batch::of_largest(largest);
    let mut update = doc! { "$inc": counted() };
    if let Some(progress) = progress {
        update.insert("$set", bodies::progress(progress)?);
    }
    batch.update(&base.runs, fence(run, epoch, at), update);
    for record in records {
        let filter = doc! { "run": &id, "seq": integer(record.seq.0.into()) };
        batch.replace(&base.agent_records, filter, bodies::body("an agent record", record)?);
    }
    for journal in journals {
        let mut filter = doc! { "run": &id };
        filter.extend(bodies::journal_key(&journal.key));
        batch.replace(&base.journals, filter, bodies::body("a journal", journal)?);
    }
    for line in logs {
        let LogCursor { event, agent, line: number } = LogCursor::of(line);
        let filter = doc! {
            "run": &id,
            "event": integer(event),
            "agent": bodies::agent_of_line(&agent),
            "line": integer(number.into()),
        };
        batch.replace(&base.logs, filter, bodies::body("a log line", line)?);
    }
    add_events(&mut batch, base, &id, events)?;
    for command in commands {
        let filter = doc! { "_id": uuid(command.id.0) };
        batch.replace(&base.commands, filter, bodies::command(command)?);
    }
    Ok(batch)
}

/// Adds writes for events of a run.
pub(super) fn add_events(
    batch: &mut Batch,
    base: &Base,
    run: &Bson,
    events: &[replibook_core::run::RunEvent],
) -> Result<()> {
    for event in events {
        let filter = doc! { "run": run, "seq": integer(event.seq) };
        batch.replace(&base.events, filter, bodies::body("an event", event)?);
    }
    Ok(())
}
