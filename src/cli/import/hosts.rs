//! Where the text of an inventory of Ansible comes from, and what of it only Ansible could read.

use std::io;
use std::path::Path;

use super::notes::Notes;
use crate::agent::gateway::list_by_ansible;
use crate::cli::error::CliError;
use crate::cli::files::{MAX_FILE_BYTES, read_within};

/// Folders beside an inventory from which Ansible takes variables.
const BESIDE: [&str; 2] = ["group_vars", "host_vars"];

/// Tags of YAML that Ansible gives to texts. The vault's text is known by how it begins, with its tag or without.
const TAGS: [&str; 3] = ["!vault-encrypted", "!vault", "!unsafe"];

/// The text of an inventory, and the name by which a person knows it.
pub(super) struct Read {
    pub(super) file: String,
    pub(super) bytes: Vec<u8>,
}

/// Reads a file, standard input for `-`, or what `ansible-inventory` prints about the file.
pub(super) async fn read(from: &Path, run: bool, notes: &mut Notes) -> Result<Read, CliError> {
    if run {
        let file = format!("ansible-inventory -i {} --list", from.display());
        let bytes = list_by_ansible(from).await;
        let failed =
            |message| CliError::Read { path: file.clone(), source: io::Error::other(message) };
        let bytes = bytes.map_err(failed)?;
        return Ok(Read { file, bytes });
    }
    if from.as_os_str() == "-" {
        let bytes = read_within(&mut io::stdin().lock(), MAX_FILE_BYTES);
        let path = "standard input".to_owned();
        let bytes = bytes.map_err(|source| CliError::Read { path: path.clone(), source })?;
        return Ok(Read { file: path, bytes });
    }
    let file = from.display().to_string();
    let only_ansible = |what: &str| {
        let message = format!(
            "{file} is {what}, which only Ansible can read: add --run, or give what \
                               `ansible-inventory -i {file} --list` prints"
        );
        Err(CliError::Usage(message))
    };
    let opened = std::fs::metadata(from).and_then(|about| match about.is_dir() {
        true => Ok(None),
        false => read_within(&mut std::fs::File::open(from)?, MAX_FILE_BYTES).map(Some),
    });
    let Some(bytes) = opened.map_err(|source| CliError::Read { path: file.clone(), source })?
    else {
        return only_ansible("a folder");
    };
    if bytes.starts_with(b"#!") {
        return only_ansible("a script");
    }
    for folder in BESIDE {
        let beside = from.parent().unwrap_or(Path::new("")).join(folder);
        if beside.is_dir() {
            notes.all(format!(
                "the variables in {} are left out: only Ansible reads them; add --run",
                beside.display()
            ));
        }
    }
    Ok(Read { file, bytes })
}

/// The text with white space in the place of Ansible's tags, so that each line and column stays where it is.
pub(super) fn without_tags(bytes: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(bytes) else { return bytes.to_vec() };
    if text.trim_start().starts_with(['{', '[']) {
        return bytes.to_vec();
    }
    let lines = text.split_inclusive('\n').map(|line| match tag(line) {
        Some((before, tag, after)) => format!("{before}{:width$}{after}", "", width = tag.len()),
        None => line.to_owned(),
    });
    lines.collect::<String>().into_bytes()
}

/// A tag of Ansible's as the first thing of a value, with what is before it and after it.
fn tag(line: &str) -> Option<(&str, &str, &str)> {
    let (at, tag) = TAGS.iter().find_map(|tag| Some((line.find(tag)?, *tag)))?;
    let (before, rest) = line.split_at(at);
    let after = rest.get(tag.len()..)?;
    let begins_value = before.ends_with(' ') && before.trim_end().ends_with([':', '-']);
    let is_plain = !before.contains(['#', '"', '\'']);
    let ends = after.is_empty() || after.starts_with(char::is_whitespace);
    (begins_value && is_plain && ends).then_some((before, tag, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_leave_room_behind() {
        for (text, expected) in [
            ("a: !vault |\n  x\n", "a:        |\n  x\n"),
            ("- !unsafe '{{ x }}'\n", "-         '{{ x }}'\n"),
            ("a: !vault-encrypted |", "a:                  |"),
            ("a: b # !vault |\n", "a: b # !vault |\n"),
            ("a: \"see: !vault |\"\n", "a: \"see: !vault |\"\n"),
            ("a: !vaulted x\n", "a: !vaulted x\n"),
            ("{\"a\": !vault }\n", "{\"a\": !vault }\n"),
        ] {
            assert_eq!(String::from_utf8(without_tags(text.as_bytes())).unwrap(), expected);
        }
        assert_eq!(without_tags(b"a: \xff"), b"a: \xff");
    }
}
