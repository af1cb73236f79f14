//! Makes a failing plan smaller, as long as it fails in the same way.

use std::time::{Duration, Instant};

use replibook::playbook::{OnAdded, OnRemoved};

use crate::cluster_plan::PlatformPlan;
use crate::plan::{End, Plan, StagePlan, StrategyPlan, Work};

/// How long a plan is made smaller: somebody waits to see the failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// The smallest plan found for which `fails` holds.
pub(crate) fn shrink(plan: Plan, fails: impl Fn(&Plan) -> bool) -> Plan {
    let start = Instant::now();
    let mut smallest = plan;
    loop {
        let (mut at, mut changed) = (0, false);
        while let Some(candidate) = simpler(&smallest).get(at) {
            if start.elapsed() > PATIENCE {
                return smallest;
            }
            if fails(candidate) {
                smallest = candidate.clone();
                changed = true;
            } else {
                at += 1;
            }
        }
        if !changed {
            return smallest;
        }
    }
}

/// Plans that lack one thing of this plan, from those that lack much to those that lack little.
fn simpler(plan: &Plan) -> Vec<Plan> {
    let mut plans = Vec::new();
    let mut add = |change: &dyn Fn(&mut Plan)| {
        let mut changed = plan.clone();
        change(&mut changed);
        if changed != *plan {
            plans.push(changed);
        }
    };
    let several = |count: usize| if count > 1 { count } else { 0 };
    for run in (0..several(plan.runs.len())).rev() {
        add(&|plan| remove_run(plan, run));
    }
    for engine in (0..several(plan.engines.len())).rev() {
        add(&|plan| remove(&mut plan.engines, engine));
    }
    for agent in (0..several(plan.agents.len())).rev() {
        add(&|plan| remove(&mut plan.agents, agent));
    }
    for outage in (0..plan.outages.len()).rev() {
        add(&|plan| remove(&mut plan.outages, outage));
    }
    for drain in (0..plan.drains.len()).rev() {
        add(&|plan| remove(&mut plan.drains, drain));
    }
    for command in (0..plan.commands.len()).rev() {
        add(&|plan| remove(&mut plan.commands, command));
    }
    for signal in (0..plan.signals.len()).rev() {
        add(&|plan| remove(&mut plan.signals, signal));
    }
    for guards in (0..plan.guards.len()).rev() {
        add(&|plan| remove(&mut plan.guards, guards));
    }
    add(&|plan| plan.ill = None);
    add(&|plan| plan.ill.iter_mut().for_each(|ill| ill.patience = 0));
    simpler_engines(plan, &mut add);
    simpler_platform(plan, &mut add);
    simpler_runs(plan, &mut add);
    simpler_agents(plan, &mut add);
    plans
}

type Add<'a> = dyn FnMut(&dyn Fn(&mut Plan)) + 'a;

fn remove<T>(list: &mut Vec<T>, at: usize) {
    list.remove(at);
}

fn remove_run(plan: &mut Plan, run: usize) {
    plan.runs.remove(run);
    plan.ill = plan.ill.filter(|ill| ill.run != run);
    if let Some(ill) = plan.ill.as_mut().filter(|ill| ill.run > run) {
        ill.run -= 1;
    }
    plan.commands.retain(|command| command.run != run);
    for command in plan.commands.iter_mut().filter(|command| command.run > run) {
        command.run -= 1;
    }
    plan.signals.retain(|signal| signal.run != run);
    for signal in plan.signals.iter_mut().filter(|signal| signal.run > run) {
        signal.run -= 1;
    }
}

fn simpler_engines(plan: &Plan, add: &mut Add<'_>) {
    for (index, engine) in plan.engines.iter().enumerate() {
        for trouble in (0..engine.troubles.len()).rev() {
            add(&|plan| remove(&mut plan.engines[index].troubles, trouble));
        }
        for fault in (0..engine.faults.len()).rev() {
            add(&|plan| remove(&mut plan.engines[index].faults, fault));
        }
        add(&|plan| plan.engines[index].at = 0);
        add(&|plan| plan.engines[index].ahead = 0);
        add(&|plan| plan.engines[index].stops = None);
    }
}

fn simpler_platform(plan: &Plan, add: &mut Add<'_>) {
    add(&|plan| plan.platform = None);
    let Some(platform) = &plan.platform else { return };
    let mut add = |change: &dyn Fn(&mut PlatformPlan)| {
        add(&|plan| plan.platform.iter_mut().for_each(change));
    };
    for lie in (0..platform.lies.len()).rev() {
        add(&|platform| remove(&mut platform.lies, lie));
    }
    add(&|platform| platform.dropped = None);
    add(&|platform| platform.tells_all = true);
    add(&|platform| platform.latency = 0);
}

