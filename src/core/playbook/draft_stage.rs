//! Drafts stages and steps: fills in defaults, and checks their expressions and arguments.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::document::{BudgetFile, RetryFile, StageFile, StepFile, StrategyFile};
use super::draft::{ACTION, Drafter, PluginUse};
use super::grants::Grants;
use super::model::{
    Amount, Budget, BudgetScope, Membership, OnAdded, OnError, OnExceeded, OnRemoved, PluginKind,
    Retry, Stage, Step, StrategyUse,
};
use super::model_stage::{StageOn, StepRole};
use super::problem::{Problem, code};
use super::references::{IN_SELECT, IN_STRATEGY, Names};
use super::units;

impl StageFile {
    /// All steps of the stage in the order in which they are done, each with its role and its number among those that
    /// have the same role.
    pub(super) fn all_steps(&self) -> impl Iterator<Item = (StepRole, usize, &StepFile)> {
        StepRole::ALL.into_iter().flat_map(move |role| {
            let steps = self.steps_of(role).iter().enumerate();
            steps.map(move |(within, step)| (role, within, step))
        })
    }

    fn steps_of(&self, role: StepRole) -> &[StepFile] {
        match role {
            StepRole::Main => &self.steps,
            StepRole::Rescue => &self.rescue,
            StepRole::Finally => &self.finally,
        }
    }
}

impl Drafter {
    /// Drafts a stage.
    pub(super) fn stage(&mut self, index: usize, file: StageFile) -> Stage {
        let path = format!("/spec/stages/{index}");
        let names: Vec<String> = file.all_steps().map(|(_, _, step)| step.name.clone()).collect();
        self.unique_steps(&path, &file);
        let (params, all) = (Arc::clone(&self.params), Arc::clone(&self.all_steps));
        let before = all.get(..self.steps_before).unwrap_or_default();
        self.steps_before += names.len();
        let on = file.on.unwrap_or_default();
        let before: &[_] = &self.in_scope(on, before);
        let roots = self.roots_of(on);
        let (earlier, all, params) = (&[][..], &all[..], &*params);
        let scope = Names { roots: IN_SELECT, earlier, before, steps: &names, all, params };
        if on == StageOn::Run {
            self.has_no_agents(&path, &file);
        }
        let select = self.expr(&format!("{path}/select"), file.select, scope);
        let strategy = self.strategy(index, on, file.strategy, scope);
        let roles = [
            (StepRole::Main, file.steps),
            (StepRole::Rescue, file.rescue),
            (StepRole::Finally, file.finally),
        ];
        let placed = roles.into_iter().flat_map(|(role, steps)| {
            (0..).zip(steps).map(move |(within, step)| (role, within, step))
        });
        let steps = placed.enumerate().map(|(at, (role, within, step))| {
            let scope = Names { roots, earlier: &names[..at], ..scope };
            self.step((index, at), (role, within), step, scope)
        });
        let steps = steps.collect();
        let membership = file.membership.unwrap_or_default();
        let membership = Membership {
            added: membership.added.unwrap_or(OnAdded::Include),
            removed: membership.removed.unwrap_or(OnRemoved::Ignore),
        };
        let budget = self.budget(&path, file.budget);
        let always = file.always.unwrap_or(false);
        Stage { name: file.name, on, always, select, strategy, budget, membership, steps }
    }

    /// Drafts the strategy of a stage. Only a stage on the run has none.
    fn strategy(
        &mut self,
        stage: usize,
        on: StageOn,
        file: Option<StrategyFile>,
        scope: Names<'_>,
    ) -> StrategyUse {
        let pointer = format!("/spec/stages/{stage}/strategy");
        let Some(StrategyFile { uses: plugin, with }) = file.filter(|_| on == StageOn::Agents)
        else {
            if on == StageOn::Agents {
                self.add(code::MISSING_KEY, &pointer, "the key \"strategy\" is missing");
            }
            return StrategyUse::default();
        };
        let (kind, name) = (PluginKind::Strategy, plugin.clone());
        let used = PluginUse { name, kind, stage, step: None, pointer, is_short: false };
        let with = self.template(&used, Value::Object(with), Names { roots: IN_STRATEGY, ..scope });
        self.uses.push(used);
        StrategyUse { plugin, with }
    }

