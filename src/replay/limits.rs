//! Every limit of replays, each with its reason. They are together because they bound what one export, which
//! may come from anybody, can cost.

/// The most that an archive may hold when it is read: it may come from anybody, and a small file can unpack to
/// a large one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Bytes of all members together, including those of the container format.
    pub total_bytes: u64,
    /// Number of members, including the manifest.
    pub members: usize,
}

impl Default for ArchiveLimits {
    /// Room for a run over 100,000 agents with some 20 KiB of history each, and for as many plugins as a
    /// playbook may name. It is taken from the disk for temporary files, so more is only unpacked when a person
    /// says so.
    fn default() -> Self {
        Self { total_bytes: 2 << 30, members: 256 }
    }
}

impl ArchiveLimits {
    /// The same limits, with `gib` GiB for all members together.
    #[must_use]
    pub const fn with_gib(self, gib: u16) -> Self {
        Self { total_bytes: (gib as u64) << 30, ..self }
    }
}

/// Bytes of the manifest: 256 members with their names and checksums take less than a tenth of this.
pub(super) const MANIFEST_BYTES: u64 = 1 << 20;

/// By how many bytes a member may be longer than the manifest says: an export that a person changed with an
/// editor is still played, and reported as changed.
pub(super) const CHANGED_BYTES: u64 = 64 << 10;

/// Bytes of the snapshot and of the run as the API shows it; they contain the parameters and a playbook of at
/// most 1 MiB.
pub(super) const OBJECT_BYTES: u64 = 32 << 20;

/// Bytes of a plugin, as the server limits them too.
pub(super) const PLUGIN_BYTES: u64 = 64 << 20;

/// Bytes of one line, which is one document: the size of the largest document that a store holds.
pub(super) const LINE_BYTES: u64 = 16 << 20;

/// Level of compression, out of 22: a higher one takes longer than it saves on lines of JSON.
pub(super) const COMPRESSION_LEVEL: i32 = 3;

/// How many bytes the decompression of an export may keep in memory, as a power of two: 64 MiB. Our own exports
/// need 2 MiB; an export that asks for more than this limit is refused before it gets the memory.
pub(super) const WINDOW_LOG: u32 = 26;

/// Differences that a report lists: nobody reads beyond the first few, and there may be one for each attempt.
pub(super) const DIFFERENCES: usize = 100;

/// Things that were not replayed which a report lists.
pub(super) const NOT_REPLAYED: usize = 1_000;

/// Characters of a value that a difference shows.
pub(super) const SHOWN_CHARS: usize = 300;

/// Occasions on which another strategy is asked: the decisions are held in memory to be shown side by side.
pub(super) const COMPARED: usize = 100_000;
