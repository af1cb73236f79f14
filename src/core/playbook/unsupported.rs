//! Refuses what documents of earlier versions had, and says what has taken its place. Ignoring what an author wrote would
//! be worse than refusing it.

use super::model::CREDENTIALS_INSTEAD;
use super::problem::{Problem, code};

/// `tls` of a cluster, with the paths of files.
pub(super) fn tls() -> Problem {
    let message = "a server opens no path that a document names";
    Problem::new(code::NOT_SUPPORTED, "/spec/tls", message).expected(CREDENTIALS_INSTEAD)
}
