//! The parts of data that a person picks, and how they are written.

use std::str::FromStr;

use serde::Serialize;
use serde_json::{Value, json};

use super::columns::{Columns, Widths, line};
use super::template::Template;
use crate::cli::error::CliError;
use crate::cli::output::Console;

/// What begins the value of `--output` for columns.
const COLUMNS: &str = "custom-columns";

/// What begins the value of `--output` for a template.
const JSONPATH: &str = "jsonpath";

/// The parts of data that are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picked(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// A table with these columns.
    Columns(Columns),
    /// A text.
    Template(Template),
}

impl FromStr for Picked {
    type Err = String;

    /// Reads `custom-columns=HEADING:PATH,…` or `jsonpath=TEMPLATE`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((COLUMNS, columns)) => Ok(Self(Kind::Columns(Columns::parse(columns)?))),
            Some((JSONPATH, template)) => Ok(Self(Kind::Template(Template::parse(template)?))),
            Some(_) | None => Err(format!(
                "found {text:?}, expected {COLUMNS}=HEADING:PATH,… or {JSONPATH}=TEMPLATE"
            )),
        }
    }
}

impl Picked {
    /// Whether the value of `--output` is meant to be one of these, perhaps with mistakes.
    pub(crate) fn is_meant(text: &str) -> bool {
        let word = text.split_once('=').map_or(text, |(word, _)| word);
        [COLUMNS, JSONPATH].contains(&word)
    }

    /// What such values begin with, each with a short meaning.
    pub(crate) fn kinds() -> [(&'static str, &'static str); 2] {
        [
            ("custom-columns=", "A table with these columns: HEADING:PATH,…"),
            ("jsonpath=", "A text with paths in braces, as in kubectl"),
        ]
    }

    /// Writes a list.
    pub(crate) fn list<T: Serialize>(
        &self,
        items: &[T],
        console: &Console,
    ) -> Result<(), CliError> {
        let items = items.iter().map(value_of).collect::<Result<Vec<_>, _>>()?;
        match &self.0 {
            Kind::Columns(columns) => {
                let rows: Vec<_> = items.iter().map(|item| columns.cells(item)).collect();
                let widths = columns.widths(&rows, console.width);
                let lines = rows.iter().map(|row| line(row, &widths));
                let lines = std::iter::once(columns.head(&widths)).chain(lines);
                console.data(&lines.map(|line| line + "\n").collect::<String>())?;
                say_nothing_there(columns.finds_nothing(&items), &items, console);
                Ok(())
            }
            Kind::Template(template) => {
                let root = json!({ "items": items });
                console.document(&template.render(&root))?;
                say_nothing_there(template.finds_nothing(&root), &items, console);
                Ok(())
            }
        }
    }

    /// Writes one thing.
    pub(crate) fn one<T: Serialize + ?Sized>(
        &self,
        item: &T,
        console: &Console,
    ) -> Result<(), CliError> {
        match &self.0 {
            Kind::Columns(_) => self.list(&[item], console),
            Kind::Template(template) => {
                let root = value_of(item)?;
                console.document(&template.render(&root))?;
                let nothing = template.finds_nothing(&root);
                say_nothing_there(nothing, std::slice::from_ref(&root), console);
                Ok(())
            }
        }
    }

    /// Begins a list that grows, for which these items tell how wide its columns are.
    pub(crate) fn begin<T: Serialize>(
        &self,
        items: &[T],
        console: &Console,
    ) -> Result<Widths, CliError> {
        let Kind::Columns(columns) = &self.0 else { return Ok(Widths::default()) };
        let values = items.iter().map(value_of).collect::<Result<Vec<_>, _>>()?;
        let rows: Vec<_> = values.iter().map(|item| columns.cells(item)).collect();
        let widths = columns.widths(&rows, console.width);
        console.data(&columns.head(&widths))?;
        Ok(widths)
    }

    /// Writes a further item of such a list.
    pub(crate) fn add<T: Serialize>(
        &self,
        item: &T,
        widths: &Widths,
        console: &Console,
    ) -> Result<(), CliError> {
        let item = value_of(item)?;
        match &self.0 {
            Kind::Columns(columns) => console.data(&line(&columns.cells(&item), widths)),
            Kind::Template(template) => console.document(&template.render(&item)),
        }
    }
}

fn value_of(item: &(impl Serialize + ?Sized)) -> Result<Value, CliError> {
    serde_json::to_value(item)
        .map_err(|error| CliError::Encode { format: "JSON", message: error.to_string() })
}

/// Says that nothing is at a path: it may be a mistake. In an empty list nothing is at any path.
fn say_nothing_there(path: Option<&str>, items: &[Value], console: &Console) {
    let Some((path, first)) = path.zip(items.first()) else { return };
    let members = match first {
        Value::Object(first) => first.keys().cloned().collect::<Vec<_>>().join(", "),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return;
        }
    };
    console.say_prose(&format!("warning: nothing has {path:?}; the first item has {members}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_one_of_two_kinds() {
        assert!(matches!("jsonpath={.id}".parse(), Ok(Picked(Kind::Template(_)))));
        assert!(matches!("custom-columns=A:.a".parse(), Ok(Picked(Kind::Columns(_)))));
        assert!(Picked::is_meant("jsonpath") && Picked::is_meant("custom-columns=x"));
        assert!(!Picked::is_meant("json") && !Picked::is_meant("run.tar.zst"));
        let error = "jsonpath".parse::<Picked>().unwrap_err();
        assert!(error.contains("expected custom-columns=HEADING:PATH,… or jsonpath="), "{error}");
        let error = "custom-columns=A".parse::<Picked>().unwrap_err();
        assert_eq!(error, "found \"A\", expected HEADING:PATH such as RUN:.id");
    }
}
