//! `replibook token`: makes tokens for programs.

use std::io::Write as _;

use anyhow::Context as _;

use crate::access::{TOKEN_BYTES, new_token};
use crate::clock::{Clock as _, SystemClock};
use crate::playbook::access::is_access_name;
use crate::run::{Millis, Timestamp};

/// What is done with tokens.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum TokenCommand {
    /// Make a token, and show both halves of it once: one for the program, one for the file of `serve --access`
    New(NewToken),
}

/// Arguments of `replibook token new`.
#[derive(Clone, Debug, clap::Args)]
pub struct NewToken {
    /// Name of the token: lowercase letters, digits and dashes
    #[arg(value_name = "NAME", value_parser = parse_name)]
    pub name: String,

    /// For how many days it is good, from 1 to 3650
    #[arg(long, value_name = "NUMBER", default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=3650))]
    pub days: u64,
}

fn parse_name(text: &str) -> Result<String, String> {
    match is_access_name(text) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "found {text:?}, expected lowercase letters, digits and dashes, at most 63, with no dash at either end"
        )),
    }
}

/// Makes a token. The token goes to standard output and nothing else does, so that it can be piped into a file that no
/// other eye sees; what goes into the file of the server goes to standard error, and is no secret.
///
/// # Errors
/// There are no random bytes, or standard output can't be written.
pub fn token(command: &TokenCommand) -> anyhow::Result<()> {
    let TokenCommand::New(NewToken { name, days }) = command;
    let random: [u8; TOKEN_BYTES] = rand::random();
    let (token, sum) = new_token(random);
    let expires = until(SystemClock.now(), *days);
    let mut stderr = std::io::stderr();
    let half = format!("    - {{ name: {name}, sha256: {sum}, expires: {expires} }}");
    writeln!(
        stderr,
        "for the file of `replibook serve --access`, under spec.tokens:\n\n{half}\n\nfor the program that is to have it, shown this once:\n"
    )
    .context("failed to write to standard error")?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{token}")
        .and_then(|()| stdout.flush())
        .context("failed to write the token to standard output")
}

/// The moment in so many days, in whole seconds.
fn until(now: Timestamp, days: u64) -> Timestamp {
    let whole = now.as_millis() - now.as_millis().rem_euclid(1_000);
    Timestamp::from_millis(whole).plus(Millis::from_secs(days * 24 * 3_600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_whole_days() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(until(at("2026-11-30T10:00:00.7Z"), 2), at("2026-12-02T10:00:00Z"));
        assert!(
            parse_name("ci").is_ok() && parse_name("Ci").is_err() && parse_name("a/b").is_err()
        );
    }
}
