//! Files that compiled code is written to: in the cache, if it is to be kept, and otherwise in memory.

use std::fs::File;
use std::io;

use tempfile::NamedTempFile;

/// A file for compiled code, which is gone when this is dropped.
pub(super) enum Draft {
    /// It is in the folder of the cache, and may be kept there.
    Kept(NamedTempFile),
    /// It has no name.
    Loose(File),
}

impl Draft {
    /// A file that needs no disk, so that neither a full disk nor one that can't be written to keeps a plugin from
    /// running. It is mapped like any other.
    pub(super) fn loose() -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        let file = {
            let flags = rustix::fs::MemfdFlags::CLOEXEC;
            File::from(rustix::fs::memfd_create("compiled-plugin", flags)?)
        };
        #[cfg(not(target_os = "linux"))]
        let file = tempfile::tempfile()?;
        Ok(Self::Loose(file))
    }

    pub(super) fn file(&self) -> &File {
        match self {
            Self::Kept(draft) => draft.as_file(),
            Self::Loose(file) => file,
        }
    }
}
