//! Shows what a run would be, without starting it: `run start --dry-run`.

use crate::api::wire::{GuardsPlan, RunPlan, StagePlan};
use crate::cli::describe::{Lines, Signed, for_people};
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::guards;
use crate::cli::output::{Console, Room, Row};
use crate::cli::text::{moment, plural};
use crate::run::HeldNow;
use crate::why::held_in_words;

impl Row for RunPlan {
    fn headings(_: bool) -> Vec<&'static str> {
        vec!["PLAYBOOK", "CLUSTER", "STATUS", "AGENTS", "STAGES"]
    }

    fn cells(&self, _: bool) -> Vec<String> {
        vec![
            self.name(),
            self.cluster.clone(),
            self.status.as_str().to_owned(),
            self.agents.to_string(),
            self.stages.len().to_string(),
        ]
    }

    fn name(&self) -> String {
        format!("{}@{}", self.playbook, self.version)
    }
}

/// Writes the plan of a run, for people or in the format that they asked for.
pub(super) fn show_plan(plan: &RunPlan, console: &Console) -> Result<Exit, CliError> {
    match for_people(console) {
        true => console.data(&described(plan, console.data_room()))?,
        false => console.one(plan)?,
    }
    console.say("nothing was started");
    Ok(Exit::Ok)
}

fn described(plan: &RunPlan, room: Room) -> String {
    let mut lines = Lines::within(room);
    lines.line("Playbook", &plan.name());
    lines
        .line("Cluster", &format!("{}, {}", plan.cluster, plural(u64::from(plan.agents), "agent")));
    lines.line_if("Members", plan.members_problem.clone());
    lines.line("Status", plan.status.as_str());
    for waits in &plan.waits {
        lines.line("Waits", waits.strip_prefix("waits ").unwrap_or(waits));
    }
    if let Some(guards) = &plan.guards {
        of_guards(guards, &mut lines);
    }
    for (name, value) in &plan.params {
        lines.line("Parameter", &format!("{name} = {value}"));
    }
    for (number, stage) in (1..).zip(&plan.stages) {
        lines.line(&format!("Stage {number}"), &stage.name);
        of_stage(stage, plan.agents, &mut lines);
    }
    lines.plugins(&plan.plugins, &Signed::new());
    lines.text
}

/// The guards of the cluster, and what they would mean for the run as far as that is known.
fn of_guards(plan: &GuardsPlan, lines: &mut Lines) {
    for (label, text) in guards::lines(&plan.guards) {
        lines.line(label, &text);
    }
    if !plan.guards.guards.is_empty() {
        lines.line("Held", &held(plan.held.as_ref()));
    }
    if plan.guards.windows.is_empty() && plan.guards.freezes.is_empty() {
        return;
    }
    let until = plan.until.map(moment);
    let starts = match (plan.open, until) {
        (true, Some(until)) => format!("now, until {until}"),
        (true, None) => "now".to_owned(),
        (false, Some(until)) => format!("not before {until}"),
        (false, None) => "at no time that is known".to_owned(),
    };
    let why = plan.freeze.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    lines.line("Starts", &format!("{starts}{why}"));
}

/// Whom guards would hold at this moment. Each start is judged anew, by what all nodes say then.
fn held(held: Option<&HeldNow>) -> String {
    match held {
        None => "not known: there are too many agents to ask them all".to_owned(),
        Some(HeldNow { agents: 0, .. }) => "nobody now".to_owned(),
        Some(HeldNow { agents, some }) => {
            let mut named: Vec<String> = some.iter().map(held_in_words).collect();
            let more = u64::from(*agents).saturating_sub(named.len() as u64);
            if more > 0 {
                named.push(format!("and {more} more"));
            }
            format!("{} now: {}", plural(u64::from(*agents), "agent"), named.join("; "))
        }
    }
}

fn of_stage(stage: &StagePlan, agents: u32, lines: &mut Lines) {
    lines.line("  Strategy", &format!("{} {}", stage.strategy, stage.arguments));
    lines.line("  Steps", &stage.steps.join(", "));
    lines.line_if("  Select", stage.select.clone());
    let named: Vec<&str> = stage.first.iter().map(|agent| agent.as_str()).collect();
    let more = if (named.len() as u64) < u64::from(stage.selected) { ", …" } else { "" };
    let names =
        if named.is_empty() { String::new() } else { format!(": {}{more}", named.join(", ")) };
    lines.line("  Agents", &format!("{} of {agents}{names}", stage.selected));
    if stage.undecided > 0 {
        let of = plural(u64::from(stage.undecided), "more agent");
        lines.line("  Perhaps", &format!("{of}, depending on what they say, which is not known"));
    }
    lines.line_if("  Problem", stage.error.clone());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::text::width;
    use crate::run::AgentId;

    fn plan() -> RunPlan {
        serde_json::from_value(json!({
            "playbook": "restart", "version": "1.4.0", "cluster": "mongo-eu", "status": "PENDING",
            "waits": ["waits for run 0 to end"], "params": {"grace": 30}, "agents": 12,
            "members_problem": null, "guards": null, "plugins": {}, "stages": [{
                "name": "secondaries", "strategy": "rolling", "arguments": {"batch": "10%"},
                "select": "agent.attributes.role == 'SECONDARY'", "steps": ["drain", "restart"],
                "selected": 11, "first": ["node-1", "node-2"], "undecided": 1, "error": null,
            }],
        }))
        .unwrap()
    }

    #[test]
    fn a_plan_says_who_would_be_selected_and_what_would_keep_it() {
        let shown = described(&plan(), Room { prose: None, line: None });
        let expected = "\
Playbook:   restart@1.4.0
Cluster:    mongo-eu, 12 agents
Status:     PENDING
Waits:      for run 0 to end
Parameter:  grace = 30
Stage 1:    secondaries
  Strategy: rolling {\"batch\":\"10%\"}
  Steps:    drain, restart
  Select:   agent.attributes.role == 'SECONDARY'
  Agents:   11 of 12: node-1, node-2, …
  Perhaps:  1 more agent, depending on what they say, which is not known
";
        assert_eq!(shown, expected);
        let guards = json!({
            "guards": { "guards": [{"name": "few", "max_out": {"count": 2}}],
                        "windows": [{"every": "0 22 * * *", "for": 14_400_000, "zone": "UTC"}] },
            "open": false, "until": "2026-12-27T00:00:00Z", "freeze": "the fair",
            "held": {"agents": 6, "some": [{"agent": "a", "by": {"kind": "agents", "guard": "few", "group": null,
                     "of": 8, "out": 2, "allowed": 2, "because": ["b", "c"]}}]},
        });
        let guarded = RunPlan { guards: serde_json::from_value(guards).unwrap(), ..plan() };
        let shown = described(&guarded, Room { prose: None, line: None });
        let expected = "\
Guard:      few: at most 2 of all out at once
Window:     agents start for 4h00m from 0 22 * * * (UTC)
Held:       6 agents now: a (guard few lets 2 of 8 agents be out, and 2 are already: b, c); and 5 more
Starts:     not before 2026-12-27T00:00:00Z: the fair
Parameter:  grace = 30
";
        assert!(shown.contains(expected), "{shown}");
        assert_eq!(held(Some(&HeldNow::default())), "nobody now");
        assert!(held(None).contains("not known"));
        let mut long = plan();
        long.stages[0].first =
            (0..10).map(|n| AgentId(format!("a-rather-long-name-{n}"))).collect();
        let shown = described(&long, Room { prose: Some(80), line: Some(80) });
        assert!(shown.lines().all(|line| width(line) <= 80), "{shown}");
    }
}
