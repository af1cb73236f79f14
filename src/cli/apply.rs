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
use super::validate::check_all;
use crate::api::wire::{ApplyCluster, ApplyPlaybook};
use crate::playbook::{PlaybookDocument, Problem, Problems};
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
    let (applied, result) = apply_files(client, &args.files, args.dry_run, console).await;
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
    let (applied, result) = apply_files(client, &[path.to_owned()], false, console).await;
    result.map(|()| applied)
}

/// Applies the documents in their order. After the first that is not valid the rest is only checked,
/// so that all problems are reported and nothing is applied that may need what was not.
async fn apply_files(
    client: &Client,
    files: &[PathBuf],
    dry_run: bool,
    console: &Console,
) -> (Vec<Applied>, Result<(), CliError>) {
    let mut wrong = Wrong::new(console.colour_messages);
    let prepared = prepare(files, &mut wrong);
    if !wrong.is_empty() || prepared.iter().any(Prepared::has_problems) {
        let checked = check_all(&prepared, &mut wrong).await;
        return (Vec::new(), checked.and_then(|_| wrong.none_or_error()));
    }
    let mut applied = Vec::new();
    let mut refused = None;
    for prepared in &prepared {
        let goes_well = wrong.is_empty() && refused.is_none();
        let mut one = One { client, prepared, dry_run: dry_run || !goes_well, wrong: &mut wrong };
        match one.apply().await {
            Ok(rows) if goes_well => applied.extend(rows),
            Ok(_) => {}
            Err(error) => {
                let is_answer = matches!(&error, CliError::Client(ClientError::Refused(refusal))
                    if refusal.status < 500);
                match &refused {
                    // The command ends with the first one.
                    None => refused = Some(error),
                    Some(_) => console.say(&format!("{}: {error}", prepared.document.file)),
                }
                // A server that says no to this one would say something to the next.
                if !is_answer {
                    break;
                }
            }
        }
    }
    let result = match (wrong.none_or_error(), refused) {
        (Ok(()), None) => Ok(()),
        (Ok(()), Some(refused)) => Err(refused),
        (invalid, None) => invalid,
        (invalid, Some(refused)) => {
            console.say(&format!("also: {refused}"));
            invalid
        }
    };
    (applied, result)
}

/// One document on its way to the server.
struct One<'a> {
    client: &'a Client,
    prepared: &'a Prepared,
    dry_run: bool,
    wrong: &'a mut Wrong,
}

impl One<'_> {
    /// What was applied: nothing when the document is not valid, of which `wrong` knows.
    async fn apply(&mut self) -> Result<Vec<Applied>, CliError> {
        match &self.prepared.what {
            What::Cluster(_) => self.cluster().await,
            What::Playbook { playbook, files, .. } => self.playbook(playbook, files).await,
        }
    }

    async fn cluster(&mut self) -> Result<Vec<Applied>, CliError> {
        let request = ApplyCluster { document: self.prepared.document.text.clone() };
        let answer = self.client.apply_cluster(&request, self.dry_run).await;
        let Some(view) = self.valid(answer, Vec::new())? else { return Ok(Vec::new()) };
        Ok(vec![Applied {
            kind: "cluster",
            name: view.name,
            version: None,
            source: None,
            digest: None,
            change: view.change.unwrap_or_default(),
        }])
    }

    async fn playbook(
        &mut self,
        playbook: &PlaybookDocument,
        files: &[PluginFile],
    ) -> Result<Vec<Applied>, CliError> {
        let mut uploads = BTreeMap::new();
        let mut uploaded = BTreeMap::new();
        let mut refused = Vec::new();
        for file in files {
            match self.upload(playbook, file).await? {
                Ok(change) => {
                    uploads.insert(file.name.clone(), file.digest.clone());
                    uploaded.insert(file.name.as_str(), change);
                }
                Err(problem) => refused.push(problem),
            }
        }
        let document = self.prepared.document.text.clone();
        let request = ApplyPlaybook { document, uploads };
        let dry_run = self.dry_run || !refused.is_empty();
        let answer = self.client.apply_playbook(&request, dry_run).await;
        let Some(view) = self.valid(answer, refused)? else { return Ok(Vec::new()) };
        let mut applied = Vec::new();
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
        Ok(applied)
    }

    /// Sends a plugin, unless the server has it: plugins are large and known by their digest.
    async fn upload(
        &self,
        playbook: &PlaybookDocument,
        file: &PluginFile,
    ) -> Result<Result<&'static str, Problem>, CliError> {
        match self.client.plugin(&file.digest).await {
            Ok(_) => return Ok(Ok("unchanged")),
            Err(ClientError::Refused(problem)) if problem.status == 404 => {}
            Err(error) => return Err(error.into()),
        }
        match self.client.upload_plugin(&file.digest, file.bytes.clone()).await {
            Ok(_) => Ok(Ok("uploaded")),
            Err(ClientError::Refused(refusal)) if matches!(refusal.status, 400 | 413 | 422) => {
                Ok(Err(plugin_problem(playbook, &file.name, &refusal.code, refusal.detail)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Puts the problems that the server found, after those of refused uploads, to their places in
    /// the document. The view that it answered, if there are none.
    fn valid<V>(
        &mut self,
        answer: Result<V, ClientError>,
        mut problems: Vec<Problem>,
    ) -> Result<Option<V>, CliError> {
        match answer {
            Ok(view) if problems.is_empty() => return Ok(Some(view)),
            Ok(_) => {}
            Err(ClientError::Refused(refusal)) if !refusal.problems.is_empty() => {
                // That the bytes of a refused upload are not there goes without saying.
                let said = |problem: &Problem| problems.iter().any(|one| one.path == problem.path);
                let (_, further): (Vec<_>, Vec<_>) = refusal.problems.into_iter().partition(said);
                problems.extend(further);
            }
            Err(error) => {
                if !problems.is_empty() {
                    self.wrong.add(&self.prepared.document, &Problems(problems));
                }
                return Err(error.into());
            }
        }
        self.wrong.add(&self.prepared.document, &Problems(problems));
        Ok(None)
    }
}
