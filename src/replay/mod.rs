//! Replay: a finished run is played again from what was kept of it, on any machine and without a
//! server.
//!
//! A run is written as the members of a folder (`member`, `folder`), which `archive` packs into one
//! file and reads back from one that nobody trusts. A [`Recording`] reads
//! the members. [`Player`] folds the events (`history`), asks every strategy again with the roster that
//! it saw (`decisions`), makes every activation of every attempt again (`steps`), and compares what
//! comes of it with what was recorded, in a [`Report`]. What limits all of this is in `limits`.

mod archive;
mod decisions;
mod error;
mod folder;
mod history;
mod limits;
mod member;
mod player;
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
pub use recording::{Lines, Recording};
pub use report::{Difference, NotReplayed, Place, Report};
