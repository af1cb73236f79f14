//! `apply`: plugins are uploaded, then playbooks and clusters are applied, in the order of the files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::client::Client;
use super::error::{CliError, ClientError};
use super::exit::Exit;
use super::output::{Console, Row};
use super::prepare::{PluginFile, Prepared, What, Wrong, plugin_problem, prepare};
use super::text::Paint;
use crate::api::wire::{ApplyCluster, ApplyPlaybook};
use crate::playbook::{PlaybookDocument, Problems};
use crate::run::Digest;

/// Arguments of `apply`.
#[derive(Debug, clap::Args)]
pub struct Apply {
    /// File of playbooks and clusters, in YAML or JSON; `-` is standard input
    #[arg(short = 'f', long = "file", required = true, num_args = 1.., value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Have everything validated, but change nothing (plugins are uploaded all the same)
    #[arg(long)]
    pub dry_run: bool,
}

/// One thing that was applied.
#[derive(Clone, Debug, Serialize)]
pub struct Applied {
    /// `plugin`, `playbook` or `cluster`.
    pub kind: &'static str,
    /// Its name; of a plugin the name in the playbook.
    pub name: String,
    /// The version of a playbook, or that a plugin gives itself.
    pub version: Option<String>,
    /// Where a plugin came from.
    pub source: Option<String>,
    /// The digest that a plugin is pinned to.
    pub digest: Option<Digest>,
    /// What became of it: `created`, `updated`, `unchanged`, `uploaded`, `pinned` or `valid`.
    pub change: String,
}

impl Row for Applied {
    fn headings(_: bool) -> Vec<&'static str> {
        vec!["KIND", "NAME", "VERSION", "CHANGE", "SOURCE", "DIGEST"]
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let digest = self.digest.as_ref().map(|digest| {
            if wide { digest.to_string() } else { format!("sha256:{}", digest.short()) }
        });
        vec![
            self.kind.to_owned(),
            self.name.clone(),
            or_dash(self.version.clone()),
            self.change.clone(),
            or_dash(self.source.clone()),
            or_dash(digest),
        ]
    }

    fn paint(&self) -> (&str, Paint) {
        let unchanged = matches!(self.change.as_str(), "unchanged" | "pinned" | "valid");
        (&self.change, if unchanged { Paint::Faint } else { Paint::Good })
    }

    fn name(&self) -> String {
        match (self.kind, &self.version, &self.digest) {
            (_, _, Some(digest)) => format!("plugin/{digest}"),
            (kind, Some(version), None) => format!("{kind}/{}@{version}", self.name),
            (kind, None, None) => format!("{kind}/{}", self.name),
        }
    }
}

/// Runs `apply`.
pub(crate) async fn apply(
    client: &Client,
    args: &Apply,
    console: &Console,
) -> Result<Exit, CliError> {
    let prepared = prepare(&args.files, console.colour_messages)?;
    let mut applied = Vec::new();
    let mut result = Ok(());
    for document in &prepared {
        result = apply_one(client, document, args.dry_run, console, &mut applied).await;
        if result.is_err() {
            break;
        }
    }
    // What was applied before an error stays so, and is shown.
    if result.is_ok() || !applied.is_empty() {
        console.list(&applied)?;
    }
    result.map(|()| Exit::Ok)
}

/// Applies all documents of a file, and uploads the plugins beside it.
///
/// # Errors
/// [`CliError::Invalid`] with all problems when a document is not valid, before anything is sent if
/// that can be known without the server.
pub async fn apply_file(
    client: &Client,
    path: &Path,
    console: &Console,
) -> Result<Vec<Applied>, CliError> {
    let mut applied = Vec::new();
    for document in &prepare(&[path.to_owned()], console.colour_messages)? {
        apply_one(client, document, false, console, &mut applied).await?;
    }
    Ok(applied)
}

async fn apply_one(
    client: &Client,
    prepared: &Prepared,
    dry_run: bool,
    console: &Console,
    applied: &mut Vec<Applied>,
) -> Result<(), CliError> {
    let text = prepared.document.text.clone();
    match &prepared.what {
        What::Cluster(_) => {
            let answer = client.apply_cluster(&ApplyCluster { document: text }, dry_run).await;
            let view = answer.map_err(|error| in_document(error, prepared, console))?;
            applied.push(Applied {
                kind: "cluster",
                name: view.name,
                version: None,
                source: None,
                digest: None,
                change: view.change.unwrap_or_default(),
            });
            Ok(())
        }
        What::Playbook { playbook, files } => {
            let mut uploads = BTreeMap::new();
            let mut uploaded = BTreeMap::new();
            for file in files {
                let change = upload(client, prepared, playbook, file, console).await?;
                uploads.insert(file.name.clone(), file.digest.clone());
                uploaded.insert(file.name.as_str(), change);
            }
            let request = ApplyPlaybook { document: text, uploads };
            let answer = client.apply_playbook(&request, dry_run).await;
            let view = answer.map_err(|error| in_document(error, prepared, console))?;
            for (name, pin) in &view.plugins {
                let change = uploaded.get(name.as_str()).copied().unwrap_or("pinned");
                applied.push(Applied {
                    kind: "plugin",
                    name: name.clone(),
                    version: Some(pin.version.clone()),
                    source: Some(pin.source.clone()),
                    digest: Some(pin.digest.clone()),
                    change: change.to_owned(),
                });
            }
            applied.push(Applied {
                kind: "playbook",
                name: view.name,
                version: Some(view.version),
                source: None,
                digest: None,
                change: view.change.unwrap_or_default(),
            });
            Ok(())
        }
    }
}

/// Sends a plugin, unless the server has it: plugins are large and known by their digest.
async fn upload(
    client: &Client,
    prepared: &Prepared,
    playbook: &PlaybookDocument,
    file: &PluginFile,
    console: &Console,
) -> Result<&'static str, CliError> {
    match client.plugin(&file.digest).await {
        Ok(_) => return Ok("unchanged"),
        Err(ClientError::Refused(problem)) if problem.status == 404 => {}
        Err(error) => return Err(error.into()),
    }
    match client.upload_plugin(&file.digest, file.bytes.clone()).await {
        Ok(_) => Ok("uploaded"),
        Err(ClientError::Refused(refusal)) if matches!(refusal.status, 400 | 413 | 422) => {
            let problem = plugin_problem(playbook, &file.name, &refusal.code, refusal.detail);
            Err(invalid(prepared, Problems(vec![problem]), console))
        }
        Err(error) => Err(error.into()),
    }
}

/// Puts the problems that the server found to their places in the document.
fn in_document(error: ClientError, prepared: &Prepared, console: &Console) -> CliError {
    match error {
        ClientError::Refused(refusal) if !refusal.problems.is_empty() => {
            invalid(prepared, Problems(refusal.problems), console)
        }
        ClientError::Refused(_)
        | ClientError::Address { .. }
        | ClientError::Unreachable { .. }
        | ClientError::Malformed { .. } => error.into(),
    }
}

fn invalid(prepared: &Prepared, problems: Problems, console: &Console) -> CliError {
    let mut wrong = Wrong::default();
    wrong.add(&prepared.document, &problems, console.colour_messages);
    match wrong.none_or_error() {
        Err(error) => error,
        Ok(()) => CliError::Invalid {
            file: prepared.document.file.clone(),
            count: 0,
            shown: String::new(),
        },
    }
}
