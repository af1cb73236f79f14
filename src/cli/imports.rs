//! Has the server bring the plugins of documents from registries, and shows how far that is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use uuid::Uuid;

use super::client::Client;
use super::error::CliError;
use super::output::Console;
use super::prepare::{Prepared, What};
use super::text::plural;
use super::who::who;
use super::work::Work;
use crate::api::wire::{ImportProblem, ImportState, ImportView, StartImport};
use crate::playbook::Source;
use crate::run::Digest;

/// How often a server is asked how far an import is.
const ASK: Duration = Duration::from_millis(200);

/// Imports that go on at once: fewer than a server allows one client.
const AT_ONCE: usize = 16;

/// A source, and the digest that its plugin must have.
pub(super) type Wanted = (String, Option<Digest>);

/// What became of an import: the digest of the plugin and whether it is new, or why there is none.
pub(super) type Outcome = Result<(Digest, &'static str), ImportProblem>;

/// What the playbooks want from registries, each once.
pub(super) fn wanted(prepared: &[Prepared]) -> BTreeSet<Wanted> {
    let mut wanted = BTreeSet::new();
    for one in prepared {
        let What::Playbook { playbook, .. } = &one.what else { continue };
        for plugin in playbook.plugins() {
            if let Source::Oci(_) = plugin.source {
                wanted.insert((plugin.source.to_string(), plugin.digest));
            }
        }
    }
    wanted
}

/// Has everything imported. Ctrl-C cancels what goes on, and what was brought for nothing goes again.
///
/// # Errors
/// The server does not answer, or refuses to import at all. What goes wrong with one plugin is in its outcome.
pub(super) async fn import_all(
    client: &Client,
    wanted: BTreeSet<Wanted>,
    console: &Console,
) -> Result<BTreeMap<Wanted, Outcome>, CliError> {
    let mut all = All { begun: Vec::new(), ended: BTreeMap::new() };
    if wanted.is_empty() {
        return Ok(all.ended);
    }
    let outcome = tokio::select! {
        biased;
        Ok(()) = tokio::signal::ctrl_c() => Err(CliError::Interrupted("the imports were cancelled")),
        outcome = all.import(client, wanted, console) => outcome,
    };
    if outcome.is_err() {
        for id in &all.begun {
            // What can't be cancelled now ends by itself, since nobody asks for it any more.
            let _ = client.cancel_import(*id).await;
        }
    }
    outcome.map(|()| all.ended)
}

struct All {
    /// Every import that was started.
    begun: Vec<Uuid>,
    ended: BTreeMap<Wanted, Outcome>,
}

impl All {
    async fn import(
        &mut self,
        client: &Client,
        wanted: BTreeSet<Wanted>,
        console: &Console,
    ) -> Result<(), CliError> {
        let work = Work::new(console);
        let (count, actor) = (wanted.len(), who());
        let mut left: Vec<Wanted> = wanted.into_iter().rev().collect();
        let mut going: Vec<(Wanted, ImportView)> = Vec::new();
        while !left.is_empty() || !going.is_empty() {
            while going.len() < AT_ONCE
                && let Some((source, digest)) = left.pop()
            {
                let request = StartImport {
                    source: source.clone(),
                    digest: digest.clone(),
                    actor: actor.clone(),
                };
                let view = client.start_import(&request).await?;
                self.begun.push(view.id);
                say(console, &source, &view);
                going.push(((source, digest), view));
            }
            work.at(|| how_far(count, self.ended.len(), &going));
            tokio::time::sleep(ASK).await;
            let mut still = Vec::new();
            for (wanted, view) in going {
                let new = client.import(view.id).await?;
                if new.state != view.state {
                    say(console, &wanted.0, &new);
                }
                match outcome(&new) {
                    Some(outcome) => {
                        self.ended.insert(wanted, outcome);
                    }
                    None => still.push((wanted, new)),
                }
            }
            going = still;
        }
        Ok(())
    }
}

fn outcome(view: &ImportView) -> Option<Outcome> {
    match (view.state, &view.plugin, &view.problem) {
        (ImportState::Done, Some(plugin), _) => {
            let is_new = plugin.change.as_deref() == Some("created");
            Some(Ok((plugin.info.digest.clone(), if is_new { "imported" } else { "unchanged" })))
        }
        (ImportState::Failed, _, Some(problem)) => Some(Err(problem.clone())),
        (ImportState::Done | ImportState::Failed, _, _) => {
            let message = "the server does not say what became of the import".to_owned();
            Some(Err(ImportProblem { code: "malformed".to_owned(), message, retryable: false }))
        }
        (ImportState::Waiting | ImportState::Pulling | ImportState::Checking, _, _) => None,
    }
}

/// Without a terminal, says that an import begins, and how it ends if it brought something.
fn say(console: &Console, source: &str, view: &ImportView) {
    if console.live {
        return;
    }
    match (view.state, view.total) {
        (ImportState::Waiting, _) => console.say(&format!("importing {source}")),
        (ImportState::Done, Some(total)) => {
            console.say(&format!("imported {source}: {} of {} bytes", view.received, total));
        }
        (ImportState::Pulling | ImportState::Checking | ImportState::Failed, _)
        | (ImportState::Done, None) => {}
    }
}

fn how_far(count: usize, ended: usize, going: &[(Wanted, ImportView)]) -> String {
    let received: u64 = going.iter().map(|(_, view)| view.received).sum();
    let total: u64 = going.iter().filter_map(|(_, view)| view.total).sum();
    let is_checking = |(_, view): &(Wanted, ImportView)| view.state == ImportState::Checking;
    let what = match going {
        [one] if is_checking(one) => format!("checking {}", one.0.0),
        [one] => format!("importing {}", one.0.0),
        several => format!("importing {}", plural(several.len() as u64, "plugin")),
    };
    let of = if count > 1 { format!(", {ended} of {count} done") } else { String::new() };
    let bytes = match total {
        0 => String::new(),
        total => format!(": {} of {}", size(received), size(total)),
    };
    format!("{what}{bytes}{of}")
}

/// A number of bytes, as people read it.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => plural(bytes, "byte"),
        1_024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1_024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(state: &str, received: u64, total: Option<u64>) -> ImportView {
        let view = serde_json::json!({
            "id": Uuid::nil(), "source": "oci://a.example/b:1", "state": state, "received": received,
            "total": total, "created_at": "2026-11-22T09:00:00Z",
        });
        serde_json::from_value(view).unwrap()
    }

    #[test]
    fn people_see_the_bytes_of_what_goes_on() {
        let one = |state: &str, received, total| {
            let wanted = ("oci://a.example/b:1".to_owned(), None);
            (wanted, view(state, received, total))
        };
        assert_eq!(how_far(1, 0, &[one("waiting", 0, None)]), "importing oci://a.example/b:1");
        let pulling = one("pulling", 1_572_864, Some(18_874_368));
        let text = how_far(1, 0, std::slice::from_ref(&pulling));
        assert_eq!(text, "importing oci://a.example/b:1: 1.5 MiB of 18.0 MiB");
        let checking = one("checking", 10, Some(10));
        assert!(how_far(1, 0, std::slice::from_ref(&checking)).starts_with("checking oci:"));
        let text = how_far(5, 2, &[pulling, one("pulling", 0, Some(2_048))]);
        assert_eq!(text, "importing 2 plugins: 1.5 MiB of 18.0 MiB, 2 of 5 done");
    }

    #[test]
    fn an_import_ends_once() {
        assert!(outcome(&view("checking", 0, None)).is_none());
        assert_eq!(outcome(&view("done", 0, None)).unwrap().unwrap_err().code, "malformed");
    }
}
