//! From a playbook as authored to one that lacks nothing but the pins of its plugins: every rule
//! that a schema can't say and that needs no plugin.

use std::collections::{BTreeMap, HashSet};

use semver::Version;
use serde_json::{Map, Value, json};

use super::document::{PlaybookFile, PluginFile, StageFile, StepFile};
use super::expr::{Expr, ExprError};
use super::model::{
    Amount, Approval, Budget, BudgetScope, Concurrency, Grants, Membership, OnAdded, OnError,
    OnExceeded, OnRemoved, Playbook, PluginKind, Retry, Stage, Step, StrategyUse, Vcs,
};
use super::names;
use super::params;
use super::problem::{Problem, code, excerpt};
use super::references::{IN_SELECT, IN_STEP, IN_STRATEGY, Names};
use super::source::{PluginSource, SOURCE_EXPECTED, Source};
use super::spans::push_segment;
use super::template::Template;
use super::units;
use crate::run::{Digest, Millis};

/// The built-in step that `action:` is short for.
pub(super) const ACTION: &str = "action";

/// A playbook without the pins of its plugins.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// The playbook; `plugins` is empty, and of the grants there are only those of `action`.
    pub(super) playbook: Playbook,
    /// The plugins that the document names, in its order.
    pub(super) plugins: BTreeMap<String, Declared>,
    /// Every use of a plugin.
    pub(super) uses: Vec<PluginUse>,
}

/// A plugin that the document names.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    pub(super) source: PluginSource,
    pub(super) grants: Grants,
}

/// One use of a plugin.
#[derive(Clone, Debug)]
pub(super) struct PluginUse {
    /// The name used.
    pub(super) name: String,
    /// What it is used as.
    pub(super) kind: PluginKind,
    /// Index of the stage, and of the step where it is one.
    pub(super) stage: usize,
    pub(super) step: Option<usize>,
    /// Pointer of the stage's `strategy` or of the step.
    pub(super) pointer: String,
    /// Whether it is written as `action:`.
    pub(super) is_short: bool,
}

impl PluginUse {
    /// Pointer of the place that names the plugin.
    pub(super) fn name_pointer(&self) -> String {
        format!("{}/{}", self.pointer, if self.is_short { ACTION } else { "use" })
    }

    /// Pointer of the place in the document of the place `within` the arguments.
    pub(super) fn argument_pointer(&self, within: &str) -> String {
        let Self { pointer, is_short, .. } = self;
        match within.strip_prefix("/kind") {
            _ if !is_short => format!("{pointer}/with{within}"),
            Some(rest) => format!("{pointer}/action{rest}"),
            None => format!("{pointer}{within}"),
        }
    }
}

