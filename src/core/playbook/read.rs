//! Reads texts as documents. A document with problems is kept as far as it can be read, so that one report has all
//! the problems, and not only the first.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::document::{API_VERSION, Kind, PlaybookFile};
use super::draft::{self, Draft};
use super::explain::describe;
use super::grants::Grants;
use super::problem::{Problem, Problems, code, did_you_mean};
use super::repair::Repair;
use super::schema;
use super::source::PluginSource;
use super::suspects::Suspects;
use super::text::{Limits, Text};

/// The document of a playbook, parsed and checked as far as that is possible without its plugins.
#[derive(Clone, Debug)]
pub struct PlaybookDocument {
    text: Text,
    draft: Draft,
    problems: Vec<Problem>,
    suspects: Suspects,
}

/// Reads a playbook. Its problems are kept together with what could be read, so that [`resolve`](super::resolve)
/// reports them along with those of the plugins and their arguments. [`PlaybookDocument::check`] reports what is
/// known without the plugins.
///
/// # Errors
/// [`Problems`], each with path, line and column, when nothing further can be said about the document: it is not
/// YAML, exceeds a limit, or is of another kind.
///
/// # Example
/// ```
/// use replibook_core::playbook::parse_playbook;
///
/// let document = parse_playbook(b"
/// apiVersion: replicante.io/v1
/// kind: Playbook
/// metadata: { name: restart, version: 1.0.0 }
/// spec:
///   stages:
///     - name: all
///       strategy: { use: rolling }
///       budget: { max_failed: lots }
///       steps: [{ name: restart, action: demo.example.com/restart }]
/// ")?;
/// assert_eq!(document.name(), "restart");
///
/// let problem = &document.check().unwrap_err().0[0];
/// assert_eq!((problem.line, problem.path.as_str()), (Some(9), "/spec/stages/0/budget/max_failed"));
/// assert_eq!(problem.found.as_deref(), Some("\"lots\""));
/// let expected = problem.expected.as_deref().unwrap_or_default();
/// assert!(expected.starts_with("a number of agents such as 2"), "{expected}");
/// # Ok::<(), replibook_core::playbook::Problems>(())
/// ```
pub fn parse_playbook(text: &[u8]) -> Result<PlaybookDocument, Problems> {
    let text = Text::read(text, Limits::PLAYBOOK)?;
    let Read { file, mut problems, suspects } = read_as::<PlaybookFile>(&text, Kind::Playbook)?;
    let mut rules = Vec::new();
    let draft = draft::draft(file, &suspects, &mut rules);
    problems.extend(rules.into_iter().filter(|problem| !suspects.explain(problem)));
    text.locate(&mut problems);
    Ok(PlaybookDocument { text, draft, problems, suspects })
}

/// Tells which kind of document a text is, without checking the rest. A misspelled kind is taken for the kind that
/// was probably meant.
///
/// # Example
/// ```
/// use replibook_core::playbook::{Kind, kind_of};
///
/// assert_eq!(kind_of(b"apiVersion: replicante.io/v1\nkind: Cluster")?, Kind::Cluster);
/// let problems = kind_of(b"apiVersion: replicante.io/v1\nkind: Secret").unwrap_err();
/// assert_eq!(
///     problems.to_string(),
///     "2:7: /kind: unknown kind of document; found \"Secret\"; expected one of Playbook, Cluster, Policy, Access, Inventory",
/// );
/// # Ok::<(), replibook_core::playbook::Problems>(())
/// ```
pub fn kind_of(text: &[u8]) -> Result<Kind, Problems> {
    let text = Text::read(text, Limits::CLUSTER)?;
    read_head(&text).map(|(kind, _)| kind)
}

impl PlaybookDocument {
    /// Name that the playbook gives itself.
    pub fn name(&self) -> &str {
        &self.draft.playbook.name
    }

    /// Version that the playbook gives itself.
    pub fn version(&self) -> &semver::Version {
        &self.draft.playbook.version
    }

    /// The plugins that the document declares, without the built-in ones.
    pub fn plugins(&self) -> Vec<PluginSource> {
        self.draft.plugins.values().map(|declared| declared.source.clone()).collect()
    }

    /// Whether the document grants anything to any of the plugins that it declares, or a secret to a built-in step.
    pub fn grants_anything(&self) -> bool {
        let mut steps = self.draft.playbook.stages.iter().flat_map(|stage| &stage.steps);
        self.draft.plugins.values().any(|declared| declared.grants != Grants::default())
            || steps.any(|step| step.grants.has_secrets())
    }

    /// The document as a value, without comments and layout.
    pub fn content(&self) -> Value {
        self.text.value.clone()
    }

    /// Makes a problem that was found outside of this crate, and gives it the line and column of its place.
    /// `pointer` is a JSON pointer such as `/spec/plugins/NAME/source`.
    ///
    /// # Example
    /// ```
    /// use replibook_core::playbook::{code, parse_playbook};
    ///
    /// let document = parse_playbook(b"
    /// apiVersion: replicante.io/v1
    /// kind: Playbook
    /// metadata: { name: restart, version: 1.0.0 }
    /// spec:
    ///   plugins: { mine: { source: 'file:mine.wasm' } }
    ///   stages: []
    /// ")?;
    /// let at = "/spec/plugins/mine/source";
    /// let problem = document.problem_at(at, code::UNKNOWN_PLUGIN, "no such file".to_owned());
    /// assert_eq!(problem.to_string(), format!("6:30: {at}: no such file"));
    /// # Ok::<(), replibook_core::playbook::Problems>(())
    /// ```
    pub fn problem_at(&self, pointer: &str, code: &str, message: String) -> Problem {
        let mut problems = [Problem::new(code, pointer, message)];
        self.text.locate(&mut problems);
        let [problem] = problems;
        problem
    }

