//! `apply`: uploads plugins, then applies playbooks and clusters, all or none of them. What can be checked
//! without the server is checked first, so a mistake in one file changes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::client::Client;
use super::conflict::show_differences;
use super::error::{CliError, ClientError};
use super::exit::Exit;
use super::files::MAX_DOCUMENTS;
use super::grants::{self, Consent};
use super::imports::{Outcome, Wanted, import_all, wanted};
use super::output::{Console, Row};
use super::prepare::{PluginFile, Prepared, What, Wrong, plugin_problem, prepare};
use super::problems;
use super::table::Narrower;
use super::text::Paint;
use super::validate::check_all;
use super::who::who;
use crate::api::wire::{
    AppliedDocument, AppliedDocuments, ApplyDocument, ApplyDocuments, DocumentProblems, PluginView,
    SignatureView,
};
use crate::clock::{Clock as _, SystemClock};
use crate::playbook::access::access_not_applied;
use crate::playbook::inventory::inventory_not_applied;
use crate::playbook::policy::{Signature, not_applied};
use crate::playbook::{PlaybookDocument, PluginPin, Problem, Problems};
use crate::run::{Digest, Millis};

/// Arguments of `apply`.
#[derive(Debug, clap::Args)]
pub struct Apply {
    /// File of playbooks and clusters, in YAML or JSON; `-` is standard input. Either all documents of all
    /// files are applied, or none
    #[arg(short = 'f', long = "file", required = true, num_args = 1.., value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Validate everything, but change nothing (plugins are uploaded and imported all the same)
    #[arg(long)]
    pub dry_run: bool,
    /// Apply without asking, also if a playbook grants its plugins more than its last version does
    #[arg(short = 'y', long)]
    pub yes: bool,
}

/// Something that was applied: one row of the output.
#[derive(Clone, Debug, Serialize)]
pub struct Applied {
    /// `plugin`, `playbook` or `cluster`.
    pub kind: &'static str,
    /// Its name; for a plugin, the name in the playbook.
    pub name: String,
    /// The version of a playbook, or the one that a plugin declares; `None` for a cluster.
    pub version: Option<String>,
    /// The source of a plugin, as in the playbook; `None` for others.
    pub source: Option<String>,
    /// The digest that a plugin is pinned to; `None` for others.
    pub digest: Option<Digest>,
    /// What was done: `created`, `updated`, `unchanged`, `uploaded`, `imported`, `signed`, `pinned` or `valid`.
    pub change: String,
}

impl Row for Applied {
    fn headings(_: bool) -> Vec<&'static str> {
        vec!["KIND", "NAME", "VERSION", "CHANGE", "SOURCE", "DIGEST"]
    }

    fn narrower() -> &'static [Narrower] {
        &[
            Narrower::Cut,
            Narrower::Without("DIGEST"),
            Narrower::Cut,
            Narrower::Without("SOURCE"),
            Narrower::Cut,
            Narrower::Without("VERSION"),
            Narrower::Cut,
        ]
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

pub(crate) async fn apply(
    client: &Client,
    args: &Apply,
    console: &Console,
) -> Result<Exit, CliError> {
    let how = How { dry_run: args.dry_run, yes: args.yes };
    match apply_files(client, &args.files, how, console).await? {
        Some(applied) => console.list(&applied)?,
        None => console.say("nothing was applied"),
    }
    Ok(Exit::Ok)
}

/// Applies all documents of a file or none of them, and uploads the plugins that they refer to by path.
///
/// # Errors
/// [`CliError::Invalid`] with all problems when a document is not valid. If that can be known without the
/// server, nothing is sent.
pub async fn apply_file(
    client: &Client,
    path: &Path,
    console: &Console,
) -> Result<Vec<Applied>, CliError> {
    let how = How { dry_run: false, yes: true };
    Ok(apply_files(client, &[path.to_owned()], how, console).await?.unwrap_or_default())
}

/// How documents are applied.
#[derive(Clone, Copy, Debug)]
struct How {
    /// Everything is checked, and nothing is changed.
    dry_run: bool,
    /// Nobody is asked.
    yes: bool,
}

