//! How the agents of a run look in tables. Records only have the numbers of stages and steps, so their names
//! come from the run's snapshot.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use super::client::Client;
use super::error::CliError;
use super::held;
use super::output::{Console, EMPTY, Format, Row};
use super::rows::{MAX_CELL, MAX_WIDE_CELL, labelled, or_dash, telling_label};
use super::text::{Paint, clean, length, moment, plural, shorten, time_of_day};
use crate::api::wire::RunView;
use crate::playbook::Playbook;
use crate::run::{AgentRecord, AgentSeq, AgentState, Held, Notice, PastStage, RunId, StepPhase};

/// Heading of the column that says who joined or left. A wide table has the full times instead.
const MEMBER: &str = "MEMBER";

/// What the playbook of a run says about its stages, as far as a table of agents needs it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    stages: Vec<PlannedStage>,
    /// What holds agents of the run, and the numbers of all that are held.
    held: (Held, BTreeSet<AgentSeq>),
}

#[derive(Clone, Debug)]
struct PlannedStage {
    name: String,
    /// Each step, with the most attempts that it may have.
    steps: Vec<(String, u32)>,
}

impl Plan {
    /// Takes it from a playbook.
    pub(crate) fn of(playbook: &Playbook) -> Self {
        let stages = playbook.stages.iter().map(|stage| PlannedStage {
            name: stage.name.clone(),
            steps: stage.steps.iter().map(|s| (s.name.clone(), s.retry.attempts)).collect(),
        });
        Self { stages: stages.collect(), held: Default::default() }
    }

    /// The same, with the agents of the run that are held.
    fn holding(self, run: &RunView) -> Self {
        let held = (run.held.clone(), run.held_agents.iter().copied().collect());
        Self { held, ..self }
    }

    /// Fetches it for a run. Without an answer a table shows less, but nothing wrong.
    pub(crate) async fn of_run(client: &Client, run: RunId) -> Self {
        match client.snapshot(run).await {
            Ok(snapshot) => {
                let plan = Self::of(&snapshot.playbook);
                match client.run(run).await {
                    Ok(run) => plan.holding(&run),
                    Err(_) => plan,
                }
            }
            Err(_) => Self::default(),
        }
    }

    fn stage(&self, index: u16) -> Option<&PlannedStage> {
        self.stages.get(usize::from(index))
    }

    fn name(&self, index: u16) -> String {
        self.stage(index).map_or_else(|| (index + 1).to_string(), |stage| stage.name.clone())
    }

    fn step(&self, record: &AgentRecord) -> Option<&(String, u32)> {
        self.stage(record.stage)?.steps.get(usize::from(record.step))
    }

    /// The place of a step in the order of execution. Steps of later stages, and unknown ones, come last.
    fn place_of(&self, stage: u16, step: &str) -> usize {
        let until = self.stages.iter().take(usize::from(stage) + 1);
        let steps = until.flat_map(|stage| &stage.steps).enumerate();
        let places = steps.filter(|(_, (name, _))| name == step).map(|(place, _)| place);
        places.last().unwrap_or(usize::MAX)
    }

    /// Writes a list of agents, with the stage of each if there are several stages.
    pub(crate) fn list(self, agents: Vec<AgentRecord>, console: &Console) -> Result<(), CliError> {
        match self.rows(agents) {
            Rows::OneStage(rows) => console.list(&rows),
            Rows::Stages(rows) => console.list(&rows),
        }
    }

    /// Writes one agent.
    pub(crate) fn one(self, agent: AgentRecord, console: &Console) -> Result<(), CliError> {
        match self.rows(vec![agent]) {
            Rows::OneStage(rows) => rows.first().map_or(Ok(()), |row| console.one(row)),
            Rows::Stages(rows) => rows.first().map_or(Ok(()), |row| console.one(row)),
        }
    }

    /// The table of agents, wide if that was asked for.
    pub(crate) fn table(self, agents: Vec<AgentRecord>, console: &Console) -> String {
        match (self.rows(agents), console.format) {
            (Rows::OneStage(rows), Format::Wide) => console.wide_table(&rows),
            (Rows::Stages(rows), Format::Wide) => console.wide_table(&rows),
            (
                Rows::OneStage(rows),
                Format::Table | Format::Json | Format::Yaml | Format::Name | Format::Picked,
            ) => console.table(&rows),
            (
                Rows::Stages(rows),
                Format::Table | Format::Json | Format::Yaml | Format::Name | Format::Picked,
            ) => console.table(&rows),
        }
    }

