//! What is the same in all that is tried: the strategy with its arguments, the run that it plans, and what agents say.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::bounds::Bounds;
use super::fleet;
use super::property::Wanted;
use crate::playbook::{
    Amount, Approval, Approvers, Budget, BudgetScope, ClusterGuards, Concurrency, Grants, HEALTHY,
    Identity, Membership, OnAdded, OnError, OnExceeded, OnRemoved, Playbook, PluginKind, PluginPin,
    Retry, Stage, StageOn, Step, StepRole, StrategyUse, Template,
};
use crate::run::{
    AgentId, Decision, Digest, Loaded, Member, Millis, PlanFailure, PlanInput, Roster, Run, RunId,
    Timestamp, new_run,
};

/// The moment at which every stage begins: 2026-01-01, a Thursday.
pub(super) const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// The name of the stage, as the strategy is told it.
const STAGE: &str = "proof";

/// Nobody waits for steps here, so they never run out of time: 100 years.
const FOR_EVER: Millis = Millis::from_secs(100 * 365 * 24 * 60 * 60);

/// A strategy that can be asked. The same question must get the same decision.
pub trait Strategy {
    /// Asks for a decision.
    ///
    /// # Errors
    /// Why there is none.
    fn plan(&self, input: &PlanInput, roster: Arc<dyn Roster>) -> Result<Decision, PlanFailure>;
}

/// What is the same in all that is tried.
#[derive(Debug)]
pub struct Scene {
    pub(super) bounds: Bounds,
    pub(super) wanted: Wanted,
    playbook: Playbook,
    /// The attributes that have the name of an agent's group.
    attributes: Vec<String>,
    guards: Arc<ClusterGuards>,
}

impl Scene {
    /// A stage that is planned with these arguments. Every one of the `attributes` of an agent has the name of its group;
    /// those that properties are about are added.
    pub fn new(
        arguments: Template,
        mut attributes: Vec<String>,
        wanted: Wanted,
        bounds: Bounds,
    ) -> Self {
        attributes.extend(wanted.one_group.clone());
        let mut guards = ClusterGuards::default();
        if let Some((_, of)) = &wanted.guards {
            // The clock stands still here, so windows and freezes would hold everybody or nobody.
            guards =
                ClusterGuards { guards: of.guards.clone(), healthy: of.healthy.clone(), ..guards };
        }
        let by = guards.guards.iter().filter_map(|guard| guard.attribute());
        attributes.extend(by.map(str::to_owned));
        attributes.sort();
        attributes.dedup();
        let (playbook, guards) = (playbook(arguments), Arc::new(guards));
        Self { bounds, wanted, playbook, attributes, guards }
    }

    /// The attributes that have the name of an agent's group.
    pub fn attributes(&self) -> &[String] {
        &self.attributes
    }

    pub(super) fn guards(&self) -> Arc<ClusterGuards> {
        Arc::clone(&self.guards)
    }

    /// A run that has not begun.
    pub(super) fn loaded(&self) -> Loaded {
        let params = Map::new();
        let (run, _): (Run, _) =
            new_run(RunId(Uuid::nil()), &self.playbook, params, "fleet", None, START);
        Loaded { run, records: Vec::new(), journals: Vec::new() }
    }

    /// What is known of a member of this group.
    pub(super) fn member(&self, agent: AgentId, group: u32, now: Timestamp) -> Member {
        let name = fleet::group(group);
        let attributes: Map<String, Value> =
            self.attributes.iter().map(|key| (key.clone(), name.clone().into())).collect();
        let node = self.node(&agent);
        Member {
            address: format!("http://{agent}"),
            agent,
            attributes: attributes.clone(),
            declared: attributes,
            node,
            datastore: crate::run::Datastore::default(),
            asked_at: Some(now),
            identity: Identity::Ignore,
            refusal: None,
        }
    }

    /// What an agent says about its node: it is well.
    pub(super) fn node(&self, agent: &AgentId) -> Value {
        let status = self.guards.healthy.first().map_or(HEALTHY, String::as_str);
        json!({ "node_id": agent.as_str(), "node_status": status })
    }
}

/// A playbook of one stage with one step, of which nothing is ever done.
fn playbook(with: Template) -> Playbook {
    let pin = |kind, name: &str| PluginPin {
        source: format!("file:{name}.wasm"),
        digest: Digest::of(name.as_bytes()),
        kind,
        name: name.to_owned(),
        version: "0.0.0".to_owned(),
        grants: Grants::default(),
        provenance: None,
        signers: Vec::new(),
    };
    let (strategy, work) = ("strategy".to_owned(), "work".to_owned());
    let step = Step {
        name: work.clone(),
        role: StepRole::Main,
        plugin: work.clone(),
        with: Template::default(),
        grants: Grants::default(),
        when: None,
        require: None,
        timeout: Some(FOR_EVER),
        retry: Retry::NONE,
        on_error: OnError::Fail,
    };
    let budget = Budget {
        max_failed: Amount::Count(u32::MAX),
        scope: BudgetScope::Stage,
        on_exceeded: OnExceeded::Pause,
    };
    let stage = Stage {
        name: STAGE.to_owned(),
        on: StageOn::Agents,
        always: false,
        select: None,
        strategy: StrategyUse { plugin: strategy.clone(), with },
        budget,
        membership: Membership { added: OnAdded::Include, removed: OnRemoved::Ignore },
        steps: vec![step],
    };
    Playbook {
        name: "proof".to_owned(),
        version: semver::Version::new(0, 0, 0),
        summary: None,
        vcs: None,
        approval: Approval::Granted,
        approvers: Approvers::default(),
        concurrency: Concurrency::Queue,
        params: json!({}),
        plugins: [
            (strategy, pin(PluginKind::Strategy, "strategy")),
            (work, pin(PluginKind::Step, "work")),
        ]
        .into(),
        stages: vec![stage],
    }
}
