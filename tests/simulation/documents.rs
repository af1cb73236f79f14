//! The documents of a history: a cluster with its agents, and a playbook for each run.

use std::collections::BTreeMap;

use replibook::playbook::{
    Cluster, Playbook, PluginInfo, StepRole, parse_cluster, parse_playbook, resolve,
};
use replibook::secrets::FakeSecrets;
use serde_json::{Map, Value, json};

use crate::agents::{address, kind, place};
use crate::guard_plan::GuardsPlan;
use crate::plan::{
    AgentPlan, LARGE, Plan, RunPlan, Size, StagePlan, StepPlan, StrategyPlan, WATCHED, Work,
};
use crate::platform::URL;

/// Name of the only cluster.
pub(crate) const CLUSTER: &str = "simulated";

/// What agents call the cluster that their store is in.
pub(crate) const STORE: &str = "store";

/// Where requests of steps go; the agent and the number of the step follow.
pub(crate) const SERVER: &str = "https://sim.example.com/";

/// The secret that most requests of steps have in a header, and one that the policy does not give.
pub(crate) const SECRET: &str = "open-sesame";
pub(crate) const DENIED: &str = "denied";

/// The header that secrets are in.
pub(crate) const SECRET_HEADER: &str = "x-secret";

/// The value of a secret.
pub(crate) fn value_of(secret: &str) -> String {
    format!("the value of {secret}")
}

/// The secrets of each engine, and what its policy says about them.
pub(crate) fn secrets() -> FakeSecrets {
    let secrets = FakeSecrets::default();
    for name in [SECRET, DENIED] {
        secrets.put(name, &value_of(name));
    }
    secrets.refuse(DENIED, SERVER.trim_end_matches('/'));
    secrets
}

/// The signal that steps wait for.
pub(crate) const SIGNAL: &str = "go";

/// The step that waits for a signal and then for another one.
pub(crate) const WAITS_TWICE: &str = "waits-twice";

/// What the path of a request ends with that was sent to where a redirect points.
pub(crate) const MOVED: &str = "/moved";

/// Whether the Cluster object says which cluster the stores of these agents are in.
pub(crate) fn compares_stores(agents: &[AgentPlan]) -> bool {
    agents.len().is_multiple_of(2)
}

/// Name of a group of agents.
pub(crate) fn group(number: u32) -> String {
    format!("g{number}")
}

/// The role that a node says it has.
pub(crate) fn role(number: u32) -> String {
    format!("r{number}")
}

/// How many groups of agents a history has.
pub(crate) const GROUPS: u32 = 3;

/// The Cluster object as it is at this moment.
pub(crate) fn cluster(plan: &Plan, at: u64) -> (String, Cluster) {
    cluster_with(plan, at, plan.guards_at(at))
}

/// The Cluster object of this moment without its guards, windows and freezes.
pub(crate) fn cluster_without_guards(plan: &Plan, at: u64) -> (String, Cluster) {
    cluster_with(plan, at, None)
}

fn cluster_with(plan: &Plan, at: u64, guards: Option<&GuardsPlan>) -> (String, Cluster) {
    let listed = plan.agents.iter().enumerate().filter(|(_, agent)| plan.lists(agent, at));
    let agents = listed.map(|(n, agent)| {
        let groups = agent.group.map(|number| ("node_group".to_owned(), json!(group(number))));
        let attributes: Map<String, Value> = groups.into_iter().collect();
        let address = address(n, agent.home(at));
        json!({"id": format!("node-{n}"), "address": address, "attributes": attributes})
    });
    let mut spec = json!({"agents": agents.collect::<Vec<_>>()});
    if compares_stores(&plan.agents) {
        spec["cluster_id"] = json!(STORE);
    }
    if let Some(platform) = plan.named(at) {
        let interval = milliseconds(platform.interval);
        spec["discovery"] = json!({"url": URL, "cluster": CLUSTER, "interval": interval});
        // Without this line it would be the name on the platform.
        spec["cluster_id"] = json!(STORE);
    }
    if let Some(guards) = guards {
        guards.write(&mut spec);
    }
    let text = json!({
        "apiVersion": "replicante.io/v1", "kind": "Cluster", "metadata": {"name": CLUSTER},
        "spec": spec,
    })
    .to_string();
    let cluster = parse_cluster(text.as_bytes()).unwrap();
    (text, cluster)
}

fn milliseconds(length: u64) -> String {
    format!("{length}ms")
}

/// The playbook of a run. `plugins` are those that came with the program, and those of the tests.
pub(crate) fn playbook(plan: &RunPlan, plugins: &[PluginInfo]) -> Playbook {
    let stages: Vec<Value> = plan.stages.iter().enumerate().map(|(n, s)| stage(n, s)).collect();
    let steps = || plan.stages.iter().flat_map(|stage| &stage.steps);
    let waits_twice = steps().any(|step| matches!(step.work, Work::WaitTwice(_)));
    let declared = plugins.iter().filter(|info| waits_twice && info.name == WAITS_TWICE);
    let declared: BTreeMap<_, _> = declared.map(|info| (info.name.clone(), info.clone())).collect();
    let sources: Map<String, Value> = declared
        .values()
        .map(|info| {
            let source = format!("store:{}@{}", info.name, info.version);
            (info.name.clone(), json!({"source": source, "grants": {"signals": [SIGNAL]}}))
        })
        .collect();
    let approval = match plan.approvers {
        Some(approvers) => approvers.document(plan.approval),
        None => json!(if plan.approval { "required" } else { "granted" }),
    };
    let text = json!({
        "apiVersion": "replicante.io/v1", "kind": "Playbook",
        "metadata": {"name": "simulated", "version": "1.0.0"},
        "spec": {
            "approval": approval,
            "concurrency": if plan.beside { "allow" } else { "queue" },
            "plugins": sources,
            "stages": stages,
        },
    })
    .to_string();
    let document = parse_playbook(text.as_bytes()).unwrap();
    resolve(&document, &declared, plugins).unwrap()
}

