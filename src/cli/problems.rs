//! Shows what is wrong with a document: the place, the line, and a marker below it. All commands that read
//! documents show problems in this way, whether the server or this program found them.

use std::fmt::Write as _;

use super::files::Document;
use super::text::{Paint, clean, plural, shorten, width, wrap_line};
use crate::playbook::{Problem, code};

/// The most problems that are shown: with more, a person corrects the first ones and checks again.
pub(crate) const MAX_SHOWN: usize = 50;

/// Columns of a line that are shown: the most, and the number used if the width of the terminal is not known.
const LINE_WIDTH: usize = 100;

/// Columns of a line that is too long which are shown before the marker.
const LEAD: usize = 60;

/// The most characters of a message, of what was found, and of what was expected.
const MAX_TEXT: usize = 500;

/// How problems are shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    /// Whether to use colours.
    pub colour: bool,
    /// Columns of the terminal; `None` if lines are not wrapped.
    pub room: Option<usize>,
}

impl Look {
    fn fit(self, line: &str, indent: usize) -> String {
        self.room.map_or(line.to_owned(), |room| wrap_line(line, room, indent))
    }
}

/// Shows the problems of a document in the order of their places, and says how many more there are.
pub(crate) fn show(document: &Document, problems: &[Problem], look: Look) -> String {
    let (more, mut sorted): (Vec<&Problem>, Vec<&Problem>) =
        problems.iter().partition(|problem| problem.code == code::MORE);
    sorted.sort_by_key(|problem| (problem.line.unwrap_or(0), problem.column.unwrap_or(0)));
    let mut shown = String::new();
    for problem in sorted.iter().take(MAX_SHOWN) {
        show_one(&mut shown, document, problem, look);
    }
    let untold: u64 = more.iter().filter_map(|problem| untold(problem)).sum();
    let more = untold + sorted.len().saturating_sub(MAX_SHOWN) as u64;
    if more > 0 {
        let _ = writeln!(shown, "… and {}", plural(more, "more problem"));
    }
    shown
}

/// How many problems of a document were not even reported, from the text of the problem that says so: `and 7
/// more problems`.
fn untold(more: &Problem) -> Option<u64> {
    more.message.split(' ').find_map(|word| word.parse().ok())
}

/// Shows warnings of a document, marked as warnings.
pub(crate) fn show_warnings(document: &Document, warnings: &[Problem], look: Look) -> String {
    let warned = warnings.iter().map(|problem| {
        let message = format!("warning: {}", problem.message);
        Problem { message, ..problem.clone() }
    });
    show(document, &warned.collect::<Vec<_>>(), look)
}

/// Shows problems of something that has no text, such as the parameters of a run.
pub(crate) fn show_without_text(problems: &[Problem], look: Look) -> String {
    let document = Document { file: String::new(), text: String::new(), first_line: 0 };
    let unplaced = problems.iter().map(|problem| Problem { line: None, ..problem.clone() });
    show(&document, &unplaced.collect::<Vec<_>>(), look)
}

fn show_one(shown: &mut String, document: &Document, problem: &Problem, look: Look) {
    let mut place: Vec<String> = Vec::new();
    if !document.file.is_empty() {
        place.push(clean(&document.file));
    }
    if let Some(line) = problem.line {
        place.push((line + document.first_line).to_string());
        place.extend(problem.column.map(|column| column.to_string()));
    }
    let place = place.join(":");
    let message = shorten(&clean(&problem.message), MAX_TEXT);
    let colour = look.colour;
    let message = Paint::Bad.on(&message, colour);
    let parts =
        [Paint::Bold.on(&place, colour && !place.is_empty()), clean(&problem.path), message];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let _ = writeln!(shown, "{}", look.fit(&parts.join(": "), 4));
    let margin = show_line(shown, document, problem, look);
    for (label, text) in [("found", &problem.found), ("expected", &problem.expected)] {
        if let Some(text) = text {
            let text = shorten(&clean(text), MAX_TEXT);
            let line = format!("{margin} {label}: {text}");
            let _ = writeln!(shown, "{}", look.fit(&line, margin.len() + 3));
        }
    }
}

