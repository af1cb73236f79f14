//! Which agents the stages of a run would select if it were started, and whom guards would hold, as the agents are known
//! now.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::ask_agents::{Asked, ask_all};
use super::bodies::off_loop;
use super::cluster_agents::view;
use super::error::ApiError;
use super::state::ApiState;
use super::wire::StagePlan;
use crate::clock::Clock;
use crate::driver::Ways;
use crate::playbook::ClusterGuards;
use crate::run::{
    AgentId, AtRest, Datastore, HeldNow, KnownAgent, Member, Millis, Snapshot, declared_over,
};

/// How many selected agents of a stage are named: enough for a person to see whether they are the right ones.
const NAMED: usize = 10;

/// How long working out all selections may take. A run takes the time that it needs, but here somebody waits for an answer.
/// Agents that are left then count as undecided.
const PATIENCE: Millis = Millis::from_secs(5);

/// How many agents are asked at most. Even if none of them answers, the rest of the work fits the time of a request.
const MAX_ASKED: usize = 100;

/// How many agents are looked at between two looks at the clock.
const BETWEEN_LOOKS: usize = 64;

/// An agent of the cluster.
type One = (AgentId, Arc<KnownAgent>);

/// What is known of one stage's selection.
#[derive(Clone, Debug, Default)]
struct Selected {
    /// The number of the stage.
    stage: u16,
    count: u32,
    /// The places of the first of them.
    first: BTreeSet<usize>,
    /// The places of those that have to be asked.
    open: BTreeSet<usize>,
    /// How many were not looked at.
    left: u32,
    error: Option<String>,
}

impl Selected {
    fn take(&mut self, place: usize, selects: Result<Option<bool>, String>) {
        match selects {
            Ok(Some(true)) => {
                self.open.remove(&place);
                self.count += 1;
                self.first.insert(place);
                if self.first.len() > NAMED {
                    self.first.pop_last();
                }
            }
            Ok(Some(false)) => drop(self.open.remove(&place)),
            Ok(None) => drop(self.open.insert(place)),
            Err(error) => {
                self.open.remove(&place);
                self.error.get_or_insert(error);
            }
        }
    }
}

/// The stages of the run, with the agents that each would select. `agents` are in the order of a run.
///
/// # Flow
/// First all agents are looked at without asking anybody. Where that does not decide, the first of them are asked.
pub(super) async fn plan_stages(
    state: &ApiState,
    snapshot: Arc<Snapshot>,
    agents: Vec<One>,
    ways: &Ways,
) -> Result<Vec<StagePlan>, ApiError> {
    let clock = Arc::clone(&state.own_clock);
    let (snapshot, agents, mut stages) = off_loop(move || {
        let stages = look_at_all(&snapshot, &agents, &*clock);
        (snapshot, agents, stages)
    })
    .await?;
    let open: BTreeSet<usize> =
        stages.iter().flat_map(|stage| stage.open.iter().copied()).collect();
    let asked: Vec<usize> = open.into_iter().take(MAX_ASKED).collect();
    let views = asked.iter().filter_map(|place| agents.get(*place));
    let views = views.map(|(id, agent)| (view(id, agent), agent.identity.clone())).collect();
    let answers = ask_all(state, ways, views).await;
    for (place, Asked { agent, node }) in asked.into_iter().zip(answers) {
        let Some((id, known)) = agents.get(place) else { continue };
        let reported = agent.now.map(|now| now.attributes).unwrap_or_default();
        let member = member(id, known, reported, node);
        for stage in &mut stages {
            if stage.open.contains(&place) {
                stage.take(place, snapshot.selects(stage.stage, &member));
            }
        }
    }
    Ok(stages.into_iter().filter_map(|stage| plan(&snapshot, stage, &agents)).collect())
}

/// Whom the guards of the cluster would hold now. All agents are asked, so it is `None` if there are too many, or if no guard
/// counts them.
pub(super) async fn held_now(
    state: &ApiState,
    guards: &ClusterGuards,
    agents: &[One],
    ways: &Ways,
) -> Option<HeldNow> {
    if guards.guards.is_empty() || agents.len() > MAX_ASKED || state.agents.is_none() {
        return None;
    }
    let views = agents.iter().map(|(id, agent)| (view(id, agent), agent.identity.clone()));
    let answers = ask_all(state, ways, views.collect()).await;
    let at_rest = agents.iter().zip(answers).map(|((id, known), Asked { agent, node })| {
        let reported = agent.now.map(|now| now.attributes).unwrap_or_default();
        let attributes = Arc::new(declared_over(reported, &known.attributes));
        AtRest { agent: id.clone(), attributes, node }
    });
    Some(HeldNow::of(guards, &at_rest.collect::<Vec<_>>()))
}

/// The stages that the run would go through, of whose agents nothing is known yet.
fn stages_of(snapshot: &Snapshot) -> Vec<Selected> {
    let stages = snapshot.narrowed.stages(&snapshot.playbook);
    stages.map(|stage| Selected { stage, ..Selected::default() }).collect()
}

