//! Data on standard output, in the format that was asked for; everything else on standard error.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use clap::builder::{EnumValueParser, PossibleValue, TypedValueParser};
use comfy_table::{Cell, Table, presets};
use serde::Serialize;

use super::error::CliError;
use super::text::{Paint, clean, clean_painted};
use crate::shown::{escape_json, escape_json_for_yaml, has_unseen};

/// How data is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table for people
    #[default]
    Table,
    /// A table with more columns
    Wide,
    /// JSON; a list is an array
    Json,
    /// YAML; a list is a sequence
    Yaml,
    /// Only names, one a line, as `kind/name`
    Name,
}

/// What `--output` says: how data is written, or the file to write for the command that writes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Data in that format.
    As(Format),
    /// To that file.
    To(PathBuf),
}

/// Reads [`Output`]: what is no format and has a dot or a slash in it is a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutputParser;

impl TypedValueParser for OutputParser {
    type Value = Output;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Output, clap::Error> {
        let format = EnumValueParser::<Format>::new().parse_ref(command, argument, value);
        match value.to_string_lossy().contains(['.', '/']) {
            true => Ok(format.map_or_else(|_| Output::To(value.into()), Output::As)),
            false => format.map(Output::As),
        }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let formats = Format::value_variants().iter();
        let values: Vec<_> = formats.filter_map(ValueEnum::to_possible_value).collect();
        Some(Box::new(values.into_iter()))
    }
}

/// A cell with nothing in it.
pub(crate) const EMPTY: &str = "-";

/// Something that has a row in a table, and a name.
pub trait Row: Serialize {
    /// Headings of the columns.
    fn headings(wide: bool) -> Vec<&'static str>;
    /// The cells, as many as there are headings. One with nothing in it is `EMPTY`.
    fn cells(&self, wide: bool) -> Vec<String>;
    /// Headings of columns that a table leaves out where they are empty in all its rows.
    fn optional() -> &'static [&'static str] {
        &[]
    }
    /// The word among the cells that is coloured, and its colour.
    fn paint(&self) -> (&str, Paint) {
        ("", Paint::Plain)
    }
    /// `kind/name`.
    fn name(&self) -> String;
}

/// Where a command writes, and how.
#[derive(Clone, Debug)]
pub struct Console {
    /// The format of data.
    pub format: Format,
    /// Whether data is coloured.
    pub colour: bool,
    /// Whether messages are coloured.
    pub colour_messages: bool,
    /// Whether messages go to a terminal, so that a progress bar can be drawn.
    pub live: bool,
    /// Whether a person can be asked.
    pub can_ask: bool,
}

impl Console {
    /// The console of this process: coloured on terminals, unless `NO_COLOR` is set to anything.
    pub fn of_process(format: Format) -> Self {
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let live = io::stderr().is_terminal();
        Self {
            format,
            colour: colour && io::stdout().is_terminal(),
            colour_messages: colour && live,
            live,
            can_ask: io::stdin().is_terminal() && live,
        }
    }

    /// Writes data in lines, each with a line feed. Nothing in it does anything to a terminal.
    pub fn data(&self, lines: &str) -> Result<(), CliError> {
        self.raw(&self.safe(lines))
    }

