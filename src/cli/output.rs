//! Data on standard output, in the format that was asked for; everything else on standard error.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use clap::ValueEnum;
use clap::builder::{EnumValueParser, PossibleValue, TypedValueParser};
use serde::Serialize;
use serde_json::Value;

use super::error::CliError;
use super::problems::Look;
use super::table::{Layout, Narrower, table, table_within};
use super::text::{Paint, clean, clean_painted, width, wrap, wrap_line};
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
    /// Only names, one a line, as commands take them; with the kind before them (`kind/name`) where
    /// `apply` and `validate` list several kinds
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
    /// What makes a table fit a terminal, in order: what loses least comes first.
    fn narrower() -> &'static [Narrower] {
        &[Narrower::Cut]
    }
    /// The short form of the cell below a heading, if there is one.
    fn short(&self, _heading: &str) -> Option<String> {
        None
    }
    /// The word with which the coloured cell begins, and its colour.
    fn paint(&self) -> (&str, Paint) {
        ("", Paint::Plain)
    }
    /// What commands take for it.
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

/// Columns that there are for text; none: lines are as long as they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Of a line of prose, which is hard to read when it is long.
    pub prose: Option<usize>,
    /// Of any line.
    pub line: Option<usize>,
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
        let colour = is_coloured();
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

    /// Columns of a line of prose among messages.
    pub(crate) fn prose(&self) -> usize {
        self.message_width.map_or(PROSE, |width| width.min(LONGEST_PROSE))
    }

    /// How problems of documents are shown.
    pub(crate) fn look(&self) -> Look {
        Look { colour: self.colour_messages, room: self.message_width }
    }

    /// The room for messages. Prose has lines also where nobody knows how wide the terminal is.
    pub(crate) fn message_room(&self) -> Room {
        Room { prose: Some(self.prose()), line: self.message_width }
    }

    /// The room for data. What goes to a file or a program has lines as long as they are, and so has what was asked
    /// for as wide as it is.
    pub(crate) fn data_room(&self) -> Room {
        let prose = self.width.map(|width| width.min(LONGEST_PROSE));
        Room { prose, line: self.width.filter(|_| self.format != Format::Wide) }
    }

    /// Writes a line of data; on a terminal that is too narrow in several, all but the first with so many spaces
    /// before them.
    pub(crate) fn data_indented(&self, line: &str, indent: usize) -> Result<(), CliError> {
        match self.width {
            Some(width) => self.data(&wrap_line(line, width, indent)),
            None => self.data(line),
        }
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

    /// Says something to the person, in one line whatever is in it; on a terminal that is too narrow in several.
    pub fn say(&self, line: &str) {
        let indent = line.len() - line.trim_start_matches(' ').len();
        self.say_indented(line, indent + 2);
    }

    /// The same, with so many spaces before further lines.
    pub(crate) fn say_indented(&self, line: &str, indent: usize) {
        let line = if self.colour_messages { clean_painted(line) } else { clean(line) };
        match self.message_width {
            Some(width) => self.tell(&wrap_line(&line, width, indent)),
            None => self.tell(&line),
        }
    }

    /// Says what a person types next. A command stays in one line, so that it can be taken as it is.
    pub(crate) fn say_command(&self, label: &str, command: &str) {
        self.say_lines(&command_line(label, command, self.message_width));
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

    /// Begins a list that goes on: JSON and YAML are one thing after the other then.
    pub(crate) fn begin<T: Row>(&self, items: &[T]) -> Result<Growing<'_>, CliError> {
        let layout = match self.format {
            Format::Table => Some(Layout::of(items, false, self.width)),
            Format::Wide => Some(Layout::of(items, true, None)),
            Format::Json | Format::Yaml | Format::Name => None,
        };
        if let Some(layout) = &layout {
            self.data(&layout.head(self.colour))?;
        }
        let mut list = Growing { console: self, layout };
        items.iter().try_for_each(|item| list.add(item))?;
        Ok(list)
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

/// A list that goes on.
pub(crate) struct Growing<'c> {
    console: &'c Console,
    layout: Option<Layout>,
}

impl Growing<'_> {
    /// Writes one more thing: a row in line with those before, or a line of JSON. A row that needs wider columns
    /// comes below headings of its own.
    pub(crate) fn add<T: Row>(&mut self, item: &T) -> Result<(), CliError> {
        let Console { format, colour, .. } = *self.console;
        match (format, &mut self.layout) {
            (Format::Table | Format::Wide, Some(layout)) => {
                if let Some(wider) = layout.with(item) {
                    self.console.data(&wider.head(colour))?;
                    *layout = wider;
                }
                self.console.data(&layout.row(item, colour))
            }
            (Format::Table | Format::Wide, None) => Ok(()),
            (Format::Json, _) => self.console.raw(&to_json_line(item)?),
            (Format::Yaml, _) => self.console.raw(&format!("---\n{}", to_yaml(item)?)),
            (Format::Name, _) => self.console.data(&clean(&item.name())),
        }
    }
}

