//! Tables for people.

use comfy_table::{Cell, Table, presets};

use super::output::{EMPTY, Row};
use super::text::{Paint, clean, shorten};

/// The space between two columns.
const GAP: u16 = 2;

/// Columns are not made narrower than this to fit a terminal: words of a status stay whole.
const LEAST_WIDTH: usize = 16;

/// A table without lines, its columns as wide as they have to be.
pub fn table<T: Row>(items: &[T], wide: bool, colour: bool) -> String {
    table_within(items, wide, colour, None)
}

/// The same in so many columns of a terminal, as far as that can be: what is left out of a cell shows a mark.
/// The first column, by which things are named, stays whole.
pub(crate) fn table_within<T: Row>(
    items: &[T],
    wide: bool,
    colour: bool,
    width: Option<usize>,
) -> String {
    let headings = T::headings(wide);
    let mut rows: Vec<Vec<String>> = items.iter().map(|item| item.cells(wide)).collect();
    let is_empty =
        |column: usize| rows.iter().all(|row| row.get(column).is_none_or(|it| it == EMPTY));
    let is_shown: Vec<bool> = (0..)
        .zip(&headings)
        .map(|(column, heading)| !T::optional().contains(heading) || !is_empty(column))
        .collect();
    if let Some(width) = width {
        fit(&headings, &mut rows, &is_shown, width);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(shown(&is_shown, &headings));
    for row in &rows {
        let cells = shown(&is_shown, row);
        table.add_row(cells.map(|cell| Cell::new_owned(clean(cell))));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned());
    let lines = lines.enumerate().map(|(index, line)| match index.checked_sub(1) {
        None => Paint::Bold.on(&line, colour),
        Some(row) => match items.get(row) {
            Some(item) => paint_word(&line, item.paint(), colour),
            None => line,
        },
    });
    lines.map(|line| line + "\n").collect()
}

/// Shortens cells, those of the widest column first, until a row fits.
fn fit(headings: &[&str], rows: &mut [Vec<String>], is_shown: &[bool], width: usize) {
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(headings.get(column).map(|heading| heading.len())).max().unwrap_or(0)
    };
    let mut widths: Vec<(usize, usize)> = (0..headings.len())
        .filter(|column| is_shown.get(*column).copied().unwrap_or(false))
        .map(|column| (column, widest(column)))
        .collect();
    let gaps = usize::from(GAP) * widths.len().saturating_sub(1);
    loop {
        let taken = widths.iter().map(|(_, width)| width).sum::<usize>() + gaps;
        let over = taken.saturating_sub(width);
        let others = widths.iter_mut().skip(1).filter(|(_, width)| *width > LEAST_WIDTH);
        match others.max_by_key(|(_, width)| *width) {
            Some((_, width)) if over > 0 => *width = width.saturating_sub(over).max(LEAST_WIDTH),
            Some(_) | None => break,
        }
    }
    for row in rows {
        for (column, width) in widths.iter().skip(1) {
            if let Some(cell) = row.get_mut(*column) {
                *cell = shorten(cell, *width);
            }
        }
    }
}

/// Of the cells of a row, those whose column is shown.
fn shown<'a, T>(is_shown: &'a [bool], row: &'a [T]) -> impl Iterator<Item = &'a T> {
    row.iter().zip(is_shown).filter(|(_, shown)| **shown).map(|(cell, _)| cell)
}

