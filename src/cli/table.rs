//! Tables for people. A table is fitted to the terminal in the order that its type gives, so that what matters
//! least is lost first.

use super::output::{EMPTY, Row};
use super::text::{Paint, clean, shorten, width, wrap_line};

/// Columns between two columns of a table.
const GAP: usize = 2;

/// The least width to which a column is narrowed: nobody could read anything in less.
const LEAST_WIDTH: usize = 12;

/// A way to make the rows of a table narrower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Narrower {
    /// Shows the cells under this heading in their short form.
    Short(&'static str),
    /// Leaves out the column with this heading.
    Without(&'static str),
    /// Cuts cells, those of the widest column first, if that makes the rows fit. The first column, which names
    /// things, stays whole.
    Cut,
    /// Continues the last column on further lines, if it has room enough.
    Fold,
}

/// A table without borders, whose columns are as wide as they need to be.
pub fn table<T: Row>(items: &[T], wide: bool, colour: bool) -> String {
    table_within(items, wide, colour, None)
}

/// A table in at most `room` columns of a terminal, as far as that is possible.
pub(crate) fn table_within<T: Row>(
    items: &[T],
    wide: bool,
    colour: bool,
    room: Option<usize>,
) -> String {
    let layout = Layout::of(items, wide, room);
    layout.head(colour) + &items.iter().map(|item| layout.row(item, colour)).collect::<String>()
}

/// Which columns a table has, and how wide they are.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    columns: Vec<Column>,
    wide: bool,
    room: Option<usize>,
}

#[derive(Clone, Debug)]
struct Column {
    /// Its index among all columns of the type.
    place: usize,
    heading: &'static str,
    width: usize,
    short: bool,
    /// Whether all cells are coloured words, such as statuses: half of one says nothing.
    is_whole: bool,
    /// Whether cells are cut to the width.
    is_cut: bool,
    folds: bool,
}

impl Column {
    fn cell<T: Row>(&self, item: &T, cells: &[String]) -> String {
        let short = if self.short { item.short(self.heading) } else { None };
        clean(short.as_ref().or(cells.get(self.place)).map_or("", String::as_str))
    }

    /// Columns that the widest cell or the heading takes.
    fn measure<T: Row>(&self, rows: &[(&T, Vec<String>)]) -> usize {
        let cells = rows.iter().map(|(item, cells)| width(&self.cell(*item, cells)));
        cells.chain([width(self.heading)]).max().unwrap_or(0)
    }
}

impl Layout {
    /// The layout of a table for `items`.
    pub(crate) fn of<T: Row>(items: &[T], wide: bool, room: Option<usize>) -> Self {
        let rows: Vec<_> = items.iter().map(|item| (item, item.cells(wide))).collect();
        let is_empty = |place: usize| {
            rows.iter().all(|(_, cells)| cells.get(place).is_none_or(|cell| cell == EMPTY))
        };
        let is_shown = |(place, heading): &(usize, &'static str)| {
            !T::optional().contains(heading) || !is_empty(*place)
        };
        let is_word = |place: usize| {
            rows.iter().all(|(item, cells)| {
                let cell = cells.get(place).map_or("", String::as_str);
                cell == item.paint().0 && !cell.contains(' ')
            })
        };
        let shown = T::headings(wide).into_iter().enumerate().filter(is_shown);
        let columns = shown.map(|(place, heading)| Column {
            place,
            heading,
            width: 0,
            short: false,
            is_whole: is_word(place),
            is_cut: false,
            folds: false,
        });
        let mut layout = Self { columns: columns.collect(), wide, room };
        for column in &mut layout.columns {
            column.width = column.measure(&rows);
        }
        layout.fit(&rows);
        layout
    }

    /// A wider layout in which `item` has room too; `None` if it fits this one.
    pub(crate) fn with<T: Row>(&self, item: &T) -> Option<Self> {
        let rows = [(item, item.cells(self.wide))];
        let mut wider = self.clone();
        for column in &mut wider.columns {
            let fits = column.is_cut || column.folds;
            column.width =
                if fits { column.width } else { column.width.max(column.measure(&rows)) };
        }
        let all = self.columns.iter().zip(&wider.columns);
        { all }.any(|(own, wider)| wider.width > own.width).then(|| {
            wider.fit(&rows);
            wider
        })
    }

    fn fit<T: Row>(&mut self, rows: &[(&T, Vec<String>)]) {
        let Some(room) = self.room else { return };
        for means in T::narrower() {
            if self.taken() <= room {
                return;
            }
            match means {
                Narrower::Short(heading) => {
                    let column = self.columns.iter_mut().find(|it| it.heading == *heading);
                    if let Some(column) = column.filter(|column| !column.short) {
                        column.short = true;
                        column.width = column.measure(rows);
                    }
                }
                Narrower::Without(heading) => self.columns.retain(|it| it.heading != *heading),
                Narrower::Cut => self.cut(room),
                Narrower::Fold => self.fold(room),
            }
        }
    }

    /// Columns that a row takes on the terminal.
    fn taken(&self) -> usize {
        let gaps = GAP * self.columns.len().saturating_sub(1);
        self.columns.iter().map(|column| column.width).sum::<usize>() + gaps
    }