    /// Reports steps whose names another step of the stage has, whatever their roles.
    fn unique_steps(&mut self, stage: &str, file: &StageFile) {
        let mut seen = HashSet::new();
        for (role, within, step) in file.all_steps() {
            // A missing name is read as an empty text, and two missing names are no duplicate.
            if !seen.insert(&step.name) && !step.name.is_empty() {
                let message = format!("there is another step with the name {:?}", step.name);
                let path = format!("{stage}/{}/{within}/name", role.as_str());
                self.add(code::DUPLICATE, &path, &message);
            }
        }
    }

    fn budget(&mut self, stage: &str, file: BudgetFile) -> Budget {
        let max_failed = file.max_failed.unwrap_or(json!(0));
        let amount = units::parse_amount(&max_failed).unwrap_or_else(|| {
            let path = format!("{stage}/budget/max_failed");
            self.bad(&path, "number of agents", &max_failed.to_string(), units::AMOUNT_EXPECTED);
            Amount::Count(0)
        });
        Budget {
            max_failed: amount,
            scope: file.scope.unwrap_or(BudgetScope::Stage),
            on_exceeded: file.on_exceeded.unwrap_or(OnExceeded::Pause),
        }
    }

    /// Drafts the step number `index` of a stage, which is number `within` of those with its role.
    fn step(
        &mut self,
        (stage, index): (usize, usize),
        (role, within): (StepRole, usize),
        file: StepFile,
        scope: Names<'_>,
    ) -> Step {
        let path = format!("/spec/stages/{stage}/{}/{within}", role.as_str());
        let is_short = file.action.is_some();
        let is_clear = file.uses.is_some() != is_short;
        if !is_clear {
            let expected = "exactly one of \"use\" and \"action\"";
            let found = if is_short { "both" } else { "none of them" };
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
        let grants = if is_clear { self.builtin_grants(&used, &with) } else { Grants::default() };
        let with = self.template(&used, Value::Object(with), scope);
        let grants = if is_clear { self.with_secrets(&used, grants, &with) } else { grants };
        // When it is not clear what the step does, it is not clear what its arguments should be either.
        if is_clear {
            self.uses.push(used);
        }
        Step {
            name: file.name,
            role,
            plugin,
            with,
            grants,
            when: self.expr(&format!("{path}/when"), file.when, scope),
            require: self.expr(&format!("{path}/require"), file.require, scope),
            timeout: self.duration(format!("{path}/timeout"), file.timeout),
            retry: file.retry.map_or(Retry::NONE, |retry| self.retry(&path, retry)),
            on_error: file.on_error.unwrap_or(OnError::Fail),
        }
    }

    fn retry(&mut self, step: &str, file: RetryFile) -> Retry {
        let text = file.initial.clone();
        let initial = self.duration(format!("{step}/retry/initial"), file.initial);
        let max = self.duration(format!("{step}/retry/max"), file.max.clone());
        let retry = Retry {
            attempts: file.attempts,
            initial: initial.unwrap_or(Retry::NONE.initial),
            factor: file.factor.unwrap_or(Retry::NONE.factor),
            max: max.unwrap_or(Retry::NONE.max),
        };
        // If one of the two can't be read, they are not compared.
        if initial.is_some() && retry.initial > retry.max && max.is_some() == file.max.is_some() {
            let most = file.max.as_deref().unwrap_or("1m, which \"max\" is when absent");
            let path = format!("{step}/retry/initial");
            let message = "the first wait is longer than the longest one";
            let problem = Problem::new(code::BAD_VALUE, path, message);
            let problem = problem.found(format!("{:?}", text.unwrap_or_default()));
            self.problems.push(problem.expected(format!("at most {most}")));
        }
        retry
    }
}
