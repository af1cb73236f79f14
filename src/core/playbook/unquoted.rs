//! Recognises expressions without quotes. To YAML, `${{` begins a mapping, or a text that ends at a `: ` or ` #`
//! in the expression, so YAML's own message would not help the author.

use super::problem::{Problem, code};

/// The beginning of an expression.
const BEGIN: &str = "${{";

/// Adds to problems with the structure of a text that they come from an expression without quotes.
pub(super) fn explain(text: &str, problems: &mut [Problem]) {
    if !text.contains(BEGIN) {
        return;
    }
    let lines = Lines::of(text);
    for problem in problems {
        let of_structure = [code::SYNTAX, code::NOT_JSON].contains(&problem.code.as_str());
        if of_structure && lines.around(problem).any(is_unquoted) {
            let why = std::mem::take(&mut problem.message);
            problem.message = format!(
                "quote it: YAML reads an expression without quotes as something else ({why})"
            );
            problem.expected = Some(EXPECTED.to_owned());
        }
    }
}

/// Adds to problems with an expression that YAML took its end for a comment. The problems must have their places.
pub(super) fn explain_cut(text: &str, problems: &mut [Problem]) {
    const CUT: &str = "quote it: YAML takes what follows the # as a comment";
    if !text.contains(BEGIN) || problems.iter().all(|one| one.code != code::BAD_EXPRESSION) {
        return;
    }
    let lines = Lines::of(text);
    for problem in problems.iter_mut().filter(|one| one.code == code::BAD_EXPRESSION) {
        let line = problem.line.and_then(|line| lines.at(line));
        if line.is_some_and(is_cut) && !problem.message.starts_with(CUT) {
            problem.message = format!("{CUT} ({})", problem.message);
            problem.expected = Some(EXPECTED.to_owned());
        }
    }
}

const EXPECTED: &str = "\"${{ … }}\"";

/// The lines of a text. Lines within block scalars, which YAML takes as they are, are `None`.
struct Lines<'t>(Vec<Option<&'t str>>);

impl<'t> Lines<'t> {
    fn of(text: &'t str) -> Self {
        let mut block: Option<usize> = None;
        let lines = text.lines().map(|line| {
            let indent = line.len() - line.trim_start_matches(' ').len();
            let is_within = |around: usize| line.trim().is_empty() || indent > around;
            if block.is_some_and(is_within) {
                return None;
            }
            block = block_of(line);
            Some(line)
        });
        Self(lines.collect())
    }

    /// The line of this number, from 1.
    fn at(&self, number: u32) -> Option<&'t str> {
        self.0.get(usize::try_from(number).ok()?.checked_sub(1)?).copied().flatten()
    }

    /// The lines that a problem may come from: its own line, and the line before if the parser noticed the problem
    /// only at the beginning of the next line or at the end of the text.
    fn around(&self, problem: &Problem) -> impl Iterator<Item = &'t str> {
        let own = problem.line.and_then(|line| self.at(line));
        let is_end = own.is_none_or(|line| line.trim().is_empty());
        let before = problem.line.filter(|_| is_end || problem.column == Some(1));
        let before = before.and_then(|line| self.at(line.checked_sub(1)?));
        own.into_iter().chain(before)
    }
}

/// If a block scalar begins at the end of this line: by how many columns the lines around the block are indented.
fn block_of(line: &str) -> Option<usize> {
    let mut rest = line.trim_start_matches(' ');
    let mut indent = line.len() - rest.len();
    let is_header = |text: &str| {
        let marks = text.split(" #").next().unwrap_or_default().trim_end();
        let fits = |c: char| "+-".contains(c) || c.is_ascii_digit();
        marks
            .strip_prefix(['|', '>'])
            .is_some_and(|marks| marks.len() <= 2 && marks.chars().all(fits))
    };
    while let Some(item) = rest.strip_prefix("- ") {
        let item = item.trim_start_matches(' ');
        if is_header(item) {
            return Some(indent);
        }
        indent += rest.len() - item.len();
        rest = item;
    }
    let value = rest.match_indices(": ").map(|(at, _)| rest[at + 2..].trim_start());
    { value }.any(is_header).then_some(indent)
}

/// Whether a line has an expression outside of quotes and of a comment.
fn is_unquoted(line: &str) -> bool {
    unquoted(line).is_some()
}

/// Whether a comment begins within such an expression.
fn is_cut(line: &str) -> bool {
    unquoted(line)
        .is_some_and(|rest| rest.split_once(" #").is_some_and(|(before, _)| !before.contains("}}")))
}

/// The rest of the line from the first expression that is outside of quotes and of a comment.
fn unquoted(line: &str) -> Option<&str> {
    let (mut quote, mut before) = (None, ' ');
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') if before.is_whitespace() => return None,
            // Within a word, a quote is an apostrophe.
            (None, '"' | '\'') if !before.is_alphanumeric() => quote = Some(c),
            (Some(open), c) if open == c && before != '\\' => quote = None,
            (None, '$') if line[at..].starts_with(BEGIN) => return Some(&line[at..]),
            (None | Some(_), _) => {}
        }
        before = c;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_quotes_or_a_comment_is_fine() {
        for unquoted in
            ["a: ${{ x }}", "{ grace: ${{ params.grace }} }", "- it's ${{ x }}", "b: \"x\" ${{"]
        {
            assert!(is_unquoted(unquoted), "{unquoted}");
        }
        for fine in
            ["a: \"${{ x }}\"", "a: '${{ x }}'", "# ${{ x }}", "a: 1 # ${{ x }}", "", "a: $ {{"]
        {
            assert!(!is_unquoted(fine), "{fine}");
        }
        assert!(is_cut("a: ${{ run.id + \" #1\" }}") && is_cut("- ${{ x # y"));
        for whole in ["a: ${{ x }} # y", "a: ${{ x#y }}", "a: '${{ x # y }}'"] {
            assert!(!is_cut(whole), "{whole}");
        }
    }

    /// Whether the advice to quote is given for a problem at this place of the text.
    fn is_said(text: &str, line: u32, column: u32) -> bool {
        let problem = Problem::new(code::SYNTAX, "", "no");
        let mut problems = [Problem { line: Some(line), column: Some(column), ..problem }];
        explain(text, &mut problems);
        problems[0].message.starts_with("quote it")
    }

    #[test]
    fn only_the_line_of_the_problem_is_looked_at() {
        assert!(is_said("a: ${{ x: y }}\n", 1, 9));
        // Some parsers notice the problem only at the beginning of the next line, or at the end of the text.
        assert!(is_said("a: [${{ x }}\nb: 1\n", 2, 1) && is_said("a: [${{ x }}\n", 2, 1));
        assert!(is_said("a: [${{ x }}\n\n", 2, 1));
        let valid = "g: ${{ run.id }}\nother: [1, 2}\n";
        assert!(!is_said(valid, 2, 13), "it is about the list");
        let block = "text: |\n  g: ${{ run.id }}\n\n  x\nother: [1, 2}\n";
        assert!(!is_said(block, 2, 3) && !is_said(block, 5, 1) && !is_said(block, 3, 1));
        let after = "- a: >-\n    ${{ x }}\n  b: ${{ y }} }}\n";
        assert!(!is_said(after, 2, 5) && is_said(after, 3, 8));
        assert!(is_said("- |\n x\n- ${{ y }}\n", 3, 4));
    }
}
