//! Reads files of documents and of plugins, within limits that the server has too, so that a wrong file is
//! refused before anything is sent.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::error::CliError;
use super::problems::{self, Look};
use super::text::clean;
use crate::playbook::policy::{MAX_SIGNATURE_BYTES, Signature, read_signatures};
use crate::playbook::{MAX_CLUSTER_BYTES, Problems, kind_of};

/// The largest file of documents in bytes: the largest document, a cluster of 100,000 listed agents.
pub(crate) const MAX_FILE_BYTES: u64 = MAX_CLUSTER_BYTES as u64;

/// The most documents in one file, so that a wrong file is refused before anything is sent.
pub(crate) const MAX_DOCUMENTS: usize = 100;

/// The largest plugin in bytes, which is the server's limit too: plugins that contain a language runtime have
/// some tens of MiB.
pub(crate) const MAX_PLUGIN_BYTES: u64 = 64 * 1024 * 1024;

/// One document of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    /// Name of the file, as it was given on the command line.
    pub file: String,
    /// The document's own text.
    pub text: String,
    /// Number of lines before the text in its file, to show problems at the right line.
    pub first_line: u32,
}

/// Reads the documents of a file, or of standard input for `-`.
///
/// # Errors
/// The file can't be read, is not UTF-8, is too large, or has no document or too many.
pub(crate) fn read_documents(path: &Path) -> Result<Vec<Document>, CliError> {
    let (file, bytes) = if path.as_os_str() == "-" {
        let file = "standard input".to_owned();
        let bytes = read_within(&mut io::stdin().lock(), MAX_FILE_BYTES);
        (file, bytes)
    } else {
        let bytes = std::fs::File::open(path)
            .and_then(|mut opened| read_within(&mut opened, MAX_FILE_BYTES));
        (path.display().to_string(), bytes)
    };
    let bytes = bytes.map_err(|source| CliError::Read { path: file.clone(), source })?;
    let text = decode(&file, bytes)?;
    let documents = split(&file, &text);
    match documents.len() {
        0 => Err(invalid(&file, "found no document")),
        1..=MAX_DOCUMENTS => Ok(documents),
        found => Err(invalid(
            &file,
            &format!("found {found} documents, expected at most {MAX_DOCUMENTS}"),
        )),
    }
}

/// The text without a byte order mark, which would move every marker on its first line.
fn decode(file: &str, bytes: Vec<u8>) -> Result<String, CliError> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)),
        Err(error) => {
            let problems = match kind_of(error.as_bytes()) {
                Err(Problems(problems)) => problems,
                Ok(_) => Vec::new(),
            };
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let document = Document { file: file.to_owned(), text, first_line: 0 };
            let shown = problems::show(&document, &problems, Look::default());
            Err(CliError::Invalid { file: file.to_owned(), count: problems.len(), shown })
        }
    }
}

/// Reads the plugin in `file`.
pub(crate) fn read_plugin(file: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for somebody to write to it.
    let metadata = std::fs::metadata(file)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "expected an ordinary file"));
    }
    if metadata.len() > MAX_PLUGIN_BYTES {
        return Err(too_large(MAX_PLUGIN_BYTES));
    }
    let mut file = std::fs::File::open(file)?;
    let mut begins = Vec::new();
    (&mut file).take(8).read_to_end(&mut begins)?;
    check_component(&begins)?;
    // The file may grow in the meantime.
    read_within(&mut begins.chain(file), MAX_PLUGIN_BYTES)
}

/// The file with the signatures of the plugin in `file`.
pub(crate) fn signatures_file(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

/// Reads the signatures beside the plugin in `file`; none if there is no such file.
pub(crate) fn read_signatures_of(file: &Path) -> io::Result<Vec<Signature>> {
    let path = signatures_file(file);
    let metadata = match std::fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "expected an ordinary file"));
    }
    let bytes = read_within(&mut std::fs::File::open(path)?, MAX_SIGNATURE_BYTES as u64)?;
    let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
    let text = String::from_utf8(bytes).map_err(|_| invalid("found no UTF-8".to_owned()))?;
    read_signatures(&text).map_err(|error| invalid(error.to_string()))
}

/// Checks the first bytes of a plugin. A document may come from anybody, and may name any file of the person
/// who applies it: a file that is not a component is not read further, sent or shown.
fn check_component(begins: &[u8]) -> io::Result<()> {
    let found = match begins {
        // The version of the format is followed by the layer: 0 is a module, 1 a component.
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0] => return Ok(()),
        [0, b'a', b's', b'm', _, _, 0, 0] => {
            "a core module of WebAssembly, expected a component: `wasm-tools component new` makes one from it"
        }
        [0, b'a', b's', b'm', _, _, 1, 0] => {
            "a component of another version of the format, expected version 13: another version of its tools \
             writes that"
        }
        [0, b'a', b's', b'm', ..] => "WebAssembly of an unknown layer, expected a component",
        [] => "an empty file, expected a WebAssembly component",
        _ => "a file that is no WebAssembly, expected a component",
    };
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("found {found}")))
}

/// The folder that `file:` sources of a document are relative to.
pub(crate) fn base_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if path.as_os_str() != "-" => parent.to_owned(),
        Some(_) | None => PathBuf::new(),
    }
}

/// Reads `from` to its end, and fails beyond `most` bytes.
pub(crate) fn read_within(from: &mut dyn Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(too_large(most));
    }
    Ok(bytes)
}

