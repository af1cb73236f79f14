//! The log of a process that stays: lines on stderr.

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

/// Writes log lines to stderr from now on: those that `filter` lets through, which is a level
/// (`info`) or levels by part (`warn,replibook::driver=debug`).
///
/// # Errors
/// When the filter can't be read, or the process has a log already.
pub fn log_to_stderr(filter: &str) -> anyhow::Result<()> {
    let filter = read_filter(filter)?;
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An empty NO_COLOR means the same as none.
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let log = log.with_ansi(colour && !no_colour);
    log.try_init().map_err(anyhow::Error::from_boxed).context("failed to start the log")
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
