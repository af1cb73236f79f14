//! Writes data to standard output in the format that was asked for, and everything else to standard error.
//! Commands print through here, so that no text of an agent, plugin or other person can control the terminal.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use super::error::CliError;
use super::pick::{Picked, Widths};
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
    /// Only names, one per line, in the form that commands take; as `kind/name` where `apply` and `validate`
    /// list several kinds
    Name,
    /// The parts that the console's `picked` says
    #[value(skip)]
    Picked,
}

/// The content of an empty cell.
pub(crate) const EMPTY: &str = "-";

/// Something that has a name, and a row in a table.
pub trait Row: Serialize {
    /// Headings of the columns, for a table or a wide table.
    fn headings(wide: bool) -> Vec<&'static str>;
    /// The cells, one for each heading. An empty one is `EMPTY`.
    fn cells(&self, wide: bool) -> Vec<String>;
    /// Headings of columns that a table leaves out if they are empty in all its rows.
    fn optional() -> &'static [&'static str] {
        &[]
    }
    /// How to make a table fit a terminal, in order: the smallest loss comes first.
    fn narrower() -> &'static [Narrower] {
        &[Narrower::Cut]
    }
    /// A shorter form of the cell under a heading, if there is one.
    fn short(&self, _heading: &str) -> Option<String> {
        None
    }
    /// The word at the beginning of the coloured cell, and its colour.
    fn paint(&self) -> (&str, Paint) {
        ("", Paint::Plain)
    }
    /// The name by which commands take it.
    fn name(&self) -> String;
}

/// Where and how a command writes. Made from the process once, and made up in tests.
#[derive(Clone, Debug)]
pub struct Console {
    /// The format of data.
    pub format: Format,
    /// The parts of data that [`Format::Picked`] writes.
    pub(crate) picked: Option<Arc<Picked>>,
    /// Whether data is coloured.
    pub colour: bool,
    /// Whether messages are coloured.
    pub colour_messages: bool,
    /// Whether messages go to a terminal, so that a progress bar can be drawn.
    pub live: bool,
    /// Whether a person can be asked.
    pub can_ask: bool,
    /// Columns of the terminal that data goes to; `None` if data goes to a file or a program.
    pub width: Option<usize>,
    /// Columns of the terminal that messages go to; `None` if they go elsewhere.
    pub message_width: Option<usize>,
}

/// Columns that texts may take; `None` if lines are not wrapped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// For a line of prose, which is hard to read if it is long.
    pub prose: Option<usize>,
    /// For any other line.
    pub line: Option<usize>,
}

/// Columns of a line of prose if the width of the terminal is not known, and the most on any terminal, as
/// longer lines are hard to read.
const PROSE: usize = 80;
const LONGEST_PROSE: usize = 100;

/// Columns of the narrowest terminal that output is fitted to.
const NARROWEST: usize = 40;

impl Console {
    /// The console of this process. It is coloured on terminals, unless `NO_COLOR` is set to something or the
    /// terminal is `dumb`.
    pub fn of_process(format: Format) -> Self {
        let colour = is_coloured();
        let live = io::stderr().is_terminal();
        Self {
            format,
            picked: None,
            colour: colour && io::stdout().is_terminal(),
            colour_messages: colour && live,
            live,
            can_ask: io::stdin().is_terminal() && live,
            width: width_of(io::stdout()),
            message_width: width_of(io::stderr()),
        }
    }

    /// The console of this process, which writes these parts of data.
    pub(crate) fn picking(picked: &Arc<Picked>) -> Self {
        Self { picked: Some(Arc::clone(picked)), ..Self::of_process(Format::Picked) }
    }

    /// Columns of a line of prose in messages.
    pub(crate) fn prose(&self) -> usize {
        self.message_width.map_or(PROSE, |width| width.min(LONGEST_PROSE))
    }

    /// How problems of documents are shown.
    pub(crate) fn look(&self) -> Look {
        Look { colour: self.colour_messages, room: self.message_width }
    }

    /// The room for messages. Prose is wrapped even if the width of the terminal is not known.
    pub(crate) fn message_room(&self) -> Room {
        Room { prose: Some(self.prose()), line: self.message_width }
    }