fn too_large(most: u64) -> io::Error {
    let message = format!("found more bytes than {most}");
    io::Error::new(io::ErrorKind::FileTooLarge, message)
}

fn invalid(file: &str, message: &str) -> CliError {
    CliError::Invalid {
        file: file.to_owned(),
        count: 1,
        shown: format!("{}: {message}\n", clean(file)),
    }
}

/// Splits a text at the lines that begin a YAML document. By YAML's own rules, `---` in the first column begins
/// one even inside a block of text.
fn split(file: &str, text: &str) -> Vec<Document> {
    let mut documents = Vec::new();
    let mut start = Document { file: file.to_owned(), text: String::new(), first_line: 0 };
    for (line, number) in text.split_inclusive('\n').zip(0_u32..) {
        let begins = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r']));
        // Comments before the first document belong to it.
        if begins && !(documents.is_empty() && is_preamble(&start.text)) {
            let next = Document { text: String::new(), first_line: number, ..start.clone() };
            documents.push(std::mem::replace(&mut start, next));
        }
        start.text.push_str(line);
    }
    documents.push(start);
    documents.retain(|document| !is_blank(&document.text));
    documents
}

/// Whether the text has only comments and directives.
fn is_preamble(text: &str) -> bool {
    text.lines().all(|line| line.trim().is_empty() || line.starts_with(['#', '%']))
}

fn is_blank(text: &str) -> bool {
    text.lines().map(str::trim).all(|line| {
        line.is_empty() || line.starts_with(['#', '%']) || matches!(line, "---" | "...")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_split_into_its_documents_with_their_lines() {
        let text = "# two\n---\nkind: A\n--- # second\nkind: B\ntext: |\n  ---\n---\n...\n";
        let documents = split("f", text);
        let found: Vec<(&str, u32)> =
            documents.iter().map(|found| (found.text.as_str(), found.first_line)).collect();
        let first = ("# two\n---\nkind: A\n", 0);
        assert_eq!(found, [first, ("--- # second\nkind: B\ntext: |\n  ---\n", 3)]);
        let preamble =
            "%YAML 1.2\n# Of the team.\n\n---\napiVersion: replicante.io/v1\nkind: Cluster\n";
        let documents = split("f", preamble);
        assert_eq!((documents.len(), documents[0].text.as_str()), (1, preamble));
        assert_eq!(kind_of(documents[0].text.as_bytes()), Ok(crate::playbook::Kind::Cluster));
        assert_eq!(split("f", "---\n---\nkind: A\n")[0].first_line, 1);
        assert_eq!(split("f", "kind: A").len(), 1);
        assert_eq!(split("f", "---x: 1").len(), 1);
    }

    #[test]
    fn files_past_the_limits_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("many.yaml");
        std::fs::write(&file, "---\na: 1\n".repeat(MAX_DOCUMENTS + 1)).unwrap();
        let CliError::Invalid { shown, .. } = read_documents(&file).unwrap_err() else { panic!() };
        assert!(shown.contains("found 101 documents, expected at most 100"), "{shown}");

        std::fs::File::create(&file).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
        let CliError::Read { source, .. } = read_documents(&file).unwrap_err() else { panic!() };
        assert_eq!(source.kind(), io::ErrorKind::FileTooLarge);

        std::fs::File::create(&file).unwrap().set_len(MAX_PLUGIN_BYTES + 1).unwrap();
        assert!(read_plugin(&file).is_err());
        assert!(read_plugin(folder.path()).is_err());
    }

    #[test]
    fn only_a_component_is_read_as_a_plugin() {
        let folder = tempfile::tempdir().unwrap();
        let read = |bytes: &[u8]| {
            let file = folder.path().join("x");
            std::fs::write(&file, bytes).unwrap();
            read_plugin(&file).map_err(|error| error.to_string())
        };
        let component = b"\0asm\x0d\0\x01\0and more";
        assert_eq!(read(component).unwrap(), component);
        for (bytes, says) in [
            (&b"\0asm\x01\0\0\0and more"[..], "found a core module of WebAssembly"),
            (b"\0asm\x0e\0\x01\0", "found a component of another version of the format"),
            (b"\0asm\x0d\0\x02\0", "found WebAssembly of an unknown layer"),
            (b"\0asm", "found WebAssembly of an unknown layer"),
            (b"", "found an empty file"),
            (b"root:x:0:0:root:/root:/bin/bash\n", "found a file that is no WebAssembly"),
            (b"(component)", "found a file that is no WebAssembly"),
        ] {
            let error = read(bytes).unwrap_err();
            assert!(error.starts_with(says) && !error.contains("root"), "{error}");
        }
    }

    #[test]
    fn a_file_without_a_document_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("empty.yaml");
        std::fs::write(&file, "# nothing\n").unwrap();
        assert!(matches!(read_documents(&file), Err(CliError::Invalid { .. })));
        assert!(matches!(read_documents(folder.path()), Err(CliError::Read { .. })));
    }

    #[test]
    fn plugins_are_beside_the_document() {
        assert_eq!(base_of(Path::new("a/b.yaml")), Path::new("a"));
        assert_eq!(base_of(Path::new("b.yaml")), Path::new(""));
        assert_eq!(base_of(Path::new("-")), Path::new(""));
    }
}
