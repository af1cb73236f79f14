//! What differs between two texts, in the form that people know from version control. The work and the output
//! are bounded, since documents may have very many lines.

use super::text::{Paint, plural};

/// Unchanged lines that are shown around a change.
const CONTEXT: usize = 2;

/// The most lines of a comparison that are shown: a person who changed more than that knows it.
const SHOWN: usize = 60;

/// The most pairs of lines, one of each text, that are compared between the first and the last difference:
/// their table takes a few MiB. With more pairs, all these lines count as changed.
const MOST_COMPARED: usize = 2_000_000;

/// Shows blanks at the end of a line that differs.
const BLANK: &str = "·";

/// One line of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line<'t> {
    Same(&'t str),
    Gone(&'t str),
    New(&'t str),
}

/// The lines that differ with some around them, at most [`SHOWN`]; empty if no line differs.
pub(super) fn diff(old: &str, new: &str, colour: bool) -> String {
    diff_within(old, new, colour, SHOWN)
}

/// The same with at most `most` lines.
pub(super) fn diff_within(old: &str, new: &str, colour: bool, most: usize) -> String {
    let lines = compare(&old.lines().collect::<Vec<_>>(), &new.lines().collect::<Vec<_>>());
    let changed: Vec<usize> = (0..)
        .zip(&lines)
        .filter(|(_, line)| !matches!(line, Line::Same(_)))
        .map(|(at, _)| at)
        .collect();
    let is_near = |at: usize| {
        let next = changed.partition_point(|one| *one < at);
        let near = |one: Option<&usize>| one.is_some_and(|one| one.abs_diff(at) <= CONTEXT);
        near(changed.get(next)) || near(next.checked_sub(1).and_then(|before| changed.get(before)))
    };
    let (mut text, mut shown, mut left_out) = (String::new(), 0, 0_u64);
    let (mut old_number, mut new_number, mut apart) = (1, 1, true);
    for (at, line) in lines.iter().enumerate() {
        if is_near(at) && shown < most {
            if std::mem::take(&mut apart) {
                let place = format!("@@ line {old_number} of the old, {new_number} of the new @@");
                text.push_str(&(Paint::Faint.on(&place, colour) + "\n"));
            }
            shown += 1;
            let (sign, line, paint) = match line {
                Line::Same(line) => (' ', line, Paint::Plain),
                Line::Gone(line) => ('-', line, Paint::Bad),
                Line::New(line) => ('+', line, Paint::Good),
            };
            let line = super::text::clean(line);
            let kept = line.trim_end();
            // The blanks may be the only difference.
            let blanks = if sign == ' ' { 0 } else { line.chars().count() - kept.chars().count() };
            let line = format!("{sign}{kept}{}", BLANK.repeat(blanks));
            text.push_str(&(paint.on(line.trim_end(), colour) + "\n"));
        } else {
            apart = true;
            left_out += u64::from(is_near(at));
        }
        old_number += usize::from(!matches!(line, Line::New(_)));
        new_number += usize::from(!matches!(line, Line::Gone(_)));
    }
    if left_out > 0 {
        text.push_str(&format!("… and {}\n", plural(left_out, "more line")));
    }
    text
}

/// All lines of both texts, in order.
fn compare<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<Line<'t>> {
    let before = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old[before..], &new[before..]);
    let after =
        old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old_mid, tail) = old_rest.split_at(old_rest.len() - after);
    let new_mid = &new_rest[..new_rest.len() - after];
    let mut lines: Vec<Line<'t>> = old[..before].iter().map(|line| Line::Same(line)).collect();
    match old_mid.len().saturating_mul(new_mid.len()) <= MOST_COMPARED {
        true => each_with_each(old_mid, new_mid, &mut lines),
        false => {
            lines.extend(old_mid.iter().map(|line| Line::Gone(line)));
            lines.extend(new_mid.iter().map(|line| Line::New(line)));
        }
    }
    lines.extend(tail.iter().map(|line| Line::Same(line)));
    lines
}

/// Finds the fewest changes, by the longest sequence of lines that both texts have.
fn each_with_each<'t>(old: &[&'t str], new: &[&'t str], lines: &mut Vec<Line<'t>>) {
    let width = new.len() + 1;
    // The length of that sequence from each pair of places to the end.
    let mut longest = vec![0_u32; (old.len() + 1) * width];
    let at = |a: usize, b: usize| a * width + b;
    for (a, old_line) in old.iter().enumerate().rev() {
        for (b, new_line) in new.iter().enumerate().rev() {
            longest[at(a, b)] = match old_line == new_line {
                true => longest[at(a + 1, b + 1)] + 1,
                false => longest[at(a + 1, b)].max(longest[at(a, b + 1)]),
            };
        }
    }
    let (mut a, mut b) = (0, 0);
    loop {
        match (old.get(a), new.get(b)) {
            (Some(old_line), Some(new_line)) if old_line == new_line => {
                lines.push(Line::Same(old_line));
                (a, b) = (a + 1, b + 1);
            }
            (Some(old_line), new_line)
                if new_line.is_none() || longest[at(a + 1, b)] >= longest[at(a, b + 1)] =>
            {
                lines.push(Line::Gone(old_line));
                a += 1;
            }
            (_, Some(new_line)) => {
                lines.push(Line::New(new_line));
                b += 1;
            }
            (_, None) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_differs_is_shown_with_the_lines_around_it() {
        let old = "a\nb\nc\nd\ne\nf\ng\nh\ni\n";
        let new = "a\nb\nc\nD\ne\nf\ng\nh\ni\nj\n";
        let expected = "\
@@ line 2 of the old, 2 of the new @@
 b
 c
-d
+D
 e
 f
@@ line 8 of the old, 8 of the new @@
 h
 i
+j
";
        assert_eq!(diff(old, new, false), expected);
        assert_eq!(diff(old, old, false), "");
        let head = "@@ line 1 of the old, 1 of the new @@\n";
        assert_eq!(diff("a\u{1b}b\n", "", false), format!("{head}-a b\n"));
        assert_eq!(diff("a: 1\n", "a: 1 \t\n", false), format!("{head}-a: 1\n+a: 1··\n"));
    }

    #[test]
    fn a_comparison_is_bounded() {
        let many = |from: u32| (from..from + 5_000).map(|n| format!("{n}\n")).collect::<String>();
        let shown = diff(&many(0), &many(1_000_000), false);
        assert_eq!(shown.lines().count(), SHOWN + 2);
        assert!(shown.ends_with("… and 9940 more lines\n"), "{shown}");
    }

    proptest! {
        #[test]
        fn both_texts_are_in_it(old in "([a-c]\n){0,12}", new in "([a-c]\n){0,12}") {
            let lines = compare(&old.lines().collect::<Vec<_>>(), &new.lines().collect::<Vec<_>>());
            let side = |is_old: bool| -> String {
                let of_side = lines.iter().filter_map(|line| match line {
                    Line::Same(line) => Some(line),
                    Line::Gone(line) => is_old.then_some(line),
                    Line::New(line) => (!is_old).then_some(line),
                });
                of_side.map(|line| format!("{line}\n")).collect()
            };
            prop_assert_eq!(side(true), old.as_str());
            prop_assert_eq!(side(false), new.as_str());
        }
    }
}
