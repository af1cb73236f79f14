//! One file that holds the members of a folder: a tar archive, compressed with Zstandard. Unpacking trusts
//! nothing in the file: name, kind and size of each entry are checked against what an export may have, before
//! that much is written.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use tar::{Archive, Builder, Entry, EntryType, Header};
use zstd::{Decoder, Encoder};

use super::error::ReplayError;
use super::folder::{MemberWriter, path_of};
use super::limits::{ArchiveLimits, CHANGED_BYTES, COMPRESSION_LEVEL, MANIFEST_BYTES, WINDOW_LOG};
use super::member::{FORMAT, Manifest, Member, MemberName};
use super::private::make_folder;

/// Packs the members that the manifest lists, from `folder`, into the file at `to`, which only its owner can read. An
/// existing file is replaced once the new one is complete.
///
/// # Errors
/// A file can't be read or written.
pub fn pack(folder: &Path, manifest: &Manifest, to: &Path) -> Result<(), ReplayError> {
    let failed = |source| ReplayError::file("write", to, source);
    let beside = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    let temporary = tempfile::NamedTempFile::new_in(beside.unwrap_or(Path::new(".")));
    let mut temporary = temporary.map_err(failed)?;
    write(folder, manifest, temporary.as_file_mut()).map_err(failed)?;
    temporary.persist(to).map_err(|error| failed(error.error))?;
    Ok(())
}

fn write(folder: &Path, manifest: &Manifest, to: &mut File) -> io::Result<()> {
    let mut tar = Builder::new(packing(BufWriter::new(to))?);
    let members = manifest.members.iter().map(|member| &member.name);
    for name in [&MemberName::Manifest].into_iter().chain(members) {
        let file = File::open(path_of(folder, name))?;
        let mut header = Header::new_ustar();
        header.set_size(file.metadata()?.len());
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(manifest.made_at.as_millis() / 1_000).unwrap_or(0));
        tar.append_data(&mut header, name.to_string(), BufReader::new(file))?;
    }
    tar.into_inner()?.finish()?.flush()
}

/// Unpacks the file at `from` into `folder`, which exists and is empty. Nothing in the file is used as a path.
/// Returned with the manifest are the names of the members whose bytes do not match its checksums: those were
/// changed after the export.
///
/// # Errors
/// [`ReplayError::NotAnExport`] when the file is no export, [`ReplayError::TooLarge`] past one of the limits,
/// which is noticed before that much is written.
pub fn unpack(
    from: &Path,
    folder: &Path,
    limits: ArchiveLimits,
) -> Result<(Manifest, Vec<MemberName>), ReplayError> {
    let file = File::open(from).map_err(|source| ReplayError::file("read", from, source))?;
    let plugins = folder.join("plugins");
    make_folder(&plugins).map_err(|source| ReplayError::file("make", plugins, source))?;
    let unpacking = Unpacking { from, folder, limits };
    let (manifest, found) = unpacking.members(file)?;
    let changed = unpacking.compare(&manifest, &found)?;
    Ok((manifest, changed))
}

/// Compresses what is written to it, with a checksum that reveals a changed file.
fn packing<W: Write>(to: W) -> io::Result<Encoder<'static, W>> {
    let mut packing = Encoder::new(to, COMPRESSION_LEVEL)?;
    packing.include_checksum(true)?;
    Ok(packing)
}

/// Decompresses `source`, which has one frame or several.
fn unpacked<R: BufRead>(source: R) -> io::Result<Decoder<'static, R>> {
    let mut unpacked = Decoder::with_buffer(source)?;
    unpacked.window_log_max(WINDOW_LOG)?;
    Ok(unpacked)
}

struct Unpacking<'a> {
    from: &'a Path,
    folder: &'a Path,
    limits: ArchiveLimits,
}

