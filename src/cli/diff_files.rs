//! `diff`: compares documents with those that the server has. It only asks the server, and changes nothing there.

use std::path::PathBuf;

use serde::Serialize;

use super::apply::refuse_files_of_server;
use super::client::Client;
use super::diff::diff_within;
use super::error::{CliError, ClientError};
use super::exit::Exit;
use super::output::{Console, Format, Row};
use super::prepare::{PluginFile, Prepared, What, Wrong, prepare};
use super::text::{Paint, clean};
use super::validate::check_all;
use crate::api::wire::PlaybookView;
use crate::playbook::{Cluster, PlaybookDocument, parse_playbook};

/// The most lines of a difference that are shown: a whole document of usual size, but not all of a cluster of 100,000
/// agents, which no pager could hold.
const MAX_LINES: usize = 10_000;

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
pub struct DiffFiles {
    /// File of playbooks and clusters, in YAML or JSON; `-` is standard input
    #[arg(short = 'f', long = "file", required = true, num_args = 1.., value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// How a document compares with what the server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    /// The server has nothing of this name and version.
    New,
    /// It differs from what the server has.
    Changed,
    /// Applying it would change nothing.
    Unchanged,
}

impl Change {
    const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
        }
    }
}

/// A document, compared.
#[derive(Debug, Serialize)]
struct Compared {
    file: String,
    kind: &'static str,
    name: String,
    /// The version of a playbook.
    version: Option<String>,
    change: Change,
    /// The version that it was compared with, if that is not its own: the highest that the server has.
    against: Option<String>,
    /// Plugins in files beside it that differ from those that the stored playbook pins.
    plugins: Vec<ChangedPlugin>,
    /// The lines that differ, with some around them.
    diff: String,
}

/// A plugin that differs from the stored one.
#[derive(Debug, Serialize)]
struct ChangedPlugin {
    name: String,
    stored: Option<String>,
    file: String,
}

impl Row for Compared {
    fn headings(_: bool) -> Vec<&'static str> {
        vec!["FILE", "KIND", "NAME", "VERSION", "CHANGE"]
    }

    fn cells(&self, _: bool) -> Vec<String> {
        vec![
            self.file.clone(),
            self.kind.to_owned(),
            self.name.clone(),
            self.version.clone().unwrap_or_else(|| "-".to_owned()),
            self.change.as_str().to_owned(),
        ]
    }

    fn name(&self) -> String {
        match &self.version {
            Some(version) => format!("{}/{}@{version}", self.kind, self.name),
            None => format!("{}/{}", self.kind, self.name),
        }
    }
}

pub(crate) async fn diff_files(
    client: &Client,
    args: &DiffFiles,
    console: &Console,
) -> Result<Exit, CliError> {
    let mut wrong = Wrong::new(console.look());
    let mut prepared = prepare(&args.files, &mut wrong);
    refuse_files_of_server(&mut prepared, &mut wrong);
    if !wrong.is_empty() || prepared.iter().any(Prepared::has_problems) {
        check_all(&prepared, &mut wrong).await?;
        wrong.none_or_error()?;
    }
    let mut compared = Vec::with_capacity(prepared.len());
    for one in &prepared {
        match &one.what {
            What::Playbook { playbook, files, .. } => {
                compared.push(playbook_compared(client, one, playbook, files).await?);
            }
            What::Cluster(cluster) => compared.push(cluster_compared(client, one, cluster).await?),
            What::Policy(_) | What::Access(_) | What::Inventory(_) => {}
        }
    }
    match console.format {
        Format::Table | Format::Wide => {
            let texts = compared.iter().map(|one| text(one, console.colour));
            console.data(&texts.collect::<String>())?;
        }
        Format::Json | Format::Yaml | Format::Name | Format::Picked => console.list(&compared)?,
    }
    let differs = compared.iter().any(|one| one.change != Change::Unchanged);
    Ok(if differs { Exit::RunFailed } else { Exit::Ok })
}

async fn cluster_compared(
    client: &Client,
    one: &Prepared,
    cluster: &Cluster,
) -> Result<Compared, CliError> {
    let stored = known(client.cluster(&cluster.name).await)?;
    let old = stored.map(|stored| stored.document.unwrap_or_default());
    let change = match &old {
        None => Change::New,
        Some(old) if *old == one.document.text => Change::Unchanged,
        Some(_) => Change::Changed,
    };
    Ok(Compared {
        file: one.document.file.clone(),
        kind: "cluster",
        name: cluster.name.clone(),
        version: None,
        change,
        against: None,
        plugins: Vec::new(),
        diff: lines(&old.unwrap_or_default(), &one.document.text),
    })
}

