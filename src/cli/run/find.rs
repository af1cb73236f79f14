//! Finds the run that a person means: by its identifier, by a part of it, or as the newest one. All commands on
//! runs use this, so they all take the same names.

use crate::api::wire::{FoundRuns, Listing, RunView};
use crate::api::{MAX_DIGITS, MIN_DIGITS};
use crate::cli::client::Client;
use crate::cli::endpoints::MAX_PAGE;
use crate::cli::error::CliError;
use crate::run::RunId;

/// The number of newest runs that are searched for a part: one page.
pub(crate) const LOOKED_AT: usize = MAX_PAGE;

/// The word for the newest run.
const LAST: &str = "last";

/// The prefix with which earlier versions wrote the name of a run.
const KIND: &str = "run/";

/// The run that `text` names: a whole identifier, a part of exactly one, or `last`; each may follow `run/`.
///
/// # Errors
/// [`CliError::Usage`] when the text can't be a part of an identifier; [`CliError::NotFound`] when no run
/// matches it, or more than one.
pub(crate) async fn find_run(client: &Client, text: &str) -> Result<RunId, CliError> {
    let named = text.strip_prefix(KIND).unwrap_or(text);
    if let Ok(id) = named.parse() {
        return Ok(id);
    }
    let digits = if named == LAST { None } else { Some(digits_of(named)?) };
    let found = match client.find_runs(digits.as_deref()).await? {
        Some(found) => found,
        None => find_in_list(client, digits.as_deref()).await?,
    };
    match (digits, found.ids.as_slice()) {
        (Some(_), _) => only_one(text, &found),
        (None, [newest, ..]) => Ok(*newest),
        (None, []) => Err(CliError::NotFound("there is no run yet".to_owned())),
    }
}

/// Searches on an older server. It lists whole runs, and refuses that when it is busy.
async fn find_in_list(client: &Client, digits: Option<&str>) -> Result<FoundRuns, CliError> {
    let looked_at = if digits.is_some() { LOOKED_AT } else { 1 };
    let newest: Listing<RunView> = client.runs().read(None, looked_at).await?;
    let mut ids: Vec<RunId> = newest.items.iter().map(|run| run.id).collect();
    ids.retain(|id| digits.is_none_or(|digits| id.0.simple().to_string().contains(digits)));
    Ok(FoundRuns { count: u32::try_from(ids.len()).unwrap_or(u32::MAX), ids })
}

fn digits_of(text: &str) -> Result<String, CliError> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let fits = (MIN_DIGITS..=MAX_DIGITS).contains(&digits.len());
    if !fits || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(CliError::Usage(format!(
            "found {text:?}, expected the identifier of a run, at least {MIN_DIGITS} digits in a row of it, \
             or `{LAST}`"
        )));
    }
    Ok(digits.to_ascii_lowercase())
}

fn only_one(text: &str, found: &FoundRuns) -> Result<RunId, CliError> {
    match found.ids.as_slice() {
        [id] => Ok(*id),
        [] => Err(CliError::NotFound(format!(
            "no run has {text:?} in its identifier among the newest {LOOKED_AT}"
        ))),
        [first, second, ..] => Err(CliError::NotFound(format!(
            "{} runs have {text:?} in their identifiers, among them {first} and {second}",
            found.count
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
        let found =
            |count: u32| FoundRuns { ids: (1..=count).map(|n| id(n.into())).collect(), count };
        assert_eq!(only_one("x", &found(1)).unwrap(), id(1));
        assert!(only_one("x", &found(0)).unwrap_err().to_string().contains("no run"));
        let many = only_one("x", &found(3)).unwrap_err().to_string();
        assert!(many.contains("3 runs") && many.contains(&id(2).to_string()), "{many}");
    }
}
