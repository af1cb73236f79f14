//! What playbooks that are applied grant to their plugins, compared with the version before: shown, and asked about where
//! plugins may do more than before.

use std::collections::BTreeMap;

use super::client::Client;
use super::error::{CliError, ClientError};
use super::output::Console;
use super::prepare::{Prepared, What};
use super::run::ask;
use crate::api::Code;
use crate::api::wire::{AppliedDocument, AppliedDocuments};
use crate::playbook::PluginPin;
use crate::playbook::policy::{asks, grants_changed};

/// The answer to the question whether grants may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consent {
    /// They may, or nothing grows.
    Given,
    /// A person said no.
    Denied,
}

/// The version of a playbook that the server has by now.
pub(super) struct Before {
    version: String,
    plugins: BTreeMap<String, PluginPin>,
}

/// The highest version of each playbook that the server has by now, in the order of the documents.
pub(super) async fn versions_before(
    client: &Client,
    prepared: &[Prepared],
) -> Result<Vec<Option<Before>>, ClientError> {
    let mut before = Vec::with_capacity(prepared.len());
    for one in prepared {
        let found = match &one.what {
            What::Playbook { playbook, .. } => client.playbook(playbook.name(), None).await,
            What::Cluster(_) | What::Policy(_) | What::Access(_) | What::Inventory(_) => {
                before.push(None);
                continue;
            }
        };
        before.push(match found {
            Ok(known) => Some(Before { version: known.version, plugins: known.plugins }),
            Err(ClientError::Refused(problem)) if problem.status < 500 => None,
            // Applying a playbook mends it. What it granted is not known, so everything counts as new.
            Err(ClientError::Refused(problem)) if problem.code == Code::StoreDamaged.as_str() => {
                Some(Before { version: "that can't be read".to_owned(), plugins: BTreeMap::new() })
            }
            Err(error) => return Err(error),
        });
    }
    Ok(before)
}

/// Whether any of the documents may change what plugins are granted.
pub(super) fn may_change(prepared: &[Prepared], before: &[Option<Before>]) -> bool {
    let grants = |one: &Prepared| match &one.what {
        What::Playbook { playbook, .. } => playbook.grants_anything(),
        What::Cluster(_) | What::Policy(_) | What::Access(_) | What::Inventory(_) => false,
    };
    let granted = |known: &Before| known.plugins.values().any(|pin| !asks(&pin.grants).is_empty());
    before.iter().flatten().any(granted) || prepared.iter().any(grants)
}

/// Shows what changes in the grants, and returns the names of the playbooks whose plugins may do more than in the version
/// before. Of the first version of a playbook all grants are shown, and none of them counts as grown.
pub(super) fn show_changes(
    valid: &AppliedDocuments,
    before: &[Option<Before>],
    console: &Console,
) -> Vec<String> {
    let mut grown = Vec::new();
    for (item, before) in valid.items.iter().zip(before) {
        let AppliedDocument::Playbook(view) = item else { continue };
        let none = BTreeMap::new();
        let old = before.as_ref().map_or(&none, |before| &before.plugins);
        let changes = grants_changed(old, &view.plugins);
        if changes.is_empty() {
            continue;
        }
        let since = match before {
            Some(before) => format!("since version {}", before.version),
            None => "which is new".to_owned(),
        };
        console
            .say(&format!("grants of playbook {} version {}, {since}:", view.name, view.version));
        let lines: Vec<String> = changes.iter().map(|change| format!("  {change}")).collect();
        console.say_lines(&crate::shown::clean_lines(&lines.join("\n")));
        if before.is_some() && changes.iter().any(|change| change.grows) {
            grown.push(view.name.clone());
        }
    }
    grown
}

/// Asks a person whether the grants of these playbooks may grow.
///
/// # Errors
/// [`CliError::Usage`] if nobody can be asked.
pub(super) fn consent(grown: &[String], console: &Console) -> Result<Consent, CliError> {
    let names = grown.join(", ");
    if !console.can_ask {
        let message = format!(
            "the grants of {names} grow, and there is no terminal to ask at; nothing was applied, expected --yes"
        );
        return Err(CliError::Usage(message));
    }
    Ok(match ask(&format!("the grants of {names} grow; apply? [y/N] "))? {
        true => Consent::Given,
        false => Consent::Denied,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_growing_grants_want_an_answer_on_the_command_line() {
        let console =
            Console { can_ask: false, ..Console::of_process(crate::cli::output::Format::Table) };
        let error = consent(&["a".to_owned(), "team/b".to_owned()], &console).unwrap_err();
        assert!(error.to_string().contains("the grants of a, team/b grow"), "{error}");
        assert_eq!(error.exit().code(), 2);
    }
}
