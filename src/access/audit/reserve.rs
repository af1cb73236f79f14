//! Room for a few lines on a disk that is full: a file whose blocks are there from the start.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Bytes of the reserve: several hundred lines of ordinary length, which is more than people pause and cancel until the
/// disk has room again.
pub const RESERVE_BYTES: usize = 256 * 1024;

/// Lines for which there was no room elsewhere, one after the other; the rest of the file is zeros.
#[derive(Debug)]
pub(super) struct Reserve {
    file: File,
    used: usize,
}

impl Reserve {
    /// Opens the file, or makes it. All its blocks are written, so that a full disk has room for them later.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut kept = Vec::new();
        (&mut file).take(RESERVE_BYTES as u64).read_to_end(&mut kept)?;
        let used = kept.iter().position(|byte| *byte == 0).unwrap_or(kept.len());
        if kept.len() < RESERVE_BYTES {
            file.seek(SeekFrom::Start(kept.len() as u64))?;
            file.write_all(&vec![0; RESERVE_BYTES - kept.len()])?;
            file.sync_all()?;
        }
        Ok(Self { file, used })
    }

    /// Keeps a line.
    pub(super) fn put(&mut self, line: &[u8]) -> io::Result<()> {
        if self.used + line.len() > RESERVE_BYTES {
            return Err(io::Error::other("the reserve for a full disk is full too"));
        }
        self.file.seek(SeekFrom::Start(self.used as u64))?;
        self.file.write_all(line)?;
        self.used += line.len();
        Ok(())
    }

    /// The lines, whole and in their order; empty if there are none.
    pub(super) fn lines(&mut self) -> io::Result<Vec<u8>> {
        let mut lines = vec![0; self.used];
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_exact(&mut lines)?;
        Ok(lines)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Forgets the lines, which are elsewhere by now.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&vec![0; self.used])?;
        self.used = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_there_after_a_restart_and_not_beyond_the_bytes_that_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reserve");
        let mut reserve = Reserve::open(&path).unwrap();
        assert!(reserve.is_empty());
        reserve.put(b"one\n").unwrap();
        drop(reserve);
        let mut reserve = Reserve::open(&path).unwrap();
        reserve.put(b"two\n").unwrap();
        assert_eq!(reserve.lines().unwrap(), b"one\ntwo\n");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), RESERVE_BYTES as u64);
        assert!(reserve.put(&vec![b'x'; RESERVE_BYTES - 7]).is_err());
        reserve.put(&vec![b'x'; RESERVE_BYTES - 8]).unwrap();
        reserve.clear().unwrap();
        drop(reserve);
        assert!(Reserve::open(&path).unwrap().is_empty());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), RESERVE_BYTES as u64);
    }
}