/// A label and a command after it, or below it where both do not fit. The command is never broken.
pub(crate) fn command_line(label: &str, command: &str, room: Option<usize>) -> String {
    match room {
        Some(room) if width(label) + 1 + width(command) > room => {
            format!("{}\n    {command}", label.trim_end())
        }
        Some(_) | None => format!("{label} {command}"),
    }
}

/// Whether terminals are written to in colours.
pub(super) fn is_coloured() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Columns of the terminal behind a stream; none where there is no terminal.
pub(super) fn width_of(stream: impl IsTerminal + AsFd) -> Option<usize> {
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

/// `value` as YAML. Our writer makes no escapes: texts that need some have words in their place at first.
pub(crate) fn to_yaml(value: &(impl Serialize + ?Sized)) -> Result<String, CliError> {
    let failed = |message: String| CliError::Encode { format: "YAML", message };
    let write = |value: &Value| serde_yaml::to_string(value);
    let yaml = serde_yaml::to_string(value).map_err(|error| failed(error.to_string()))?;
    if !has_unseen(&yaml) {
        return Ok(yaml);
    }
    let mut value = serde_json::to_value(value).map_err(|error| failed(error.to_string()))?;
    // A word that stands nowhere in it.
    let mut word = "Q".to_owned();
    while yaml.contains(&word) {
        word.push('Q');
    }
    let mut odd = Vec::new();
    replace_odd(&mut value, &word, &mut odd);
    let marked = write(&value).map_err(|error| failed(error.to_string()))?;
    let mut parts = marked.split(&word);
    let mut yaml = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (number, rest) = part.split_once(WORD_END).unwrap_or_default();
        let text = number.parse::<usize>().ok().and_then(|number| odd.get(number));
        yaml.push_str(&escape_json_for_yaml(encode(serde_json::to_string(&text))?));
        yaml.push_str(rest);
    }
    Ok(yaml)
}

/// What ends a word that stands for a text.
const WORD_END: char = '.';

/// Puts words in place of the texts in `value` that have something in them which is not seen.
fn replace_odd(value: &mut Value, word: &str, odd: &mut Vec<String>) {
    let mut replace = |text: &mut String| {
        if has_unseen(text) {
            odd.push(std::mem::replace(text, format!("{word}{}{WORD_END}", odd.len())));
        }
    };
    match value {
        Value::String(text) => replace(text),
        Value::Array(items) => items.iter_mut().for_each(|item| replace_odd(item, word, odd)),
        Value::Object(members) => {
            for (mut key, mut member) in std::mem::take(members) {
                if has_unseen(&key) {
                    odd.push(std::mem::replace(&mut key, format!("{word}{}{WORD_END}", odd.len())));
                }
                replace_odd(&mut member, word, odd);
                members.insert(key, member);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
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
        let one =
            serde_json::json!({"plain": "a", "Q0": [1, "x\u{200b}"], "\u{9b}": {"y": "❤\u{fe0f}"}});
        let expected = "plain: a\nQ0:\n- 1\n- \"x\\u200b\"\n\"\\u009b\":\n  y: ❤\u{fe0f}\n";
        assert_eq!(to_yaml(&one).unwrap(), expected, "only what needs it is in quotes");
    }

    proptest::proptest! {
        #[test]
        fn yaml_says_the_same_whatever_is_in_it(
            texts in proptest::collection::vec("(.|\n|\t|\u{1b}|\u{9b}|\u{202e}|\u{200b}|Q|é|\u{fe0f}){0,12}", 0..5)
        ) {
            let mut value = serde_json::json!({"list": texts.clone()});
            for text in texts {
                value[&text] = serde_json::json!({ text.clone(): text });
            }
            let yaml = to_yaml(&value).unwrap();
            proptest::prop_assert!(!has_unseen(&yaml), "{:?}", yaml);
            let read: Value = serde_yaml::from_str(&yaml).unwrap();
            proptest::prop_assert_eq!(read, value);
        }
    }
}
