//! `pin`: writes the digests of plugins into playbooks, and leaves every other byte as it is.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::client::Client;
use super::error::{CliError, ClientError};
use super::exit::Exit;
use super::files::{Document, base_of, read_documents, read_plugin};
use super::get::find_plugins;
use super::output::{Console, Row};
use super::prepare::{Wrong, plugin_problem};
use super::registry_args::RegistryArgs;
use super::table::Narrower;
use super::text::Paint;
use super::work::Work;
use crate::playbook::{
    Kind, PlaybookDocument, PluginSource, Problem, Problems, Source, kind_of, parse_playbook,
    pin as write_pins,
};
use crate::registry::Registries;
use crate::run::Digest;

/// Arguments of `pin`.
#[derive(Debug, clap::Args)]
pub struct Pin {
    /// File of playbooks, in YAML or JSON, in which digests are written
    #[arg(short = 'f', long = "file", required = true, num_args = 1.., value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Replace digests that are others now
    #[arg(long)]
    pub update: bool,
    /// How registries are reached
    #[command(flatten)]
    pub registries: RegistryArgs,
}

/// One plugin of a playbook.
#[derive(Debug, Serialize)]
struct Pinned {
    file: String,
    plugin: String,
    source: String,
    digest: Digest,
    /// `pinned`, `updated` or `unchanged`.
    change: &'static str,
}

impl Row for Pinned {
    fn headings(_: bool) -> Vec<&'static str> {
        vec!["FILE", "PLUGIN", "CHANGE", "SOURCE", "DIGEST"]
    }

    fn cells(&self, _: bool) -> Vec<String> {
        let Self { file, plugin, source, digest, change } = self;
        vec![file.clone(), plugin.clone(), (*change).to_owned(), source.clone(), digest.to_string()]
    }

    fn narrower() -> &'static [Narrower] {
        &[
            Narrower::Cut,
            Narrower::Without("DIGEST"),
            Narrower::Cut,
            Narrower::Without("SOURCE"),
            Narrower::Cut,
        ]
    }

    fn paint(&self) -> (&str, Paint) {
        (self.change, if self.change == "unchanged" { Paint::Faint } else { Paint::Good })
    }

    fn name(&self) -> String {
        format!("plugin/{}", self.digest)
    }
}

pub(crate) async fn pin(
    client: impl FnOnce() -> Result<Client, ClientError>,
    args: &Pin,
    console: &Console,
) -> Result<Exit, CliError> {
    let mut looking =
        Looking { registries: args.registries.of_person()?, client: Some(client), made: None };
    let mut wrong = Wrong::new(console.look());
    let work = Work::new(console);
    let (mut rows, mut changed) = (Vec::new(), Vec::new());
    for path in &args.files {
        let mut edits = Vec::new();
        for document in read_documents(path)? {
            match pin_one(&document, &base_of(path), args.update, &mut looking, &work).await? {
                Ok((new, pinned)) => {
                    rows.extend(pinned);
                    edits.push((document, new));
                }
                Err(problems) => wrong.add(&document, &problems),
            }
        }
        changed.push((path, edits));
    }
    drop(work);
    // Either everything is pinned, or nothing is written.
    wrong.none_or_error()?;
    for (path, edits) in changed {
        rewrite(path, &edits)?;
    }
    console.list(&rows)?;
    Ok(Exit::Ok)
}

