//! What is wrong with a document, said so that a person can mend it: where, what was found, and what was expected.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most problems that are reported for one document. It is more than a person mends in one go, and it keeps a
/// hostile document from making a report that is larger than itself.
pub const MAX_PROBLEMS: usize = 100;

/// The longest excerpt of a document in a problem, in characters. It fits a line or two.
pub const MAX_EXCERPT: usize = 80;

/// The codes of problems. They are stable: programs may rely on them.
pub mod code {
    /// The text is larger than allowed, or would be if every alias were written out.
    pub const TOO_LARGE: &str = "too-large";
    /// The text is not UTF-8.
    pub const ENCODING: &str = "encoding";
    /// The text is not YAML, or uses what is refused on purpose (tags, merge keys, several documents).
    pub const SYNTAX: &str = "syntax";
    /// Values are nested deeper than allowed.
    pub const TOO_DEEP: &str = "too-deep";
    /// A key occurs twice in one mapping.
    pub const DUPLICATE_KEY: &str = "duplicate-key";
    /// A value is not one that JSON has, or a key is not a string.
    pub const NOT_JSON: &str = "not-json";
    /// `apiVersion` or `kind` is unknown.
    pub const UNKNOWN_KIND: &str = "unknown-kind";
    /// A key is not allowed in its mapping.
    pub const UNKNOWN_KEY: &str = "unknown-key";
    /// A required key is missing.
    pub const MISSING_KEY: &str = "missing-key";
    /// A value has another type than expected.
    pub const WRONG_TYPE: &str = "wrong-type";
    /// A value has the right type but is not allowed.
    pub const BAD_VALUE: &str = "bad-value";
    /// Two things have the same name, address or other identity.
    pub const DUPLICATE: &str = "duplicate";
    /// An expression is not valid at its place.
    pub const BAD_EXPRESSION: &str = "bad-expression";
    /// A JSON Schema is not valid.
    pub const BAD_SCHEMA: &str = "bad-schema";
    /// A plugin is neither declared nor built in, or nothing is known about it.
    pub const UNKNOWN_PLUGIN: &str = "unknown-plugin";
    /// A strategy is used where a step is needed, or the other way round.
    pub const WRONG_PLUGIN_KIND: &str = "wrong-plugin-kind";
    /// The plugin's bytes are not those that the document pins.
    pub const DIGEST_DIFFERS: &str = "digest-differs";
    /// Something could never be granted as it is written.
    pub const NOT_GRANTED: &str = "not-granted";
    /// The policy of the server refuses a plugin, or what is granted to it.
    pub const POLICY: &str = "policy";
    /// The document uses a part of the format that this version does not perform yet.
    pub const NOT_SUPPORTED: &str = "not-supported";
    /// There are more problems than are reported. The message says how many.
    pub const MORE: &str = "more-problems";
}

/// One thing that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Problem {
    /// Stable code, for example `unknown-key`.
    pub code: String,
    /// Where in the document, as a JSON pointer: `/spec/stages/0/name`; empty for the whole document.
    pub path: String,
    /// Line, from 1. `None` if the problem is not placed in a text.
    pub line: Option<u32>,
    /// Column in characters, from 1. `None` if the problem is not placed in a text.
    pub column: Option<u32>,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What was found, if that helps.
    pub found: Option<String>,
    /// What was expected, if that helps.
    pub expected: Option<String>,
}

impl Problem {
    /// A problem at `path`, not yet placed in a text. `code` is one of [`code`].
    ///
    /// # Example
    /// ```
    /// use replibook_core::playbook::{Problem, code};
    ///
    /// let problem = Problem::new(code::BAD_VALUE, "/spec/summary", "this is too long")
    ///     .found("3 lines")
    ///     .expected("one line");
    /// assert_eq!(
    ///     problem.to_string(),
    ///     "/spec/summary: this is too long; found 3 lines; expected one line",
    /// );
    /// ```
    pub fn new(code: &str, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            path: path.into(),
            line: None,
            column: None,
            message: message.into(),
            found: None,
            expected: None,
        }
    }

    /// Adds what was found, cut to [`MAX_EXCERPT`].
    pub fn found(self, found: impl fmt::Display) -> Self {
        Self { found: Some(excerpt(&found.to_string())), ..self }
    }

    /// Adds what was expected.
    pub fn expected(self, expected: impl Into<String>) -> Self {
        Self { expected: Some(expected.into()), ..self }
    }

    /// Whether the problem is about a key, rather than about the value at the path.
    pub(super) fn is_about_key(&self) -> bool {
        [code::UNKNOWN_KEY, code::DUPLICATE_KEY].contains(&self.code.as_str())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "{line}:{column}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(found) = &self.found {
            write!(f, "; found {found}")?;
        }
        if let Some(expected) = &self.expected {
            write!(f, "; expected {expected}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a document. It is never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// `Ok` when there are no problems. Otherwise the error is all of them in the order of the text, cut to
    /// [`MAX_PROBLEMS`].
    pub(super) fn check(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self::of(problems)) }
    }

    /// All problems in the order of the text, cut to [`MAX_PROBLEMS`]. `problems` must not be empty.
    pub(super) fn of(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems.dedup();
        let more = problems.len().saturating_sub(MAX_PROBLEMS);
        problems.truncate(MAX_PROBLEMS);
        if more > 0 {
            problems.push(Problem::new(code::MORE, "", format!("and {more} more problems")));
        }
        Self(problems)
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

/// `text`, cut to [`MAX_EXCERPT`] characters, with `…` if there was more.
pub(super) fn excerpt(text: &str) -> String {
    cut(text, MAX_EXCERPT)
}

/// `text`, cut to `length` characters, with `…` if there was more.
pub(super) fn cut(text: &str, length: usize) -> String {
    match text.char_indices().nth(length) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The candidate that `word` was probably meant to be; `None` if no candidate is similar.
pub(super) fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Jaro-Winkler forgives swapped, wrong and missing letters, and favours a common beginning.
    const ALIKE: f64 = 0.8;
    let scored = candidates.into_iter().map(|c| (strsim::jaro_winkler(word, c), c));
    let best = scored.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_bounded_and_in_the_order_of_the_text() {
        let at = |line| Problem { line: Some(line), ..Problem::new(code::BAD_VALUE, "", "no") };
        let problems = (0..MAX_PROBLEMS as u32 + 7).rev().map(at).collect();
        let Problems(reported) = Problems::check(problems).unwrap_err();
        assert_eq!(reported.len(), MAX_PROBLEMS + 1);
        assert_eq!(reported[0].line, Some(0));
        assert_eq!(reported[MAX_PROBLEMS].message, "and 7 more problems");
        assert_eq!(Problems::check(vec![]), Ok(()));
    }

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let keys = ["strategy", "steps", "select", "budget"];
        assert_eq!(did_you_mean("stratgey", keys), Some("strategy"));
        assert_eq!(did_you_mean("step", keys), Some("steps"));
        assert_eq!(did_you_mean("owner", keys), None);
    }

    #[test]
    fn an_excerpt_is_cut_between_characters() {
        assert_eq!(excerpt(&"é".repeat(MAX_EXCERPT)), "é".repeat(MAX_EXCERPT));
        assert_eq!(excerpt(&"é".repeat(100)).chars().count(), MAX_EXCERPT + 1);
    }
}
