//! Finds a run by the beginning of its identifier.

use crate::api::wire::{Listing, RunView};
use crate::cli::client::Client;
use crate::cli::endpoints::MAX_PAGE;
use crate::cli::error::CliError;
use crate::run::RunId;

/// Hex digits that name a run at least: with fewer, a run that is started meanwhile could take the
/// place of the one that was meant.
pub(crate) const MIN_DIGITS: usize = 6;

/// The newest runs among which a beginning is looked for: one page.
pub(crate) const LOOKED_AT: usize = MAX_PAGE;

/// The run that `text` names: a whole identifier, or the beginning of exactly one.
///
/// # Errors
/// [`CliError::Usage`] when it can't be a beginning; [`CliError::NotFound`] when no run goes by it,
/// or more than one.
pub(crate) async fn find_run(client: &Client, text: &str) -> Result<RunId, CliError> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let digits = digits_of(text)?;
    let newest: Listing<RunView> = client.runs().read(None, LOOKED_AT).await?;
    let ids = newest.items.iter().map(|run| run.id);
    only_one(text, ids.filter(|id| id.0.simple().to_string().starts_with(&digits)).collect())
}

fn digits_of(text: &str) -> Result<String, CliError> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    if digits.len() < MIN_DIGITS || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(CliError::Usage(format!(
            "found {text:?}, expected the identifier of a run or at least {MIN_DIGITS} digits of it"
        )));
    }
    Ok(digits.to_ascii_lowercase())
}

fn only_one(text: &str, found: Vec<RunId>) -> Result<RunId, CliError> {
    match found.as_slice() {
        [id] => Ok(*id),
        [] => Err(CliError::NotFound(format!(
            "no run begins with {text:?} among the newest {LOOKED_AT}"
        ))),
        [first, second, ..] => Err(CliError::NotFound(format!(
            "{} runs begin with {text:?}, among them {first} and {second}",
            found.len()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_beginning_has_enough_hex_digits() {
        assert_eq!(digits_of("0192AB-cd").unwrap(), "0192abcd");
        for bad in ["", "01-92", "last", "0192gg", "éééééé"] {
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