/// The text of a document with digests, and a row for each plugin.
async fn pin_one<F: FnOnce() -> Result<Client, ClientError>>(
    document: &Document,
    base: &Path,
    update: bool,
    looking: &mut Looking<F>,
    work: &Work,
) -> Result<Result<(String, Vec<Pinned>), Problems>, CliError> {
    let text = document.text.clone();
    let playbook = match kind_of(text.as_bytes()) {
        Ok(Kind::Cluster | Kind::Policy | Kind::Access | Kind::Inventory) => {
            return Ok(Ok((text, Vec::new())));
        }
        Ok(Kind::Playbook) => parse_playbook(text.as_bytes()),
        Err(problems) => Err(problems),
    };
    let playbook = match playbook {
        Ok(playbook) => playbook,
        Err(problems) => return Ok(Err(problems)),
    };
    let (mut rows, mut digests, mut problems) = (Vec::new(), BTreeMap::new(), Vec::new());
    for plugin in playbook.plugins() {
        work.at(|| format!("looking up {}", plugin.source));
        let found = match looking.digest(&playbook, &plugin, base).await? {
            Ok(found) => found,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        let change = match &plugin.digest {
            Some(known) if *known == found => "unchanged",
            Some(known) if !update => {
                let message = format!("{} is {found} now; --update writes that", plugin.source);
                let mut problem =
                    plugin_problem(&playbook, &plugin.name, "digest-mismatch", message);
                problem.found = Some(known.to_string());
                problems.push(problem);
                continue;
            }
            Some(_) => "updated",
            None => "pinned",
        };
        if change != "unchanged" {
            digests.insert(plugin.name.clone(), found.clone());
        }
        let (file, source) = (document.file.clone(), plugin.source.to_string());
        rows.push(Pinned { file, plugin: plugin.name, source, digest: found, change });
    }
    let new = write_pins(&text, &digests).map_err(|error| {
        plugin_problem(&playbook, &error.name.clone(), "unusual-form", error.to_string())
    });
    match new {
        Ok(new) if problems.is_empty() => Ok(Ok((new, rows))),
        Ok(_) => Ok(Err(Problems(problems))),
        Err(problem) => {
            problems.push(problem);
            Ok(Err(Problems(problems)))
        }
    }
}

/// Where digests are looked up. The server is asked only for what it alone has.
struct Looking<F> {
    registries: Registries,
    client: Option<F>,
    made: Option<Client>,
}

impl<F: FnOnce() -> Result<Client, ClientError>> Looking<F> {
    async fn digest(
        &mut self,
        playbook: &PlaybookDocument,
        plugin: &PluginSource,
        base: &Path,
    ) -> Result<Result<Digest, Problem>, CliError> {
        let wrong =
            |code: &str, message| Ok(Err(plugin_problem(playbook, &plugin.name, code, message)));
        match &plugin.source {
            Source::File(path) => match read_plugin(&base.join(path)) {
                Ok(bytes) => Ok(Ok(Digest::of(&bytes))),
                Err(error) => {
                    wrong("plugin-unreadable", format!("failed to read the plugin: {error}"))
                }
            },
            Source::Oci(reference) => match self.registries.open(reference).await {
                Ok(artefact) => Ok(Ok(artefact.found().digest.clone())),
                Err(error) => wrong(error.code(), error.to_string()),
            },
            Source::Store { name, version } => {
                let found = find_plugins(self.client()?, &format!("{name}@{version}")).await;
                match found {
                    Ok(found) if found.len() == 1 => Ok(Ok(found[0].info.digest.clone())),
                    Ok(found) => {
                        let found = found.len();
                        wrong(
                            "plugin-ambiguous",
                            format!("the server has {found} plugins of this name and version"),
                        )
                    }
                    Err(CliError::NotFound(message)) => wrong("plugin-missing", message),
                    Err(error) => Err(error),
                }
            }
        }
    }

    fn client(&mut self) -> Result<&Client, ClientError> {
        if let Some(make) = self.client.take() {
            self.made = Some(make()?);
        }
        self.made.as_ref().ok_or_else(|| ClientError::Address {
            server: String::new(),
            message: "it could not be used before".to_owned(),
        })
    }
}

/// Writes the documents of a file anew, if any of them changed.
fn rewrite(path: &Path, edits: &[(Document, String)]) -> Result<(), CliError> {
    let changed: Vec<_> = edits.iter().filter(|(document, new)| document.text != *new).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let failed = |source| CliError::Read { path: path.display().to_string(), source };
    if path.as_os_str() == "-" {
        return Err(CliError::Usage("-f: found -, expected a file that can be written".to_owned()));
    }
    let mut text = std::fs::read_to_string(path).map_err(failed)?;
    // From the last document to the first, so that places stay right.
    for (document, new) in changed.iter().rev() {
        let at = place(&text, document).ok_or_else(|| {
            failed(std::io::Error::other("it was changed while its plugins were looked up"))
        })?;
        text.replace_range(at..at + document.text.len(), new);
    }
    write(path, &text).map_err(CliError::Output)
}

/// Where the text of a document begins in that of its file.
fn place(text: &str, document: &Document) -> Option<usize> {
    let mark = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut at = mark;
    for _ in 0..document.first_line {
        at += text[at..].find('\n')? + 1;
    }
    text[at..].starts_with(&document.text).then_some(at)
}

/// Replaces a file at once, with its own permissions.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    // A link stays one.
    let path = path.canonicalize()?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    std::fs::set_permissions(file.path(), std::fs::metadata(&path)?.permissions())?;
    file.persist(&path).map_err(|error| error.error)?;
    Ok(())
}
