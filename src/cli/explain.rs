//! `explain`: describes the fields of documents, without a server. It reads the same schemas as editors do.

use std::fmt::Write as _;

use super::error::CliError;
use super::exit::Exit;
use super::output::{Console, Format, to_json, to_yaml};
use super::text::Paint;
use crate::playbook::{Field, Kind, explain_field, json_schema};

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct Explain {
    /// Kind of document, and path to one of its fields: playbook.spec.stages.steps.retry
    #[arg(value_name = "KIND[.PATH]")]
    pub path: String,
    /// Show the fields below it on every level
    #[arg(short, long)]
    pub recursive: bool,
    /// Write the JSON Schema of the kind, for editors
    #[arg(long, conflicts_with = "recursive")]
    pub schema: bool,
}

pub(crate) fn explain(args: &Explain, console: &Console) -> Result<Exit, CliError> {
    let field = explain_field(&args.path, args.recursive)
        .map_err(|unknown| CliError::NotFound(unknown.to_string()))?;
    if args.schema {
        let kind = Kind::ALL.into_iter().find(|kind| kind.as_str().to_lowercase() == field.path);
        let Some(kind) = kind else {
            let message = "--schema is of a whole kind: playbook, cluster, policy or access";
            return Err(CliError::Usage(message.to_owned()));
        };
        console.raw(&to_json(&json_schema(kind))?)?;
        return Ok(Exit::Ok);
    }
    match console.format {
        Format::Table | Format::Wide => console.data(&describe(&field, console.colour))?,
        Format::Json => console.raw(&to_json(&field)?)?,
        Format::Yaml => console.raw(&to_yaml(&field)?)?,
        Format::Picked => console.pick(&field)?,
        Format::Name => console.data(&names(&field))?,
    }
    Ok(Exit::Ok)
}

/// The field, the values that it may have, and the fields below it.
fn describe(field: &Field, colour: bool) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}: {}", Paint::Bold.on(&field.path, colour), kind_of(field));
    let _ = writeln!(text, "\n  {}", field.description);
    for rule in &field.rules {
        let _ = writeln!(text, "  {}", Paint::Faint.on(rule, colour));
    }
    if !field.allowed.is_empty() {
        let _ = writeln!(text, "\nVALUES");
    }
    for allowed in &field.allowed {
        let value = plain(&allowed.value);
        let description = allowed.description.as_deref().unwrap_or_default();
        let _ = writeln!(text, "{}", format!("  {value:<10} {description}").trim_end());
    }
    if !field.fields.is_empty() {
        let _ = writeln!(text, "\nFIELDS");
    }
    below(&mut text, field, 1, colour);
    text
}

fn below(text: &mut String, field: &Field, level: usize, colour: bool) {
    for field in &field.fields {
        let indent = "  ".repeat(level);
        let name = field.path.rsplit('.').next().unwrap_or_default();
        let _ = writeln!(text, "{indent}{}: {}", Paint::Bold.on(name, colour), kind_of(field));
        let _ = writeln!(text, "{indent}    {}", field.description);
        below(text, field, level + 1, colour);
    }
}

/// The type of a field as human-readable text, and whether the field is required.
fn kind_of(field: &Field) -> String {
    let default = field.default.as_ref().map(|value| format!(", {} when absent", plain(value)));
    let needed = if field.required { ", required" } else { "" };
    format!("{}{needed}{}", field.type_name, default.unwrap_or_default())
}

fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn names(field: &Field) -> String {
    let below = field.fields.iter().map(names);
    format!("{}\n{}", field.path, below.collect::<String>())
}
