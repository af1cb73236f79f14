//! From text to documents that are known to be well-formed.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::document::{API_VERSION, Kind, PlaybookFile};
use super::draft::{self, Draft};
use super::explain::describe;
use super::problem::{Problem, Problems, code, did_you_mean};
use super::schema;
use super::source::PluginSource;
use super::text::{Limits, Text};

/// A playbook's document, parsed and checked as far as that goes without its plugins.
#[derive(Clone, Debug)]
pub struct PlaybookDocument {
    text: Text,
    draft: Draft,
}

/// Reads a playbook. Everything that is wrong with it, and can be known without its plugins, is
/// reported at once; [`resolve`](super::resolve) reports the rest.
///
/// # Errors
/// The problems, each with path, line and column. What has the wrong structure is not examined
/// further; the rest of the document is.
pub fn parse_playbook(text: &[u8]) -> Result<PlaybookDocument, Problems> {
    let text = Text::read(text, Limits::PLAYBOOK)?;
    let (file, mut problems, repaired) = read_as::<PlaybookFile>(&text, Kind::Playbook)?;
    let mut rules = Vec::new();
    let draft = file.map(|file| draft::draft(file, &mut rules));
    // A rule may miss a value that was left out, or mind one that stands in for another.
    problems.extend(rules.into_iter().filter(|problem| !repaired.contains(&problem.path)));
    text.check(problems)?;
    match draft {
        Some(draft) => Ok(PlaybookDocument { text, draft }),
        None => Err(Problem::new(code::BAD_VALUE, "", "the document can't be read").into()),
    }
}

/// Tells which kind of document a text is, without checking the rest of it.
pub fn kind_of(text: &[u8]) -> Result<Kind, Problems> {
    let text = Text::read(text, Limits::CLUSTER)?;
    read_head(&text)
}

impl PlaybookDocument {
    /// Name of the playbook.
    pub fn name(&self) -> &str {
        &self.draft.playbook.name
    }

    /// Version of the playbook.
    pub fn version(&self) -> &semver::Version {
        &self.draft.playbook.version
    }

    /// The plugins that the document names; built-in ones are not among them.
    pub fn plugins(&self) -> Vec<PluginSource> {
        self.draft.plugins.values().map(|declared| declared.source.clone()).collect()
    }

    /// The document without comments and layout.
    pub fn content(&self) -> Value {
        self.text.value.clone()
    }

    /// A problem that others found at a place of the document (a JSON pointer, such as
    /// `/spec/plugins/NAME/source`), with line and column.
    pub fn problem_at(&self, pointer: &str, code: &str, message: String) -> Problem {
        let mut problems = [Problem::new(code, pointer, message)];
        self.text.locate(&mut problems);
        let [problem] = problems;
        problem
    }

    pub(super) fn draft(&self) -> &Draft {
        &self.draft
    }

    /// Gives the problems their line and column. No problems, no error.
    pub(super) fn check(&self, problems: Vec<Problem>) -> Result<(), Problems> {
        self.text.check(problems)
    }
}

fn read_head(text: &Text) -> Result<Kind, Problems> {
    let fail = |problem: Problem| text.check(vec![problem]);
    let head = |key: &str, expected: &str| -> Result<&str, Problems> {
        let found = text.value.get(key);
        if let Some(Value::String(word)) = found {
            return Ok(word);
        }
        let problem = match found {
            None => Problem::new(code::MISSING_KEY, "", format!("the key {key:?} is missing")),
            Some(other) => Problem::new(code::WRONG_TYPE, format!("/{key}"), "wrong type of value")
                .found(describe(other)),
        };
        fail(problem.expected(expected))?;
        Ok("")
    };
    if !text.value.is_object() {
        let problem = Problem::new(code::WRONG_TYPE, "", "this is no document");
        let expected = "a mapping with apiVersion, kind, metadata and spec";
        fail(problem.found(describe(&text.value)).expected(expected))?;
    }
    let kinds = "one of Playbook, Cluster";
    let version = head("apiVersion", API_VERSION)?;
    if version != API_VERSION {
        let problem =
            Problem::new(code::UNKNOWN_KIND, "/apiVersion", "unknown version of the format");
        fail(problem.found(format!("{version:?}")).expected(API_VERSION))?;
    }
    let word = head("kind", kinds)?;
    if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str() == word) {
        return Ok(kind);
    }
    let message = match did_you_mean(word, Kind::ALL.map(Kind::as_str)) {
        Some(meant) => format!("unknown kind of document: did you mean {meant:?}?"),
        None => "unknown kind of document".to_owned(),
    };
    let problem = Problem::new(code::UNKNOWN_KIND, "/kind", message);
    fail(problem.found(format!("{word:?}")).expected(kinds))?;
    Ok(Kind::Playbook)
}

/// A document as authored, what its schema finds wrong with it, and the places of what was left out
/// or replaced for that, and around them.
type Read<T> = (Option<T>, Vec<Problem>, Vec<String>);

/// Reads a document as the type of its kind. What its schema finds wrong is left out, so that the
/// rest can be examined, where it makes sense without.
pub(super) fn read_as<T: DeserializeOwned>(text: &Text, kind: Kind) -> Result<Read<T>, Problems> {
    let found = read_head(text)?;
    if found != kind {
        let problem = Problem::new(code::UNKNOWN_KIND, "/kind", "this is another kind of document");
        text.check(vec![problem.found(found).expected(kind.as_str())])?;
    }
    let mut problems = schema::check_document(kind, &text.value);
    if problems.is_empty() {
        match T::deserialize(&text.value) {
            Ok(file) => return Ok((Some(file), problems, vec![])),
            // The types and the schema made from them would have to differ.
            Err(error) => problems.push(Problem::new(code::BAD_VALUE, "", error.to_string())),
        }
        return Ok((None, problems, vec![]));
    }
    let mut rest = text.value.clone();
    let mut repaired = Vec::new();
    for problem in &problems {
        let Some((parent, key)) = problem.path.rsplit_once('/') else { continue };
        let Some(Value::Object(object)) = rest.pointer_mut(parent) else { continue };
        object.shift_remove(&key.replace("~1", "/").replace("~0", "~"));
        if problem.code != code::UNKNOWN_KEY
            && let Some(value) = stand_in(parent, key)
        {
            object.insert(key.to_owned(), value);
        }
        repaired.extend([parent.to_owned(), problem.path.clone()]);
    }
    Ok((T::deserialize(&rest).ok(), problems, repaired))
}

/// What stands in for a value that is missing or wrong and without which nothing can be read.
fn stand_in(parent: &str, key: &str) -> Option<Value> {
    match key {
        "version" => Some("0.0.0".into()),
        "name" | "repository" | "source" | "id" | "address" | "url" | "cluster" => Some("".into()),
        "use" if parent.ends_with("/strategy") => Some("".into()),
        "strategy" => Some(json!({"use": ""})),
        "stages" | "steps" => Some(json!([])),
        "params" => Some(json!({})),
        "attempts" => Some(1.into()),
        _ => None,
    }
}