/// Colours one word of a line. The table could not measure a coloured cell, hence afterwards.
fn paint_word(line: &str, (word, paint): (&str, Paint), colour: bool) -> String {
    if !colour || word.is_empty() {
        return line.to_owned();
    }
    let found = line.match_indices(word).find(|(start, _)| {
        let before = line[..*start].chars().next_back().is_none_or(|c| c == ' ');
        let after = line[start + word.len()..].chars().next().is_none_or(|c| c == ' ');
        before && after
    });
    match found {
        None => line.to_owned(),
        Some((start, _)) => {
            let (before, rest) = line.split_at(start);
            let (word, after) = rest.split_at(word.len());
            format!("{before}{}{after}", paint.on(word, true))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    #[derive(Serialize)]
    struct Node(&'static str, &'static str);

    /// With a column that is left out where it is empty.
    #[derive(Serialize)]
    struct Noted(&'static str, &'static str);

    impl Row for Noted {
        fn headings(_: bool) -> Vec<&'static str> {
            vec!["NOTE", "NODE"]
        }

        fn cells(&self, _: bool) -> Vec<String> {
            vec![self.1.to_owned(), self.0.to_owned()]
        }

        fn optional() -> &'static [&'static str] {
            &["NOTE"]
        }

        fn name(&self) -> String {
            self.0.to_owned()
        }
    }

    impl Row for Node {
        fn headings(wide: bool) -> Vec<&'static str> {
            if wide { vec!["NODE", "STATE", "MORE"] } else { vec!["NODE", "STATE"] }
        }

        fn cells(&self, wide: bool) -> Vec<String> {
            let mut cells = vec![self.0.to_owned(), self.1.to_owned()];
            cells.extend(wide.then(|| "x".to_owned()));
            cells
        }

        fn paint(&self) -> (&str, Paint) {
            (self.1, Paint::Good)
        }

        fn name(&self) -> String {
            format!("node/{}", self.0)
        }
    }

    #[test]
    fn a_table_has_its_columns_aligned_and_nothing_at_the_ends() {
        let nodes = [Node("node-1", "DONE"), Node("a", "FAILED")];
        assert_eq!(table(&nodes, false, false), "NODE    STATE\nnode-1  DONE\na       FAILED\n");
        assert_eq!(table(&nodes[1..], true, false), "NODE  STATE   MORE\na     FAILED  x\n");
        assert_eq!(table::<Node>(&[], false, false), "NODE  STATE\n");
    }

    #[test]
    fn an_optional_column_is_there_where_a_row_has_something_in_it() {
        let rows = [Noted("a", "-"), Noted("b", "new")];
        assert_eq!(table(&rows, false, false), "NOTE  NODE\n-     a\nnew   b\n");
        assert_eq!(table(&rows[..1], false, false), "NODE\na\n");
        assert_eq!(table::<Noted>(&[], false, false), "NODE\n");
    }

    #[test]
    fn a_cell_stays_in_its_line() {
        let nodes = [Node("a\nb\x1b[31m", "DONE")];
        assert_eq!(table(&nodes, false, false), "NODE      STATE\na b [31m  DONE\n");
    }

    #[test]
    fn only_the_word_itself_is_coloured() {
        let nodes = [Node("DONE-1", "DONE")];
        let shown = table(&nodes, false, true);
        assert!(shown.ends_with("DONE-1  \x1b[32mDONE\x1b[0m\n"), "{shown:?}");
        assert!(shown.starts_with("\x1b[1mNODE    STATE\x1b[0m\n"), "{shown:?}");
    }

    #[test]
    fn a_row_fits_a_terminal_as_far_as_it_can() {
        let long = "because the disk of the node is full, as its agent says";
        let nodes = [Node("node-1", long), Node("node-2", "DONE")];
        assert_eq!(table_within(&nodes, true, false, Some(200)), table(&nodes, true, false));
        let fitted = table_within(&nodes, true, false, Some(40));
        let widest = fitted.lines().map(|line| line.chars().count()).max();
        assert_eq!(widest, Some(40), "{fitted}");
        assert!(fitted.contains("node-1  because the disk of the n…  x\n"), "{fitted}");
        let narrow = table_within(&nodes, false, false, Some(5));
        assert!(narrow.contains("node-1  because the dis…\n"), "{narrow}");
        let named = [Node("a-name-that-is-rather-long-but-stays-whole", "DONE")];
        assert_eq!(table_within(&named, false, false, Some(10)), table(&named, false, false));
    }
}
