//! Which engines may go on with a run: those that know the format of what is kept of it.
//!
//! Engines of several versions share a store while they are upgraded one after the other. A version that
//! writes something which earlier ones would take for damaged, or would lose, is a new format: it adds one to
//! [`KNOWN_FORMAT`], and has the runs in which it does so say that they [`need`](super::Progress::needs) it.
//! Engines that don't know it leave those runs alone.

use super::document::Progress;

/// The format of runs that say nothing of it.
pub const FIRST_FORMAT: u32 = 1;

/// The newest format that this version can go on with.
pub const KNOWN_FORMAT: u32 = 2;

/// The format of runs that count their log, or have a memo that is in no event. An engine of the first format
/// would drop both from the run: then nothing bounds its log any more, and a replay asks the strategy with
/// another memo.
const COUNTED: u32 = 2;

impl Progress {
    /// The format that an engine has to know to lose nothing of this. It never gets less: what needed it may still
    /// be in the store.
    pub(super) fn needed(&self) -> u32 {
        let needed = match self.log.is_empty() && !self.stage.untold_memo {
            true => FIRST_FORMAT,
            false => COUNTED,
        };
        needed.max(self.needs)
    }
}

/// The format of a run that says nothing of it.
pub(super) const fn first() -> u32 {
    FIRST_FORMAT
}

/// Whether a run need not say so.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
pub(super) const fn is_first(needs: &u32) -> bool {
    *needs <= FIRST_FORMAT
}
