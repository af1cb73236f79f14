//! Places of a document about which something was said already. What follows from that is not said
//! again.

use std::collections::HashSet;

use super::problem::{Problem, code};
use super::spans::{MERGE_KEY, ancestors};

/// The places, as JSON pointers.
#[derive(Clone, Debug, Default)]
pub(super) struct Suspects {
    /// Nothing is said of them, nor of what is below them.
    wrong: HashSet<String>,
    /// Mappings of which a key was left out: it could have been the one that is missed.
    open: HashSet<String>,
}

impl Suspects {
    /// A value that is left out, or stands in for one that is wrong or missing.
    pub(super) fn add(&mut self, path: impl Into<String>) {
        self.wrong.insert(path.into());
    }

    /// A mapping of which a key was left out.
    pub(super) fn open(&mut self, path: impl Into<String>) {
        self.open.insert(path.into());
    }

    /// A problem of the text itself. Of a merge key, the mapping that it is in.
    pub(super) fn of_text<'p>(&mut self, problem: &'p Problem) -> Option<&'p str> {
        let around = problem.path.strip_suffix(MERGE_KEY).and_then(|path| path.strip_suffix('/'));
        match around {
            Some(around) => self.open(around),
            // Of two values of one key the first is looked at.
            None if problem.is_about_key() || problem.path.is_empty() => {}
            None => self.add(problem.path.clone()),
        }
        around
    }

    /// Whether nothing is known of the value at a place.
    pub(super) fn has(&self, path: &str) -> bool {
        !self.wrong.is_empty() && ancestors(path).any(|around| self.wrong.contains(around))
    }

    /// Whether a problem follows from what was said before.
    pub(super) fn explain(&self, problem: &Problem) -> bool {
        if self.has(&problem.path) {
            return true;
        }
        let around = problem.path.rsplit_once('/').map_or("", |(around, _)| around);
        match problem.code.as_str() {
            code::MISSING_KEY => self.open.contains(around),
            // What is not clear without a key.
            code::BAD_VALUE => self.open.contains(&problem.path),
            _ => false,
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.wrong.is_empty() && self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_from_a_place_is_not_said() {
        let mut suspects = Suspects::default();
        assert!(suspects.is_empty());
        suspects.add("/a/b");
        suspects.open("/c");
        let problem = |code: &str, path: &str| suspects.explain(&Problem::new(code, path, ""));
        assert!(problem(code::BAD_VALUE, "/a/b") && problem(code::DUPLICATE, "/a/b/0/c"));
        assert!(!problem(code::BAD_VALUE, "/a/bc") && !problem(code::BAD_VALUE, "/a"));
        assert!(problem(code::MISSING_KEY, "/c/x") && problem(code::BAD_VALUE, "/c"));
        assert!(!problem(code::WRONG_TYPE, "/c/x") && !problem(code::UNKNOWN_PLUGIN, "/c"));
    }
}
