//! Compiled code on disk, so that a server that starts again need not compile again, which takes seconds.
//!
//! Each file is named `v1.ENGINE.PLUGIN.SUM.cwasm`: the key of the engine that it is for, the digest of the
//! plugin, and the sha256 of its content. So a single rename puts both code and checksum in place, and the file
//! holds nothing but the code, which can be mapped as it is. The checksum finds damage; the permissions of the
//! directory keep anybody else from writing there.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, BufRead as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::error::PluginError;
use crate::in_use::InUse;
use crate::limits;
use replibook_core::run::Digest;

/// The version of the names. Files with another version are removed.
const FORMAT: &str = "v1";
const END: &str = "cwasm";

/// Prefix of files that are being written. Drafts of a process that died are removed after a while.
const DRAFT: &str = "draft-";
const DRAFT_AGE: Duration = Duration::from_secs(3_600);

/// Where compiled code is kept, and how much of it.
pub(crate) struct CacheConfig {
    /// The directory.
    pub(crate) folder: PathBuf,
    /// The most bytes in it.
    pub(crate) bytes: u64,
    /// The plugins whose code makes no room for others.
    pub(crate) in_use: InUse,
}

/// A directory of compiled code, for one kind of engine.
pub(super) struct Cache {
    config: CacheConfig,
    engine: String,
    most_files: usize,
}