    /// Writes data as it is, and a line feed if there is none at its end.
    pub(crate) fn raw(&self, text: &str) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        write!(out, "{text}{end}").and_then(|()| out.flush()).map_err(CliError::Output)
    }

    /// Says something to the person, in one line whatever is in it.
    pub fn say(&self, line: &str) {
        self.tell(&if self.colour_messages { clean_painted(line) } else { clean(line) });
    }

    /// Says something of several lines, none of which has a line feed of others in it.
    pub fn say_lines(&self, lines: &str) {
        let clean = if self.colour_messages { clean_painted } else { clean };
        self.tell(&lines.lines().map(clean).collect::<Vec<_>>().join("\n"));
    }

    fn tell(&self, text: &str) {
        // In one piece, so that no other program's output comes between a line and its end. Without
        // standard error there is nobody to tell, which is no reason to stop.
        let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
    }

    fn safe(&self, lines: &str) -> String {
        let clean = if self.colour { clean_painted } else { clean };
        lines.lines().map(|line| clean(line) + "\n").collect()
    }

    /// Writes a list.
    pub fn list<T: Row>(&self, items: &[T]) -> Result<(), CliError> {
        match self.format {
            Format::Table => self.data(&table(items, false, self.colour)),
            Format::Wide => self.data(&table(items, true, self.colour)),
            Format::Json => self.raw(&to_json(items)?),
            Format::Yaml => self.raw(&to_yaml(items)?),
            Format::Name => {
                let names = items.iter().map(|item| clean(&item.name()) + "\n");
                self.data(&names.collect::<String>())
            }
        }
    }

    /// Writes one thing: as a table of one row, or whole.
    pub fn one<T: Row>(&self, item: &T) -> Result<(), CliError> {
        match self.format {
            Format::Table => self.data(&table(std::slice::from_ref(item), false, self.colour)),
            Format::Wide => self.data(&table(std::slice::from_ref(item), true, self.colour)),
            Format::Json => self.raw(&to_json(item)?),
            Format::Yaml => self.raw(&to_yaml(item)?),
            Format::Name => self.data(&clean(&item.name())),
        }
    }
}

/// `value` as JSON for people and programs. What is not seen in a text stands there as an escape.
pub(crate) fn to_json(value: &(impl Serialize + ?Sized)) -> Result<String, CliError> {
    Ok(escape_json(encode(serde_json::to_string_pretty(value))?))
}

/// The same in one line.
pub(crate) fn to_json_line(value: &(impl Serialize + ?Sized)) -> Result<String, CliError> {
    Ok(escape_json(encode(serde_json::to_string(value))?))
}

fn encode(json: Result<String, serde_json::Error>) -> Result<String, CliError> {
    json.map_err(|error| CliError::Encode { format: "JSON", message: error.to_string() })
}

/// `value` as YAML; as JSON, which is YAML too, where a text needs escapes that our writer of YAML
/// does not make.
pub(crate) fn to_yaml(value: &(impl Serialize + ?Sized)) -> Result<String, CliError> {
    let yaml = serde_yaml::to_string(value)
        .map_err(|error| CliError::Encode { format: "YAML", message: error.to_string() })?;
    match has_unseen(&yaml) {
        true => Ok(escape_json_for_yaml(encode(serde_json::to_string_pretty(value))?)),
        false => Ok(yaml),
    }
}

/// The space between two columns.
const GAP: u16 = 2;

/// A table without lines, its columns as wide as they have to be.
pub fn table<T: Row>(items: &[T], wide: bool, colour: bool) -> String {
    let headings = T::headings(wide);
    let rows: Vec<Vec<String>> = items.iter().map(|item| item.cells(wide)).collect();
    let is_empty =
        |column: usize| rows.iter().all(|row| row.get(column).is_none_or(|it| it == EMPTY));
    let is_shown: Vec<bool> = (0..)
        .zip(&headings)
        .map(|(column, heading)| !T::optional().contains(heading) || !is_empty(column))
        .collect();
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
    fn data_for_programs_has_escapes_for_what_is_not_seen() {
        let node = Node("a\u{9b}31m\u{202e}", "\u{feff}x\ny");
        let json = to_json(&node).unwrap();
        assert!(json.contains(r"a\u009b31m\u202e") && json.contains(r"\ufeffx\ny"), "{json}");
        assert_eq!(to_json_line(&node).unwrap().lines().count(), 1);
        let yaml = to_yaml(&node).unwrap();
        assert!(yaml.contains(r"\u202e") && !has_unseen(&yaml), "{yaml}");
        let read: serde_json::Value = serde_yaml::from_str(&yaml).unwrap();
        assert_eq!(read, serde_json::to_value(&node).unwrap());
        assert_eq!(to_yaml(&Node("a", "b\nc")).unwrap(), "- a\n- |-\n  b\n  c\n");
    }

    #[test]
    fn only_the_word_itself_is_coloured() {
        let nodes = [Node("DONE-1", "DONE")];
        let shown = table(&nodes, false, true);
        assert!(shown.ends_with("DONE-1  \x1b[32mDONE\x1b[0m\n"), "{shown:?}");
        assert!(shown.starts_with("\x1b[1mNODE    STATE\x1b[0m\n"), "{shown:?}");
    }
}
