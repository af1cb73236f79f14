//! Checks the write-ahead log of an engine that did not end properly: whether everything that it had committed is
//! there.
//!
//! SQLite reads a log up to the first frame that does not fit, and can't know what came after it. But its index of
//! the log is in shared memory and outlives the process: it says how many frames were committed. The formats are
//! those of <https://www.sqlite.org/walformat.html>. After a power cut the index may be older than the log, and
//! then says nothing.
//!
//! Whoever closes the database last, be it an engine, a shell or a copy, moves the whole log into it and removes
//! both files: the index first. So an index without its log is never left in that way.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::create::beside;
use super::directory::{failed, refused};
use crate::contract::Result;

/// Bytes of a log's header.
const HEADER: usize = 32;

/// Bytes before each page in a log.
const FRAME_HEADER: usize = 24;

/// Bytes of an index's header. The header is there twice; after it comes the number of frames that are in the
/// database.
const INDEX_HEADER: usize = 48;

/// The first number of a log. Its last bit, which is left out here, says in which byte order the sums are
/// computed.
const MAGIC: u32 = 0x377f_0682;

/// The version of an index that can be read here.
const INDEX_VERSION: u32 = 3_007_000;

/// How much newer than its index a log may be after a power cut. The log counts up by one each time that it begins
/// anew, which takes megabytes, and the system holds an index back for half a minute at most.
const NEWER: u32 = 1_000;

/// What was committed, according to the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Committed {
    frames: u32,
    /// Whether some of these frames are not in the database yet.
    only_there: bool,
    page: usize,
    salts: [u32; 2],
}

/// Fails if something that was committed is missing from the log. `was_open`: the previous engine did not close
/// the database.
///
/// # Errors
/// [`StoreError::Unfit`](crate::StoreError::Unfit), which says what to do.
pub(super) fn check(database: &Path, lock: &Path, was_open: bool) -> Result<()> {
    let (path, index) = (beside(database, "-wal"), beside(database, "-shm"));
    let committed = match std::fs::read(&index) {
        Ok(bytes) => committed(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed("read", &index, error)),
    };
    let found = match File::open(&path) {
        Ok(mut log) => Some(frames(&mut log).map_err(|error| failed("read", &path, error))?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed("read", &path, error)),
    };
    let lost = match (committed, &found) {
        // Everything was in the database already.
        (Some(Committed { frames: 0, .. }), _)
        | (Some(Committed { only_there: false, .. }), None) => None,
        (Some(committed), Some(log)) => missing(committed, log),
        (Some(_), None) => Some("is gone".to_owned()),
        // Half an index only says that there was a log.
        (None, None) if was_open && index.exists() => Some("is gone".to_owned()),
        (None, None) if was_open => {
            tracing::warn!(
                "the previous server did not stop properly, and there is no log: whatever had the database open since has \
                 moved all of it to the database, unless somebody removed the log and its index"
            );
            None
        }
        (None, _) => None,
    };
    let Some(lost) = lost else { return Ok(()) };
    Err(refused(format!(
        "found that the log {log} {lost}, although the previous server did not stop properly: its last \
         commits are missing, so what they did would be done again. Put it back, or a whole backup into an \
         empty directory. To go on with what is left, remove {index} and {lock}",
        log = path.display(),
        index = index.display(),
        lock = lock.display(),
    )))
}

/// Why the log is not the one whose frames were committed. None if it is.
fn missing(committed: Committed, log: &Log) -> Option<String> {
    let Some(header) = &log.header else { return Some("was cut".to_owned()) };
    if header.salts != committed.salts {
        let newer = header.salts[0].wrapping_sub(committed.salts[0]);
        // Either the index is older than the log, because of a power cut, or this is another log.
        return (newer == 0 || newer > NEWER).then(|| "is another one".to_owned());
    }
    let (found, frames) = (log.frames, committed.frames);
    (found < frames || header.page != committed.page)
        .then(|| format!("was cut or damaged ({found} of {frames} committed pages are there)"))
}

fn number(bytes: &[u8], at: usize, read: fn([u8; 4]) -> u32) -> Option<u32> {
    let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(read(bytes))
}