impl Cache {
    /// Keeps code of the engine with this key. Creates the folder if it is missing; None if there is no room for it, or
    /// nothing can be written there.
    ///
    /// # Errors
    /// `unsafe-cache` when the folder can't be created, is not a directory, belongs to another user, or is open to
    /// others. A folder that is open only to a group is emptied and closed instead: volumes in containers are
    /// opened like that at each start.
    pub(super) fn open(config: CacheConfig, engine: String) -> Result<Option<Self>, PluginError> {
        let folder = config.folder.as_path();
        let refuse = |why: String| {
            let message = format!("failed to use {} for compiled plugins: {why}", folder.display());
            PluginError::new("unsafe-cache", message)
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        if let Err(error) = made.as_ref()
            && is_short(error)
        {
            let said = "compiled plugins are not kept";
            tracing::warn!(folder = %folder.display(), %error, "{said}");
            return Ok(None);
        }
        made.and_then(|()| fs::symlink_metadata(folder))
            .map_err(|error| refuse(error.to_string()))
            .and_then(|found| close(folder, &found).map_err(refuse))
            .and_then(|found| private(&found, found.is_dir(), "directory").map_err(refuse))?;
        let cache = Self { config, engine, most_files: limits::CACHE_FILES };
        cache.sweep();
        cache.trim();
        Ok(Some(cache))
    }

    /// The code of a plugin, if it is here and intact. A file of the plugin that is not intact is removed.
    pub(super) fn find(&self, plugin: &Digest) -> Option<File> {
        for (path, name) in self.entries() {
            let Some(name) = name.filter(|name| name.plugin == plugin.hex()) else { continue };
            match self.verified(&path, &name) {
                Ok(file) => return Some(file),
                Err(why) => {
                    tracing::warn!(file = %path.display(), "removed compiled code: {why}");
                    self.remove(&path);
                }
            }
        }
        None
    }

    /// A file to write code to. It is deleted when dropped, unless it is [kept](Self::keep).
    pub(super) fn draft(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix(DRAFT).tempfile_in(&self.config.folder)
    }

    /// Keeps the content of a draft as the code of a plugin, and removes older code to make room.
    pub(super) fn keep(&self, draft: NamedTempFile, plugin: &Digest) -> io::Result<File> {
        let sum = sum(draft.as_file())?;
        let name = Name { engine: self.engine.clone(), plugin: plugin.hex().to_owned(), sum };
        draft.as_file().sync_all()?;
        let file = draft.persist(self.config.folder.join(name.to_string()))?;
        self.sweep();
        self.trim();
        Ok(file)
    }

    /// Opens a file and reads all of it. The open file is returned, so that what is mapped is what was checked.
    fn verified(&self, path: &Path, name: &Name) -> Result<File, String> {
        if name.engine != self.engine {
            return Err("it is for another engine, or other settings of it".to_owned());
        }
        let found = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
        private(&found, found.is_file(), "file")?;
        let file = OpenOptions::new().read(true).open(path).map_err(|error| error.to_string())?;
        let opened = file.metadata().map_err(|error| error.to_string())?;
        if (opened.dev(), opened.ino()) != (found.dev(), found.ino()) {
            return Err("it changed while it was opened".to_owned());
        }
        if opened.len() > limits::CODE_BYTES {
            return Err(format!("found {} bytes, more than any plugin has", opened.len()));
        }
        match sum(&file) {
            Ok(sum) if sum == name.sum => {}
            Ok(_) => return Err("it is damaged: its checksum does not match".to_owned()),
            Err(error) => return Err(error.to_string()),
        }
        // The least recently used file is removed first. If the use can't be noted, the file is merely removed a
        // little early.
        let _ = file.set_modified(SystemTime::now());
        Ok(file)
    }

    /// Everything in the folder, with its parsed name if it is one of ours.
    fn entries(&self) -> Vec<(PathBuf, Option<Name>)> {
        let entries = match fs::read_dir(&self.config.folder) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!("failed to look for compiled plugins: {error}");
                return Vec::new();
            }
        };
        let entries = entries.filter_map(Result::ok);
        entries.map(|it| (it.path(), it.file_name().to_str().and_then(Name::parse))).collect()
    }

    /// Removes drafts that are no longer being written.
    fn sweep(&self) {
        for (path, _) in self.entries() {
            let draft = path.file_name().and_then(|name| name.to_str());
            let age = fs::symlink_metadata(&path).and_then(|it| it.modified());
            let age = age.ok().and_then(|at| at.elapsed().ok()).unwrap_or_default();
            if draft.is_some_and(|name| name.starts_with(DRAFT)) && age > DRAFT_AGE {
                self.remove(&path);
            }
        }
    }

    /// Removes the least recently used code until the rest fits, but none that is in use. Code that is mapped stays
    /// mapped in any case.
    fn trim(&self) {
        let mut files: Vec<(SystemTime, u64, PathBuf, Option<Digest>)> = Vec::new();
        for (path, name) in self.entries() {
            let (Some(name), Ok(found)) = (name, fs::symlink_metadata(&path)) else { continue };
            let used = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            files.push((used, found.len(), path, name.digest()));
        }
        files.sort();
        let mut number = files.len();
        let mut all: u64 = files.iter().map(|(_, bytes, ..)| bytes).sum();
        for (_, bytes, path, plugin) in &files {
            if all <= self.config.bytes && number <= self.most_files {
                return;
            }
            if plugin.as_ref().is_none_or(|plugin| !self.config.in_use.has(plugin)) {
                self.remove(path);
                all -= bytes;
                number -= 1;
            }
        }
    }

    fn remove(&self, path: &Path) {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("failed to remove {}: {error}", path.display());
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// What the name of a file says.
#[derive(Debug, PartialEq, Eq)]
struct Name {
    engine: String,
    plugin: String,
    sum: String,
}

impl Name {
    /// None for a name that no version of this module gives. A name of another version gets a value for `engine`
    /// that fits no engine.
    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('.');
        let (format, engine, plugin, sum) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if (parts.next()?, parts.next()) != (END, None) {
            return None;
        }
        let engine = if format == FORMAT { engine } else { format };
        let [engine, plugin, sum] = [engine, plugin, sum].map(str::to_owned);
        Some(Self { engine, plugin, sum })
    }

    /// The digest of the plugin, if the name has one.
    fn digest(&self) -> Option<Digest> {
        format!("sha256:{}", self.plugin).parse().ok()
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{FORMAT}.{}.{}.{}.{END}", self.engine, self.plugin, self.sum)
    }
}

/// Whether a disk is full or can't be written to. Then the cache is done without: it only saves time.
fn is_short(error: &io::Error) -> bool {
    [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::ReadOnlyFilesystem]
        .contains(&error.kind())
}

fn sum(mut file: &File) -> io::Result<String> {
    io::Seek::rewind(&mut file)?;
    let (mut sum, mut reader) = (Sha256::new(), io::BufReader::new(file));
    loop {
        let piece = reader.fill_buf()?;
        if piece.is_empty() {
            break;
        }
        sum.update(piece);
        let length = piece.len();
        reader.consume(length);
    }
    Ok(hex::encode(sum.finalize()))
}

