//! Data on standard output, in the format that was asked for; everything else on standard error.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use clap::ValueEnum;
use clap::builder::{EnumValueParser, PossibleValue, TypedValueParser};
use serde::Serialize;

use super::error::CliError;
use super::table::{table, table_within};
use super::text::{Paint, clean, clean_painted, wrap};
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
    /// Columns of the terminal that data goes to; none where it goes to a file or a program.
    pub width: Option<usize>,
    /// Columns of the terminal that messages go to.
    pub message_width: Option<usize>,
}

/// Columns of a line of prose: where nobody knows how wide the terminal is, and the most, as longer lines are
/// hard to read.
const PROSE: usize = 80;
const LONGEST_PROSE: usize = 100;

/// Columns of the narrowest terminal that texts are made to fit.
const NARROWEST: usize = 40;

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
            width: width_of(io::stdout()),
            message_width: width_of(io::stderr()),
        }
    }

    /// Columns of a line of prose.
    pub(crate) fn prose(&self) -> usize {
        self.message_width.map_or(PROSE, |width| width.min(LONGEST_PROSE))
    }

    /// Says something of one sentence or several: in lines that fit the terminal, or in one where there is none.
    pub(crate) fn say_prose(&self, text: &str) {
        match self.message_width {
            Some(_) if !self.colour_messages => self.say_lines(&wrap(&clean(text), self.prose())),
            Some(_) => self.say_lines(&wrap(&clean_painted(text), self.prose())),
            None => self.say(text),
        }
    }

    /// A table that fits the terminal.
    pub(crate) fn table<T: Row>(&self, items: &[T]) -> String {
        table_within(items, false, self.colour, self.width)
    }

    /// A table of all columns, which are as wide as they have to be.
    pub(crate) fn wide_table<T: Row>(&self, items: &[T]) -> String {
        table(items, true, self.colour)
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

    /// Writes a document as it was applied, byte by byte; on a terminal what does no harm there.
    pub(crate) fn document(&self, text: &str) -> Result<(), CliError> {
        if io::stdout().is_terminal() { self.data(text) } else { self.raw(text) }
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
            Format::Table => self.data(&self.table(items)),
            Format::Wide => self.data(&self.wide_table(items)),
            Format::Json => self.raw(&to_json(items)?),
            Format::Yaml => self.raw(&to_yaml(items)?),
            Format::Name => {
                let names = items.iter().map(|item| clean(&item.name()) + "\n");
                self.data(&names.collect::<String>())
            }
        }
    }

    /// Writes one more thing of a list that was begun: a row, or a line of JSON.
    pub(crate) fn further<T: Row>(&self, item: &T) -> Result<(), CliError> {
        match self.format {
            Format::Table | Format::Wide => {
                let one = std::slice::from_ref(item);
                let wide = self.format == Format::Wide;
                let rows = if wide { self.wide_table(one) } else { self.table(one) };
                self.data(rows.split_once('\n').map_or("", |(_, row)| row))
            }
            Format::Json => self.raw(&to_json_line(item)?),
            Format::Yaml => self.raw(&format!("---\n{}", to_yaml(item)?)),
            Format::Name => self.data(&clean(&item.name())),
        }
    }

    /// Writes one thing: as a table of one row, or whole.
    pub fn one<T: Row>(&self, item: &T) -> Result<(), CliError> {
        match self.format {
            Format::Table => self.data(&self.table(std::slice::from_ref(item))),
            Format::Wide => self.data(&self.wide_table(std::slice::from_ref(item))),
            Format::Json => self.raw(&to_json(item)?),
            Format::Yaml => self.raw(&to_yaml(item)?),
            Format::Name => self.data(&clean(&item.name())),
        }
    }
}

/// Columns of the terminal behind a stream; none where there is no terminal.
fn width_of(stream: impl IsTerminal + AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(&stream).ok().filter(|_| stream.is_terminal())?;
    Some(usize::from(size.ws_col)).filter(|width| *width >= NARROWEST)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_for_programs_has_escapes_for_what_is_not_seen() {
        let node = ("a\u{9b}31m\u{202e}", "\u{feff}x\ny");
        let json = to_json(&node).unwrap();
        assert!(json.contains(r"a\u009b31m\u202e") && json.contains(r"\ufeffx\ny"), "{json}");
        assert_eq!(to_json_line(&node).unwrap().lines().count(), 1);
        let yaml = to_yaml(&node).unwrap();
        assert!(yaml.contains(r"\u202e") && !has_unseen(&yaml), "{yaml}");
        let read: serde_json::Value = serde_yaml::from_str(&yaml).unwrap();
        assert_eq!(read, serde_json::to_value(node).unwrap());
        assert_eq!(to_yaml(&("a", "b\nc")).unwrap(), "- a\n- |-\n  b\n  c\n");
    }
}