/// Applies the documents in one request: all or none of them are kept. Plugins are uploaded before that; if
/// their documents are not kept, the plugins stay in the store and do no harm. `None` if a person did not want it.
async fn apply_files(
    client: &Client,
    files: &[PathBuf],
    how: How,
    console: &Console,
) -> Result<Option<Vec<Applied>>, CliError> {
    let mut wrong = Wrong::new(console.look());
    let mut prepared = prepare(files, &mut wrong);
    refuse_files_of_server(&mut prepared, &mut wrong);
    if prepared.len() > MAX_DOCUMENTS {
        let found = prepared.len();
        let most = format!("found {found} documents, expected at most {MAX_DOCUMENTS} at once");
        return Err(CliError::Usage(most));
    }
    if !wrong.is_empty() || prepared.iter().any(Prepared::has_problems) {
        check_all(&prepared, &mut wrong).await?;
        return wrong.none_or_error().map(|()| None);
    }
    let imported = import_all(client, wanted(&prepared), console).await?;
    let mut sent = Vec::with_capacity(prepared.len());
    for one in &prepared {
        let mut uploaded = upload(client, one).await?;
        uploaded.add_imported(one, &imported);
        sent.push(uploaded);
    }
    // If an upload was refused, this is a dry run, to report what is wrong with the rest too.
    let refused = sent.iter().any(|one| !one.refused.is_empty());
    let request =
        ApplyDocuments { documents: sent.iter().map(|one| one.request.clone()).collect() };
    let asked = Asked { request: &request, how: How { dry_run: how.dry_run || refused, ..how } };
    match send(client, &prepared, asked, console).await? {
        Ok(None) => return Ok(None),
        Ok(Some(answer)) if !refused => {
            say_warnings(&prepared, &answer, console);
            return rows(client, &sent, answer).map(Some);
        }
        Ok(_) => tell_problems(&prepared, &sent, Vec::new(), &mut wrong),
        Err(ClientError::Refused(refusal)) if !refusal.documents.is_empty() => {
            tell_problems(&prepared, &sent, refusal.documents, &mut wrong);
        }
        Err(error) if refused => {
            tell_problems(&prepared, &sent, Vec::new(), &mut wrong);
            console.say(&format!("also: {error}"));
        }
        Err(ClientError::Refused(refusal)) if refusal.code == CONFLICT => {
            show_differences(client, &prepared, console).await;
            return Err(ClientError::Refused(refusal).into());
        }
        Err(error) => return Err(error.into()),
    }
    console.say("nothing was applied");
    wrong.none_or_error().map(|()| None)
}

/// What is sent to be applied.
struct Asked<'a> {
    request: &'a ApplyDocuments,
    how: How,
}

/// Shows what changes in grants, asks about it where they grow, and applies the documents. `None` if a person did not want
/// it.
async fn send(
    client: &Client,
    prepared: &[Prepared],
    asked: Asked<'_>,
    console: &Console,
) -> Result<Result<Option<AppliedDocuments>, ClientError>, CliError> {
    let Asked { request, how } = asked;
    let before = match grants::versions_before(client, prepared).await {
        Ok(before) => before,
        Err(error) => return Ok(Err(error)),
    };
    if !grants::may_change(prepared, &before) {
        return Ok(client.apply_all(request, how.dry_run).await.map(Some));
    }
    let valid = match client.apply_all(request, true).await {
        Ok(valid) => valid,
        Err(error) => return Ok(Err(error)),
    };
    let grown = grants::show_changes(&valid, &before, console);
    if how.dry_run {
        return Ok(Ok(Some(valid)));
    }
    if !grown.is_empty() && !how.yes && grants::consent(&grown, console)? == Consent::Denied {
        return Ok(Ok(None));
    }
    Ok(client.apply_all(request, false).await.map(Some))
}

