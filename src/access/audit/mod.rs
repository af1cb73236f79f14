//! The audit: who wanted to change what, whether they were allowed to, and what became of it. It is a file of lines in
//! JSON, which only the server's user can read.
//!
//! An entry is written before its change begins, and a second one when it has ended: a change without an entry there is
//! not. Where none can be written, as on a full disk, only what stops things goes on, and its entries go into a `reserve`.

mod entry;
mod log;
mod reserve;

pub use entry::{AuditEntry, AuditOutcome, MAX_LINE};
pub use log::{AuditLog, AuditPage};
pub use reserve::RESERVE_BYTES;
