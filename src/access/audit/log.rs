//! The file of the audit: lines are added at its end, and read from there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::entry::{AuditEntry, MAX_LINE};
use super::reserve::Reserve;

/// Bytes that one look at the file reads: the longest line fits, and a page of ordinary ones.
const LOOK_BYTES: u64 = 4 * MAX_LINE as u64;

/// The audit of a server. Clones share it.
#[derive(Clone, Debug)]
pub struct AuditLog {
    path: PathBuf,
    lines: Arc<Mutex<Lines>>,
}

#[derive(Debug)]
struct Lines {
    file: File,
    reserve: Reserve,
    /// Whether the last line in the file may lack its end.
    torn: bool,
}

/// Entries of the audit, newest first.
#[derive(Debug, Default)]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// Where the page after this one begins; `None` if there are no earlier entries.
    pub next: Option<u64>,
    /// How many lines of this page can't be read.
    pub unreadable: u32,
}

impl AuditLog {
    /// Opens the file, or makes it, for its owner alone. Beside it there is one for a disk that is full.
    ///
    /// # Errors
    /// Those of the system.
    pub fn open(path: &Path) -> io::Result<Self> {
        let reserve = reserve_of(path);
        let shown = |path: &Path, error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        };
        let file = open(path).map_err(|error| shown(path, error))?;
        let reserve = Reserve::open(&reserve).map_err(|error| shown(&reserve, error))?;
        // Whatever was written last may have been cut off by a crash.
        let mut lines = Lines { file, reserve, torn: true };
        if lines.file.metadata()?.len() == 0 {
            lines.torn = false;
        }
        if let Err(error) = lines.empty_reserve() {
            tracing::warn!(%error, "the audit still has lines in its reserve");
        }
        Ok(Self { path: path.to_owned(), lines: Arc::new(Mutex::new(lines)) })
    }

    /// Adds an entry. One that is `urgent` goes into the reserve if there is no room elsewhere.
    ///
    /// # Errors
    /// Those of the system: the entry is nowhere.
    pub fn write(&self, entry: &AuditEntry, urgent: bool) -> io::Result<()> {
        let line = line_of(entry)?;
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let written = lines.follow(&self.path).and_then(|()| lines.add(&line));
        match written {
            Ok(()) => {
                if let Err(error) = lines.empty_reserve() {
                    tracing::warn!(%error, "the audit still has lines in its reserve");
                }
                Ok(())
            }
            Err(error) if urgent => {
                tracing::error!(%error, "the audit can't be written; an entry goes into its reserve");
                lines.reserve.put(&line_of(&entry.shortest())?)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads at most `limit` entries that end before the byte `before` of the file, newest first.
    ///
    /// # Errors
    /// Those of the system.
    pub fn page(&self, before: Option<u64>, limit: usize) -> io::Result<AuditPage> {
        let mut file = File::open(&self.path)?;
        let length = file.metadata()?.len();
        let end = before.unwrap_or(length).min(length);
        let start = end.saturating_sub(LOOK_BYTES);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.take(end - start).read_to_end(&mut bytes)?;
        Ok(page_of(&bytes, start, limit))
    }
}

fn line_of(entry: &AuditEntry) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&entry.bounded()).map_err(io::Error::other)?;
    line.push(b'\n');
    Ok(line)
}

/// The file beside the audit for a disk that is full.
fn reserve_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".reserve");
    path.with_file_name(name)
}

fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let kept = file.metadata()?;
    if kept.is_file() && kept.permissions().mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

impl Lines {
    /// Goes on in a new file if the old one was moved away.
    fn follow(&mut self, path: &Path) -> io::Result<()> {
        let own = self.file.metadata()?;
        let is_there = fs::metadata(path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (own.dev(), own.ino()));
        if !is_there {
            self.file = open(path)?;
            self.torn = false;
        }
        Ok(())
    }

    fn add(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            // An empty line is passed over by whoever reads the file.
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        let written = self.file.write_all(line);
        self.torn = written.is_err();
        written
    }

    fn empty_reserve(&mut self) -> io::Result<()> {
        if self.reserve.is_empty() {
            return Ok(());
        }
        let lines = self.reserve.lines()?;
        self.add(&lines)?;
        self.reserve.clear()
    }
}