/// Takes files of the server and of the gateway out of what is to be applied.
pub(super) fn refuse_files_of_server(prepared: &mut Vec<Prepared>, wrong: &mut Wrong) {
    prepared.retain(|one| match &one.what {
        What::Policy(_) => {
            wrong.add(&one.document, &not_applied(one.document.text.as_bytes()));
            false
        }
        What::Access(_) => {
            wrong.add(&one.document, &access_not_applied(one.document.text.as_bytes()));
            false
        }
        What::Inventory(_) => {
            wrong.add(&one.document, &inventory_not_applied(one.document.text.as_bytes()));
            false
        }
        What::Playbook { .. } | What::Cluster(_) => true,
    });
}

/// The code of the refusal when the version exists with different content.
const CONFLICT: &str = "conflict";

/// A document after the upload and import of its plugins, some of which the server may have refused.
struct Sent {
    request: ApplyDocument,
    /// What was done with its plugins, by the names that the document gives them.
    uploaded: BTreeMap<String, &'static str>,
    /// What the server found wrong with them.
    refused: Vec<Problem>,
}

impl Sent {
    /// Adds what became of the plugins that the document has from registries.
    fn add_imported(&mut self, prepared: &Prepared, imported: &BTreeMap<Wanted, Outcome>) {
        let What::Playbook { playbook, .. } = &prepared.what else { return };
        for plugin in playbook.plugins() {
            match imported.get(&(plugin.source.to_string(), plugin.digest)) {
                Some(Ok((digest, change))) => {
                    self.request.uploads.insert(plugin.name.clone(), digest.clone());
                    self.uploaded.insert(plugin.name, change);
                }
                Some(Err(problem)) => {
                    let message = problem.message.clone();
                    let problem = plugin_problem(playbook, &plugin.name, &problem.code, message);
                    self.refused.push(problem);
                }
                None => {}
            }
        }
    }
}

/// Uploads the plugin files of a document.
async fn upload(client: &Client, prepared: &Prepared) -> Result<Sent, CliError> {
    let document = prepared.document.text.clone();
    let request = ApplyDocument { document, uploads: BTreeMap::new() };
    let mut sent = Sent { request, uploaded: BTreeMap::new(), refused: Vec::new() };
    let What::Playbook { playbook, files, .. } = &prepared.what else { return Ok(sent) };
    for file in files {
        match upload_one(client, playbook, file).await? {
            Ok(change) => {
                sent.request.uploads.insert(file.name.clone(), file.digest.clone());
                sent.uploaded.insert(file.name.clone(), change);
            }
            Err(problem) => sent.refused.push(problem),
        }
    }
    Ok(sent)
}

/// A plugin that the server removes within this time is uploaded again, which renews it: it has to be there when its
/// playbook is applied. Clocks of machines differ by less. Where plugins are kept for a short time only, it is half of that.
const GOES_SOON: Millis = Millis::from_secs(24 * 3_600);

fn goes_soon(plugin: &PluginView) -> bool {
    plugin.goes_at.is_some_and(|at| {
        let kept = at.since(plugin.unpinned_at.unwrap_or(at));
        at < SystemClock.now().plus(Millis(GOES_SOON.0.min(kept.0 / 2)))
    })
}