    /// The room for data. Lines are not wrapped in a file, for a program, or when wide output was asked for.
    pub(crate) fn data_room(&self) -> Room {
        let prose = self.width.map(|width| width.min(LONGEST_PROSE));
        Room { prose, line: self.width.filter(|_| self.format != Format::Wide) }
    }

    /// Writes a line of data. If the terminal is too narrow it is wrapped, and further lines are indented by
    /// `indent` spaces.
    pub(crate) fn data_indented(&self, line: &str, indent: usize) -> Result<(), CliError> {
        match self.width {
            Some(width) => self.data(&wrap_line(line, width, indent)),
            None => self.data(line),
        }
    }

    /// Prints a message of one or more sentences, wrapped to the terminal, or in one line if there is no
    /// terminal.
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

    /// A table with all columns, each as wide as it needs to be.
    pub(crate) fn wide_table<T: Row>(&self, items: &[T]) -> String {
        table(items, true, self.colour)
    }

    /// Writes lines of data, each with a line feed. Nothing in them can control a terminal.
    pub fn data(&self, lines: &str) -> Result<(), CliError> {
        self.raw(&self.safe(lines))
    }

    /// Writes data unchanged, with a line feed at the end if it has none.
    pub(crate) fn raw(&self, text: &str) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        write!(out, "{text}{end}").and_then(|()| out.flush()).map_err(CliError::Output)
    }

    /// Writes a document exactly as it was applied; on a terminal, without what could control it.
    pub(crate) fn document(&self, text: &str) -> Result<(), CliError> {
        if io::stdout().is_terminal() { self.data(text) } else { self.raw(text) }
    }

    /// Writes bytes as they are; on a terminal as lines of text, without what could control it.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        if io::stdout().is_terminal() {
            return self.data(&String::from_utf8_lossy(bytes));
        }
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(CliError::Output)
    }

    /// Prints a message in one line, whatever it contains; on a narrower terminal it is wrapped.
    pub fn say(&self, line: &str) {
        let indent = line.len() - line.trim_start_matches(' ').len();
        self.say_indented(line, indent + 2);
    }

    /// Prints a message like [`say`](Self::say), with `indent` spaces before further lines.
    pub(crate) fn say_indented(&self, line: &str, indent: usize) {
        let line = if self.colour_messages { clean_painted(line) } else { clean(line) };
        match self.message_width {
            Some(width) => self.tell(&wrap_line(&line, width, indent)),
            None => self.tell(&line),
        }
    }

    /// Prints a command for the person to type. The command stays in one line, so that it can be copied.
    pub(crate) fn say_command(&self, label: &str, command: &str) {
        self.say_lines(&command_line(label, command, self.message_width));
    }

    /// Prints a message of several lines, in which texts of others can't begin a line.
    pub fn say_lines(&self, lines: &str) {
        let clean = if self.colour_messages { clean_painted } else { clean };
        self.tell(&lines.lines().map(clean).collect::<Vec<_>>().join("\n"));
    }

    fn tell(&self, text: &str) {
        // In one write, so that no other program's output comes between a line and its end. Without standard
        // error nobody can be told, which is no reason to stop.
        let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
    }

    fn safe(&self, lines: &str) -> String {
        let clean = if self.colour { clean_painted } else { clean };
        lines.lines().map(|line| clean(line) + "\n").collect()
    }

    /// Writes a complete list.
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
            Format::Picked => match &self.picked {
                Some(picked) => picked.list(items, self),
                None => self.raw(&to_json(items)?),
            },
        }
    }

    /// Begins a list that grows: in JSON and YAML its items then are separate documents.
    pub(crate) fn begin<T: Row>(&self, items: &[T]) -> Result<Growing<'_>, CliError> {
        let layout = match self.format {
            Format::Table => Some(Layout::of(items, false, self.width)),
            Format::Wide => Some(Layout::of(items, true, None)),
            Format::Json | Format::Yaml | Format::Name | Format::Picked => None,
        };
        if let Some(layout) = &layout {
            self.data(&layout.head(self.colour))?;
        }
        let picked = self.picked.as_ref().map(|picked| picked.begin(items, self)).transpose()?;
        let mut list = Growing { console: self, layout, widths: picked.unwrap_or_default() };
        items.iter().try_for_each(|item| list.add(item))?;
        Ok(list)
    }

    /// Writes one thing: as a table of one row, or completely.
    pub fn one<T: Row>(&self, item: &T) -> Result<(), CliError> {
        match self.format {
            Format::Table => self.data(&self.table(std::slice::from_ref(item))),
            Format::Wide => self.data(&self.wide_table(std::slice::from_ref(item))),
            Format::Json => self.raw(&to_json(item)?),
            Format::Yaml => self.raw(&to_yaml(item)?),
            Format::Name => self.data(&clean(&item.name())),
            Format::Picked => self.pick(item),
        }
    }

    /// Writes the parts of one thing that were picked.
    pub(crate) fn pick(&self, item: &impl Serialize) -> Result<(), CliError> {
        match &self.picked {
            Some(picked) => picked.one(item, self),
            None => self.raw(&to_json(item)?),
        }
    }
}

