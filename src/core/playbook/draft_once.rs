//! What a stage on the run may not have, and what its expressions see. Its steps are done once, and on no agent.

use std::collections::BTreeSet;

use super::document::StageFile;
use super::draft::{ACTION, Drafter};
use super::model_stage::StageOn;
use super::problem::{Problem, code};
use super::references::{IN_ONCE, IN_STEP};

/// Built-in steps that only ask agents for something.
const OF_AGENTS: [&str; 2] = [ACTION, "wait-healthy"];

/// The names of the stages on the run.
pub(super) fn once_of(stages: &[StageFile]) -> BTreeSet<String> {
    let once = stages.iter().filter(|stage| stage.on == Some(StageOn::Run));
    once.map(|stage| stage.name.clone()).collect()
}

impl Drafter {
    /// The roots of the expressions in a stage's steps.
    pub(super) fn roots_of(&self, on: StageOn) -> &'static [&'static str] {
        match on {
            StageOn::Agents => IN_STEP,
            StageOn::Run => IN_ONCE,
        }
    }

    /// The steps of earlier stages whose results a stage sees. A stage on the run sees only those of other such
    /// stages: the others have a result for each agent.
    pub(super) fn in_scope(
        &self,
        on: StageOn,
        before: &[(String, String)],
    ) -> Vec<(String, String)> {
        let sees = |(stage, _): &&(String, String)| match on {
            StageOn::Agents => true,
            StageOn::Run => self.once.contains(stage),
        };
        before.iter().filter(sees).cloned().collect()
    }

    /// Reports the keys and steps of a stage on the run that are about agents.
    pub(super) fn has_no_agents(&mut self, path: &str, file: &StageFile) {
        let keys = [
            ("select", file.select.is_some()),
            ("strategy", file.strategy.is_some()),
            ("membership", file.membership.is_some()),
        ];
        for (key, _) in keys.into_iter().filter(|(_, is_there)| *is_there) {
            let message = format!("a stage on the run has no agents, and so no {key:?}");
            self.add(code::UNKNOWN_KEY, &format!("{path}/{key}"), &message);
        }
        let steps: Vec<_> = file.all_steps().collect();
        for (role, within, step) in steps {
            let at = format!("{path}/{}/{within}", role.as_str());
            self.asks_no_agent(&at, step.require.is_some(), step.action.is_some(), &step.uses);
            self.is_named_once(&at, &file.name, &step.name);
        }
    }

    fn asks_no_agent(&mut self, at: &str, requires: bool, is_short: bool, uses: &Option<String>) {
        if requires {
            let message =
                "\"require\" asks an agent, and a stage on the run has none: use \"when\"";
            self.add(code::UNKNOWN_KEY, &format!("{at}/require"), message);
        }
        let of_agents = uses.as_deref().filter(|uses| {
            OF_AGENTS.contains(uses) && (*uses == ACTION || !self.declared.contains(*uses))
        });
        let (key, found) = match (is_short, of_agents) {
            (true, _) => ("action", ACTION),
            (false, Some(uses)) => ("use", uses),
            (false, None) => return,
        };
        let message = "a stage on the run has no agent to do this";
        let problem = Problem::new(code::BAD_VALUE, format!("{at}/{key}"), message);
        let problem = problem.found(format!("the step {found:?}"));
        self.problems.push(problem.expected("a step that needs no agent, such as http"));
    }

    /// Reports a step whose name a step of another stage has too: which of the two results is meant would depend on
    /// the agent.
    fn is_named_once(&mut self, at: &str, stage: &str, name: &str) {
        let mut others = self.all_steps.iter().filter(|(of, step)| of != stage && step == name);
        if let Some((other, _)) = others.next().filter(|_| !name.is_empty()) {
            let message = format!(
                "stage {other:?} has a step with the name {name:?} too, and the results of a stage on the run \
                 are in scope of all agents"
            );
            self.add(code::DUPLICATE, &format!("{at}/name"), &message);
        }
    }
}