/// Shows the line with the marker, and returns the margin for the lines below.
fn show_line(shown: &mut String, document: &Document, problem: &Problem, look: Look) -> String {
    let text = problem.line.and_then(|line| {
        let index = usize::try_from(line).ok()?.checked_sub(1)?;
        Some((line + document.first_line, document.text.lines().nth(index)?))
    });
    let Some((number, text)) = text else { return "   =".to_owned() };
    let number = number.to_string();
    let margin = " ".repeat(number.len());
    // The number and the bar come before the text, and perhaps a mark that something was left out.
    let room = look.room.map_or(LINE_WIDTH, |room| room.saturating_sub(number.len() + 5));
    let (text, marker) = window(text, problem.column, room.min(LINE_WIDTH));
    let colour = look.colour;
    let bar = Paint::Faint.on("|", colour);
    let _ = writeln!(shown, " {} {bar} {text}", Paint::Faint.on(&number, colour));
    if let Some(marker) = marker {
        let caret = Paint::Bad.on("^", colour);
        let _ = writeln!(shown, " {margin} {bar} {}{caret}", " ".repeat(marker));
    }
    format!(" {margin} =")
}

/// The part of a line that is shown, and the number of columns before the marker.
fn window(line: &str, column: Option<u32>, most: usize) -> (String, Option<usize>) {
    let line = clean(line);
    let marker = column.and_then(|column| usize::try_from(column).ok()?.checked_sub(1));
    if width(&line) <= most {
        let marker = marker.map(|marker| columns(&line, marker));
        return (line, marker);
    }
    let skipped = marker.map_or(0, |marker| {
        let before: Vec<char> = line.chars().take(marker).collect();
        let mut lead = 0;
        let is_near = |c: &&char| {
            lead += width(c.encode_utf8(&mut [0; 4]));
            lead <= most * LEAD / LINE_WIDTH
        };
        marker - before.iter().rev().take_while(is_near).count()
    });
    let rest: String = line.chars().skip(skipped).collect();
    let rest = shorten(&rest, most);
    let (shown, marker) = match skipped {
        0 => (rest, marker),
        _ => (format!("…{rest}"), marker.map(|marker| marker - skipped + 1)),
    };
    let marker = marker.map(|marker| columns(&shown, marker));
    (shown, marker)
}