/// A list that grows.
pub(crate) struct Growing<'c> {
    console: &'c Console,
    layout: Option<Layout>,
    /// How wide the picked columns are.
    widths: Widths,
}

impl Growing<'_> {
    /// Writes one more item: a row aligned with those before, or a line of JSON. If the row needs wider
    /// columns, new headings come before it.
    pub(crate) fn add<T: Row>(&mut self, item: &T) -> Result<(), CliError> {
        let Console { format, colour, .. } = self.console;
        let (format, colour) = (*format, *colour);
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
            (Format::Picked, _) => match &self.console.picked {
                Some(picked) => picked.add(item, &self.widths, self.console),
                None => self.console.raw(&to_json_line(item)?),
            },
        }
    }
}

/// A label with a command after it, or below it if both do not fit. The command is never wrapped.
pub(crate) fn command_line(label: &str, command: &str, room: Option<usize>) -> String {
    match room {
        Some(room) if width(label) + 1 + width(command) > room => {
            format!("{}\n    {command}", label.trim_end())
        }
        Some(_) | None => format!("{label} {command}"),
    }
}

/// Whether the environment allows colours on terminals.
pub(super) fn is_coloured() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Columns of the terminal behind a stream; `None` if there is no terminal, or a very narrow one.
pub(super) fn width_of(stream: impl IsTerminal + AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(&stream).ok().filter(|_| stream.is_terminal())?;
    Some(usize::from(size.ws_col)).filter(|width| *width >= NARROWEST)
}

/// `value` as JSON for people and programs. Invisible characters in texts are escaped.
pub(crate) fn to_json(value: &(impl Serialize + ?Sized)) -> Result<String, CliError> {
    Ok(escape_json(encode(serde_json::to_string_pretty(value))?))
}

/// `value` as JSON in one line.
pub(crate) fn to_json_line(value: &(impl Serialize + ?Sized)) -> Result<String, CliError> {
    Ok(escape_json(encode(serde_json::to_string(value))?))
}

fn encode(json: Result<String, serde_json::Error>) -> Result<String, CliError> {
    json.map_err(|error| CliError::Encode { format: "JSON", message: error.to_string() })
}

/// `value` as YAML. The YAML writer makes no escapes, so texts that need some are first replaced by
/// placeholders.
pub(crate) fn to_yaml(value: &(impl Serialize + ?Sized)) -> Result<String, CliError> {
    let failed = |message: String| CliError::Encode { format: "YAML", message };
    let write = |value: &Value| serde_yaml::to_string(value);
    let yaml = serde_yaml::to_string(value).map_err(|error| failed(error.to_string()))?;
    if !has_unseen(&yaml) {
        return Ok(yaml);
    }
    let mut value = serde_json::to_value(value).map_err(|error| failed(error.to_string()))?;
    // A placeholder that does not occur in the YAML.
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

/// The end of a placeholder for a text.
const WORD_END: char = '.';

/// Replaces the texts in `value` that have invisible characters by placeholders.
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
