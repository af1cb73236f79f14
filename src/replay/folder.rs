//! Writes the members of an export into a folder, and at last the manifest, which lists the length and checksum
//! of each. A folder comes before the archive, since the manifest is complete last but stands first in the
//! archive.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::error::ReplayError;
use super::member::{FORMAT, Manifest, Member, MemberName};
use super::private::{make_file, make_folder};
use crate::run::{RunId, Timestamp};

/// The path of a member in the folder.
pub(super) fn path_of(folder: &Path, name: &MemberName) -> PathBuf {
    folder.join(name.to_string())
}

/// Writes the members of one run into an empty folder.
#[derive(Debug)]
pub struct FolderWriter {
    folder: PathBuf,
    members: Vec<Member>,
}

impl FolderWriter {
    /// Begins an export in `folder`, which exists and is empty.
    ///
    /// # Errors
    /// A folder for the plugins can't be made in it.
    pub fn new(folder: impl Into<PathBuf>) -> Result<Self, ReplayError> {
        let folder = folder.into();
        let plugins = folder.join("plugins");
        make_folder(&plugins).map_err(|source| ReplayError::file("make", plugins, source))?;
        Ok(Self { folder, members: Vec::new() })
    }

    /// Begins a member.
    ///
    /// # Errors
    /// Its file can't be made, or exists already.
    pub fn begin(&self, name: MemberName) -> Result<MemberWriter, ReplayError> {
        MemberWriter::create(&self.folder, name)
    }

    /// Takes a complete member into the manifest.
    ///
    /// # Errors
    /// The rest of its bytes can't be written.
    pub fn end(&mut self, member: MemberWriter) -> Result<(), ReplayError> {
        self.members.push(member.finish()?);
        Ok(())
    }

    /// Writes a whole member at once.
    ///
    /// # Errors
    /// It can't be written.
    pub fn whole(&mut self, name: MemberName, bytes: &[u8]) -> Result<(), ReplayError> {
        let mut member = self.begin(name)?;
        member.add(bytes)?;
        self.end(member)
    }

    /// Writes the manifest, which ends the export.
    ///
    /// # Errors
    /// It can't be written.
    pub fn finish(self, run: RunId, made_at: Timestamp) -> Result<Manifest, ReplayError> {
        let made_by = concat!("replictl ", env!("CARGO_PKG_VERSION")).to_owned();
        let manifest = Manifest { format: FORMAT, run, made_at, made_by, members: self.members };
        let mut member = MemberWriter::create(&self.folder, MemberName::Manifest)?;
        let text = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| ReplayError::malformed(MemberName::Manifest, error))?;
        member.add(&text)?;
        member.finish()?;
        Ok(manifest)
    }
}

/// Writes one member, and computes its length and checksum.
#[derive(Debug)]
pub struct MemberWriter {
    name: MemberName,
    path: PathBuf,
    file: BufWriter<File>,
    bytes: u64,
    sum: Sha256,
}

impl MemberWriter {
    pub(super) fn create(folder: &Path, name: MemberName) -> Result<Self, ReplayError> {
        let path = path_of(folder, &name);
        let file =
            make_file(&path).map_err(|source| ReplayError::file("make", path.clone(), source))?;
        let (bytes, sum) = (0, Sha256::new());
        Ok(Self { name, path, file: BufWriter::new(file), bytes, sum })
    }

    /// Adds bytes to the member.
    ///
    /// # Errors
    /// They can't be written.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), ReplayError> {
        self.sum.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|source| self.failed(source))
    }

    /// Adds a document as a line of JSON, and returns how many bytes that took.
    ///
    /// # Errors
    /// The document can't be written.
    pub fn line(&mut self, document: &impl Serialize) -> Result<usize, ReplayError> {
        let mut line = serde_json::to_vec(document)
            .map_err(|error| ReplayError::malformed(&self.name, error))?;
        line.push(b'\n');
        self.add(&line)?;
        Ok(line.len())
    }

    pub(super) fn finish(mut self) -> Result<Member, ReplayError> {
        self.file.flush().map_err(|source| self.failed(source))?;
        let sha256 = hex::encode(self.sum.finalize());
        Ok(Member { name: self.name, bytes: self.bytes, sha256 })
    }

    fn failed(&self, source: io::Error) -> ReplayError {
        ReplayError::file("write", self.path.clone(), source)
    }
}