/// Makes the draft, and adds what is wrong. The draft counts only when nothing is.
pub(super) fn draft(file: PlaybookFile, problems: &mut Vec<Problem>) -> Draft {
    let PlaybookFile { metadata, spec, .. } = file;
    let mut drafter = Drafter {
        problems: Vec::new(),
        uses: Vec::new(),
        params: params::no_params(),
        known_params: Value::Null,
    };
    if let Some(params) = spec.params {
        drafter.params = Value::Object(params);
        let bad = params::check_schema(&drafter.params).into_iter();
        let placed = bad.map(|p| Problem { path: format!("/spec/params{}", p.path), ..p });
        drafter.problems.extend(placed);
    }
    if drafter.problems.is_empty() {
        drafter.known_params = drafter.params.clone();
    }
    let plugins = spec.plugins.into_iter().map(|(name, plugin)| {
        let declared = drafter.plugin(&name, plugin);
        (name, declared)
    });
    let plugins = plugins.collect::<BTreeMap<_, _>>();
    drafter.unique("/spec/stages", "stage", spec.stages.iter().map(|stage| &stage.name));
    let stages: Vec<Stage> =
        spec.stages.into_iter().enumerate().map(|(i, s)| drafter.stage(i, s)).collect();
    if stages.len() > 1 {
        let message = "more than one stage is not supported by this version yet";
        drafter.add(code::NOT_SUPPORTED, "/spec/stages/1", message);
    }
    let vcs = metadata.vcs;
    let playbook = Playbook {
        name: metadata.name,
        version: drafter.version(&metadata.version),
        summary: spec.summary,
        vcs: vcs.map(|vcs| Vcs { repository: vcs.repository, commit: vcs.commit, path: vcs.path }),
        approval: spec.approval.unwrap_or(Approval::Granted),
        concurrency: spec.concurrency.unwrap_or(Concurrency::Queue),
        params: drafter.params,
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

struct Drafter {
    problems: Vec<Problem>,
    uses: Vec<PluginUse>,
    params: Value,
    /// The same for checking names; null, which says nothing, when it is not a valid schema.
    known_params: Value,
}

impl Drafter {
    fn add(&mut self, code: &str, path: &str, message: &str) {
        self.problems.push(Problem::new(code, path, message));
    }

    fn bad(&mut self, path: &str, what: &str, found: &str, expected: &str) {
        let problem = Problem::new(code::BAD_VALUE, path, format!("not a valid {what}"));
        self.problems.push(problem.found(format!("{found:?}")).expected(expected));
    }

    fn not_supported(&mut self, path: String, what: &str) {
        self.add(
            code::NOT_SUPPORTED,
            &path,
            &format!("{what} is not supported by this version yet"),
        );
    }

    fn unique<'a>(&mut self, path: &str, what: &str, names: impl Iterator<Item = &'a String>) {
        let mut seen = HashSet::new();
        for (index, name) in names.enumerate() {
            if !seen.insert(name) {
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

    fn plugin(&mut self, name: &str, plugin: PluginFile) -> Option<Declared> {
        let mut path = "/spec/plugins".to_owned();
        push_segment(&mut path, name);
        if name == ACTION {
            let message = "the name \"action\" is that of a built-in step, expected another one";
            self.add(code::DUPLICATE, &path, message);
        }
        let source = Source::parse(&plugin.source);
        match source {
            None => self.bad(&format!("{path}/source"), "source", &plugin.source, SOURCE_EXPECTED),
            Some(Source::Oci(_)) => self.not_supported(format!("{path}/source"), "oci:"),
            Some(Source::File(_) | Source::Store { .. }) => {}
        }
        let digest = plugin.digest.and_then(|text| match text.parse::<Digest>() {
            Ok(digest) => Some(digest),
            Err(_) => {
                let expected = "sha256: and 64 lowercase hex digits";
                self.bad(&format!("{path}/digest"), "digest", &text, expected);
                None
            }
        });
        let grants = Grants { actions: plugin.grants.actions, http: plugin.grants.http };
        for (index, pattern) in grants.actions.iter().enumerate() {
            if !names::is_action_pattern(pattern) {
                let path = format!("{path}/grants/actions/{index}");
                let expected = "a kind of action, perhaps with a * at its end";
                self.bad(&path, "grant", pattern, expected);
            }
        }
        if !grants.http.is_empty() {
            self.not_supported(format!("{path}/grants/http"), "a grant of http");
        }
        let source = PluginSource { name: name.to_owned(), source: source?, digest };
        Some(Declared { source, grants })
    }

    fn stage(&mut self, index: usize, file: StageFile) -> Stage {
        let path = format!("/spec/stages/{index}");
        let names: Vec<String> = file.steps.iter().map(|step| step.name.clone()).collect();
        self.unique(&format!("{path}/steps"), "step", names.iter());
        let params = self.known_params.clone();
        let scope = Names { roots: IN_SELECT, earlier: &[], steps: &names, params: &params };
        let select = self.expr(&format!("{path}/select"), file.select, scope);
        let pointer = format!("{path}/strategy");
        let plugin = file.strategy.uses;
        let kind = PluginKind::Strategy;
        let name = plugin.clone();
        let used = PluginUse { name, kind, stage: index, step: None, pointer, is_short: false };
        let with = Value::Object(file.strategy.with);
        let with = self.template(&used, with, Names { roots: IN_STRATEGY, ..scope });
        self.uses.push(used);
        let steps = file.steps.into_iter().enumerate().map(|(at, step)| {
            let scope = Names { roots: IN_STEP, earlier: &names[..at], ..scope };
            self.step((index, at), step, scope)
        });
        let steps = steps.collect();
        if !matches!(file.membership.added, None | Some(OnAdded::Include)) {
            self.not_supported(format!("{path}/membership/added"), "anything but include");
        }
        if !matches!(file.membership.removed, None | Some(OnRemoved::Ignore)) {
            self.not_supported(format!("{path}/membership/removed"), "anything but ignore");
        }
        let membership = Membership {
            added: file.membership.added.unwrap_or(OnAdded::Include),
            removed: file.membership.removed.unwrap_or(OnRemoved::Ignore),
        };
        let max_failed = file.budget.max_failed.unwrap_or(json!(0));
        let budget = Budget {
            max_failed: units::parse_amount(&max_failed).unwrap_or_else(|| {
                let path = format!("{path}/budget/max_failed");
                self.bad(
                    &path,
                    "number of agents",
                    &max_failed.to_string(),
                    units::AMOUNT_EXPECTED,
                );
                Amount::Count(0)
            }),
            scope: file.budget.scope.unwrap_or(BudgetScope::Stage),
            on_exceeded: file.budget.on_exceeded.unwrap_or(OnExceeded::Pause),
        };
        let strategy = StrategyUse { plugin, with };
        Stage { name: file.name, select, strategy, budget, membership, steps }
    }

    fn step(&mut self, (stage, index): (usize, usize), file: StepFile, scope: Names<'_>) -> Step {
        let path = format!("/spec/stages/{stage}/steps/{index}");
        let is_short = file.action.is_some();
        let both = file.uses.is_some() && is_short;
        if both || (file.uses.is_none() && !is_short) {
            let expected = "exactly one of \"use\" and \"action\"";
            let found = if both { "both" } else { "none of them" };
            let problem =
                Problem::new(code::BAD_VALUE, &path, "it is not clear what the step does");
            self.problems.push(problem.found(found).expected(expected));
        }
        let (misplaced, right) = if is_short { ("with", "args") } else { ("args", "with") };
        if if is_short { file.with.is_some() } else { file.args.is_some() } {
            let of = if is_short { "action" } else { "use" };
            let message = format!("{misplaced:?} does not go with {of:?}, expected {right:?}");
            self.add(code::UNKNOWN_KEY, &format!("{path}/{misplaced}"), &message);
        }
        let plugin = file.uses.unwrap_or_else(|| ACTION.to_owned());
        let with = match file.action {
            Some(kind) => {
                let mut with = Map::from_iter([("kind".to_owned(), Value::String(kind))]);
                with.extend(file.args.map(|args| ("args".to_owned(), args)));
                with
            }
            None => file.with.unwrap_or_default(),
        };
        let pointer = path.clone();
        let name = plugin.clone();
        let step = Some(index);
        let used = PluginUse { name, kind: PluginKind::Step, stage, step, pointer, is_short };
        let grants =
            if plugin == ACTION { self.action_grants(&used, &with) } else { Grants::default() };
        let with = self.template(&used, Value::Object(with), scope);
        self.uses.push(used);
        if file.timeout.is_some() {
            self.not_supported(format!("{path}/timeout"), "timeout");
        }
        if file.require.is_some() {
            self.not_supported(format!("{path}/require"), "require");
        }
        if file.retry.as_ref().is_some_and(|retry| retry.attempts > 1) {
            self.not_supported(format!("{path}/retry"), "retry");
        }
        let retry = file.retry.map_or(Retry::NONE, |retry| Retry {
            attempts: retry.attempts,
            initial: self
                .duration(format!("{path}/retry/initial"), retry.initial)
                .unwrap_or(Retry::NONE.initial),
            factor: retry.factor.unwrap_or(Retry::NONE.factor),
            max: self.duration(format!("{path}/retry/max"), retry.max).unwrap_or(Retry::NONE.max),
        });
        Step {
            name: file.name,
            plugin,
            with,
            grants,
            when: self.expr(&format!("{path}/when"), file.when, scope),
            require: self.expr(&format!("{path}/require"), file.require, scope),
            timeout: self.duration(format!("{path}/timeout"), file.timeout),
            retry,
            on_error: file.on_error.unwrap_or(OnError::Fail),
        }
    }

    /// The kind that is written down is what the playbook grants. One that is not known before the
    /// run could never be granted.
    fn action_grants(&mut self, used: &PluginUse, with: &Map<String, Value>) -> Grants {
        let Some(Value::String(kind)) = with.get("kind") else { return Grants::default() };
        let path = used.argument_pointer("/kind");
        if kind.contains("${{") {
            let message = "the kind of the action has to be written down: an expression has no value \
                           at import, so nothing could be granted";
            self.add(code::NOT_GRANTED, &path, message);
        } else if names::is_action_kind(kind) {
            return Grants { actions: vec![kind.clone()], http: vec![] };
        } else {
            self.bad(&path, "kind of action", kind, names::IDENTIFIER_EXPECTED);
        }
        Grants::default()
    }

    fn duration(&mut self, path: String, text: Option<String>) -> Option<Millis> {
        let text = text?;
        let duration = units::parse_duration(&text);
        if duration.is_none() {
            self.bad(&path, "length of time", &text, units::DURATION_EXPECTED);
        }
        duration
    }

    fn expr(&mut self, path: &str, source: Option<String>, names: Names<'_>) -> Option<Expr> {
        match Expr::parse(&source?) {
            Ok(expr) => {
                self.names(path, &expr, names);
                Some(expr)
            }
            Err(error) => {
                self.bad_expression(path, &error);
                None
            }
        }
    }

    fn template(&mut self, used: &PluginUse, source: Value, names: Names<'_>) -> Template {
        let (template, errors) = Template::read(source);
        for placed in template.expressions() {
            self.names(&used.argument_pointer(&placed.pointer), placed.value, names);
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