/// What an index says. None if the index is incomplete.
fn committed(index: &[u8]) -> Option<Committed> {
    let native = |at| number(index, at, u32::from_ne_bytes);
    let header = index.get(..INDEX_HEADER)?;
    let is_whole = header == index.get(INDEX_HEADER..2 * INDEX_HEADER)?
        && native(0)? == INDEX_VERSION
        && header.get(12)? == &1
        && sum([0; 2], header.get(..40)?, u32::from_ne_bytes) == [native(40)?, native(44)?];
    if !is_whole {
        return None;
    }
    let page = u16::from_ne_bytes(header.get(14..16)?.try_into().ok()?);
    let big = |at| number(index, at, u32::from_be_bytes);
    // As in the log, the salts are big-endian whatever the byte order of this machine.
    let frames = native(16)?;
    let only_there = native(2 * INDEX_HEADER)? < frames;
    let salts = [big(32)?, big(36)?];
    Some(Committed { frames, only_there, page: page_size(page.into()), salts })
}

/// The size of the largest page does not fit into the field, which has 1 instead.
fn page_size(written: u32) -> usize {
    if written == 1 { 65_536 } else { usize::try_from(written).unwrap_or_default() }
}

/// What was found of a log.
#[derive(Debug, Default)]
struct Log {
    header: Option<Header>,
    /// How many frames fit, counted from the first one.
    frames: u32,
}

#[derive(Debug)]
struct Header {
    page: usize,
    salts: [u32; 2],
}

/// Reads a log from its start up to the first frame that does not fit.
fn frames(log: &mut (impl Read + Seek)) -> io::Result<Log> {
    log.seek(SeekFrom::Start(0))?;
    let mut header = [0; HEADER];
    if !read_whole(log, &mut header)? {
        return Ok(Log::default());
    }
    let Some((read, header, mut sums)) = header_of(&header) else { return Ok(Log::default()) };
    let mut frame = vec![0; FRAME_HEADER + header.page];
    let mut frames = 0;
    while read_whole(log, &mut frame)? {
        let Some(next) = sums_of(&frame, &header, sums, read) else { break };
        sums = next;
        frames += 1;
    }
    Ok(Log { header: Some(header), frames })
}

type Order = fn([u8; 4]) -> u32;

/// The byte order in which sums are computed, what the header says, and its sums.
fn header_of(bytes: &[u8]) -> Option<(Order, Header, [u32; 2])> {
    let big = |at| number(bytes, at, u32::from_be_bytes);
    let magic = big(0)?;
    let order: Order = match magic {
        MAGIC => u32::from_le_bytes,
        _ if magic == MAGIC | 1 => u32::from_be_bytes,
        _ => return None,
    };
    let page = page_size(big(8)?);
    let sums = sum([0; 2], bytes.get(..24)?, order);
    let is_whole = sums == [big(24)?, big(28)?] && (512..=65_536).contains(&page);
    is_whole.then_some((order, Header { page, salts: [big(16)?, big(20)?] }, sums))
}

/// The sums after a frame. None if it does not fit.
fn sums_of(frame: &[u8], header: &Header, before: [u32; 2], order: Order) -> Option<[u32; 2]> {
    let big = |at| number(frame, at, u32::from_be_bytes);
    if [big(8)?, big(12)?] != header.salts {
        return None;
    }
    let sums = sum(sum(before, frame.get(..8)?, order), frame.get(FRAME_HEADER..)?, order);
    (sums == [big(16)?, big(20)?]).then_some(sums)
}

fn sum([mut first, mut second]: [u32; 2], bytes: &[u8], order: Order) -> [u32; 2] {
    for pair in bytes.chunks_exact(8) {
        let number = |at| number(pair, at, order).unwrap_or_default();
        first = first.wrapping_add(number(0)).wrapping_add(second);
        second = second.wrapping_add(number(4)).wrapping_add(first);
    }
    [first, second]
}

