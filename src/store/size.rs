//! How large a commit is, and whether that is allowed. All back ends count alike, so that they refuse the same
//! commits.

use std::io;

use serde::Serialize;

use super::contract::{MAX_COMMIT_BYTES, MAX_COMMIT_DOCUMENTS, MAX_PUT, Result};
use super::documents::{NewRun, Object};
use super::error::StoreError;
use replibook_core::run::Writes;

/// Number and bytes of the documents that a commit writes in addition to the run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CommitSize {
    documents: usize,
    bytes: usize,
    largest: usize,
}

impl CommitSize {
    /// Counts one more document.
    pub(super) fn add(&mut self, bytes: usize) {
        self.documents += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.largest = self.largest.max(bytes);
    }

    /// Bytes of all documents together.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the largest document.
    pub(super) fn largest(&self) -> usize {
        self.largest
    }

    /// Refuses a commit that is too large. Its largest document is not counted: it can't be split, and a run must
    /// not get stuck because of it, whatever else the same transition writes.
    pub(super) fn check(&self) -> Result<()> {
        check_documents(self.documents)?;
        if self.bytes - self.largest > MAX_COMMIT_BYTES {
            let (found, limit) = (self.bytes, MAX_COMMIT_BYTES);
            return Err(StoreError::TooLarge { found, unit: "bytes", limit });
        }
        Ok(())
    }
}

/// Refuses more documents than one commit may write.
pub(super) fn check_documents(found: usize) -> Result<()> {
    match found {
        0..=MAX_COMMIT_DOCUMENTS => Ok(()),
        _ => Err(StoreError::TooLarge { found, unit: "documents", limit: MAX_COMMIT_DOCUMENTS }),
    }
}

/// How many bytes a commit of `writes` counts: those of its documents, without the run, as JSON.
pub fn commit_bytes(writes: &Writes) -> usize {
    commit_size(writes).bytes()
}

/// The size of a commit of `writes`, by the same count.
pub(super) fn commit_size(writes: &Writes) -> CommitSize {
    let Writes { progress: _, records, journals, logs, events, commands } = writes;
    let mut size = CommitSize::default();
    records.iter().for_each(|record| size.add(json_bytes(record)));
    journals.iter().for_each(|journal| size.add(json_bytes(journal)));
    logs.iter().for_each(|line| size.add(json_bytes(line)));
    events.iter().for_each(|event| size.add(json_bytes(event)));
    commands.iter().for_each(|command| size.add(json_bytes(command)));
    size
}

/// Refuses a run with more first events than one transaction may write.
pub(super) fn check_new_run(new: &NewRun) -> Result<()> {
    let mut size = CommitSize::default();
    new.events.iter().for_each(|event| size.add(json_bytes(event)));
    size.check()
}

/// How many bytes the texts of documents have that are to be kept together. Refuses too many documents.
pub(super) fn check_put(objects: &[Object]) -> Result<usize> {
    let found = objects.len();
    if found > MAX_PUT {
        return Err(StoreError::TooLarge { found, unit: "documents", limit: MAX_PUT });
    }
    let texts = objects.iter().map(|object| match object {
        Object::Playbook(playbook) => playbook.text.len(),
        Object::Cluster(cluster) => cluster.text.len(),
    });
    Ok(texts.sum())
}

fn json_bytes(document: &impl Serialize) -> usize {
    let mut count = Count(0);
    // Counting can't fail. A document that can't be JSON fails when it is written.
    let _ = serde_json::to_writer(&mut count, document);
    count.0
}

struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(documents: &[usize]) -> CommitSize {
        let mut size = CommitSize::default();
        documents.iter().for_each(|bytes| size.add(*bytes));
        size
    }

    #[test]
    fn the_limits_hold_except_for_the_largest_document() {
        assert!(size(&[]).check().is_ok());
        assert!(size(&vec![1; MAX_COMMIT_DOCUMENTS]).check().is_ok());
        assert!(size(&vec![1; MAX_COMMIT_DOCUMENTS + 1]).check().is_err());
        assert!(size(&[MAX_COMMIT_BYTES * 3]).check().is_ok());
        assert!(size(&[MAX_COMMIT_BYTES * 3, MAX_COMMIT_BYTES]).check().is_ok());
        assert!(size(&[MAX_COMMIT_BYTES * 3, MAX_COMMIT_BYTES, 1]).check().is_err());
    }

    #[test]
    fn bytes_are_those_of_the_json() {
        assert_eq!(json_bytes(&serde_json::json!({"a": "é"})), r#"{"a":"é"}"#.len());
    }
}