/// Closes a folder that a group could write to, and removes the code in it, since nobody knows who put it there.
/// Returns the folder's metadata after that.
fn close(folder: &Path, found: &Metadata) -> Result<Metadata, String> {
    let ours = found.is_dir() && found.uid() == rustix::process::geteuid().as_raw();
    if !ours || found.mode() & 0o070 == 0 || found.mode() & 0o007 != 0 {
        return Ok(found.clone());
    }
    let closed = || -> io::Result<Metadata> {
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            // No other file is ever looked at.
            if name
                .to_str()
                .is_some_and(|name| Name::parse(name).is_some() || name.starts_with(DRAFT))
            {
                fs::remove_file(entry.path())?;
            }
        }
        fs::symlink_metadata(folder)
    };
    let closed = closed().map_err(|error| error.to_string())?;
    let said =
        "the folder was open to its group: it is closed and emptied, so plugins are compiled again";
    tracing::warn!(folder = %folder.display(), "{said}");
    Ok(closed)
}

/// Checks that a file or directory is of the expected kind, belongs to this user, and is closed to others.
fn private(found: &Metadata, kind: bool, expected: &str) -> Result<(), String> {
    if !kind {
        return Err(format!("found something else, expected a {expected}"));
    }
    let us = rustix::process::geteuid().as_raw();
    if found.uid() != us {
        return Err(format!("it belongs to user {}, expected user {us}", found.uid()));
    }
    match found.mode() & 0o777 {
        mode if mode & 0o077 == 0 => Ok(()),
        mode => Err(format!("found mode {mode:03o}, expected one that is closed to others")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::symlink;

    use super::*;

    struct Scene {
        folder: tempfile::TempDir,
        cache: Cache,
    }

    fn open(folder: &Path, engine: &str) -> Result<Option<Cache>, PluginError> {
        let (bytes, in_use) = (limits::CACHE_BYTES, InUse::default());
        let config = CacheConfig { folder: folder.to_owned(), bytes, in_use };
        Cache::open(config, engine.to_owned())
    }

    impl Scene {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let cache = open(&folder.path().join("c"), "e1").unwrap().unwrap();
            Self { folder, cache }
        }

        fn keep(&self, plugin: &Digest, code: &[u8]) {
            let mut draft = self.cache.draft().unwrap();
            draft.write_all(code).unwrap();
            self.cache.keep(draft, plugin).unwrap();
        }

        fn find(&self, plugin: &Digest) -> Option<Vec<u8>> {
            let mut code = Vec::new();
            let mut file = self.cache.find(plugin)?;
            io::Seek::rewind(&mut file).unwrap();
            file.read_to_end(&mut code).unwrap();
            Some(code)
        }

        fn files(&self) -> Vec<PathBuf> {
            self.cache.entries().into_iter().map(|(path, _)| path).collect()
        }
    }

    #[test]
    fn what_is_kept_is_found_again_also_by_another_process() {
        let scene = Scene::new();
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        scene.keep(&one, b"code of one");
        assert_eq!(scene.find(&one).unwrap(), b"code of one");
        assert_eq!(scene.find(&two), None);
        let cache = open(&scene.folder.path().join("c"), "e1").unwrap().unwrap();
        assert!(cache.find(&one).is_some());
        let mode = fs::metadata(&scene.files()[0]).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_damaged_or_foreign_is_thrown_away() {
        let plugin = Digest::of(b"1");
        let damage: [fn(&Path); 7] = [
            |path| fs::write(path, b"codE").unwrap(),
            |path| fs::write(path, b"cod").unwrap(),
            |path| fs::write(path, b"").unwrap(),
            |path| fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap(),
            |path| {
                let other = path.with_file_name("other");
                fs::rename(path, &other).unwrap();
                symlink(&other, path).unwrap();
            },
            |path| rename(path, "v1.e1.", "v1.e2."),
            |path| rename(path, "v1.e1.", "v0.e1."),
        ];
        for (number, damage) in damage.into_iter().enumerate() {
            let scene = Scene::new();
            scene.keep(&plugin, b"code");
            damage(&scene.files()[0]);
            assert_eq!(scene.find(&plugin), None, "{number}");
            let left: Vec<_> =
                scene.files().into_iter().filter(|it| !it.ends_with("other")).collect();
            assert_eq!(left, Vec::<PathBuf>::new(), "{number}");
            scene.keep(&plugin, b"new");
            assert_eq!(scene.find(&plugin).unwrap(), b"new");
        }
    }

    fn rename(path: &Path, from: &str, to: &str) {
        let name = path.file_name().unwrap().to_str().unwrap();
        fs::rename(path, path.with_file_name(name.replace(from, to))).unwrap();
    }

    #[test]
    fn a_folder_that_others_reach_is_refused() {
        let code = |path: &Path| open(path, "e").err().map(|error| error.code);
        let folder = tempfile::tempdir().unwrap();
        let (made, link) = (folder.path().join("a").join("b"), folder.path().join("link"));
        assert_eq!(code(&made), None);
        assert_eq!(fs::metadata(&made).unwrap().mode() & 0o777, 0o700);
        symlink(&made, &link).unwrap();
        assert_eq!(code(&link), Some("unsafe-cache"));
        for mode in [0o705, 0o701, 0o777] {
            fs::set_permissions(&made, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(code(&made), Some("unsafe-cache"), "{mode:o}");
        }
        fs::write(folder.path().join("file"), "").unwrap();
        assert_eq!(code(&folder.path().join("file")), Some("unsafe-cache"));
    }

    #[test]
    fn a_folder_that_was_opened_to_a_group_is_emptied_and_closed() {
        let scene = Scene::new();
        let plugin = Digest::of(b"1");
        for mode in [0o2770, 0o750] {
            scene.keep(&plugin, b"code");
            let folder = scene.folder.path().join("c");
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            let again = open(&folder, "e1").unwrap().unwrap();
            assert!(again.find(&plugin).is_none() && again.entries().is_empty(), "{mode:o}");
            assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let mut scene = Scene::new();
        scene.cache.config.bytes = 10;
        let plugins: Vec<Digest> = (0..3_u8).map(|number| Digest::of(&[number])).collect();
        let moment = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for (plugin, used) in plugins.iter().zip([10, 20]) {
            scene.keep(plugin, b"code");
            scene.cache.find(plugin).unwrap().set_modified(moment(used)).unwrap();
        }
        // Now the other one is the least recently used.
        assert!(scene.find(&plugins[0]).is_some());
        scene.keep(&plugins[2], b"code");
        let kept: Vec<bool> = plugins.iter().map(|plugin| scene.find(plugin).is_some()).collect();
        assert_eq!(kept, [true, false, true]);
    }

    #[test]
    fn there_are_only_so_many_files_and_those_in_use_stay() {
        let mut scene = Scene::new();
        scene.cache.most_files = 3;
        let plugins: Vec<Digest> = (0..6_u8).map(|number| Digest::of(&[number])).collect();
        let moment = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let held = scene.cache.config.in_use.hold(plugins[..2].iter().cloned());
        for (plugin, used) in plugins.iter().zip(1..) {
            scene.keep(plugin, b"code");
            scene.cache.find(plugin).unwrap().set_modified(moment(used)).unwrap();
        }
        let kept = |scene: &Scene| {
            let names: Vec<_> =
                scene.cache.entries().into_iter().filter_map(|(_, name)| name).collect();
            let is_kept = |plugin: &Digest| names.iter().any(|name| name.plugin == plugin.hex());
            plugins.iter().map(is_kept).collect::<Vec<_>>()
        };
        assert_eq!(kept(&scene), [true, true, false, false, false, true]);
        drop(held);
        // A smaller bound counts when the next process starts.
        let (bytes, in_use) = (4, InUse::default());
        let folder = scene.folder.path().join("c");
        Cache::open(CacheConfig { folder, bytes, in_use }, "e1".to_owned()).unwrap().unwrap();
        assert_eq!(kept(&scene), [false, false, false, false, false, true]);
    }

    #[test]
    fn a_disk_without_room_is_told_from_other_failures() {
        for (code, short) in [(28, true), (122, true), (30, true), (13, false), (2, false)] {
            assert_eq!(is_short(&io::Error::from_raw_os_error(code)), short, "{code}");
        }
    }

    #[test]
    fn drafts_of_the_dead_are_swept_and_those_of_others_are_not() {
        let scene = Scene::new();
        let (old, new) = (scene.cache.draft().unwrap(), scene.cache.draft().unwrap());
        old.as_file().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        scene.keep(&Digest::of(b"1"), b"code");
        assert!(!old.path().exists());
        assert!(new.path().exists());
    }
}