    fn rows(self, agents: Vec<AgentRecord>) -> Rows {
        let plan = Arc::new(self);
        let agents = agents.into_iter();
        match plan.stages.len() {
            0 | 1 => Rows::OneStage(
                agents.map(|record| AgentRow { record, plan: Arc::clone(&plan) }).collect(),
            ),
            _ => Rows::Stages(
                agents.map(|record| AgentRow { record, plan: Arc::clone(&plan) }).collect(),
            ),
        }
    }
}

enum Rows {
    OneStage(Vec<AgentRow<false>>),
    Stages(Vec<AgentRow<true>>),
}

/// A row for an agent of a run, with or without a column for the stage.
#[derive(Serialize)]
#[serde(transparent)]
struct AgentRow<const STAGES: bool> {
    record: AgentRecord,
    #[serde(skip)]
    plan: Arc<Plan>,
}

impl<const STAGES: bool> Row for AgentRow<STAGES> {
    fn headings(wide: bool) -> Vec<&'static str> {
        let mut headings = vec!["AGENT"];
        headings.extend(STAGES.then_some("STAGE"));
        headings.extend(["BATCH", "STATE", "RESULT", "TIME"]);
        if !wide {
            headings.push(MEMBER);
        } else {
            headings.extend(["ATTEMPTS", "STARTED", "JOINED", "LEFT"]);
            headings.extend(STAGES.then_some("STAGES BEFORE"));
            headings.extend(["ADDRESS", "ACTION"]);
        }
        headings
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let record = &self.record;
        let most = if wide { MAX_WIDE_CELL } else { MAX_CELL };
        let time = match (record.started_at, record.ended_at) {
            (Some(started), Some(ended)) => length(ended.since(started)),
            (None, _) | (_, None) => "-".to_owned(),
        };
        let mut cells = vec![record.agent.to_string()];
        cells.extend(STAGES.then(|| self.plan.name(record.stage)));
        cells.extend([
            batch_of(record),
            record.state.as_str().to_owned(),
            shorten(&clean(&result_of(record, &self.plan)), most),
            time,
        ]);
        if !wide {
            cells.push(member_of(record));
        } else {
            let attempts: Vec<String> = record.attempts.iter().map(u32::to_string).collect();
            cells.extend([
                attempts.join(","),
                or_dash(record.started_at.map(moment).as_deref()),
                or_dash(record.joined_at.map(moment).as_deref()),
                or_dash(record.left_at.map(moment).as_deref()),
            ]);
            cells.extend(STAGES.then(|| past_of(&record.past, &self.plan)));
            let action = record.last_action().map(|sent| sent.action_id.to_string());
            cells.extend([record.address.clone(), or_dash(action.as_deref())]);
        }
        cells
    }

    fn optional() -> &'static [&'static str] {
        &[MEMBER]
    }

    fn paint(&self) -> (&str, Paint) {
        (self.record.state.as_str(), Paint::of_agent(self.record.state))
    }

    fn name(&self) -> String {
        self.record.agent.to_string()
    }
}

/// Whether the agent joined or left during the run, and when: `ADDED 09:00:04`.
fn member_of(record: &AgentRecord) -> String {
    let joined = record.joined_at.map(|at| (at, AgentState::Added));
    let left = record.left_at.map(|at| (at, AgentState::Removed));
    let mut changes: Vec<_> = joined.into_iter().chain(left).collect();
    changes.sort_by_key(|(at, _)| *at);
    let words = changes.into_iter().map(|(at, what)| format!("{what} {}", time_of_day(at)));
    let words: Vec<_> = words.collect();
    if words.is_empty() { EMPTY.to_owned() } else { words.join(", ") }
}

fn batch_of(record: &AgentRecord) -> String {
    let Some(batch) = record.batch else { return "-".to_owned() };
    labelled(batch.to_string(), telling_label(batch, record.batch_label.as_deref()))
}