/// Uploads a plugin unless the server has it: plugins are large, and identified by their digest.
async fn upload_one(
    client: &Client,
    playbook: &PlaybookDocument,
    file: &PluginFile,
) -> Result<Result<&'static str, Problem>, CliError> {
    let text: String = file.signatures.iter().map(Signature::text).collect();
    let signatures = (!text.is_empty()).then_some(text.as_str());
    let upload = async || {
        let mut said = vec![("source", file.source.to_string())];
        said.extend(who().map(|who| ("actor", who)));
        let bytes = file.bytes.clone();
        client.upload_plugin_of(&file.digest, bytes, signatures, &said).await
    };
    let (sent, change) = match client.plugin(&file.digest).await {
        Ok(known) if goes_soon(&known) => (upload().await, "uploaded"),
        Ok(known) => match signatures.filter(|_| !knows_all(&known.signatures, &file.signatures)) {
            Some(text) => (client.sign_plugin(&file.digest, text).await, "signed"),
            None => return Ok(Ok("unchanged")),
        },
        Err(ClientError::Refused(problem)) if problem.status == 404 => (upload().await, "uploaded"),
        Err(error) => return Err(error.into()),
    };
    match sent {
        Ok(answer) if answer.change.as_deref() == Some("unchanged") => Ok(Ok("unchanged")),
        Ok(_) => Ok(Ok(change)),
        Err(ClientError::Refused(refusal)) if matches!(refusal.status, 400 | 403 | 413 | 422) => {
            Ok(Err(plugin_problem(playbook, &file.name, &refusal.code, refusal.detail)))
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the server has checked all these signatures.
fn knows_all(known: &[SignatureView], signatures: &[Signature]) -> bool {
    let is_known = |new: &Signature| {
        known.iter().any(|one| {
            one.signer.is_some()
                && one.key_id == new.key_id()
                && one.trusted_comment == new.trusted_comment()
        })
    };
    signatures.iter().all(is_known)
}

/// Adds the problems that the server found, after those of refused uploads, at their places in the documents.
fn tell_problems(
    prepared: &[Prepared],
    sent: &[Sent],
    found: Vec<DocumentProblems>,
    wrong: &mut Wrong,
) {
    let mut found: BTreeMap<u32, Vec<Problem>> =
        found.into_iter().map(|one| (one.document, one.problems)).collect();
    for (number, (prepared, sent)) in (0..).zip(prepared.iter().zip(sent)) {
        let mut problems = sent.refused.clone();
        // After a refused upload, it is no news that the bytes of the plugin are missing.
        let said = |problem: &Problem| sent.refused.iter().any(|one| one.path == problem.path);
        let further = found.remove(&number).unwrap_or_default();
        problems.extend(further.into_iter().filter(|problem| !said(problem)));
        if !problems.is_empty() {
            wrong.add(&prepared.document, &Problems(problems));
        }
    }
}

/// Prints warnings about playbooks: valid, but probably not intended.
fn say_warnings(prepared: &[Prepared], answer: &AppliedDocuments, console: &Console) {
    for (Prepared { document, .. }, item) in prepared.iter().zip(&answer.items) {
        let warnings: &[Problem] = match item {
            AppliedDocument::Playbook(view) => &view.warnings,
            AppliedDocument::Cluster(_) => &[],
        };
        if !warnings.is_empty() {
            let shown = problems::show_warnings(document, warnings, console.look());
            console.say_lines(shown.trim_end());
        }
    }
}

/// The rows of what was applied: each document after its plugins.
fn rows(
    client: &Client,
    sent: &[Sent],
    answer: AppliedDocuments,
) -> Result<Vec<Applied>, CliError> {
    if answer.items.len() != sent.len() {
        let (found, expected) = (answer.items.len(), sent.len());
        return Err(CliError::Client(ClientError::Malformed {
            server: client.server().to_owned(),
            request: "POST …/apply".to_owned(),
            message: format!("found {found} answers, expected {expected}"),
        }));
    }
    let mut applied = Vec::new();
    for (sent, item) in sent.iter().zip(answer.items) {
        match item {
            AppliedDocument::Playbook(view) => {
                applied.extend(view.plugins.iter().map(|(name, pin)| plugin(sent, name, pin)));
                let version = Some(view.version);
                applied.push(document("playbook", view.name, version, view.change));
            }
            AppliedDocument::Cluster(view) => {
                applied.push(document("cluster", view.name, None, view.change));
            }
        }
    }
    Ok(applied)
}

fn plugin(sent: &Sent, name: &str, pin: &PluginPin) -> Applied {
    Applied {
        kind: "plugin",
        name: name.to_owned(),
        version: Some(pin.version.clone()),
        source: Some(pin.source.clone()),
        digest: Some(pin.digest.clone()),
        change: sent.uploaded.get(name).copied().unwrap_or("pinned").to_owned(),
    }
}

fn document(
    kind: &'static str,
    name: String,
    version: Option<String>,
    change: Option<String>,
) -> Applied {
    let change = change.unwrap_or_default();
    Applied { kind, name, version, source: None, digest: None, change }
}