impl Unpacking<'_> {
    fn members(&self, file: File) -> Result<(Manifest, Vec<Member>), ReplayError> {
        let unpacked = unpacked(BufReader::new(file)).map_err(|error| self.unreadable(&error))?;
        let mut archive = Archive::new(Bounded { source: unpacked, left: self.limits.total_bytes });
        // Raw: extensions of the format, which could name any size or path, are refused below.
        let entries = archive.entries().map_err(|error| self.unreadable(&error))?.raw(true);
        let (mut manifest, mut found) = (None, Vec::<Member>::new());
        for entry in entries {
            let entry = entry.map_err(|error| self.unreadable(&error))?;
            if found.len() >= self.limits.members {
                return Err(self.too_large(format!(
                    "found more than {} members, expected at most that many",
                    self.limits.members
                )));
            }
            let name = self.name_of(&entry)?;
            if found.is_empty() && name != MemberName::Manifest {
                return Err(self.wrong(format!("found {name} first, expected manifest.json")));
            }
            if found.iter().any(|member| member.name == name) {
                return Err(self.wrong(format!("found {name} twice, expected it once")));
            }
            let most = match (name == MemberName::Manifest, &manifest) {
                (true, _) => MANIFEST_BYTES,
                (false, Some(manifest)) => self.most_bytes(manifest, &name)?,
                (false, None) => self.most_bytes(manifest.insert(self.manifest()?), &name)?,
            };
            found.push(self.copy(name, most, entry)?);
        }
        let manifest = manifest.map_or_else(|| self.manifest(), Ok)?;
        Ok((manifest, found))
    }

    /// How many bytes a member may have: as many as the manifest says, which was read first, and some more in
    /// case the member was changed since.
    fn most_bytes(&self, manifest: &Manifest, name: &MemberName) -> Result<u64, ReplayError> {
        let listed = manifest.members.iter().find(|member| member.name == *name);
        let Some(Member { bytes, .. }) = listed else {
            return Err(self.wrong(format!("found {name}, which its manifest does not list")));
        };
        let most = bytes.saturating_add(CHANGED_BYTES);
        Ok(most.min(name.most_bytes().unwrap_or(self.limits.total_bytes)))
    }

    fn name_of<R: Read>(&self, entry: &Entry<'_, R>) -> Result<MemberName, ReplayError> {
        let kind = entry.header().entry_type();
        if kind != EntryType::Regular {
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let message = format!("found {path:?}, which is {kind:?}, expected files alone");
            return Err(self.wrong(message));
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        name.parse::<MemberName>().map_err(|error| self.wrong(error.to_string()))
    }

    fn copy<R: Read>(
        &self,
        name: MemberName,
        most: u64,
        mut entry: Entry<'_, R>,
    ) -> Result<Member, ReplayError> {
        let size = entry.size();
        if size > most {
            let message = format!("{name} has {size} bytes, expected at most {most}");
            return Err(self.too_large(message));
        }
        let mut member = MemberWriter::create(self.folder, name)?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = entry.read(&mut buffer).map_err(|error| self.unreadable(&error))?;
            match buffer.get(..read) {
                None | Some([]) => return member.finish(),
                Some(bytes) => member.add(bytes)?,
            }
        }
    }

    fn manifest(&self) -> Result<Manifest, ReplayError> {
        let path = path_of(self.folder, &MemberName::Manifest);
        let text =
            std::fs::read(&path).map_err(|_| self.wrong("found nothing in it".to_owned()))?;
        // In a manifest of a later version, nothing but the version may be understood.
        #[derive(serde::Deserialize)]
        struct Version {
            format: u32,
        }
        let bad = |error: serde_json::Error| self.wrong(format!("manifest.json: {error}"));
        let Version { format } = serde_json::from_slice(&text).map_err(bad)?;
        if format != FORMAT {
            return Err(self.wrong(format!("found format {format}, expected {FORMAT}")));
        }
        serde_json::from_slice(&text).map_err(bad)
    }

    /// The members whose bytes do not match the manifest.
    fn compare(
        &self,
        manifest: &Manifest,
        found: &[Member],
    ) -> Result<Vec<MemberName>, ReplayError> {
        let listed: BTreeSet<&MemberName> = manifest.members.iter().map(|it| &it.name).collect();
        let there: BTreeSet<&MemberName> =
            found.iter().map(|it| &it.name).filter(|name| **name != MemberName::Manifest).collect();
        let always = MemberName::ALWAYS;
        if let Some(name) = listed.iter().copied().chain(&always).find(|it| !there.contains(it)) {
            return Err(self.wrong(format!("found no {name}, expected one")));
        }
        let changed = manifest.members.iter().filter(|member| !found.contains(member));
        Ok(changed.map(|member| member.name.clone()).collect())
    }

    fn unreadable(&self, error: &io::Error) -> ReplayError {
        match error.get_ref().is_some_and(|inner| inner.is::<PastTheEnd>()) {
            true => self.too_large(format!(
                "it unpacks to more than {} bytes, expected at most that many (`--unpack-gib` allows more)",
                self.limits.total_bytes
            )),
            false => self.wrong(error.to_string()),
        }
    }

    fn wrong(&self, message: String) -> ReplayError {
        ReplayError::NotAnExport { path: self.from.to_owned(), message }
    }

    fn too_large(&self, message: String) -> ReplayError {
        ReplayError::TooLarge { path: self.from.to_owned(), message }
    }
}

/// Reads at most `left` bytes; more is an error, not the end.
struct Bounded<R> {
    source: R,
    left: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("there is more than may be read")]
struct PastTheEnd;

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(into)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => return Err(io::Error::other(PastTheEnd)),
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        unpacked(packed)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn frames_that_follow_each_other_are_one_file() {
        let text: String = (0..40_000).map(|n| format!("line {n}\n")).collect();
        let pack = |text: &str| zstd::encode_all(text.as_bytes(), COMPRESSION_LEVEL).unwrap();
        let (head, tail) = text.split_at(100_000);
        let packed = [pack(head), pack(tail)].concat();
        assert_eq!(read(&packed).unwrap(), text.as_bytes());
    }

    #[test]
    fn what_is_cut_or_changed_or_no_frame_is_an_error() {
        let mut packing = packing(Vec::new()).unwrap();
        packing.write_all(b"some text that is longer than its header").unwrap();
        let mut packed = packing.finish().unwrap();
        assert!(read(&packed).is_ok());
        assert!(read(&packed[..packed.len() - 3]).is_err());
        let last = packed.len() - 1;
        packed[last] ^= 1;
        assert!(read(&packed).is_err());
        assert!(read(b"no frame at all").is_err());
    }

    #[test]
    fn a_file_that_asks_for_much_memory_is_refused() {
        let with_window = |log: u32| {
            let mut encoder = Encoder::new(Vec::new(), COMPRESSION_LEVEL).unwrap();
            encoder.window_log(log).unwrap();
            encoder.write_all(b"little").unwrap();
            read(&encoder.finish().unwrap())
        };
        assert!(with_window(WINDOW_LOG).is_ok());
        assert!(with_window(WINDOW_LOG + 1).is_err());
    }
}
