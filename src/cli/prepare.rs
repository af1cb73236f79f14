//! Reads documents and the plugins beside them, and finds everything that can be found wrong before anything is
//! sent. `apply` and `validate` share this, so they agree about what is wrong.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::error::CliError;
use super::files::{
    Document, base_of, read_documents, read_plugin, read_signatures_of, signatures_file,
};
use super::problems::{self, Look};
use super::text::clean;
use crate::playbook::access::{Access, parse_access};
use crate::playbook::inventory::{Inventory, parse_inventory};
use crate::playbook::policy::{Policy, Signature, parse_policy};
use crate::playbook::{
    Cluster, Kind, PlaybookDocument, Problem, Problems, Source, kind_of, parse_cluster,
    parse_playbook,
};
use crate::run::Digest;

/// A document that could be read, perhaps with problems.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The document with its place in its file.
    pub document: Document,
    /// What kind of document it is.
    pub what: What,
}

/// The kinds of document, each with what belongs to it.
#[derive(Debug)]
pub(crate) enum What {
    /// A playbook.
    Playbook {
        /// The document as it was read, not resolved.
        playbook: Box<PlaybookDocument>,
        /// The plugins in files beside it that could be read.
        files: Vec<PluginFile>,
        /// What is wrong with files of its plugins.
        problems: Vec<Problem>,
    },
    /// A valid cluster.
    Cluster(Box<Cluster>),
    /// A valid policy.
    Policy(Box<Policy>),
    /// A valid document about who may do what.
    Access(Box<Access>),
    /// A valid inventory.
    Inventory(Box<Inventory>),
}

/// A plugin in a file beside its playbook.
#[derive(Clone, Debug)]
pub(crate) struct PluginFile {
    /// The name that the document gives it.
    pub name: String,
    /// Where the document says that it is.
    pub source: Source,
    /// Digest of the bytes.
    pub digest: Digest,
    /// The whole file.
    pub bytes: Bytes,
    /// The signatures in the file beside it.
    pub signatures: Vec<Signature>,
}

impl Prepared {
    /// Whether anything is wrong with the document or its files, as far as is known by now.
    pub(crate) fn has_problems(&self) -> bool {
        match &self.what {
            What::Playbook { playbook, problems, .. } => {
                !problems.is_empty() || playbook.check().is_err()
            }
            What::Cluster(_) | What::Policy(_) | What::Access(_) | What::Inventory(_) => false,
        }
    }
}

/// Reads all documents of all files. Problems of those that can't be read at all are added to `wrong`, and do
/// not keep the rest from being read.
pub(crate) fn prepare(paths: &[PathBuf], wrong: &mut Wrong) -> Vec<Prepared> {
    let mut prepared = Vec::new();
    for path in paths {
        let documents = match read_documents(path) {
            Ok(documents) => documents,
            Err(unreadable) => {
                wrong.add_file(unreadable);
                continue;
            }
        };
        for document in documents {
            match understand(&document, &base_of(path)) {
                Ok(what) => prepared.push(Prepared { document, what }),
                Err(problems) => wrong.add(&document, &problems),
            }
        }
    }
    prepared
}

fn understand(document: &Document, base: &Path) -> Result<What, Problems> {
    let bytes = document.text.as_bytes();
    match kind_of(bytes)? {
        Kind::Cluster => Ok(What::Cluster(Box::new(parse_cluster(bytes)?))),
        Kind::Policy => Ok(What::Policy(Box::new(parse_policy(bytes)?))),
        Kind::Access => Ok(What::Access(Box::new(parse_access(bytes)?))),
        Kind::Inventory => Ok(What::Inventory(Box::new(parse_inventory(bytes)?))),
        Kind::Playbook => {
            let playbook = Box::new(parse_playbook(bytes)?);
            let (files, problems) = read_files(&playbook, base);
            Ok(What::Playbook { playbook, files, problems })
        }
    }
}

fn read_files(playbook: &PlaybookDocument, base: &Path) -> (Vec<PluginFile>, Vec<Problem>) {
    let mut files = Vec::new();
    let mut problems = Vec::new();
    for plugin in playbook.plugins() {
        let Source::File(path) = &plugin.source else { continue };
        let file = base.join(path);
        let mut wrong = |what: &str, file: &Path, error: io::Error| {
            let message = format!("failed to read the {what}: {error}");
            let mut problem = plugin_problem(playbook, &plugin.name, "plugin-unreadable", message);
            problem.found = Some(file.display().to_string());
            problems.push(problem);
        };
        match (read_plugin(&file), read_signatures_of(&file)) {
            (Ok(bytes), Ok(signatures)) => {
                let (digest, bytes) = (Digest::of(&bytes), Bytes::from(bytes));
                let (name, source) = (plugin.name.clone(), plugin.source.clone());
                files.push(PluginFile { name, source, digest, bytes, signatures });
            }
            (Err(error), _) => wrong("plugin", &file, error),
            (Ok(_), Err(error)) => wrong("signature", &signatures_file(&file), error),
        }
    }
    (files, problems)
}

/// A problem with a plugin, at the place where the playbook names it.
pub(crate) fn plugin_problem(
    playbook: &PlaybookDocument,
    name: &str,
    code: &str,
    message: String,
) -> Problem {
    let name = name.replace('~', "~0").replace('/', "~1");
    playbook.problem_at(&format!("/spec/plugins/{name}/source"), code, message)
}

/// Collects what is wrong with several documents.
#[derive(Debug)]
pub(crate) struct Wrong {
    look: Look,
    files: Vec<String>,
    count: usize,
    shown: String,
}

impl Wrong {
    /// No problems yet.
    pub(crate) fn new(look: Look) -> Self {
        Self { look, files: Vec::new(), count: 0, shown: String::new() }
    }

    /// Adds the problems of a document.
    pub(crate) fn add(&mut self, document: &Document, problems: &Problems) {
        let shown = problems::show(document, &problems.0, self.look);
        self.add_shown(&document.file, problems.0.len(), &shown);
    }

    /// Adds a file that can't be read as documents.
    pub(crate) fn add_file(&mut self, error: CliError) {
        if let CliError::Invalid { file, count, shown } = error {
            return self.add_shown(&file, count, &shown);
        }
        let path = if let CliError::Read { path, .. } = &error { path.as_str() } else { "" };
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        self.add_shown(path, 1, &(clean(&format!("{error}{cause}")) + "\n"));
    }

    fn add_shown(&mut self, file: &str, count: usize, shown: &str) {
        self.shown.push_str(shown);
        self.count += count;
        if !self.files.iter().any(|known| known == file) {
            self.files.push(file.to_owned());
        }
    }

    /// Whether there are no problems.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// An error that shows all problems, if there are any.
    pub(crate) fn none_or_error(self) -> Result<(), CliError> {
        if self.is_empty() {
            return Ok(());
        }
        Err(CliError::Invalid { file: self.files.join(", "), count: self.count, shown: self.shown })
    }
}
