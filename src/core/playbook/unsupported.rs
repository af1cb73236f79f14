//! Refuses what the format has but this version can't perform yet. The check is apart from all other rules, so
//! that supporting a feature means only to delete its lines here. Ignoring what an author wrote would be worse
//! than refusing it.

use super::model::Cluster;
use super::problem::{Problem, code};

fn not_yet(path: impl Into<String>, what: &str) -> Problem {
    let message = format!("{what} is not supported by this version yet");
    Problem::new(code::NOT_SUPPORTED, path, message)
}

/// The parts of a cluster that can't be performed yet.
pub(super) fn in_cluster(cluster: &Cluster) -> Vec<Problem> {
    let tls = cluster.tls.as_ref().map(|_| not_yet("/spec/tls", "tls"));
    tls.into_iter().collect()
}