    fn cut(&mut self, room: usize) {
        let can_go = |column: &Column| match column.is_whole {
            true => 0,
            false => column.width.saturating_sub(LEAST_WIDTH),
        };
        let all: usize = self.columns.iter().skip(1).map(can_go).sum();
        let mut over = self.taken().saturating_sub(room);
        // Cutting cells of a table that does not fit anyway would lose text for nothing.
        while over > 0 && over <= all {
            let widest = self.columns.iter_mut().skip(1).max_by_key(|column| can_go(column));
            let Some(widest) = widest.filter(|widest| can_go(widest) > 0) else { return };
            let gone = over.min(can_go(widest));
            (widest.width, widest.is_cut) = (widest.width - gone, true);
            over -= gone;
        }
    }

    fn fold(&mut self, room: usize) {
        let over = self.taken().saturating_sub(room);
        if let Some(last) = self.columns.last_mut()
            && last.width >= over + LEAST_WIDTH
        {
            (last.width, last.folds) = (last.width - over, true);
        }
    }

    /// The line of headings.
    pub(crate) fn head(&self, colour: bool) -> String {
        let headings = self.columns.iter().map(|column| (column.heading.to_owned(), Paint::Plain));
        Paint::Bold.on(self.line(headings, false).trim_end(), colour) + "\n"
    }

    /// The lines of one item.
    pub(crate) fn row<T: Row>(&self, item: &T, colour: bool) -> String {
        let (word, paint) = item.paint();
        let all = item.cells(self.wide);
        let mut is_painted = word.is_empty();
        let cells = self.columns.iter().map(|column| {
            let cell = column.cell(item, &all);
            let cell = if column.is_cut { shorten(&cell, column.width) } else { cell };
            let rest = cell.strip_prefix(word).filter(|_| !is_painted);
            let is_it = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
            is_painted |= is_it;
            (cell, if is_it { paint } else { Paint::Plain })
        });
        self.line(cells, colour) + "\n"
    }

    fn line(&self, cells: impl Iterator<Item = (String, Paint)>, colour: bool) -> String {
        let (mut line, mut end, mut start) = (String::new(), 0, 0);
        for (column, (cell, paint)) in self.columns.iter().zip(cells) {
            // An empty cell at the end leaves no trailing blanks.
            if !cell.is_empty() {
                line.extend(std::iter::repeat_n(' ', start.max(end) - end));
                end = start.max(end) + width(&cell);
                let cell = match column.folds {
                    true => wrap_line(&cell, column.width, 0)
                        .replace('\n', &format!("\n{}", " ".repeat(start))),
                    false => cell,
                };
                line.push_str(&paint.on(&cell, colour));
            }
            start += column.width + GAP;
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    #[derive(Serialize)]
    struct Node(&'static str, &'static str);

    /// A row with a column that is left out when it is empty.
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
        let widest = fitted.lines().map(width).max();
        assert_eq!(widest, Some(40), "{fitted}");
        assert!(fitted.contains("node-1  because the disk of the n…  x\n"), "{fitted}");
        // If cutting would not make it fit, everything is shown, in lines that are too long.
        assert_eq!(table_within(&nodes, false, false, Some(18)), table(&nodes, false, false));
        let named = [Node("a-name-that-is-rather-long-but-stays-whole", "DONE")];
        assert_eq!(table_within(&named, false, false, Some(10)), table(&named, false, false));
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let nodes = [Node("日本", "DONE"), Node("n", "DONE"), Node("e\u{301}", "DONE")];
        let expected = "NODE  STATE\n日本  DONE\nn     DONE\ne\u{301}     DONE\n";
        assert_eq!(table(&nodes, false, false), expected);
        let long = "日本 ".repeat(20);
        let long: &'static str = long.leak();
        let fitted = table_within(&[Node("n", long)], true, false, Some(40));
        assert!(fitted.lines().all(|line| width(line) <= 40), "{fitted}");
        assert!(fitted.contains("…"), "{fitted}");
    }

    #[test]
    fn rows_that_come_later_line_up_or_begin_anew() {
        let layout = Layout::of(&[Node("node-1", "PAUSED")], true, None);
        let later = Node("a", "DONE");
        assert!(layout.with(&later).is_none());
        assert_eq!(layout.row(&later, false), "a       DONE    x\n");
        let wider = layout.with(&Node("a", "PENDING_APPROVE")).unwrap();
        assert_eq!(wider.head(false), "NODE    STATE            MORE\n");
        assert_eq!(wider.row(&later, false), "a       DONE             x\n");
    }

    #[derive(Serialize)]
    struct Told(&'static str);

    impl Row for Told {
        fn headings(_: bool) -> Vec<&'static str> {
            vec!["SEQ", "TIME", "WHAT"]
        }

        fn cells(&self, _: bool) -> Vec<String> {
            vec!["1".to_owned(), "2025-11-22T09:00:00Z".to_owned(), self.0.to_owned()]
        }

        fn short(&self, heading: &str) -> Option<String> {
            (heading == "TIME").then(|| "09:00".to_owned())
        }

        fn narrower() -> &'static [Narrower] {
            &[Narrower::Short("TIME"), Narrower::Fold]
        }

        fn name(&self) -> String {
            String::new()
        }
    }

    #[test]
    fn the_last_column_goes_on_below() {
        let told = [Told("run is PAUSED: two agents failed")];
        let expected = "\
SEQ  TIME   WHAT
1    09:00  run is PAUSED:
            two agents
            failed
";
        assert_eq!(table_within(&told, false, false, Some(28)), expected);
        let shown = table_within(&told, false, false, Some(50));
        assert!(shown.contains("1    09:00  run is PAUSED: two agents failed\n"), "{shown}");
    }
}
