//! `replibook serve`: the server's command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::run::Millis;

/// The longest retention: about ten years. A longer one is more likely a slip than a wish.
const MAX_RETENTION: Millis = Millis::from_secs(3_660 * 24 * 3_600);

/// Arguments of `replibook serve`.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8900")]
    pub listen: SocketAddr,

    /// Directory of the store; it is made when it is missing, and one server uses it at a time
    #[arg(long, value_name = "DIR", default_value = "./replibook-data")]
    pub data: PathBuf,

    /// Listen on an address that is not loopback, though anybody who reaches it may do anything
    #[arg(long)]
    pub insecure: bool,

    /// How long a run is kept after it has finished, for example 12h or 30d
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = parse_retention)]
    pub retention: Millis,

    /// What to log to stderr: a level (error, warn, info, debug), or levels by part
    #[arg(long, value_name = "FILTER", env = "REPLIBOOK_LOG", default_value = "info")]
    pub log: String,

    /// Stop when stdin closes, so that the server does not outlive the program that started it
    #[arg(long)]
    pub until_stdin_closes: bool,
}

/// Reads a length of time such as `30d`; a day is 24 hours.
fn parse_retention(text: &str) -> Result<Millis, String> {
    let expected = "expected a length of time of at most 3660d, for example 12h or 30d";
    let refuse = || format!("found {text:?}, {expected}");
    let span: jiff::Span = text.parse().map_err(|_| refuse())?;
    let length = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours());
    let millis = u64::try_from(length.map_err(|_| refuse())?.as_millis()).map(Millis);
    millis.ok().filter(|length| *length <= MAX_RETENTION).ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_is_a_length_of_time_with_a_unit() {
        assert_eq!(parse_retention("30d"), Ok(Millis::from_secs(30 * 24 * 3_600)));
        assert_eq!(parse_retention("90m"), Ok(Millis::from_secs(5_400)));
        assert_eq!(parse_retention("3660d"), Ok(MAX_RETENTION));
        for bad in ["", "30", "3661d", "-1d", "1 fortnight", "1mo"] {
            assert!(parse_retention(bad).is_err_and(|e| e.contains("expected")), "{bad}");
        }
    }
}
