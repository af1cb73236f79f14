//! Replay: a finished run is played again from what was kept of it, on any machine and without a server. It
//! asks no server, agent or clock: everything comes from the export.
//!
//! A run is written as the members of a folder (`member`, `folder`), which is `private`. `archive` packs them into one file, and
//! unpacks such a file, which nobody has to trust. A [`Recording`] reads the members. [`Player`] folds the
//! events (`history`), asks every strategy again with the roster that it saw (`decisions`), repeats every
//! activation of every attempt (`steps`), and compares the results with what was recorded, in a [`Report`]
//! (`report`). `limits` bounds all of this, and `error` says why a recording can't be played.

mod archive;
mod decisions;
mod error;
mod folder;
mod history;
mod limits;
mod member;
mod player;
mod private;
mod recording;
mod report;
mod steps;

pub use archive::{pack, unpack};
pub use decisions::{Compared, Other};
pub use error::ReplayError;
pub use folder::{FolderWriter, MemberWriter};
pub use limits::ArchiveLimits;
pub use member::{FORMAT, Manifest, Member, MemberName};
pub use player::Player;
pub use private::temporary_folder;
pub use recording::{Lines, Recording};
pub use report::{Difference, NotReplayed, Place, Report};