/// The columns that the first characters of a line take on a terminal.
fn columns(line: &str, characters: usize) -> usize {
    let taken = width(&line.chars().take(characters).collect::<String>());
    taken + characters.saturating_sub(line.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: u32, column: u32, message: &str) -> Problem {
        Problem {
            code: "unknown-key".to_owned(),
            path: "/spec/stages/0".to_owned(),
            line: Some(line),
            column: Some(column),
            message: message.to_owned(),
            found: None,
            expected: None,
        }
    }

    fn document(text: &str) -> Document {
        Document { file: "p.yaml".to_owned(), text: text.to_owned(), first_line: 0 }
    }

    #[test]
    fn each_problem_has_its_place_its_line_and_a_marker() {
        let text = "kind: Playbook\nspec:\n\tstages: x\n";
        let mut second = problem(3, 2, "unknown key \"stagess\"");
        second.found = Some("\"stagess\"".to_owned());
        second.expected = Some("one of stages,\nplugins".to_owned());
        let shown =
            show(&document(text), &[second, problem(1, 7, "no such kind")], Look::default());
        let expected = "\
p.yaml:1:7: /spec/stages/0: no such kind
 1 | kind: Playbook
   |       ^
p.yaml:3:2: /spec/stages/0: unknown key \"stagess\"
 3 |  stages: x
   |  ^
   = found: \"stagess\"
   = expected: one of stages, plugins
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn lines_are_those_of_the_file_also_for_its_later_documents() {
        let later = Document { first_line: 40, ..document("a\nb\n") };
        let shown = show(&later, &[problem(2, 1, "x")], Look::default());
        assert!(shown.starts_with("p.yaml:42:1: "), "{shown}");
        assert!(shown.contains(" 42 | b\n"), "{shown}");
    }

    #[test]
    fn a_place_that_is_not_in_the_text_is_no_trouble() {
        for (line, column) in [(9, 9), (1, 99), (0, 0), (u32::MAX - 1, u32::MAX)] {
            let shown = show(&document("a\n"), &[problem(line, column, "m")], Look::default());
            assert!(shown.contains("m\n"), "{shown}");
        }
        let nowhere = Problem { line: None, column: None, ..problem(1, 1, "m") };
        assert_eq!(show_without_text(&[nowhere], Look::default()), "/spec/stages/0: m\n");
    }

    #[test]
    fn long_lines_are_cut_around_the_marker() {
        let text = format!("{}X{}", "a".repeat(300), "b".repeat(300));
        let shown = show(&document(&text), &[problem(1, 301, "m")], Look::default());
        let lines: Vec<&str> = shown.lines().collect();
        let marker = lines[2].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[1].chars().nth(marker), Some('X'), "{shown}");
        assert!(lines[1].chars().count() < LINE_WIDTH + 10, "{shown}");
    }

    #[test]
    fn the_marker_is_below_its_character_whatever_is_before_it() {
        let marker = |text: &str, column| {
            let shown = show(&document(text), &[problem(1, column, "m")], Look::default());
            let line = shown.lines().nth(2).unwrap().to_owned();
            line.trim_end_matches('^').trim_start_matches("   | ").len()
        };
        assert_eq!(marker("name: é x", 9), 8);
        assert_eq!(marker("name: e\u{301} x", 9), 7);
        assert_eq!(marker("name: 日本 x", 10), 11);
        assert_eq!(marker("name: 🚀 x", 9), 9);
        assert_eq!(marker("\tname:\tx", 8), 7);
        assert_eq!(marker(&format!("{}X", "日".repeat(300)), 301), 1 + LEAD);
    }

    #[test]
    fn many_problems_are_counted_and_not_all_shown() {
        let many = vec![problem(1, 1, "m"); MAX_SHOWN + 2];
        let shown = show(&document("a"), &many, Look::default());
        assert_eq!(shown.matches(": m\n").count(), MAX_SHOWN);
        assert!(shown.ends_with("… and 2 more problems\n"), "{shown}");
    }

    #[test]
    fn that_there_are_more_comes_last() {
        let more = Problem {
            code: code::MORE.to_owned(),
            path: String::new(),
            line: None,
            column: None,
            ..problem(1, 1, "and 7 more problems")
        };
        let problems = [more.clone(), problem(2, 1, "second"), problem(1, 1, "first")];
        let shown = show(&document("a\nb\n"), &problems, Look::default());
        let places = ["first", "second", "… and 7 more problems\n"].map(|text| shown.find(text));
        assert!(places.is_sorted() && places[0].is_some(), "{shown}");
        assert!(shown.ends_with("… and 7 more problems\n"), "{shown}");
        let many = vec![problem(1, 1, "m"); MAX_SHOWN + 2];
        let shown = show(&document("a"), &[vec![more], many].concat(), Look::default());
        assert!(shown.ends_with("… and 9 more problems\n"), "{shown}");
    }

    #[test]
    fn problems_fit_a_terminal() {
        let look = Look { colour: false, room: Some(60) };
        let text = format!("{}X{}", "a ".repeat(60), "b".repeat(60));
        let mut long = problem(1, 121, &"this is wrong, ".repeat(10));
        (long.found, long.expected) = (Some("one ".repeat(30)), Some("two ".repeat(30)));
        let shown = show(&document(&text), &[long], look);
        assert!(shown.lines().all(|line| width(line) <= 60), "{shown}");
        let lines: Vec<&str> = shown.lines().collect();
        let at = lines.iter().position(|line| line.trim_end().ends_with('^')).unwrap();
        let marker = lines[at].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[at - 1].chars().nth(marker), Some('X'), "{shown}");
    }
}