/// The last entries of these bytes, which begin at `start` in the file, perhaps in the middle of a line.
fn page_of(bytes: &[u8], start: u64, limit: usize) -> AuditPage {
    let mut page = AuditPage::default();
    // What is after the last line end is still being written.
    let mut end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    while end > 0 && page.entries.len() < limit {
        let begin = bytes[..end - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if begin == 0 && start > 0 {
            break;
        }
        let line = bytes[begin..end - 1].trim_ascii();
        match serde_json::from_slice(line) {
            Ok(entry) => page.entries.push(entry),
            Err(_) if line.is_empty() => {}
            Err(_) => page.unreadable += 1,
        }
        end = begin;
    }
    let next = start + end as u64;
    // A line that is longer than what is read can't be one of ours.
    let passed_over = start > 0 && page.entries.is_empty() && page.unreadable == 0;
    page.next = match (next, passed_over) {
        (0, _) => None,
        (_, true) => Some(start),
        (next, false) => Some(next),
    };
    page
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use uuid::Uuid;

    use super::super::entry::AuditOutcome;
    use super::*;
    use crate::run::Timestamp;

    fn entry(number: u128) -> AuditEntry {
        AuditEntry {
            at: Timestamp::from_millis(0),
            request: Uuid::from_u128(number),
            who: Some("token:ci".to_owned()),
            from: None,
            what: "pause a run".to_owned(),
            to: "POST /api/v1/runs/x/commands".to_owned(),
            about: BTreeMap::new(),
            outcome: AuditOutcome::Begins,
            status: None,
            code: None,
        }
    }

    fn numbers(page: &AuditPage) -> Vec<u128> {
        page.entries.iter().map(|entry| entry.request.as_u128()).collect()
    }

    /// Those of all pages.
    fn all(log: &AuditLog) -> Vec<u128> {
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let page = log.page(before, 1_000).unwrap();
            found.extend(numbers(&page));
            before = page.next;
            if before.is_none() {
                return found;
            }
        }
    }

    #[test]
    fn entries_are_read_newest_first_page_by_page() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let log = AuditLog::open(&path).unwrap();
        assert_eq!(numbers(&log.page(None, 10).unwrap()), []);
        (1..=5).for_each(|number| log.write(&entry(number), false).unwrap());
        let first = log.page(None, 2).unwrap();
        assert_eq!(numbers(&first), [5, 4]);
        let second = log.page(first.next, 2).unwrap();
        assert_eq!(numbers(&second), [3, 2]);
        let third = log.page(second.next, 2).unwrap();
        assert_eq!((numbers(&third), third.next), (vec![1], None));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn many_entries_are_all_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let log = AuditLog::open(&folder.path().join("audit.jsonl")).unwrap();
        (0..2_000).for_each(|number| log.write(&entry(number), false).unwrap());
        assert_eq!(all(&log), (0..2_000).rev().collect::<Vec<_>>());
    }

    #[test]
    fn a_line_that_was_cut_off_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        fs::write(&path, "{\"at\": \"2026").unwrap();
        let log = AuditLog::open(&path).unwrap();
        log.write(&entry(1), false).unwrap();
        let page = log.page(None, 10).unwrap();
        assert_eq!((numbers(&page), page.unreadable), (vec![1], 1));
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let log = AuditLog::open(&path).unwrap();
        log.write(&entry(1), false).unwrap();
        fs::rename(&path, folder.path().join("audit.1")).unwrap();
        log.write(&entry(2), false).unwrap();
        assert_eq!(numbers(&log.page(None, 10).unwrap()), [2]);
    }

    #[test]
    fn on_a_full_disk_only_what_is_urgent_is_written_and_it_is_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let log = AuditLog::open(&path).unwrap();
        assert!(log.write(&entry(1), false).is_err());
        log.write(&entry(2), true).unwrap();
        let most = (0..10_000).take_while(|_| log.write(&entry(3), true).is_ok()).count();
        assert!((500..10_000).contains(&most), "the reserve is bounded: {most}");
        // There is room again.
        fs::remove_file(&path).unwrap();
        log.write(&entry(4), false).unwrap();
        let found = all(&log);
        assert_eq!(found.iter().filter(|number| **number == 2).count(), 1);
        assert!(found.contains(&4) && !found.contains(&1));
    }
}