fn stage(index: usize, plan: &StagePlan) -> Value {
    let steps_of = |role: StepRole| -> Value {
        let steps = plan.steps.iter().enumerate().filter(|(_, plan)| plan.role == role);
        steps.map(|(n, plan)| step(place(index, n), *plan)).collect()
    };
    let mut stage = json!({
        "name": format!("stage-{index}"),
        "always": plan.always,
        "budget": {
            "max_failed": size(plan.max_failed),
            "scope": if plan.of_run { "run" } else { "stage" },
            "on_exceeded": if plan.aborts { "abort" } else { "pause" },
        },
        "steps": steps_of(StepRole::Main),
        "rescue": steps_of(StepRole::Rescue),
        "finally": steps_of(StepRole::Finally),
    });
    if plan.once {
        stage["on"] = json!("run");
    } else {
        stage["strategy"] = strategy(plan.strategy);
        stage["membership"] = json!(plan.membership);
    }
    if let Some(selects) = plan.selects {
        let role = role(selects.role);
        let is_it = format!("agent.attributes[\"role\"] == \"{role}\"");
        let select = match (selects.guarded, selects.looks_at_shards(index)) {
            (true, _) => format!("has(agent.attributes.role) && {is_it}"),
            (false, false) => is_it,
            (false, true) => format!("agent.shards.exists(shard, shard.role == \"{role}\")"),
        };
        stage["select"] = json!(select);
    }
    stage
}

fn strategy(plan: StrategyPlan) -> Value {
    match plan {
        StrategyPlan::AllAtOnce => json!({"use": "all-at-once"}),
        StrategyPlan::Batches(batch) => rolling(batch, "batch"),
        StrategyPlan::Window(batch) => rolling(batch, "window"),
        StrategyPlan::Canary { canaries, soak, approval, batches, asks } => {
            let mut with = json!({
                "canaries": size(canaries), "interval": milliseconds(WATCHED),
                "approval": approval, "batches": batches.map(size),
                "on_ill": if asks { "approval" } else { "abort" },
            });
            if soak > 0 {
                with["soak"] = json!(milliseconds(soak));
            }
            json!({"use": "canary", "with": with})
        }
        StrategyPlan::Chatty { counts, stumbles } => {
            json!({"use": "chatty", "with": {"counts": counts, "stumbles": stumbles}})
        }
        StrategyPlan::Grouped { batch, window, backwards, soak } => {
            let mode = if window { "window" } else { "batch" };
            let mut with = json!({"by": "node_group", "batch": size(batch), "mode": mode});
            if backwards {
                with["order"] = json!((0..GROUPS).rev().map(group).collect::<Vec<_>>());
            }
            if soak > 0 {
                with["soak"] = json!(milliseconds(soak));
            }
            json!({"use": "grouped", "with": with})
        }
    }
}

fn rolling(batch: Size, mode: &str) -> Value {
    json!({"use": "rolling", "with": {"batch": size(batch), "mode": mode}})
}

pub(crate) fn size(size: Size) -> Value {
    match size {
        Size::Count(count) => json!(count),
        Size::Percent(percent) => json!(format!("{percent}%")),
    }
}

fn step(index: usize, plan: StepPlan) -> Value {
    let on_error = if plan.goes_on { "continue" } else { "fail" };
    let name = format!("step-{index}");
    let mut step = match plan.work {
        Work::Action => json!({"name": name, "action": kind(index), "on_error": on_error}),
        Work::WaitHealthy(seconds) => json!({
            "name": name, "use": "wait-healthy", "with": {"timeout_seconds": seconds},
            "on_error": on_error,
        }),
        Work::Http => {
            let secret = if index % 3 == 2 { DENIED } else { SECRET };
            json!({"name": name, "use": "http", "on_error": on_error, "with": {
                "url": format!("{SERVER}${{{{ agent.id }}}}/{index}"), "timeout_seconds": 30,
                "headers": {SECRET_HEADER: format!("${{{{ secret('{secret}') }}}}")},
            }})
        }
        Work::WaitSignal(seconds) => json!({
            "name": name, "use": "wait-signal", "on_error": on_error,
            "with": {"name": SIGNAL, "timeout_seconds": seconds},
        }),
        Work::WaitTwice(seconds) => json!({
            "name": name, "use": WAITS_TWICE, "on_error": on_error,
            "with": {"name": SIGNAL, "timeout_seconds": seconds},
        }),
    };
    if plan.large {
        step["args"] = json!({"large": "x".repeat(LARGE)});
    }
    if let Some(timeout) = plan.timeout {
        step["timeout"] = json!(milliseconds(timeout));
    }
    if let Some((attempts, initial)) = plan.retry {
        step["retry"] = json!({"attempts": attempts, "initial": milliseconds(initial)});
    }
    if plan.requires {
        step["require"] = json!("agent.node.node_status == \"HEALTHY\"");
    }
    step
}