/// Compares a playbook with the same version that the server has, or else with the highest one.
async fn playbook_compared(
    client: &Client,
    one: &Prepared,
    playbook: &PlaybookDocument,
    files: &[PluginFile],
) -> Result<Compared, CliError> {
    let (name, version) = (playbook.name(), playbook.version().to_string());
    let same = known(client.playbook(name, Some(&version)).await)?;
    let is_new = same.is_none();
    let stored = match same {
        Some(same) => Some(same),
        None => known(client.playbook(name, None).await)?,
    };
    let plugins = stored.as_ref().map(|stored| changed_plugins(stored, files)).unwrap_or_default();
    let old = stored.as_ref().and_then(|stored| stored.document.as_deref()).unwrap_or_default();
    let content = parse_playbook(old.as_bytes()).ok().map(|old| old.content());
    let is_same = content.is_some_and(|content| content == playbook.content());
    let change = match is_new {
        true => Change::New,
        false if is_same && plugins.is_empty() => Change::Unchanged,
        false => Change::Changed,
    };
    let diff = match change {
        // Only comments or the layout may differ, which is no change of a playbook.
        Change::Unchanged => String::new(),
        Change::New | Change::Changed => lines(old, &one.document.text),
    };
    Ok(Compared {
        file: one.document.file.clone(),
        kind: "playbook",
        name: name.to_owned(),
        version: Some(version),
        change,
        against: stored.filter(|_| is_new).map(|stored| stored.version),
        plugins,
        diff,
    })
}

/// What the server has; `None` if it says that there is no such thing.
fn known<T>(answer: Result<T, ClientError>) -> Result<Option<T>, CliError> {
    match answer {
        Ok(known) => Ok(Some(known)),
        Err(ClientError::Refused(problem)) if problem.status == 404 => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn changed_plugins(stored: &PlaybookView, files: &[PluginFile]) -> Vec<ChangedPlugin> {
    let changed = files.iter().filter_map(|file| {
        let pinned = stored.plugins.get(&file.name).map(|pin| &pin.digest);
        (pinned != Some(&file.digest)).then(|| ChangedPlugin {
            name: file.name.clone(),
            stored: pinned.map(ToString::to_string),
            file: file.digest.to_string(),
        })
    });
    changed.collect()
}

fn lines(old: &str, new: &str) -> String {
    diff_within(old, new, false, MAX_LINES)
}

/// The comparison of a document for people.
fn text(compared: &Compared, colour: bool) -> String {
    let Compared { file, kind, name, version, change, against, plugins, diff } = compared;
    let version = version.as_ref().map(|version| format!("@{version}")).unwrap_or_default();
    let of = format!("{kind} {name}{version}");
    let head = match (change, against) {
        (Change::Unchanged, _) => {
            return Paint::Faint.on(&format!("{of}: unchanged"), colour) + "\n";
        }
        (Change::New, None) => format!("{of} is new: {file} (+)"),
        (Change::New, Some(against)) => {
            format!("{of} is new: version {against} (-), {file} (+)")
        }
        (Change::Changed, _) => format!("{of} differs: what is stored (-), {file} (+)"),
    };
    let mut text = Paint::Bold.on(&clean(&head), colour) + "\n";
    for plugin in plugins {
        text.push_str(&format!("plugin {}:\n", clean(&plugin.name)));
        if let Some(stored) = &plugin.stored {
            text.push_str(&(Paint::Bad.on(&format!("-{stored}"), colour) + "\n"));
        }
        text.push_str(&(Paint::Good.on(&format!("+{}", plugin.file), colour) + "\n"));
    }
    for line in diff.lines() {
        let paint = match line.chars().next() {
            Some('-') => Paint::Bad,
            Some('+') => Paint::Good,
            Some('@') => Paint::Faint,
            Some(_) | None => Paint::Plain,
        };
        text.push_str(&(paint.on(line, colour) + "\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(change: Change, against: Option<&str>) -> Compared {
        Compared {
            file: "a.yaml".to_owned(),
            kind: "playbook",
            name: "restart".to_owned(),
            version: Some("1.1.0".to_owned()),
            change,
            against: against.map(str::to_owned),
            plugins: vec![ChangedPlugin {
                name: "zones".to_owned(),
                stored: Some("sha256:1".to_owned()),
                file: "sha256:2".to_owned(),
            }],
            diff: "@@ line 1 of the old, 1 of the new @@\n-a\n+b\n".to_owned(),
        }
    }

    #[test]
    fn a_difference_says_what_was_compared() {
        let shown = text(&compared(Change::Changed, None), false);
        let expected = "\
playbook restart@1.1.0 differs: what is stored (-), a.yaml (+)
plugin zones:
-sha256:1
+sha256:2
@@ line 1 of the old, 1 of the new @@
-a
+b
";
        assert_eq!(shown, expected);
        let shown = text(&compared(Change::New, Some("1.0.0")), false);
        assert!(
            shown.starts_with("playbook restart@1.1.0 is new: version 1.0.0 (-), a.yaml (+)\n")
        );
        let shown = text(&compared(Change::Unchanged, None), false);
        assert_eq!(shown, "playbook restart@1.1.0: unchanged\n");
    }
}
