//! The log of a long-running process: lines on standard error. An event is one line, whatever it contains.

use anyhow::Context as _;
use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use super::log_lines::{JsonLines, OneLine};

/// What a long-running process logs, and in which format.
#[derive(Clone, Debug, clap::Args)]
pub struct LogArgs {
    /// What to log to stderr: a level (error, warn, info, debug), or levels by part
    #[arg(
        long,
        value_name = "FILTER",
        env = "REPLIBOOK_LOG",
        hide_env_values = true,
        default_value = "info"
    )]
    pub log: String,

    /// How to write the lines of the log
    #[arg(
        long,
        value_name = "FORMAT",
        env = "REPLIBOOK_LOG_FORMAT",
        hide_env_values = true,
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

/// How lines of a log are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text for people
    #[default]
    Text,
    /// One JSON object per line: timestamp, level, target, message, and the fields of the event
    Json,
}

impl LogArgs {
    /// Writes log lines to standard error from now on. The filter is a level (`info`) or levels by part
    /// (`warn,replibook::driver=debug`).
    ///
    /// # Errors
    /// The filter can't be read, or the process already has a log.
    pub fn start(&self) -> anyhow::Result<()> {
        let filter = read_filter(&self.log)?;
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        let started = match self.log_format {
            LogFormat::Text => log.with_ansi(is_coloured()).fmt_fields(OneLine).try_init(),
            LogFormat::Json => log.with_ansi(false).event_format(JsonLines).try_init(),
        };
        started.map_err(anyhow::Error::from_boxed).context("failed to start the log")
    }
}

fn is_coloured() -> bool {
    // An empty `NO_COLOR` counts as not set.
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::IsTerminal::is_terminal(&std::io::stderr()) && !no_colour
}

fn read_filter(filter: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(filter).with_context(|| {
        format!("failed to read the log filter {filter:?}: expected for example info or warn,replibook::driver=debug")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_levels_by_part() {
        for good in ["info", "warn,replibook::driver=debug", "off"] {
            assert!(read_filter(good).is_ok(), "{good}");
        }
        let error = format!("{:#}", read_filter("replibook=loud").unwrap_err());
        assert!(error.contains("replibook=loud") && error.contains("expected"), "{error}");
    }
}
