//! What one agent does just now, in words.

use super::explanation::{ActionOut, InFlight, NAMED, OpenAttempt, UNCONFIRMED_AFTER};
use super::words::{agents, at, near, quoted, since};
use crate::playbook::{Step, StepRole};
use crate::run::{
    AgentRecord, AgentState, CallName, Millis, Notice, Run, StepPhase, Timestamp, Unheard,
    UnheardAgent,
};

/// The agents in flight, some by name: `node-1 …; node-2 …; and 3 more`.
pub(super) fn in_flight(run: &Run, known: &[InFlight], now: Timestamp) -> String {
    let all = run.progress.count(AgentState::Running);
    let named: Vec<String> = known.iter().take(NAMED).map(|agent| doing(run, agent, now)).collect();
    and_more(named, all)
}

/// Agents that failed, some by name.
pub(super) fn failed(run: &Run, known: &[AgentRecord], now: Timestamp) -> String {
    let all = run.progress.count(AgentState::Failed);
    let of = |record: &AgentRecord| {
        let failure = record.error.as_ref()?;
        let (reason, message) = (failure.reason, quoted(&failure.message));
        let late = record.late_end().map(|late| {
            let (from, outcome) = (near(late.at, now), quoted(&late.outcome));
            let is_taken = record.late_end_to_take().is_some();
            let takes = match (is_taken, run.progress.status.is_settled()) {
                (false, _) => "",
                (true, false) => ", which a retry goes on with",
                // A run over them is a new one, and begins with the first step.
                (true, true) => ", which a retry does again",
            };
            format!("; its action ended late, at {from}: {outcome}{takes}")
        });
        let late = late.unwrap_or_default();
        Some(format!("{} in step {} ({reason}: {message}{late})", record.agent, failure.step))
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
    let name = step.map(|step| format!("{} {}", word_of(step.role), step.name));
    let name = name.unwrap_or_else(|| "its last step".to_owned());
    let tries = step.map(|step| which_try(step, record.tries)).unwrap_or_default();
    match record.phase {
        StepPhase::Waiting if hold => format!("{id} is on hold before {name}"),
        StepPhase::Waiting => format!("{id} begins {name} next"),
        StepPhase::Trying => {
            let timeout = step.and_then(|step| step.timeout).unwrap_or(Step::DEFAULT_TIMEOUT);
            let what = trying(&name, &tries, agent.attempt.as_ref(), (hold, timeout), now);
            format!("{id} {what}{}{}", queued(record, now), silent(record))
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
                 until {} at the latest{}",
                near(until, now),
                queued(record, now)
            )
        }
    }
}

/// What a step with this role is called.
fn word_of(role: StepRole) -> &'static str {
    match role {
        StepRole::Main => "step",
        StepRole::Rescue => "rescue step",
        StepRole::Finally => "finally step",
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
    attempt: Option<&OpenAttempt>,
    (hold, timeout): (bool, Millis),
    now: Timestamp,
) -> String {
    let Some(OpenAttempt { counts_from, call, asks_for }) = attempt else {
        return format!("is in {name}{tries}");
    };
    let (counts_from, call) = (*counts_from, *call);
    let asks_for = asks_for.as_deref().map(quoted).unwrap_or_default();
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
        CallName::WaitSignal => {
            format!("waits in {name}{tries} for signal {asks_for} {from_words}, {limit}")
        }
        CallName::HttpSend => {
            format!("waits in {name}{tries} for the answer to {asks_for} {from_words}, {limit}")
        }
        CallName::Info => format!("is asked about its node in {name}{tries} {from_words}, {limit}"),
    }
}

/// The agents that give no good answer, a few of them by name; none if all answer.
pub(super) fn not_answering(run: &Run, known: &[AgentRecord], now: Timestamp) -> Option<String> {
    let all = run.progress.silent.agents;
    let of = |record: &AgentRecord| match &record.notice {
        Some(Notice::NoAnswer { since, message, errors }) => {
            let how = if *errors { ", only errors" } else { "" };
            Some(format!(
                "{} (since {}{how}: {})",
                record.agent,
                near(*since, now),
                quoted(message)
            ))
        }
        Some(Notice::Queued { .. }) | None => None,
    };
    let named: Vec<String> = known.iter().filter_map(of).take(NAMED).collect();
    let verb = if all == 1 { "does" } else { "do" };
    let head = format!("{} {verb} not answer", agents(all));
    match (all, named.is_empty()) {
        (0, _) => None,
        (_, true) => Some(head),
        (_, false) => Some(format!("{head}: {}", and_more(named, all))),
    }
}

/// The agents that gave a strategy no good answer, some by name; none where all did.
pub(super) fn unheard(unheard: &Unheard, now: Timestamp) -> Option<String> {
    let Unheard { agents: all, some } = unheard;
    let of = |UnheardAgent { agent, since, message }: &UnheardAgent| {
        format!("{agent} (since {}: {})", near(*since, now), quoted(message))
    };
    let named = some.iter().map(of).take(NAMED).collect();
    (*all > 0).then(|| {
        let head = "gave no good answer when the strategy had them asked last";
        format!("{} {head}: {}", agents(*all), and_more(named, *all))
    })
}

/// That the action of the agent waits there for others.
fn queued(record: &AgentRecord, now: Timestamp) -> String {
    let Some(Notice::Queued { since, before, behind }) = &record.notice else {
        return String::new();
    };
    let since = near(*since, now);
    let behind = behind.as_deref().map(|kind| format!(": {kind} goes first")).unwrap_or_default();
    match before {
        0 => format!(" (NEW since {since}: the agent has not begun it, and no other comes before)"),
        1 => format!(" (NEW since {since}, behind 1 other in the agent's queue{behind})"),
        _ => format!(" (NEW since {since}, behind {before} others in the agent's queue{behind})"),
    }
}

/// The action of an agent that may still be running.
pub(super) fn action_of(record: &AgentRecord) -> Option<ActionOut> {
    let is_out = record.outstanding.is_some()
        || record.state == AgentState::Running && record.phase == StepPhase::Trying;
    let sent = record.last_action().filter(|sent| {
        is_out && (record.outstanding.is_some() || sent.key == record.present_attempt())
    })?;
    let (agent, notice) = (record.agent.clone(), record.notice.clone());
    Some(ActionOut { agent, action_id: sent.action_id, notice })
}

/// That the agent was silent when it was asked about its node last.
fn silent(record: &AgentRecord) -> &'static str {
    let is_told = record.notice.as_ref().is_some_and(Notice::is_silence);
    match record.node.is_null() && record.node_seen_at.is_some() && !is_told {
        true => " (it gave no good answer when it was asked about its node)",
        false => "",
    }
}

/// Since when an action of the agent may be running, so that it can be given up.
pub(super) fn action_out_since(agent: &InFlight) -> Option<Timestamp> {
    let of_attempt = agent.attempt.as_ref().and_then(|attempt| attempt.call);
    let of_attempt = of_attempt.filter(|(call, _, _)| *call == CallName::RunAction);
    let outstanding = agent.record.outstanding.as_ref().map(|action| action.since);
    outstanding.or(of_attempt.map(|(_, from, _)| from))
}
