//! Several writes at once: in one command if the server can do that, otherwise in one command for each collection.

use mongodb::bson::{Document, RawArrayBuf, RawDocumentBuf, rawdoc};
use mongodb::options::{ReplaceOneModel, UpdateOneModel, WriteModel};
use mongodb::{ClientSession, Collection};

use super::base::{Base, whole};
use super::failure::Refused;

/// Bytes of one command. A server takes 16 MiB; this leaves room, and a single larger document is sent alone.
const COMMAND_BYTES: usize = 12 * 1024 * 1024;

/// From this size on, in bytes as JSON, the documents of a batch are encoded one by one. As values they may take a
/// hundred times as much memory, all at the same time. The documents of ordinary agents are smaller.
pub(super) const LARGE_BYTES: usize = 16 * 1024;

/// Writes that are sent together, each to one document.
#[derive(Default)]
pub(super) struct Batch {
    writes: Vec<Write>,
    /// Whether replacements are kept encoded. The command that writes to several collections only takes values.
    in_bytes: bool,
}

struct Write {
    collection: Collection<Document>,
    filter: Document,
    change: Change,
}

enum Change {
    Update(Document),
    Replace(Document),
    /// The same, already encoded.
    ReplaceRaw(RawDocumentBuf),
}

impl Batch {
    /// A batch whose largest document has `bytes` bytes as JSON.
    pub(super) fn of_largest(bytes: usize) -> Self {
        Self { writes: Vec::new(), in_bytes: bytes > LARGE_BYTES }
    }

    /// Changes fields of the document that matches `filter`.
    pub(super) fn update(
        &mut self,
        collection: &Collection<Document>,
        filter: Document,
        update: Document,
    ) {
        let change = Change::Update(update);
        self.writes.push(Write { collection: collection.clone(), filter, change });
    }

    /// Replaces the document that matches `filter`, or creates it.
    pub(super) fn replace(
        &mut self,
        collection: &Collection<Document>,
        filter: Document,
        document: Document,
    ) {
        let raw = if self.in_bytes { RawDocumentBuf::try_from(&document).ok() } else { None };
        let change = raw.map_or_else(|| Change::Replace(document), Change::ReplaceRaw);
        self.writes.push(Write { collection: collection.clone(), filter, change });
    }

    /// Number of writes.
    pub(super) fn len(&self) -> u64 {
        self.writes.len() as u64
    }

    /// Sends the writes, and returns how many documents were found or created.
    pub(super) async fn send(
        self,
        base: &Base,
        session: &mut ClientSession,
    ) -> mongodb::error::Result<u64> {
        if self.writes.is_empty() {
            return Ok(0);
        }
        if base.bulk_write && !self.in_bytes {
            let models = self.writes.into_iter().map(Write::model);
            let models = models.collect::<mongodb::error::Result<Vec<_>>>()?;
            let result = base.client.bulk_write(models).session(session).await?;
            let count = result.matched_count.saturating_add(result.upserted_count);
            return Ok(u64::try_from(count).unwrap_or_default());
        }
        let mut found = 0;
        for writes in self.writes.chunk_by(|a, b| a.collection.name() == b.collection.name()) {
            found += send_to_one(base, writes, session).await?;
        }
        Ok(found)
    }
}

impl Write {
    fn model(self) -> mongodb::error::Result<WriteModel> {
        let Self { collection, filter, change } = self;
        let namespace = collection.namespace();
        let document = match change {
            Change::Update(update) => {
                let update = UpdateOneModel::builder().namespace(namespace).update(update);
                return Ok(update.filter(filter).build().into());
            }
            Change::Replace(document) => document,
            Change::ReplaceRaw(bytes) => Document::try_from(&bytes)?,
        };
        let replace = ReplaceOneModel::builder().namespace(namespace).replacement(document);
        Ok(replace.filter(filter).upsert(true).build().into())
    }

    fn statement(&self) -> mongodb::error::Result<RawDocumentBuf> {
        let (change, upsert) = match &self.change {
            Change::Update(update) => (RawDocumentBuf::try_from(update)?, false),
            Change::Replace(document) => (RawDocumentBuf::try_from(document)?, true),
            Change::ReplaceRaw(bytes) => (bytes.clone(), true),
        };
        let filter = RawDocumentBuf::try_from(&self.filter)?;
        Ok(rawdoc! { "q": filter, "u": change, "upsert": upsert })
    }
}

async fn send_to_one(
    base: &Base,
    writes: &[Write],
    session: &mut ClientSession,
) -> mongodb::error::Result<u64> {
    let Some(first) = writes.first() else { return Ok(0) };
    let collection = first.collection.name();
    let (mut found, mut bytes, mut statements) = (0, 0, RawArrayBuf::new());
    for write in writes {
        let statement = write.statement()?;
        let size = statement.as_bytes().len();
        if bytes > 0 && bytes + size > COMMAND_BYTES {
            let full = std::mem::take(&mut statements);
            found += update(base, collection, full, session).await?;
            bytes = 0;
        }
        bytes += size;
        statements.push(statement);
    }
    Ok(found + update(base, collection, statements, session).await?)
}

async fn update(
    base: &Base,
    collection: &str,
    statements: RawArrayBuf,
    session: &mut ClientSession,
) -> mongodb::error::Result<u64> {
    let command = rawdoc! { "update": collection, "updates": statements, "ordered": true };
    let answer = base.database.run_raw_command(command).session(session).await?;
    // For the driver, a raw command has succeeded even if there are write errors in its answer.
    let errors = answer.get_array("writeErrors").ok();
    if let Some(error) = errors.and_then(|errors| errors.first()?.as_document()) {
        let code = error.get_i32("code").unwrap_or_default();
        let message = error.get_str("errmsg").unwrap_or_default().to_owned();
        return Err(mongodb::error::Error::custom(Refused { code, message }));
    }
    let found = answer.get("n").and_then(whole);
    Ok(found.and_then(|n| u64::try_from(n).ok()).unwrap_or_default())
}