fn simpler_runs(plan: &Plan, add: &mut Add<'_>) {
    for (index, run) in plan.runs.iter().enumerate() {
        add(&|plan| plan.runs[index].approval = false);
        add(&|plan| plan.runs[index].approvers = None);
        add(&|plan| plan.runs[index].beside = false);
        add(&|plan| plan.runs[index].narrow.without = None);
        add(&|plan| plan.runs[index].narrow.limit = None);
        add(&|plan| plan.runs[index].narrow.skips = None);
        add(&|plan| plan.runs[index].narrow.start_at = None);
        add(&|plan| plan.runs[index].retries = 0);
        add(&|plan| plan.runs[index].at = 0);
        if run.stages.len() > 1 {
            add(&|plan| drop(plan.runs[index].stages.pop()));
        }
        for stage in 0..run.stages.len() {
            simpler_stage(plan, index, stage, add);
        }
    }
}

fn simpler_stage(plan: &Plan, run: usize, stage: usize, add: &mut Add<'_>) {
    let steps = plan.runs[run].stages[stage].steps.len();
    let mut add = |change: &dyn Fn(&mut StagePlan)| {
        add(&|plan| change(&mut plan.runs[run].stages[stage]));
    };
    if steps > 1 {
        add(&|stage| stage.steps.truncate(steps - 1));
    }
    add(&|stage| stage.strategy = StrategyPlan::AllAtOnce);
    add(&|stage| stage.of_run = false);
    add(&|stage| stage.aborts = false);
    add(&|stage| stage.selects = None);
    add(&|stage| stage.always = false);
    add(&|stage| stage.once = false);
    add(&|stage| stage.membership.added = OnAdded::Include);
    add(&|stage| stage.membership.removed = OnRemoved::Ignore);
    for step in 0..steps {
        add(&|stage| stage.steps[step].goes_on = false);
        add(&|stage| stage.steps[step].large = false);
        add(&|stage| stage.steps[step].requires = false);
        add(&|stage| stage.steps[step].timeout = None);
        add(&|stage| stage.steps[step].retry = None);
        // No agent is there to do an action on the run.
        add(&|stage| {
            stage.steps[step].work = if stage.once { stage.steps[step].work } else { Work::Action }
        });
    }
}

fn simpler_agents(plan: &Plan, add: &mut Add<'_>) {
    for (index, agent) in plan.agents.iter().enumerate() {
        add(&|plan| plan.agents[index].latency = 0);
        add(&|plan| plan.agents[index].runs_again = false);
        add(&|plan| plan.agents[index].purges = None);
        add(&|plan| plan.agents[index].keeps = None);
        add(&|plan| plan.agents[index].stable = false);
        add(&|plan| plan.agents[index].away = None);
        add(&|plan| plan.agents[index].garbles = None);
        add(&|plan| plan.agents[index].denies = None);
        add(&|plan| plan.agents[index].proxied = None);
        add(&|plan| plan.agents[index].behind = None);
        add(&|plan| plan.agents[index].ill = None);
        add(&|plan| plan.agents[index].group = None);
        add(&|plan| plan.agents[index].listed = true);
        add(&|plan| plan.agents[index].other = None);
        add(&|plan| plan.agents[index].role = 0);
        for gone in (0..agent.gone.len()).rev() {
            add(&|plan| remove(&mut plan.agents[index].gone, gone));
        }
        for moved in (0..agent.moves.len()).rev() {
            add(&|plan| remove(&mut plan.agents[index].moves, moved));
        }
        for action in 0..agent.actions.len() {
            add(&|plan| plan.agents[index].actions[action].end = End::Done);
            add(&|plan| plan.agents[index].actions[action].takes = 0);
            add(&|plan| plan.agents[index].actions[action].flaky = 0);
            for post in (0..agent.actions[action].posts.len()).rev() {
                add(&|plan| remove(&mut plan.agents[index].actions[action].posts, post));
            }
        }
    }
}

#[test]
fn only_what_matters_is_left() {
    let stalls = |plan: &Plan| {
        plan.agents.iter().any(|agent| agent.actions[0].end == End::Stalled)
            && plan.commands.len() > 1
    };
    let plan = (0..).map(Plan::from_seed).find(|plan| stalls(plan) && plan.agents.len() > 5);
    let shrunk = shrink(plan.unwrap(), stalls);
    assert_eq!((shrunk.agents.len(), shrunk.commands.len(), shrunk.runs.len()), (1, 2, 1));
    assert!(shrunk.engines.len() == 1 && shrunk.engines[0].troubles.is_empty(), "{shrunk:#?}");
    assert_eq!(shrunk.agents[0].actions[0].end, End::Stalled);
    assert_eq!(shrunk.agents[0].actions[1].end, End::Done);
}

#[test]
fn what_matters_of_a_cluster_is_left() {
    let leaves = |plan: &Plan| {
        let lies = plan.platform.as_ref().is_some_and(|platform| !platform.lies.is_empty());
        lies && plan.agents.iter().any(|agent| !agent.gone.is_empty() && !agent.listed)
    };
    let plan = (0..).map(Plan::from_seed).find(|plan| leaves(plan) && plan.agents.len() > 5);
    let shrunk = shrink(plan.unwrap(), leaves);
    let [agent] = &shrunk.agents[..] else { panic!("{shrunk:#?}") };
    assert_eq!((agent.gone.len(), agent.moves.len(), agent.group), (1, 0, None));
    let platform = shrunk.platform.unwrap();
    assert_eq!((platform.lies.len(), platform.dropped), (1, None));
    assert!(platform.tells_all && platform.latency == 0);
}