fn look_at_all(snapshot: &Snapshot, agents: &[One], clock: &dyn Clock) -> Vec<Selected> {
    let mut stages = stages_of(snapshot);
    let began = clock.passed();
    for (place, (id, agent)) in agents.iter().enumerate() {
        let is_late = || clock.passed().0.saturating_sub(began.0) > PATIENCE.0;
        if place % BETWEEN_LOOKS == 0 && is_late() {
            let left = u32::try_from(agents.len() - place).unwrap_or(u32::MAX);
            let with_agents = stages.iter_mut().filter(|stage| !snapshot.is_once(stage.stage));
            with_agents.for_each(|stage| stage.left = left);
            break;
        }
        let member = member(id, agent, Map::new(), Value::Null);
        // A stage on the run has no agents, whatever could be selected.
        for stage in stages.iter_mut().filter(|stage| !snapshot.is_once(stage.stage)) {
            stage.take(place, snapshot.selects(stage.stage, &member));
        }
    }
    stages
}

/// An agent as a run would know it, with what it said of itself.
fn member(id: &AgentId, agent: &KnownAgent, reported: Map<String, Value>, node: Value) -> Member {
    Member {
        agent: id.clone(),
        address: agent.address.clone(),
        attributes: declared_over(reported, &agent.attributes),
        declared: agent.attributes.clone(),
        node,
        datastore: Datastore::default(),
        asked_at: None,
        identity: agent.identity.clone(),
        refusal: None,
    }
}

fn plan(snapshot: &Snapshot, selected: Selected, agents: &[One]) -> Option<StagePlan> {
    let stage = snapshot.playbook.stages.get(usize::from(selected.stage))?;
    let most = snapshot.narrowed.limit.unwrap_or(u32::MAX);
    let (arguments, wrong) = match snapshot.strategy_arguments(stage) {
        Ok(arguments) => (arguments, None),
        Err(error) => (Value::Null, Some(error.to_string())),
    };
    let open = u32::try_from(selected.open.len()).unwrap_or(u32::MAX);
    let first = selected.first.iter().take(usize::try_from(most).unwrap_or(usize::MAX));
    let first = first.filter_map(|place| agents.get(*place));
    Some(StagePlan {
        name: stage.name.clone(),
        strategy: stage.strategy.plugin.clone(),
        arguments,
        select: stage.select.as_ref().map(|select| select.source().to_owned()),
        steps: stage.steps.iter().map(|step| step.name.clone()).collect(),
        selected: selected.count.min(most),
        first: first.map(|(id, _)| id.clone()).collect(),
        undecided: open.saturating_add(selected.left),
        error: selected.error.or(wrong),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::playbook::{Narrowing, NarrowingAsked, Playbook};
    use crate::run::{RunId, Timestamp, narrowed, new_run};

    #[test]
    fn the_first_that_are_selected_are_named_in_order() {
        let mut stage = Selected::default();
        for place in (0..40).rev() {
            stage.take(place, Ok((place % 2 == 0).then_some(place % 4 == 0)));
        }
        assert_eq!((stage.count, stage.open.len()), (10, 20));
        assert!(stage.first.iter().copied().eq((0..40).step_by(4)));
        for place in [1, 3, 5] {
            stage.take(place, Ok(Some(place != 3)));
        }
        assert_eq!((stage.count, stage.open.len()), (12, 17));
        assert_eq!(stage.first.iter().take(4).collect::<Vec<_>>(), [&0, &1, &4, &5]);
        assert_eq!(stage.first.len(), NAMED);
        stage.take(7, Err("no".to_owned()));
        assert_eq!((stage.error.as_deref(), stage.open.len()), (Some("no"), 16));
    }

    #[test]
    fn only_stages_that_the_run_goes_through_are_looked_at() {
        let stage = |name: &str| {
            json!({
                "name": name, "select": null, "strategy": {"plugin": "rolling", "with": {}},
                "budget": {"max_failed": {"count": 0}, "scope": "stage", "on_exceeded": "pause"},
                "membership": {"added": "include", "removed": "ignore"}, "steps": [],
            })
        };
        let playbook: Playbook = serde_json::from_value(json!({
            "name": "p", "version": "1.0.0", "summary": null, "vcs": null, "approval": "granted",
            "concurrency": "queue", "params": {}, "plugins": {},
            "stages": Vec::from(["drain", "upgrade", "check"].map(stage)),
        }))
        .unwrap();
        let asked =
            NarrowingAsked { skip_stages: vec!["upgrade".to_owned()], ..NarrowingAsked::default() };
        let narrowing = Narrowing::check(&playbook, asked).unwrap();
        let (id, at) = (RunId(uuid::Uuid::nil()), Timestamp::from_millis(0));
        let run = narrowed(new_run(id, &playbook, Map::new(), "eu", None, at), narrowing).0;
        let stages: Vec<_> = stages_of(&run.snapshot).iter().map(|stage| stage.stage).collect();
        assert_eq!(stages, [0, 2]);
    }
}
