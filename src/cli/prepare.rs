//! Reads documents and the plugins beside them, and finds all that is wrong before anything is sent.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::error::CliError;
use super::files::{Document, base_of, read_documents, read_plugin};
use super::problems;
use crate::playbook::{
    Cluster, Kind, PlaybookDocument, Problem, Problems, Source, kind_of, parse_cluster,
    parse_playbook,
};
use crate::run::Digest;

/// A document that was read well.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Its text.
    pub document: Document,
    /// What it is.
    pub what: What,
}

/// The kinds of document, with what belongs to them.
#[derive(Debug)]
pub(crate) enum What {
    /// A playbook.
    Playbook {
        /// The document.
        playbook: Box<PlaybookDocument>,
        /// The plugins that lie beside it.
        files: Vec<PluginFile>,
    },
    /// A cluster.
    Cluster(Box<Cluster>),
}

/// A plugin that lies beside its playbook.
#[derive(Clone, Debug)]
pub(crate) struct PluginFile {
    /// Name in the document.
    pub name: String,
    /// Digest of the bytes.
    pub digest: Digest,
    /// The bytes.
    pub bytes: Bytes,
}

/// Reads all documents of all files.
///
/// # Errors
/// [`CliError::Invalid`] with the problems of all of them, when there are any; [`CliError::Read`]
/// for the first file that can't be read.
pub(crate) fn prepare(paths: &[PathBuf], colour: bool) -> Result<Vec<Prepared>, CliError> {
    let mut prepared = Vec::new();
    let mut wrong = Wrong::default();
    for path in paths {
        for document in read_documents(path)? {
            match understand(&document, &base_of(path)) {
                Ok(what) => prepared.push(Prepared { document, what }),
                Err(problems) => wrong.add(&document, &problems, colour),
            }
        }
    }
    wrong.none_or_error()?;
    Ok(prepared)
}

fn understand(document: &Document, base: &Path) -> Result<What, Problems> {
    let bytes = document.text.as_bytes();
    match kind_of(bytes)? {
        Kind::Cluster => Ok(What::Cluster(Box::new(parse_cluster(bytes)?))),
        Kind::Playbook => {
            let playbook = parse_playbook(bytes)?;
            let files = read_files(&playbook, base)?;
            Ok(What::Playbook { playbook: Box::new(playbook), files })
        }
    }
}

fn read_files(playbook: &PlaybookDocument, base: &Path) -> Result<Vec<PluginFile>, Problems> {
    let mut files = Vec::new();
    let mut problems = Vec::new();
    for plugin in playbook.plugins() {
        let Source::File(path) = &plugin.source else { continue };
        match read_plugin(base, path) {
            Ok(bytes) => {
                let (digest, bytes) = (Digest::of(&bytes), Bytes::from(bytes));
                files.push(PluginFile { name: plugin.name.clone(), digest, bytes });
            }
            Err(error) => {
                let message = format!("failed to read the plugin: {error}");
                let mut problem =
                    plugin_problem(playbook, &plugin.name, "plugin-unreadable", message);
                problem.found = Some(base.join(path).display().to_string());
                problems.push(problem);
            }
        }
    }
    if problems.is_empty() { Ok(files) } else { Err(Problems(problems)) }
}

/// A problem with a plugin that a playbook names, at the place where it does.
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
#[derive(Debug, Default)]
pub(crate) struct Wrong {
    files: Vec<String>,
    count: usize,
    shown: String,
}

impl Wrong {
    /// Adds the problems of a document.
    pub(crate) fn add(&mut self, document: &Document, problems: &Problems, colour: bool) {
        self.shown.push_str(&problems::show(document, &problems.0, colour));
        self.count += problems.0.len();
        if !self.files.contains(&document.file) {
            self.files.push(document.file.clone());
        }
    }

    /// An error if there was anything.
    pub(crate) fn none_or_error(self) -> Result<(), CliError> {
        if self.count == 0 {
            return Ok(());
        }
        Err(CliError::Invalid { file: self.files.join(", "), count: self.count, shown: self.shown })
    }
}