    /// Reports everything that is wrong with the document and can be known without its plugins.
    ///
    /// # Errors
    /// [`Problems`], if there are any.
    pub fn check(&self) -> Result<(), Problems> {
        Problems::check(self.problems.clone())
    }

    pub(super) fn draft(&self) -> &Draft {
        &self.draft
    }

    /// Whether the document declares a plugin of this name, or may do so in a part that can't be read.
    pub(super) fn may_declare(&self, name: &str) -> bool {
        let declared = self.text.value.pointer("/spec/plugins").and_then(|all| all.get(name));
        declared.is_some() || self.suspects.has("/spec/plugins")
    }

    /// Reports the problems of the document together with `further` ones, without those that only follow from
    /// others. `Ok` if there are no problems.
    pub(super) fn check_with(&self, further: Vec<Problem>) -> Result<(), Problems> {
        let further = further.into_iter().filter(|problem| !self.suspects.explain(problem));
        let mut problems = self.problems.clone();
        problems.extend(further);
        self.text.check(problems)
    }
}

/// The kind of a document, and the problems of its head.
fn read_head(text: &Text) -> Result<(Kind, Vec<Problem>), Problems> {
    if !text.value.is_object() {
        let problem = Problem::new(code::WRONG_TYPE, "", "this is not a document");
        let expected = "a mapping with apiVersion, kind, metadata and spec";
        return fail(text, vec![problem.found(describe(&text.value)).expected(expected)]);
    }
    let mut problems = Vec::new();
    match word(text, "apiVersion", API_VERSION) {
        Ok(API_VERSION) => {}
        Ok(other) => {
            let problem =
                Problem::new(code::UNKNOWN_KIND, "/apiVersion", "unknown version of the format");
            problems.push(problem.found(format!("{other:?}")).expected(API_VERSION));
        }
        Err(problem) => problems.push(*problem),
    }
    let kinds = "one of Playbook, Cluster, Policy, Access, Inventory";
    let found = match word(text, "kind", kinds) {
        Ok(found) => found,
        Err(problem) => {
            problems.push(*problem);
            return fail(text, problems);
        }
    };
    let named = |word: &str| Kind::ALL.into_iter().find(|kind| kind.as_str() == word);
    if let Some(kind) = named(found) {
        return Ok((kind, problems));
    }
    let meant = did_you_mean(found, Kind::ALL.map(Kind::as_str));
    let message = match meant {
        Some(meant) => format!("unknown kind of document: did you mean {meant:?}?"),
        None => "unknown kind of document".to_owned(),
    };
    let problem = Problem::new(code::UNKNOWN_KIND, "/kind", message);
    problems.push(problem.found(format!("{found:?}")).expected(kinds));
    match meant.and_then(named) {
        Some(kind) => Ok((kind, problems)),
        None => fail(text, problems),
    }
}

/// Fails with these problems and with those of the text.
fn fail<T>(text: &Text, mut problems: Vec<Problem>) -> Result<T, Problems> {
    problems.extend(text.problems.iter().cloned());
    text.locate(&mut problems);
    Err(Problems::of(problems))
}

fn word<'t>(text: &'t Text, key: &str, expected: &str) -> Result<&'t str, Box<Problem>> {
    let problem = match text.value.get(key) {
        Some(Value::String(word)) => return Ok(word),
        None => Problem::new(code::MISSING_KEY, "", format!("the key {key:?} is missing")),
        Some(other) => Problem::new(code::WRONG_TYPE, format!("/{key}"), "wrong type of value")
            .found(describe(other)),
    };
    Err(Box::new(problem.expected(expected)))
}

/// A document as authored, and the problems that its text and its schema have.
pub(super) struct Read<T> {
    pub(super) file: T,
    pub(super) problems: Vec<Problem>,
    pub(super) suspects: Suspects,
}

/// Reads a document as the type of its kind. Parts with a wrong structure are left out or replaced by stand-ins,
/// so that the rest can be checked.
pub(super) fn read_as<T: DeserializeOwned>(text: &Text, kind: Kind) -> Result<Read<T>, Problems> {
    let (found, mut problems) = read_head(text)?;
    if found != kind {
        let problem = Problem::new(code::UNKNOWN_KIND, "/kind", "this is another kind of document");
        problems.push(problem.found(found).expected(kind.as_str()));
        return fail(text, problems);
    }
    problems.extend(text.problems.iter().cloned());
    let structure = schema::check_document(kind, &text.value);
    if structure.is_empty() && text.suspects.is_empty() {
        match T::deserialize(&text.value) {
            Ok(file) => return Ok(Read { file, problems, suspects: Suspects::default() }),
            // This happens only if the types and the schema made from them differ.
            Err(error) => problems.push(Problem::new(code::BAD_VALUE, "", error.to_string())),
        }
        return fail(text, problems);
    }
    let mut repair = Repair::of(kind, text);
    problems.extend(repair.repair(structure));
    match T::deserialize(&repair.value) {
        Ok(file) => Ok(Read { file, problems, suspects: repair.suspects }),
        // More was wrong than can be repaired.
        Err(_) => fail(text, problems),
    }
}
