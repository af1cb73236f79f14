//! The documents of a history: a cluster of its agents, and a playbook for each run.

use std::collections::BTreeMap;

use replibook::playbook::{Cluster, Playbook, PluginInfo, parse_cluster, parse_playbook, resolve};
use serde_json::{Value, json};

use crate::agents::{address, kind, place};
use crate::plan::{RunPlan, Size, StagePlan, StepPlan, StrategyPlan, Work};

/// Name of the one cluster.
pub(crate) const CLUSTER: &str = "simulated";

pub(crate) fn cluster(agents: usize) -> (String, Cluster) {
    let agent = |n: usize| json!({"id": format!("node-{n}"), "address": address(n)});
    let text = json!({
        "apiVersion": "replicante.io/v1", "kind": "Cluster", "metadata": {"name": CLUSTER},
        "spec": {"agents": (0..agents).map(agent).collect::<Vec<_>>()},
    })
    .to_string();
    let cluster = parse_cluster(text.as_bytes()).unwrap();
    (text, cluster)
}

pub(crate) fn playbook(plan: &RunPlan, builtins: &[PluginInfo]) -> Playbook {
    let stages: Vec<Value> = plan.stages.iter().enumerate().map(|(n, s)| stage(n, s)).collect();
    let text = json!({
        "apiVersion": "replicante.io/v1", "kind": "Playbook",
        "metadata": {"name": "simulated", "version": "1.0.0"},
        "spec": {
            "approval": if plan.approval { "required" } else { "granted" },
            "stages": stages,
        },
    })
    .to_string();
    let document = parse_playbook(text.as_bytes()).unwrap();
    resolve(&document, &BTreeMap::new(), builtins).unwrap()
}

fn stage(index: usize, plan: &StagePlan) -> Value {
    let strategy = match plan.strategy {
        StrategyPlan::AllAtOnce => json!({"use": "all-at-once"}),
        StrategyPlan::Batches(batch) => rolling(batch, "batch"),
        StrategyPlan::Window(batch) => rolling(batch, "window"),
    };
    let steps = plan.steps.iter().enumerate();
    let steps: Vec<Value> = steps.map(|(n, plan)| step(place(index, n), *plan)).collect();
    json!({
        "name": format!("stage-{index}"),
        "strategy": strategy,
        "budget": {
            "max_failed": size(plan.max_failed),
            "scope": if plan.of_run { "run" } else { "stage" },
            "on_exceeded": if plan.aborts { "abort" } else { "pause" },
        },
        "steps": steps,
    })
}

fn rolling(batch: Size, mode: &str) -> Value {
    json!({"use": "rolling", "with": {"batch": size(batch), "mode": mode}})
}

fn size(size: Size) -> Value {
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
    };
    if let Some(timeout) = plan.timeout {
        step["timeout"] = json!(format!("{timeout}ms"));
    }
    if let Some((attempts, initial)) = plan.retry {
        step["retry"] = json!({"attempts": attempts, "initial": format!("{initial}ms")});
    }
    if plan.requires {
        step["require"] = json!("agent.node.node_status == \"HEALTHY\"");
    }
    step
}
