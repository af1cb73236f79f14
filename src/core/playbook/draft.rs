//! Makes a draft of a playbook as authored: the whole playbook but for the pins of its plugins. All the rules are
//! here that a JSON Schema can't express and that need no plugin, so a document can be checked without its
//! plugins.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use semver::Version;
use serde_json::Value;

use super::document::{PlaybookFile, StageFile};
use super::draft_once::once_of;
use super::expr::{Expr, ExprError};
use super::grants::Grants;
use super::model::{Concurrency, Playbook, PluginKind, Stage, Vcs};
use super::params;
use super::problem::{Problem, code, excerpt};
use super::references::Names;
use super::secrets::SecretGrant;
use super::source::PluginSource;
use super::suspects::Suspects;
use super::template::Template;
use super::units;
use crate::time::Millis;

/// The built-in step that `action:` is short for.
pub(super) const ACTION: &str = "action";

/// A playbook whose plugins are not pinned yet.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// The playbook. Its `plugins` are empty, and its only grants are those of `action`.
    pub(super) playbook: Playbook,
    /// The plugins that the document names, in its order.
    pub(super) plugins: BTreeMap<String, Declared>,
    /// Every use of a plugin.
    pub(super) uses: Vec<PluginUse>,
}

/// A plugin that the document names.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Declared {
    pub(super) source: PluginSource,
    pub(super) grants: Grants,
}

/// One use of a plugin, by a strategy or a step of the playbook.
#[derive(Clone, Debug)]
pub(super) struct PluginUse {
    /// The name by which the stage uses the plugin.
    pub(super) name: String,
    /// What the plugin is used as.
    pub(super) kind: PluginKind,
    /// Index of the stage.
    pub(super) stage: usize,
    /// Index of the step in the stage; `None` for a strategy.
    pub(super) step: Option<usize>,
    /// Pointer to the stage's `strategy`, or to the step.
    pub(super) pointer: String,
    /// Whether the step is written as `action:`.
    pub(super) is_short: bool,
}

impl PluginUse {
    /// Pointer to the place that names the plugin.
    pub(super) fn name_pointer(&self) -> String {
        format!("{}/{}", self.pointer, if self.is_short { ACTION } else { "use" })
    }

    /// Pointer, in the document, to the place that is at `within` in the arguments.
    pub(super) fn argument_pointer(&self, within: &str) -> String {
        let Self { pointer, is_short, .. } = self;
        match within.strip_prefix("/kind") {
            _ if !is_short => format!("{pointer}/with{within}"),
            Some(rest) => format!("{pointer}/action{rest}"),
            None => format!("{pointer}{within}"),
        }
    }
}

/// Makes the draft, and adds the problems of the document. It may add problems that only follow from `suspects`;
/// the caller leaves those out.
pub(super) fn draft(file: PlaybookFile, suspects: &Suspects, problems: &mut Vec<Problem>) -> Draft {
    let PlaybookFile { metadata, spec, .. } = file;
    let steps_of = |stage: &StageFile| {
        let name = stage.name.clone();
        let steps = stage.all_steps().map(move |(_, _, step)| (name.clone(), step.name.clone()));
        steps.collect::<Vec<_>>()
    };
    let mut drafter = Drafter {
        problems: Vec::new(),
        uses: Vec::new(),
        declared: spec.plugins.keys().cloned().collect(),
        params: Arc::new(Value::Null),
        all_steps: spec.stages.iter().flat_map(steps_of).collect(),
        once: once_of(&spec.stages),
        steps_before: 0,
        granted: BTreeMap::new(),
        secrets: BTreeSet::new(),
    };
    let params = spec.params.map_or_else(params::no_params, Value::Object);
    drafter.params(&params, suspects);
    let plugins = spec.plugins.into_iter().map(|(name, plugin)| {
        let declared = drafter.plugin(&name, plugin);
        (name, declared)
    });
    let plugins = plugins.collect::<BTreeMap<_, _>>();
    drafter.unique("/spec/stages", "stage", spec.stages.iter().map(|stage| &stage.name));
    let stages: Vec<Stage> =
        spec.stages.into_iter().enumerate().map(|(i, s)| drafter.stage(i, s)).collect();
    let vcs = metadata.vcs;
    let (approval, approvers) = drafter.approval(spec.approval);
    let playbook = Playbook {
        name: metadata.name,
        version: drafter.version(&metadata.version),
        summary: spec.summary,
        vcs: vcs.map(|vcs| Vcs { repository: vcs.repository, commit: vcs.commit, path: vcs.path }),
        approval,
        approvers,
        concurrency: spec.concurrency.unwrap_or(Concurrency::Queue),
        params,
        plugins: BTreeMap::new(),
        stages,
    };
    problems.append(&mut drafter.problems);
    Draft {
        playbook,
        plugins: plugins.into_iter().filter_map(|(n, d)| Some((n, d?))).collect(),
        uses: drafter.uses,
    }
}

