//! Writes events as lines of a log. Texts of agents, plugins and clients end up in the log, so nothing in them
//! may begin a line of its own or control a terminal.

use std::fmt::{self, Debug, Write as _};

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::text::{Paint, clean};
use crate::shown::escape_json;

/// The field that holds the text of an event.
const MESSAGE: &str = "message";

/// Prefix of the extra fields of events that were made for another logging library.
const FOREIGN: &str = "log.";

/// Writes the fields of an event as human-readable text.
#[derive(Clone, Copy, Debug)]
pub(super) struct OneLine;

impl<'w> FormatFields<'w> for OneLine {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let colour = writer.has_ansi_escapes();
        let mut first = true;
        for (name, value) in Fields::of(fields).0 {
            let space = if std::mem::take(&mut first) { "" } else { " " };
            let value = clean(&value.shown());
            match name {
                MESSAGE => write!(writer, "{space}{value}")?,
                name if name.starts_with(FOREIGN) => first = space.is_empty(),
                name => write!(writer, "{space}{}={value}", Paint::Faint.on(name, colour))?,
            }
        }
        Ok(())
    }
}

/// Writes an event as a JSON object.
#[derive(Clone, Copy, Debug)]
pub(super) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let about = event.metadata();
        let (level, target) = (about.level().as_str(), about.target());
        let (mut message, mut fields) = (Value::Null, Map::new());
        for (name, value) in Fields::of(event).0 {
            match name {
                MESSAGE => message = value.into_json(),
                name => drop(fields.insert(name.to_owned(), value.into_json())),
            }
        }
        let line = json!({"timestamp": timestamp, "level": level, "target": target,
            "message": message, "fields": fields});
        writeln!(writer, "{}", escape_json(line.to_string()))
    }
}

/// How the value of a field is written.
enum Found {
    /// A number or a boolean, as it is.
    Plain(Value),
    /// A text beside other fields of an event, in quotes so that people see where it ends.
    Quoted(String),
    /// Anything else, in the form that it gives itself.
    Shown(String),
}

impl Found {
    fn shown(&self) -> String {
        match self {
            Self::Plain(value) => value.to_string(),
            Self::Quoted(text) => format!("{text:?}"),
            Self::Shown(text) => text.clone(),
        }
    }

    fn into_json(self) -> Value {
        match self {
            Self::Plain(value) => value,
            Self::Quoted(text) | Self::Shown(text) => Value::String(text),
        }
    }
}

/// The fields of an event, in order.
#[derive(Default)]
struct Fields(Vec<(&'static str, Found)>);

impl Fields {
    fn of(event: impl RecordFields) -> Self {
        let mut fields = Self::default();
        event.record(&mut fields);
        fields
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.push((field.name(), Found::Plain(json!(value))));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.push((field.name(), Found::Plain(json!(value))));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.push((field.name(), Found::Plain(json!(value))));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.push((field.name(), Found::Plain(json!(value))));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), Found::Quoted(value.to_owned())));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(deeper) = cause {
            let _ = write!(text, ": {deeper}");
            cause = deeper.source();
        }
        self.0.push((field.name(), Found::Shown(text)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push((field.name(), Found::Shown(format!("{value:?}"))));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;

    use super::*;
    use crate::shown::has_unseen;

    /// What `log` writes in each of the two formats.
    fn logged(log: impl Fn()) -> [String; 2] {
        #[derive(Clone, Default)]
        struct Written(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Written {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let [text, json] = [Written::default(), Written::default()];
        let (to_text, to_json) = (text.clone(), json.clone());
        let subscriber = tracing_subscriber::fmt().with_ansi(false);
        let subscriber = subscriber.with_writer(move || to_text.clone()).fmt_fields(OneLine);
        tracing::subscriber::with_default(subscriber.finish(), &log);
        let subscriber = tracing_subscriber::fmt().with_ansi(false);
        let subscriber = subscriber.with_writer(move || to_json.clone()).event_format(JsonLines);
        tracing::subscriber::with_default(subscriber.finish(), &log);
        [text, json].map(|written| String::from_utf8(written.0.lock().unwrap().clone()).unwrap())
    }

    #[test]
    fn an_event_has_its_message_and_fields() {
        let deeper = io::Error::other("no space");
        let error = crate::cli::CliError::Output(deeper);
        let [text, json] = logged(|| {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(run = %"r-1", name = "a b", tries = 3, ok = false, error, "did not {}", "go");
        });
        let expected = "did not go run=r-1 name=\"a b\" tries=3 ok=false error=failed to write the output: \
                        no space\n";
        assert!(text.contains(" WARN ") && text.ends_with(expected), "{text}");
        let line: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["message"], "did not go");
        assert_eq!(line["target"], module_path!());
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{json}");
        let fields = json!({"run": "r-1", "name": "a b", "tries": 3, "ok": false,
            "error": "failed to write the output: no space"});
        assert_eq!(line["fields"], fields);
    }

    proptest! {
        #[test]
        fn an_event_is_one_line_whatever_is_in_it(text in "(.|\n|\r|\u{1b}|\u{9b}|\u{202e}|\u{200b}){0,20}") {
            for line in logged(|| tracing::error!(shown = %text, quoted = text, "failed: {text}")) {
                prop_assert_eq!(line.matches('\n').count(), 1, "{:?}", line);
                prop_assert!(line.ends_with('\n') && !has_unseen(&line), "{:?}", line);
            }
        }
    }
}