/// Fills the buffer. Returns false if there are not enough bytes.
fn read_whole(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rusqlite::{Connection, OpenFlags};

    use super::super::{DATABASE_FILE, create, open};
    use super::*;

    /// The files of a database whose process was killed after some commits.
    fn killed(commits: u32) -> (tempfile::TempDir, PathBuf) {
        let (living, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = living.path().join(DATABASE_FILE);
        create::ensure(&path).unwrap();
        let writer = open::writer(&path).unwrap();
        for n in 0..commits {
            let sql = "INSERT INTO clusters (name, body) VALUES (?1, ?2)";
            writer.execute(sql, (n, "x".repeat(5_000))).unwrap();
        }
        for entry in std::fs::read_dir(living.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), left.path().join(entry.file_name())).unwrap();
        }
        let path = left.path().join(DATABASE_FILE);
        (left, path)
    }

    fn check(path: &Path, was_open: bool) -> std::result::Result<(), String> {
        super::check(path, Path::new("LOCK"), was_open).map_err(|error| error.to_string())
    }

    #[test]
    fn a_log_that_is_whole_is_taken() {
        let (_left, path) = killed(20);
        check(&path, true).unwrap();
        // A part of what an engine was about to commit when it died.
        let log = beside(&path, "-wal");
        let mut bytes = std::fs::read(&log).unwrap();
        bytes.extend(vec![7; 3_000]);
        std::fs::write(&log, bytes).unwrap();
        check(&path, true).unwrap();
        let (_left, path) = killed(0);
        check(&path, true).unwrap();
        check(&path, false).unwrap();
    }

    #[test]
    fn a_database_that_something_else_closed_is_whole() {
        let (_left, path) = killed(20);
        let other = Connection::open(&path).unwrap();
        let rows = other.query_row("SELECT count(*) FROM clusters", [], |row| row.get::<_, u32>(0));
        assert_eq!(rows.unwrap(), 20);
        drop(other);
        assert!(!beside(&path, "-wal").exists() && !beside(&path, "-shm").exists());
        check(&path, true).unwrap();
        // The check of an earlier version leaves an empty log.
        let looker = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        looker.query_row("SELECT count(*) FROM clusters", [], |_| Ok(())).unwrap();
        drop(looker);
        let is_empty = std::fs::metadata(beside(&path, "-wal")).unwrap().len() == 0;
        assert!(is_empty && beside(&path, "-shm").exists());
        check(&path, true).unwrap();
        let _ = std::fs::remove_file(beside(&path, "-shm"));
        check(&path, true).unwrap();
    }

    #[test]
    fn a_log_that_was_cut_damaged_removed_or_replaced_is_refused() {
        let (_left, path) = killed(20);
        let (log, index) = (beside(&path, "-wal"), beside(&path, "-shm"));
        let whole = std::fs::read(&log).unwrap();
        let refused = |says: &str, was_open: bool| {
            let why = check(&path, was_open).unwrap_err();
            assert!(why.contains(says) && why.contains("-shm and LOCK"), "{why}");
        };
        for length in [0, 31, 32, 5_000, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&log, &whole[..length]).unwrap();
            refused("was cut", false);
        }
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 1;
        std::fs::write(&log, damaged).unwrap();
        refused("was cut or damaged", false);
        let (_other, other) = killed(30);
        std::fs::copy(beside(&other, "-wal"), &log).unwrap();
        refused("is another one", false);
        std::fs::remove_file(&log).unwrap();
        refused("is gone", false);
        // Half an index does not say how much there was.
        std::fs::write(&index, [0; 40]).unwrap();
        refused("is gone", true);
        check(&path, false).unwrap();
        std::fs::write(&log, &whole[..5_000]).unwrap();
        check(&path, true).unwrap();
    }

    #[test]
    fn after_a_power_cut_an_index_may_be_older_than_its_log() {
        let committed = Committed { frames: 9, only_there: true, page: 4_096, salts: [7, 1] };
        let log =
            |salt, frames| Log { header: Some(Header { page: 4_096, salts: [salt, 2] }), frames };
        assert_eq!(missing(committed, &log(8, 0)), None);
        assert!(missing(committed, &log(6, 20)).is_some());
        assert!(missing(committed, &log(7, 20)).is_some());
        let same = Log { header: Some(Header { page: 4_096, salts: [7, 1] }), frames: 9 };
        assert_eq!(missing(committed, &same), None);
    }
}
