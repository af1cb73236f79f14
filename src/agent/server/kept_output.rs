//! What commands have written, after their end: in the database, so that it can be looked at also after a restart.

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use uuid::Uuid;

use super::error::StoreError;
use super::live::Written;
use super::store::{ActionStore, Started};
use crate::agent::{ActionPhase, OUTPUT_BYTES, OutputPiece, OutputQuery};

/// Of how many actions the output is kept, the latest ones. As many as a list of actions has.
const MAX_KEPT_ACTIONS: u32 = 1_000;

/// How many bytes of output are kept in all: a small disk has that, and it is the whole output of at least thirty
/// actions, or that of all that are kept if they write 64 KiB each.
const MAX_KEPT_IN_ALL: u64 = 64 * 1024 * 1024;

/// What is known of the output of an action.
#[derive(Debug, PartialEq)]
pub(super) enum Kept {
    /// The piece that was asked for.
    Piece(OutputPiece),
    /// The action is known, and it has not ended.
    NotYet,
    /// The action has ended, and what it may have written is not kept any more.
    NoMore,
    /// There is no such action.
    Unknown,
}

impl ActionStore {
    /// Keeps what the command of an action has written, and forgets the oldest output if that is too much in all.
    pub(super) async fn keep_output(&self, id: Uuid, written: Written) -> Result<(), StoreError> {
        self.call(move |connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let exit = written.exit();
            for (stream, found) in written.into_streams() {
                let (bytes, gone) = found.into_parts();
                tx.execute(
                    "INSERT OR REPLACE INTO outputs (id, stream, size, gone, exit, bytes)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    params![
                        id.to_string(),
                        stream.as_str(),
                        number(bytes.len() as u64),
                        number(gone),
                        exit,
                        bytes
                    ],
                )?;
            }
            while is_too_much(&tx)? {
                let oldest =
                    "DELETE FROM outputs WHERE id = (SELECT id FROM outputs ORDER BY seq LIMIT 1)";
                tx.execute(oldest, [])?;
            }
            tx.commit()?;
            Ok(())
        })
        .await
    }

    /// What an action has written, if its command is not at work.
    pub(super) async fn output(&self, id: Uuid, query: OutputQuery) -> Result<Kept, StoreError> {
        if let Some(piece) = self.kept_piece(id, query).await? {
            return Ok(Kept::Piece(piece));
        }
        let Some(action) = self.get(id).await? else { return Ok(Kept::Unknown) };
        Ok(match (action.phase, action.process) {
            (ActionPhase::New | ActionPhase::Running, _) => Kept::NotYet,
            // Nothing that writes ever began.
            (ActionPhase::Done | ActionPhase::Failed, Started::Not) => {
                Kept::Piece(nothing(query.from, true))
            }
            (ActionPhase::Done | ActionPhase::Failed, Started::As(_) | Started::Somehow) => {
                Kept::NoMore
            }
        })
    }

    async fn kept_piece(
        &self,
        id: Uuid,
        query: OutputQuery,
    ) -> Result<Option<OutputPiece>, StoreError> {
        self.call(move |connection| {
            let about = "SELECT seq, size, gone, exit FROM outputs WHERE id = ?1 AND stream = ?2";
            let row =
                connection.query_row(about, [&id.to_string(), query.stream.as_str()], |row| {
                    Ok((
                        row.get::<_, i64>(0)?,
                        row.get::<_, i64>(1)?,
                        row.get::<_, i64>(2)?,
                        row.get(3)?,
                    ))
                });
            let Some((seq, size, gone, exit)) = row.optional()? else { return Ok(None) };
            let end = gone.saturating_add(size);
            let from = number(query.from).clamp(gone, end);
            let part = "SELECT coalesce(substr(bytes, ?2, ?3), x'') FROM outputs WHERE seq = ?1";
            let bytes: Vec<u8> = connection.query_row(
                part,
                // The first byte has the number 1.
                params![seq, from - gone + 1, number(OUTPUT_BYTES as u64)],
                |row| row.get(0),
            )?;
            let from = u64::try_from(from).unwrap_or_default();
            let next = from.saturating_add(bytes.len() as u64);
            let ended = number(next) == end;
            Ok(Some(OutputPiece { from, next, ended, exit, bytes: bytes.into() }))
        })
        .await
    }
}

