//! What one agent does just now, in words.

use super::explanation::{InFlight, NAMED, OpenAttempt, UNCONFIRMED_AFTER};
use super::words::{at, near, quoted, since};
use crate::playbook::Step;
use crate::run::{AgentRecord, AgentState, CallName, Millis, Run, StepPhase, Timestamp};

/// The agents in flight, some by name: `node-1 …; node-2 …; and 3 more`.
pub(super) fn in_flight(run: &Run, known: &[InFlight], now: Timestamp) -> String {
    let all = run.progress.count(AgentState::Running);
    let named: Vec<String> = known.iter().take(NAMED).map(|agent| doing(run, agent, now)).collect();
    and_more(named, all)
}

/// Agents that failed, some by name.
pub(super) fn failed(run: &Run, known: &[AgentRecord]) -> String {
    let all = run.progress.count(AgentState::Failed);
    let of = |record: &AgentRecord| {
        let failure = record.error.as_ref()?;
        let (reason, message) = (failure.reason, quoted(&failure.message));
        Some(format!("{} in step {} ({reason}: {message})", record.agent, failure.step))
    };
    and_more(known.iter().filter_map(of).take(NAMED).collect(), all)
}

fn and_more(mut named: Vec<String>, all: u32) -> String {
    let more = usize::try_from(all).unwrap_or(usize::MAX).saturating_sub(named.len());
    if more > 0 {
        named.push(if named.is_empty() { format!("{more}") } else { format!("and {more} more") });
    }
    named.join("; ")
}

/// The step that the agent is in, or that comes next.
fn step<'r>(run: &'r Run, record: &AgentRecord) -> Option<&'r Step> {
    let stage = run.snapshot.playbook.stages.get(usize::from(record.stage))?;
    stage.steps.get(usize::from(record.step))
}

fn doing(run: &Run, agent: &InFlight, now: Timestamp) -> String {
    let record = &agent.record;
    let (id, hold) = (&record.agent, run.progress.hold);
    let step = step(run, record);
    let name = step.map(|step| format!("step {}", step.name));
    let name = name.unwrap_or_else(|| "its last step".to_owned());
    let tries = step.map(|step| which_try(step, record.tries)).unwrap_or_default();
    match record.phase {
        StepPhase::Waiting if hold => format!("{id} is on hold before {name}"),
        StepPhase::Waiting => format!("{id} begins {name} next"),
        StepPhase::Trying => {
            let timeout = step.and_then(|step| step.timeout).unwrap_or(Step::DEFAULT_TIMEOUT);
            let what = trying(&name, &tries, agent.attempt, (hold, timeout), now);
            format!("{id} {what}{}", silent(record))
        }
        StepPhase::RetryAt { at: _ } if hold => format!("{id} is on hold before {name} again"),
        StepPhase::RetryAt { at: moment } => {
            let next = record.tries.saturating_add(1);
            let tries = step.map(|step| which_try(step, next)).unwrap_or_default();
            let after = record.error.as_ref().map(|failure| failure.reason.as_str());
            let after = after.map(|reason| format!(", after {reason}")).unwrap_or_default();
            format!("{id} tries {name} again {}{tries}{after}", at(moment, now))
        }
        StepPhase::Settling { until, again: _ } => {
            let out = record.outstanding.as_ref().map(|action| since(action.since, now));
            let out = out.unwrap_or_default();
            format!(
                "{id} has had an action of {name} out {out} whose attempt is over; that is waited for \
                 until {} at the latest",
                near(until, now)
            )
        }
    }
}

/// `, attempt 2 of 3`; nothing for a step that is tried once.
fn which_try(step: &Step, number: u32) -> String {
    let most = step.retry.attempts;
    if most > 1 || number > 1 { format!(", attempt {number} of {most}") } else { String::new() }
}

fn trying(
    name: &str,
    tries: &str,
    attempt: Option<OpenAttempt>,
    (hold, timeout): (bool, Millis),
    now: Timestamp,
) -> String {
    let Some(OpenAttempt { counts_from, call }) = attempt else {
        return format!("is in {name}{tries}");
    };
    let by = near(counts_from.plus(timeout), now);
    let Some((call, from, accepted)) = call else {
        return match hold {
            true => format!("is on hold in {name}{tries}"),
            false => format!("is in {name}{tries}, {}", since(counts_from, now)),
        };
    };
    let from_words = since(from, now);
    let limit = format!("until {by} at the latest");
    match call {
        CallName::RunAction => {
            let unconfirmed = !accepted && now.since(from) >= UNCONFIRMED_AFTER;
            let doubt = if unconfirmed { ", not confirmed by the agent yet" } else { "" };
            format!("has had an action of {name}{tries} out {from_words}{doubt}, {limit}")
        }
        CallName::WaitStatus => {
            format!("waits in {name}{tries} for its status {from_words}, {limit}")
        }
        CallName::Sleep => format!("sleeps in {name}{tries} {from_words}, {limit}"),
        CallName::Info => format!("is asked about its node in {name}{tries} {from_words}, {limit}"),
    }
}

/// That the agent was silent when it was asked about its node last.
fn silent(record: &AgentRecord) -> &'static str {
    match record.node.is_null() && record.node_seen_at.is_some() {
        true => " (it did not answer when it was asked about its node)",
        false => "",
    }
}

/// Since when an action of the agent may be running, so that it can be given up.
pub(super) fn action_out_since(agent: &InFlight) -> Option<Timestamp> {
    let of_attempt = agent.attempt.and_then(|attempt| attempt.call);
    let of_attempt = of_attempt.filter(|(call, _, _)| *call == CallName::RunAction);
    let outstanding = agent.record.outstanding.as_ref().map(|action| action.since);
    outstanding.or(of_attempt.map(|(_, from, _)| from))
}