/// Collects problems while a draft is made.
pub(super) struct Drafter {
    pub(super) problems: Vec<Problem>,
    pub(super) uses: Vec<PluginUse>,
    /// Names of the plugins that the document declares.
    pub(super) declared: HashSet<String>,
    /// Schema of the parameters, against which names in expressions are checked. Null, which allows all names,
    /// when the document has no valid schema.
    pub(super) params: Arc<Value>,
    /// The steps of every stage, in order: name of the stage, name of the step.
    pub(super) all_steps: Arc<[(String, String)]>,
    /// Names of the stages on the run.
    pub(super) once: BTreeSet<String>,
    /// How many of `all_steps` belong to stages that were drafted before the current one.
    pub(super) steps_before: usize,
    /// The secrets that the document grants, by the names of its plugins.
    pub(super) granted: BTreeMap<String, Vec<SecretGrant>>,
    /// The names of all secrets that the document lets any step use.
    pub(super) secrets: BTreeSet<String>,
}

impl Drafter {
    /// Checks the schema of the parameters, and keeps it if it is valid.
    fn params(&mut self, params: &Value, suspects: &Suspects) {
        const PATH: &str = "/spec/params";
        let bad = params::check_schema(params).into_iter();
        let bad: Vec<_> = bad.map(|p| Problem { path: format!("{PATH}{}", p.path), ..p }).collect();
        if bad.is_empty() && !suspects.has(PATH) {
            self.params = Arc::new(params.clone());
        }
        self.problems.extend(bad);
    }

    pub(super) fn add(&mut self, code: &str, path: &str, message: &str) {
        self.problems.push(Problem::new(code, path, message));
    }

    pub(super) fn bad(&mut self, path: &str, what: &str, found: &str, expected: &str) {
        let problem = Problem::new(code::BAD_VALUE, path, format!("not a valid {what}"));
        self.problems.push(problem.found(format!("{found:?}")).expected(expected));
    }

    pub(super) fn unique<'a>(
        &mut self,
        path: &str,
        what: &str,
        names: impl Iterator<Item = &'a String>,
    ) {
        let mut seen = HashSet::new();
        for (index, name) in names.enumerate() {
            // A missing name is read as an empty text, and two missing names are no duplicate.
            if !seen.insert(name) && !name.is_empty() {
                let message = format!("there is another {what} with the name {name:?}");
                self.add(code::DUPLICATE, &format!("{path}/{index}/name"), &message);
            }
        }
    }

    fn version(&mut self, text: &str) -> Version {
        Version::parse(text).unwrap_or_else(|_| {
            let expected = "a semantic version such as 1.4.0";
            self.bad("/metadata/version", "version", text, expected);
            Version::new(0, 0, 0)
        })
    }

    pub(super) fn duration(&mut self, path: String, text: Option<String>) -> Option<Millis> {
        let text = text?;
        let duration = units::parse_duration(&text);
        if duration.is_none() {
            self.bad(&path, "length of time", &text, units::DURATION_EXPECTED);
        }
        duration
    }

    pub(super) fn expr(
        &mut self,
        path: &str,
        source: Option<String>,
        names: Names<'_>,
    ) -> Option<Expr> {
        match Expr::parse(&source?) {
            Ok(expr) => {
                self.names(path, &expr, names);
                self.no_secrets(path, &expr);
                Some(expr)
            }
            Err(error) => {
                self.bad_expression(path, &error);
                None
            }
        }
    }

    pub(super) fn template(
        &mut self,
        used: &PluginUse,
        source: Value,
        names: Names<'_>,
    ) -> Template {
        let (template, errors) = Template::read(source);
        for placed in template.expressions() {
            let path = used.argument_pointer(&placed.pointer);
            self.names(&path, placed.value, names);
            if used.kind == PluginKind::Strategy {
                self.no_secrets(&path, placed.value);
            }
        }
        for placed in errors {
            self.bad_expression(&used.argument_pointer(&placed.pointer), &placed.value);
        }
        template
    }

    fn names(&mut self, path: &str, expr: &Expr, names: Names<'_>) {
        for used in expr.paths() {
            if let Some(message) = names.check(&used) {
                let error = ExprError::invalid(expr.source(), message);
                self.bad_expression(path, &error);
            }
        }
    }

    fn bad_expression(&mut self, path: &str, error: &ExprError) {
        let (expression, message) = match error {
            ExprError::Invalid { expression, message }
            | ExprError::Failed { expression, message } => (expression, message),
        };
        let problem =
            Problem::new(code::BAD_EXPRESSION, path, format!("invalid expression: {message}"));
        self.problems.push(problem.found(excerpt(expression)));
    }
}
