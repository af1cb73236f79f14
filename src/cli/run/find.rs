//! Finds the run that a person means: by its identifier, by a part of it, or as the last one.

use crate::api::wire::{Listing, RunView};
use crate::cli::client::Client;
use crate::cli::endpoints::MAX_PAGE;
use crate::cli::error::CliError;
use crate::run::RunId;

/// Hex digits that name a run at least: with fewer, a run that is started meanwhile could take the
/// place of the one that was meant.
pub(crate) const MIN_DIGITS: usize = 6;

/// The newest runs among which a part is looked for: one page.
pub(crate) const LOOKED_AT: usize = MAX_PAGE;

/// Stands for the newest run.
const LAST: &str = "last";

/// How `-o name` writes runs, so that what it wrote can be typed.
const KIND: &str = "run/";

/// The run that `text` names: a whole identifier, a part of exactly one, or `last`; each perhaps after
/// `run/`.
///
/// # Errors
/// [`CliError::Usage`] when it can't be a part; [`CliError::NotFound`] when no run goes by it, or more
/// than one.
pub(crate) async fn find_run(client: &Client, text: &str) -> Result<RunId, CliError> {
    let named = text.strip_prefix(KIND).unwrap_or(text);
    if let Ok(id) = named.parse() {
        return Ok(id);
    }
    if named == LAST {
        let newest: Listing<RunView> = client.runs().read(None, 1).await?;
        let none = || CliError::NotFound("there is no run yet".to_owned());
        return newest.items.first().map(|run| run.id).ok_or_else(none);
    }
    let digits = digits_of(named)?;
    let newest: Listing<RunView> = client.runs().read(None, LOOKED_AT).await?;
    let ids = newest.items.iter().map(|run| run.id);
    only_one(text, ids.filter(|id| id.0.simple().to_string().contains(&digits)).collect())
}

fn digits_of(text: &str) -> Result<String, CliError> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    if digits.len() < MIN_DIGITS || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(CliError::Usage(format!(
            "found {text:?}, expected the identifier of a run, at least {MIN_DIGITS} digits in a row of it, \
             or `{LAST}`"
        )));
    }
    Ok(digits.to_ascii_lowercase())
}

fn only_one(text: &str, found: Vec<RunId>) -> Result<RunId, CliError> {
    match found.as_slice() {
        [id] => Ok(*id),
        [] => Err(CliError::NotFound(format!(
            "no run has {text:?} in its identifier among the newest {LOOKED_AT}"
        ))),
        [first, second, ..] => Err(CliError::NotFound(format!(
            "{} runs have {text:?} in their identifiers, among them {first} and {second}",
            found.len()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_part_has_enough_hex_digits() {
        assert_eq!(digits_of("0192AB-cd").unwrap(), "0192abcd");
        for bad in ["", "01-92", "latest", "0192gg", "éééééé"] {
            assert!(matches!(digits_of(bad), Err(CliError::Usage(_))), "{bad}");
        }
    }

    #[test]
    fn exactly_one_run_must_go_by_it() {
        let id = |n| RunId(Uuid::from_u128(n));
        assert_eq!(only_one("x", vec![id(1)]).unwrap(), id(1));
        assert!(only_one("x", vec![]).unwrap_err().to_string().contains("no run"));
        let many = only_one("x", vec![id(1), id(2), id(3)]).unwrap_err().to_string();
        assert!(many.contains("3 runs") && many.contains(&id(2).to_string()), "{many}");
    }
}
