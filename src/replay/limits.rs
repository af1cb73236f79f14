//! Every limit of replays, each with its reason.

/// What an archive that is read may hold at most: it may come from anybody, and a small file can
/// become a large one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Bytes of all members together, with what the container takes.
    pub total_bytes: u64,
    /// Members, the manifest too.
    pub members: usize,
}

impl Default for ArchiveLimits {
    /// Space for a run over 100,000 agents with some 20 KiB of history each, and for the most plugins that a playbook
    /// may name. It is on the disk for temporary files, so more is only unpacked where a person says so.
    fn default() -> Self {
        Self { total_bytes: 2 << 30, members: 256 }
    }
}

impl ArchiveLimits {
    /// The same with so many GiB.
    #[must_use]
    pub const fn with_gib(self, gib: u16) -> Self {
        Self { total_bytes: (gib as u64) << 30, ..self }
    }
}

/// Bytes of the manifest: 256 members with their names and sums take less than a tenth.
pub(super) const MANIFEST_BYTES: u64 = 1 << 20;

/// By how many bytes a member may be longer than the manifest says: an export that a person changed with an editor
/// is still played, and said to be changed.
pub(super) const CHANGED_BYTES: u64 = 64 << 10;

/// Bytes of the snapshot and of the run's own view, which have the parameters and a playbook of at
/// most 1 MiB in them.
pub(super) const OBJECT_BYTES: u64 = 32 << 20;

/// Bytes of a plugin, as the server has it.
pub(super) const PLUGIN_BYTES: u64 = 64 << 20;

/// Bytes of one line, which is one document: the largest that a store holds.
pub(super) const LINE_BYTES: u64 = 16 << 20;

/// How hard an export is compressed, of 22: more takes longer than it saves on lines of JSON.
pub(super) const COMPRESSION_LEVEL: i32 = 3;

/// Bytes of which an export may want to remember so many when it is unpacked, as a power of two: 64 MiB. Ours
/// want 2 MiB; one that asks for more than this is refused before it gets the memory.
pub(super) const WINDOW_LOG: u32 = 26;

/// Differences that a report has: after the first few nobody reads on, and there may be one for each
/// attempt.
pub(super) const DIFFERENCES: usize = 100;

/// Of what could not be replayed, what a report lists.
pub(super) const NOT_REPLAYED: usize = 1_000;

/// Characters of a value that is shown in a difference.
pub(super) const SHOWN_CHARS: usize = 300;

/// Moments at which another strategy is asked: they are held in memory to be shown side by side.
pub(super) const COMPARED: usize = 100_000;
