//! Drafts stages and steps: fills in defaults, and checks their expressions and arguments.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::document::{BudgetFile, RetryFile, StageFile, StepFile};
use super::draft::{ACTION, Drafter, PluginUse};
use super::grants::Grants;
use super::model::{
    Amount, Budget, BudgetScope, Membership, OnAdded, OnError, OnExceeded, OnRemoved, PluginKind,
    Retry, Stage, Step, StrategyUse,
};
use super::problem::{Problem, code};
use super::references::{IN_SELECT, IN_STEP, IN_STRATEGY, Names};
use super::units;

impl Drafter {
    pub(super) fn stage(&mut self, index: usize, file: StageFile) -> Stage {
        let path = format!("/spec/stages/{index}");
        let names: Vec<String> = file.steps.iter().map(|step| step.name.clone()).collect();
        self.unique(&format!("{path}/steps"), "step", names.iter());
        let (params, all) = (Arc::clone(&self.params), Arc::clone(&self.all_steps));
        let before = all.get(..self.steps_before).unwrap_or_default();
        self.steps_before += names.len();
        let (earlier, all, params) = (&[][..], &all[..], &*params);
        let scope = Names { roots: IN_SELECT, earlier, before, steps: &names, all, params };
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
        let membership = Membership {
            added: file.membership.added.unwrap_or(OnAdded::Include),
            removed: file.membership.removed.unwrap_or(OnRemoved::Ignore),
        };
        let budget = self.budget(&path, file.budget);
        let strategy = StrategyUse { plugin, with };
        Stage { name: file.name, select, strategy, budget, membership, steps }
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

    fn step(&mut self, (stage, index): (usize, usize), file: StepFile, scope: Names<'_>) -> Step {
        let path = format!("/spec/stages/{stage}/steps/{index}");
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
