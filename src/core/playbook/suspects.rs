//! Remembers the places of a document about which a problem was reported, so that problems which only follow from
//! it are not reported as well.

use std::collections::HashSet;

use super::problem::{Problem, code};
use super::spans::{MERGE_KEY, ancestors};

/// The places, as JSON pointers.
#[derive(Clone, Debug, Default)]
pub(super) struct Suspects {
    /// No further problem is reported for these values, nor for what is below them.
    wrong: HashSet<String>,
    /// Mappings from which a key was left out. It may be the key that is now missing.
    open: HashSet<String>,
}

impl Suspects {
    /// Marks a value that is left out, or that stands in for a wrong or missing value.
    pub(super) fn add(&mut self, path: impl Into<String>) {
        self.wrong.insert(path.into());
    }

    /// Marks a mapping from which a key was left out.
    pub(super) fn open(&mut self, path: impl Into<String>) {
        self.open.insert(path.into());
    }

    /// Marks the place of a problem of the text itself. For a merge key, this is the mapping around it, which is
    /// returned.
    pub(super) fn of_text<'p>(&mut self, problem: &'p Problem) -> Option<&'p str> {
        let around = problem.path.strip_suffix(MERGE_KEY).and_then(|path| path.strip_suffix('/'));
        match around {
            Some(around) => self.open(around),
            // If a key has two values, the first is looked at.
            None if problem.is_about_key() || problem.path.is_empty() => {}
            None => self.add(problem.path.clone()),
        }
        around
    }

    /// Whether nothing is known about the value at `path`.
    pub(super) fn has(&self, path: &str) -> bool {
        !self.wrong.is_empty() && ancestors(path).any(|around| self.wrong.contains(around))
    }

    /// Whether a problem only follows from problems that were reported before.
    pub(super) fn explain(&self, problem: &Problem) -> bool {
        if self.has(&problem.path) {
            return true;
        }
        let around = problem.path.rsplit_once('/').map_or("", |(around, _)| around);
        match problem.code.as_str() {
            code::MISSING_KEY => self.open.contains(around),
            // For example, it is not clear what a step does without its key.
            code::BAD_VALUE => self.open.contains(&problem.path),
            _ => false,
        }
    }

    /// Whether no place is marked.
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
