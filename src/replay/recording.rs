//! Reads what was recorded of a run. Large members are read line by line, so that a recording of any size can
//! be played.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::error::ReplayError;
use super::folder::path_of;
use super::limits::{LINE_BYTES, OBJECT_BYTES, PLUGIN_BYTES};
use super::member::MemberName;
use crate::run::{AgentRecord, Digest, Journal, RunEvent, Snapshot};

/// A recorded run: the members of an export, in a folder.
#[derive(Debug)]
pub struct Recording {
    folder: PathBuf,
    snapshot: Arc<Snapshot>,
}

impl Recording {
    /// Opens the recording in `folder`.
    ///
    /// # Errors
    /// The snapshot can't be read.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, ReplayError> {
        let folder = folder.into();
        let text = read_whole(&folder, &MemberName::Snapshot, OBJECT_BYTES)?;
        let snapshot = serde_json::from_slice(&text)
            .map_err(|error| ReplayError::malformed(MemberName::Snapshot, error))?;
        Ok(Self { folder, snapshot: Arc::new(snapshot) })
    }

    /// What the run was started with.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The agent records, ordered by sequence.
    ///
    /// # Errors
    /// The file can't be opened. Each line may be an error of its own.
    pub fn records(&self) -> Result<Lines<AgentRecord>, ReplayError> {
        Lines::open(&self.folder, MemberName::Records)
    }

    /// The journals, ordered by key.
    ///
    /// # Errors
    /// Those of [`records`](Self::records).
    pub fn journals(&self) -> Result<Lines<Journal>, ReplayError> {
        Lines::open(&self.folder, MemberName::Journals)
    }

    /// The events, ordered by sequence.
    ///
    /// # Errors
    /// Those of [`records`](Self::records).
    pub fn events(&self) -> Result<Lines<RunEvent>, ReplayError> {
        Lines::open(&self.folder, MemberName::Events)
    }

    /// The bytes of a plugin.
    ///
    /// # Errors
    /// They are missing, or have another digest.
    pub fn plugin(&self, digest: &Digest) -> Result<Bytes, ReplayError> {
        let name = MemberName::Plugin(digest.clone());
        let bytes = read_whole(&self.folder, &name, PLUGIN_BYTES)?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(ReplayError::malformed(name, format!("its bytes have digest {found}")));
        }
        Ok(bytes.into())
    }
}

fn read_whole(folder: &Path, name: &MemberName, most: u64) -> Result<Vec<u8>, ReplayError> {
    let path = path_of(folder, name);
    let read = || {
        let mut bytes = Vec::new();
        File::open(&path)?.take(most + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|source| ReplayError::file("read", path.clone(), source))?;
    if bytes.len() as u64 > most {
        return Err(ReplayError::malformed(name, format!("found more than {most} bytes")));
    }
    Ok(bytes)
}

/// Documents, one per line, read one after another. Nothing follows after an error.
#[derive(Debug)]
pub struct Lines<T> {
    member: MemberName,
    path: PathBuf,
    file: BufReader<File>,
    line: u64,
    failed: bool,
    kind: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Lines<T> {
    fn open(folder: &Path, member: MemberName) -> Result<Self, ReplayError> {
        let path = path_of(folder, &member);
        let file = File::open(&path);
        let file = file.map_err(|source| ReplayError::file("read", path.clone(), source))?;
        let (file, kind) = (BufReader::new(file), PhantomData);
        Ok(Self { member, path, file, line: 0, failed: false, kind })
    }

    fn read(&mut self) -> Result<Option<T>, ReplayError> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.file).take(LINE_BYTES + 1);
        let read = bounded.read_until(b'\n', &mut line);
        read.map_err(|source| ReplayError::file("read", self.path.clone(), source))?;
        self.line += 1;
        if line.is_empty() {
            return Ok(None);
        }
        if line.len() as u64 > LINE_BYTES {
            return Err(self.wrong(format!("found more than {LINE_BYTES} bytes")));
        }
        serde_json::from_slice(&line).map(Some).map_err(|error| self.wrong(error.to_string()))
    }

    fn wrong(&self, message: String) -> ReplayError {
        let line = Some(self.line);
        ReplayError::Malformed { member: self.member.to_string(), line, message }
    }
}

impl<T: DeserializeOwned> Iterator for Lines<T> {
    type Item = Result<T, ReplayError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.read().transpose();
        self.failed = !matches!(next, Some(Ok(_)));
        next
    }
}
