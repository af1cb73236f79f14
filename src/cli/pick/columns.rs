//! Columns that a person names: `-o custom-columns=RUN:.id,SINCE:.since`.

use serde_json::Value;

use super::path::Path;
use super::template::shown;
use crate::cli::output::EMPTY;
use crate::cli::text::{clean, shorten, width};

/// Columns between two columns.
const GAP: usize = 3;

/// The most columns: more than fit any screen.
const MAX_COLUMNS: usize = 50;

/// The least width to which a column is cut so that a row fits a terminal.
const LEAST_WIDTH: usize = 12;

/// Columns, each with a heading and the path of its cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Columns(Vec<(String, Path)>);

/// How wide columns are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Widths {
    columns: Vec<usize>,
    /// Whether cells are cut to the widths, apart from those of the first column.
    are_cut: bool,
}

impl Columns {
    /// Reads `HEADING:PATH,…`.
    ///
    /// # Errors
    /// What is wrong, as human-readable text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut columns = Vec::new();
        for one in split(text) {
            let column = one.split_once(':').filter(|(heading, _)| !heading.trim().is_empty());
            let Some((heading, path)) = column else {
                return Err(format!("found {one:?}, expected HEADING:PATH such as RUN:.id"));
            };
            let path = Path::parse(path).map_err(|error| format!("column {heading}: {error}"))?;
            columns.push((clean(heading.trim()), path));
        }
        match columns.len() {
            1..=MAX_COLUMNS => Ok(Self(columns)),
            found => Err(format!("found {found} columns, expected 1 to {MAX_COLUMNS}")),
        }
    }

    /// The cells of an item.
    pub(crate) fn cells(&self, item: &Value) -> Vec<String> {
        let cells = self.0.iter().map(|(_, path)| {
            let found = path.find(item, item).into_iter().filter(|value| !value.is_null());
            let found = found.map(shown).collect::<Vec<_>>().join(",");
            if found.is_empty() { EMPTY.to_owned() } else { clean(&found) }
        });
        cells.collect()
    }

    /// The path of the first column that is empty for all items.
    pub(crate) fn finds_nothing(&self, items: &[Value]) -> Option<&str> {
        let is_empty = |path: &Path| items.iter().all(|item| path.find(item, item).is_empty());
        self.0.iter().map(|(_, path)| path).find(|path| is_empty(path)).map(Path::source)
    }

    /// How wide the columns are for these rows. If that makes the rows fit into `room` columns of a terminal, the widest
    /// columns are cut; the first one stays whole.
    pub(crate) fn widths(&self, rows: &[Vec<String>], room: Option<usize>) -> Widths {
        let of_column = |place: usize, heading: &str| {
            let cells = rows.iter().filter_map(|row| row.get(place)).map(|cell| width(cell));
            cells.chain([width(heading)]).max().unwrap_or(0)
        };
        let columns = self.0.iter().enumerate();
        let mut widths: Vec<usize> =
            columns.map(|(place, (heading, _))| of_column(place, heading)).collect();
        let taken = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        let mut over = room.map_or(0, |room| taken.saturating_sub(room));
        let can_go = |width: usize| width.saturating_sub(LEAST_WIDTH);
        let are_cut =
            over > 0 && over <= widths.iter().skip(1).map(|width| can_go(*width)).sum::<usize>();
        while are_cut && over > 0 {
            let Some(widest) = widths.iter_mut().skip(1).max() else { break };
            let gone = over.min(can_go(*widest));
            if gone == 0 {
                break;
            }
            *widest -= gone;
            over -= gone;
        }
        Widths { columns: widths, are_cut }
    }

    /// The line of headings.
    pub(crate) fn head(&self, widths: &Widths) -> String {
        let headings: Vec<String> = self.0.iter().map(|(heading, _)| heading.clone()).collect();
        line(&headings, widths)
    }
}

/// The line of a row.
pub(crate) fn line(cells: &[String], widths: &Widths) -> String {
    let mut line = String::new();
    for (place, (cell, room)) in cells.iter().zip(&widths.columns).enumerate() {
        let is_cut = widths.are_cut && place > 0;
        let cell = if is_cut { shorten(cell, *room) } else { cell.clone() };
        line.push_str(&cell);
        line.extend(std::iter::repeat_n(' ', room.saturating_sub(width(&cell)) + GAP));
    }
    line.truncate(line.trim_end().len());
    line
}

/// Splits a list at commas outside of brackets and quotes.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut quote) = (Vec::new(), 0, 0_i32, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), close) if open == close => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[' | '(' | '{') => depth += 1,
            (None, ']' | ')' | '}') => depth -= 1,
            (None, ',') if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            (None, _) => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table(columns: &str, items: &[Value], room: Option<usize>) -> String {
        let columns = Columns::parse(columns).unwrap();
        let rows: Vec<_> = items.iter().map(|item| columns.cells(item)).collect();
        let widths = columns.widths(&rows, room);
        let lines = rows.iter().map(|row| line(row, &widths));
        std::iter::once(columns.head(&widths)).chain(lines).map(|line| line + "\n").collect()
    }

    #[test]
    fn columns_have_what_is_at_their_paths() {
        let items = [
            json!({"id": "run-1", "counts": {"DONE": 2}, "tags": ["a", "b"], "why": null}),
            json!({"id": "r\u{1b}2", "counts": {}, "tags": [], "why": "x y"}),
        ];
        let columns = "RUN:.id,DONE:{.counts.DONE},TAGS:.tags[0,1],WHY:why";
        let expected = "\
RUN     DONE   TAGS   WHY
run-1   2      a,b    -
r 2     -      -      x y
";
        assert_eq!(table(columns, &items, None), expected);
        assert_eq!(table("RUN:.id", &[], None), "RUN\n");
        let columns = Columns::parse("A:.id,B:.sttus").unwrap();
        assert_eq!(columns.finds_nothing(&items), Some(".sttus"));
        assert_eq!(Columns::parse("B:.why").unwrap().finds_nothing(&items), None);
    }

    #[test]
    fn rows_fit_a_terminal_as_far_as_they_can() {
        let items = [json!({"id": "run-1", "a": "a".repeat(60), "b": "b".repeat(40)})];
        let shown = table("RUN:.id,A:.a,B:.b", &items, Some(80));
        assert!(shown.lines().all(|line| width(line) <= 80), "{shown}");
        assert!(shown.contains('…') && shown.contains(&"b".repeat(30)), "{shown}");
        let narrow = table("RUN:.id,A:.a,B:.b", &items, Some(20));
        assert_eq!(narrow, table("RUN:.id,A:.a,B:.b", &items, None));
    }

    #[test]
    fn wrong_columns_are_refused() {
        for (columns, message) in [
            ("", "found \"\", expected HEADING:PATH"),
            ("RUN", "found \"RUN\", expected HEADING:PATH"),
            ("RUN:.id,", "found \"\", expected HEADING:PATH"),
            (":.id", "found \":.id\", expected HEADING:PATH"),
            ("RUN:", "column RUN: found an empty path"),
            ("RUN:.a[", "column RUN: found \".a[\""),
        ] {
            let error = Columns::parse(columns).unwrap_err();
            assert!(error.starts_with(message), "{columns}: {error}");
        }
        let many = ["A:.a"; MAX_COLUMNS + 1].join(",");
        assert_eq!(Columns::parse(&many).unwrap_err(), "found 51 columns, expected 1 to 50");
    }
}