/// The piece of an action that has written nothing.
pub(super) fn nothing(from: u64, ended: bool) -> OutputPiece {
    OutputPiece { from, next: from, ended, exit: None, bytes: bytes::Bytes::new() }
}

fn is_too_much(connection: &Connection) -> Result<bool, StoreError> {
    let sql = "SELECT count(DISTINCT id), coalesce(sum(size), 0) FROM outputs";
    let (actions, bytes) =
        connection.query_row(sql, [], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, i64>(1)?)))?;
    Ok(actions > MAX_KEPT_ACTIONS || bytes > number(MAX_KEPT_IN_ALL))
}

/// A number as SQLite has them.
fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::live::{LiveOutput, MAX_KEPT_BYTES, Showing};
    use super::*;
    use crate::agent::OutputStream;

    fn written(bytes: &[u8]) -> Written {
        let live = LiveOutput::default();
        live.begin(Uuid::nil());
        Showing::new(&live, OutputStream::Stderr, None).add(bytes);
        live.copy().unwrap()
    }

    fn store(folder: &tempfile::TempDir) -> ActionStore {
        ActionStore::open(&folder.path().join("agent.sqlite")).unwrap()
    }

    async fn piece(store: &ActionStore, id: u128, from: u64) -> Option<OutputPiece> {
        let query = OutputQuery { from, stream: OutputStream::Stderr };
        store.kept_piece(Uuid::from_u128(id), query).await.unwrap()
    }

    #[tokio::test]
    async fn what_was_written_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = [&b"\xFF\0"[..], &vec![b'x'; MAX_KEPT_BYTES]].concat();
        store(&folder).keep_output(Uuid::from_u128(1), written(&bytes)).await.unwrap();
        let store = store(&folder);
        let first = piece(&store, 1, 0).await.unwrap();
        assert_eq!((first.from, first.bytes.len(), first.ended), (2, OUTPUT_BYTES, false));
        let last = piece(&store, 1, MAX_KEPT_BYTES as u64).await.unwrap();
        assert_eq!((&last.bytes[..], last.ended), (&b"xx"[..], true));
        let past = piece(&store, 1, u64::MAX).await.unwrap();
        assert_eq!((past.from, past.bytes.len()), (MAX_KEPT_BYTES as u64 + 2, 0));
        assert_eq!(piece(&store, 2, 0).await, None);
        store.keep_output(Uuid::from_u128(3), written(b"")).await.unwrap();
        let nothing = piece(&store, 3, 0).await.unwrap();
        assert_eq!((nothing.bytes.len(), nothing.ended), (0, true));
    }

    #[tokio::test]
    async fn the_oldest_output_is_forgotten_if_it_is_too_much_in_all() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let most = MAX_KEPT_IN_ALL / MAX_KEPT_BYTES as u64;
        for id in 0..=u128::from(most) {
            assert!(piece(&store, 0, 0).await.is_some() || id == 0, "{id}");
            let large = written(&vec![b'x'; MAX_KEPT_BYTES]);
            store.keep_output(Uuid::from_u128(id), large).await.unwrap();
        }
        assert_eq!(piece(&store, 0, 0).await, None);
        assert!(piece(&store, 1, 0).await.is_some());
    }

    #[tokio::test]
    async fn the_oldest_output_is_forgotten_if_there_are_too_many() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let fill = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                    INSERT INTO outputs (id, stream, size, gone, bytes) SELECT i, 'stdout', 0, 0, x'' FROM n";
        let filled =
            store.call(move |connection| Ok(connection.execute(fill, [MAX_KEPT_ACTIONS])?));
        filled.await.unwrap();
        store.keep_output(Uuid::from_u128(1), written(b"a")).await.unwrap();
        let left = store.call(|connection| {
            let sql = "SELECT count(DISTINCT id), min(id = '1') FROM outputs";
            Ok(connection
                .query_row(sql, [], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, bool>(1)?)))?)
        });
        assert_eq!(left.await.unwrap(), (MAX_KEPT_ACTIONS, false));
        assert!(piece(&store, 1, 0).await.is_some());
    }
}