/// How the agent did in the earlier stages: `secondaries DONE, checks SKIPPED`.
fn past_of(past: &[PastStage], plan: &Plan) -> String {
    let words = past.iter().map(|past| format!("{} {}", plan.name(past.stage), past.state));
    let words: Vec<_> = words.collect();
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

/// The result of an agent in one line: why it failed or was skipped, what it does just now, or the results of
/// its steps.
fn result_of(record: &AgentRecord, plan: &Plan) -> String {
    let mut results: Vec<_> = record.results.iter().filter(|(_, value)| !value.is_null()).collect();
    results.sort_by_key(|(step, _)| plan.place_of(record.stage, step));
    let results = results.into_iter().map(|(step, value)| format!("{step}: {value}"));
    let results: Vec<String> = results.collect();
    let results = if results.is_empty() { "-".to_owned() } else { results.join(", ") };
    let skipped = |otherwise: &str| record.skip_reason.clone().unwrap_or(otherwise.to_owned());
    match record.state {
        AgentState::Failed => {
            let what = record.error.as_ref().map(|failure| {
                format!("{} in {}: {}", failure.reason, failure.step, failure.message)
            });
            let out = still_out(record).or_else(|| ended_late(record));
            let out = out.map(|out| format!("{out}; ")).unwrap_or_default();
            let out = format!("{out}{}", what.unwrap_or(results));
            noticed(record, &out)
        }
        AgentState::Skipped => skipped("-"),
        AgentState::Running => noticed(record, &doing(record, plan)),
        AgentState::Added => "joined, waits to be taken in".to_owned(),
        AgentState::Removed => skipped("left the cluster"),
        AgentState::Pending if plan.held.1.contains(&record.seq) => {
            held::of_agent(&plan.held.0, &record.agent)
        }
        AgentState::Pending | AgentState::Done => match passed_over(record) {
            Some(passed) => format!("{passed}; {results}"),
            None => results,
        },
    }
}

/// Puts what is noticed about the call in flight, if anything, before `what`.
fn noticed(record: &AgentRecord, what: &str) -> String {
    let is_in_flight = record.state == AgentState::Running || record.outstanding.is_some();
    let notice = record.notice.as_ref().filter(|_| is_in_flight);
    match notice {
        None => what.to_owned(),
        Some(Notice::NoAnswer { since, message, errors }) => {
            let how = if *errors { "answers only with errors" } else { "does not answer" };
            format!("{how} since {}; {what}; {message}", time_of_day(*since))
        }
        Some(Notice::Queued { since, before, behind }) => {
            let kind = behind.as_deref().map(|kind| format!(" ({kind})")).unwrap_or_default();
            format!("NEW since {}, {before} before it{kind}; {what}", time_of_day(*since))
        }
    }
}

/// How many failures of steps were passed over, and what went wrong last; `None` if there were none.
fn passed_over(record: &AgentRecord) -> Option<String> {
    let count = (record.passed_over > 0).then(|| plural(record.passed_over.into(), "failure"))?;
    let last = record.error.as_ref().map(|failure| {
        format!(", the last: {} in {}: {}", failure.reason, failure.step, failure.message)
    });
    Some(format!("{count} passed over{}", last.unwrap_or_default()))
}

/// Says that an action may still be running although its attempt is over.
fn still_out(record: &AgentRecord) -> Option<String> {
    let action = record.outstanding.as_ref()?;
    Some(format!("action still out since {}", time_of_day(action.since)))
}

/// How an action ended after its attempt was over.
fn ended_late(record: &AgentRecord) -> Option<String> {
    let late = record.late_end()?;
    Some(format!("ended late at {}: {}", time_of_day(late.at), late.outcome))
}

/// What a running agent does just now: `drain, attempt 2 of 3, again at 12:03:04`.
fn doing(record: &AgentRecord, plan: &Plan) -> String {
    let step = plan.step(record);
    let name = match step {
        Some((name, _)) => name.clone(),
        None => format!("step {}", u32::from(record.step) + 1),
    };
    let most = step.map_or(1, |(_, most)| *most);
    let attempt = |number: u32| match most > 1 || number > 1 {
        true => format!(", attempt {number} of {}", most.max(number)),
        false => String::new(),
    };
    match record.phase {
        StepPhase::Waiting => format!("{name} comes next"),
        StepPhase::Trying => format!("{name}{}", attempt(record.tries)),
        StepPhase::RetryAt { at } => {
            let next = record.tries.saturating_add(1);
            format!("{name}{}, again at {}", attempt(next), time_of_day(at))
        }
        StepPhase::Settling { until, again: _ } => {
            let out = still_out(record).unwrap_or_else(|| "action still out".to_owned());
            format!("{name}: {out}, waited for until {}", time_of_day(until))
        }
    }
}

#[cfg(test)]
#[path = "agent_rows_tests.rs"]
mod tests;
