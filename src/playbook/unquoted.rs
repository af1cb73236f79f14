//! Expressions that are not in quotes. To YAML `${{` is the beginning of a mapping, or of a text that a
//! `: ` or ` #` in the expression ends.

use super::problem::{Problem, code};

/// The beginning of an expression.
const BEGIN: &str = "${{";

/// Says of problems with the structure of a text that they come from an expression without quotes.
pub(super) fn explain(text: &str, problems: &mut [Problem]) {
    if !text.contains(BEGIN) {
        return;
    }
    for problem in problems {
        let of_structure = [code::SYNTAX, code::NOT_JSON].contains(&problem.code.as_str());
        let line = problem.line.filter(|_| of_structure);
        // A parser may notice only in the line after.
        let lines = line.into_iter().flat_map(|line| line.saturating_sub(2)..line);
        let mut lines = lines.filter_map(|at| text.lines().nth(usize::try_from(at).ok()?));
        if lines.any(is_unquoted) {
            let why = std::mem::take(&mut problem.message);
            problem.message = format!(
                "quote it: YAML reads an expression without quotes as something else ({why})"
            );
            problem.expected = Some("\"${{ … }}\"".to_owned());
        }
    }
}

/// Whether an expression begins in a line outside of quotes and of a comment.
fn is_unquoted(line: &str) -> bool {
    let (mut quote, mut before) = (None, ' ');
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') if before.is_whitespace() => return false,
            // Within a word it is an apostrophe.
            (None, '"' | '\'') if !before.is_alphanumeric() => quote = Some(c),
            (Some(open), c) if open == c && before != '\\' => quote = None,
            (None, '$') if line[at..].starts_with(BEGIN) => return true,
            (None | Some(_), _) => {}
        }
        before = c;
    }
    false
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
    }
}
