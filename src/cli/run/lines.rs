//! Events of a run as lines for people. `run events`, a watch and the demonstration show the same lines, in as
//! much detail as each wants.

use uuid::Uuid;

use crate::cli::rows::{labelled, telling_label};
use crate::cli::text::{clean, plural, time_of_day};
use crate::playbook::{ClusterGuards, FREEZE, WINDOWS};
use crate::run::{AgentId, AgentState, ApprovalChange, Happened, HeldThen, RunEvent, Was};

/// How much detail is shown; each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Detail {
    /// What a person must know beside a progress bar: statuses, batches, failures, agents that join or leave,
    /// commands.
    Main,
    /// Also what happens to each agent.
    Agents,
    /// Everything.
    All,
}

/// Columns that the time of day and the space after it take.
pub(crate) const TIME_COLUMNS: usize = 10;

/// The agent that an event is about; `None` if it is not about one.
pub(crate) fn agent_of(what: &Happened) -> Option<&AgentId> {
    match what {
        Happened::Agent { agent, .. }
        | Happened::Moved { agent, .. }
        | Happened::AgentInfo { agent, .. }
        | Happened::StepStarted { agent, .. }
        | Happened::StepSkipped { agent, .. }
        | Happened::StepEnded { agent, .. }
        | Happened::LateAction { agent, .. } => Some(agent),
        Happened::Command { agent, .. } => agent.as_ref(),
        Happened::Status { .. }
        | Happened::Stage { .. }
        | Happened::Decision { .. }
        | Happened::Guards { .. }
        | Happened::NoDecision { .. }
        | Happened::Closing { .. }
        | Happened::Approval { .. } => None,
    }
}

/// The line of an event, with its time of day; `None` when `detail` leaves it out.
pub(crate) fn line_of(event: &RunEvent, detail: Detail) -> Option<String> {
    let (least, text) = tell(&event.what);
    let line = format!("{}  {text}{}", time_of_day(event.at), by(event, &text));
    (detail >= least).then(|| clean(&line))
}

/// ` (by ada@build-7)`, if the text of the event does not say it already.
pub(crate) fn by(event: &RunEvent, text: &str) -> String {
    let actor = event.actor.as_ref().filter(|actor| !text.contains(&format!("by {actor}")));
    actor.map(|actor| format!(" (by {actor})")).unwrap_or_default()
}

/// The text of an event, and the least detail that shows it.
pub(crate) fn tell(what: &Happened) -> (Detail, String) {
    match what {
        Happened::Status { from: _, to, reason } => {
            let why = reason.as_ref().map(|reason| format!(": {}", reason.message));
            (Detail::Main, format!("run is {to}{}", why.unwrap_or_default()))
        }
        Happened::Decision {
            batch,
            label,
            started,
            skipped,
            next,
            roster: _,
            asked: _,
            memo: _,
            refresh: _,
            held,
        } => {
            let (least, text) = decision(*batch, label.as_deref(), *started, *skipped, next);
            match held {
                Some(held) => (least, format!("{text}; {}", held_back(held))),
                None => (least, text),
            }
        }
        Happened::Guards { guards } => (Detail::Main, guarded_by(guards)),
        Happened::NoDecision { roster: _, asked: _, code, message, decision_hash: _ } => {
            let what = match code {
                Some(code) => format!("strategy gave no decision ({code})"),
                None => "the strategy's decision was refused".to_owned(),
            };
            // Everybody sees the status that follows, which says the same.
            (Detail::All, format!("{what}: {message}"))
        }
        Happened::Agent { agent, from, to, batch: _, why, failure: _ } => {
            moved_on(agent, *from, *to, why.as_deref())
        }
        Happened::AgentInfo { agent, was } => (Detail::All, asked_again(agent, was)),
        Happened::StepStarted { agent, step, attempt, takes: Some(before) } => (
            Detail::Agents,
            format!(
                "{agent} goes on with {step}, attempt {attempt}: attempt {before} ended well, late"
            ),
        ),
        Happened::StepStarted { agent, step, attempt, takes: None } => match *attempt {
            0 | 1 => (Detail::All, format!("{agent} started {step}")),
            again => (Detail::Agents, format!("{agent} tries {step} again, attempt {again}")),
        },
        Happened::StepSkipped { agent, step } => {
            (Detail::All, format!("{agent} left out {step}: its condition does not hold"))
        }
        Happened::StepEnded { agent, step, attempt, failure, action_id } => match failure {
            None => (Detail::All, format!("{agent} ended {step}{}", action(*action_id))),
            Some(failure) => {
                let what = format!("{}: {}", failure.reason, failure.message);
                let action = action(*action_id);
                let text = format!("{agent}: attempt {attempt} of {step} failed: {what}{action}");
                (Detail::Agents, text)
            }
        },
        Happened::Stage { stage, index: _, selected: _, once: true } => {
            (Detail::Main, format!("stage {stage}: once, on the run"))
        }
        Happened::Stage { stage, index: _, selected, once: false } => (
            Detail::Main,
            format!("stage {stage}: {} selected", plural((*selected).into(), "agent")),
        ),
        Happened::Closing { outcome, reason, next: _ } => (
            Detail::Main,
            format!("run ends as {outcome} after its last stages: {}", reason.message),
        ),
        Happened::Approval { question: _, given, wanted, approval } => {
            (Detail::Main, approval_told(*given, *wanted, approval))
        }
        Happened::Moved { agent, from, to } => {
            (Detail::Agents, format!("{agent} moved from {from} to {to}"))
        }
        Happened::LateAction { agent, step, attempt, outcome, action_id } => {
            let action = action(*action_id);
            let text = format!(
                "{agent}: the action of attempt {attempt} of {step} ended late: {outcome}{action}"
            );
            (Detail::Agents, text)
        }
        Happened::Command {
            id: _,
            command,
            agent,
            again,
            signal,
            override_guard,
            why,
            refused,
        } => {
            let of = [signal.as_deref(), agent.as_ref().map(AgentId::as_str)];
            let command =
                of.iter().flatten().fold(command.clone(), |all, of| format!("{all} {of}"));
            let command = if *again { format!("{command} --again") } else { command };
            let command = match override_guard {
                Some(guard) => format!("{command} --override-guard {guard}"),
                None => command,
            };
            (Detail::Main, asked_to(&command, why.as_deref(), refused.as_deref()))
        }
    }
}

/// What has become of the question of a run.
fn approval_told(given: u32, wanted: u32, approval: &ApprovalChange) -> String {
    match approval {
        ApprovalChange::Counted { seen: _ } => {
            format!("{given} of {}", plural(wanted.into(), "approval"))
        }
        ApprovalChange::Overdue { then: _, message } => message.clone(),
        ApprovalChange::AskedAgain => "approval is asked for again".to_owned(),
    }
}

/// Whom guards hold after a decision.
fn held_back(held: &HeldThen) -> String {
    let agents = plural((held.named.len() + held.before.len()) as u64, "agent");
    let until = held.until.map(|until| format!(" until {until}"));
    format!("{agents} held by {}{}", held.by.join(" and "), until.unwrap_or_default())
}

/// The guards that the cluster has from now on.
fn guarded_by(guards: &ClusterGuards) -> String {
    if guards.guard_nothing() {
        return "the cluster has no guards any more".to_owned();
    }
    let names = guards.guards.iter().map(|guard| guard.name.clone());
    let windows = (!guards.windows.is_empty()).then(|| WINDOWS.to_owned());
    let freeze = (!guards.freezes.is_empty()).then(|| FREEZE.to_owned());
    let names: Vec<_> = names.chain(windows).chain(freeze).collect();
    let closed = guards.closed.as_ref().map(|reason| format!("; it is closed for now: {reason}"));
    format!("the cluster is guarded by {}{}", names.join(", "), closed.unwrap_or_default())
}

/// An agent that has another state now.
fn moved_on(
    agent: &AgentId,
    from: Option<AgentState>,
    to: AgentState,
    why: Option<&str>,
) -> (Detail, String) {
    let least = match (from, to) {
        (_, AgentState::Failed | AgentState::Added) | (Some(_), AgentState::Removed) => {
            Detail::Main
        }
        // Every agent has such an event when the run starts.
        (None, _) => Detail::All,
        (Some(_), _) => Detail::Agents,
    };
    let why = match (why, from, to) {
        (Some(why), ..) => format!(": {why}"),
        (None, None, AgentState::Added) => ": joined the cluster".to_owned(),
        (None, None | Some(_), _) => String::new(),
    };
    (least, format!("{agent} is {to}{why}"))
}

/// What a person asked for, and what came of it.
fn asked_to(command: &str, why: Option<&str>, refused: Option<&str>) -> String {
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    let refused = refused.map(|refused| format!(", refused: {refused}")).unwrap_or_default();
    format!("asked to {command}{why}{refused}")
}

/// ` (action ID)`: with the identifier, the agent itself can be asked about the action.
fn action(id: Option<Uuid>) -> String {
    id.map(|id| format!(" (action {id})")).unwrap_or_default()
}

fn asked_again(agent: &AgentId, was: &Was) -> String {
    let changed = [
        (was.attributes.is_some(), "its attributes"),
        (was.node.is_some(), "what it says about its node"),
        (was.datastore.is_some(), "what it says about its store"),
    ];
    let changed: Vec<_> = changed.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect();
    let news = match changed.as_slice() {
        [] if was.address.is_some() => "it has another address".to_owned(),
        [] => "nothing changed".to_owned(),
        [all @ .., last] if !all.is_empty() => format!("{} and {last} changed", all.join(", ")),
        [only, ..] => format!("{only} changed"),
    };
    format!("{agent} was asked again: {news}")
}

fn decision(
    batch: Option<u32>,
    label: Option<&str>,
    started: u32,
    skipped: u32,
    next: &str,
) -> (Detail, String) {
    let mut parts = Vec::new();
    if started > 0 {
        parts.push(format!("{} started", plural(started.into(), "agent")));
    }
    if skipped > 0 {
        parts.push(format!("{} left out", plural(skipped.into(), "agent")));
    }
    let what = parts.join(", ");
    match batch {
        Some(batch) => (Detail::Main, format!("{}: {what}", batch_name(batch, label))),
        None if what.is_empty() => (Detail::All, format!("strategy decided to {next}")),
        None => (Detail::Main, format!("strategy decided: {what}")),
    }
}

/// `batch 2 (zone a)`.
pub(crate) fn batch_name(batch: u32, label: Option<&str>) -> String {
    labelled(format!("batch {batch}"), telling_label(batch, label))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample::{moment, run_view};
    use crate::run::{ReasonCode, RunStatus, StatusReason};

    fn event(what: Happened) -> RunEvent {
        let run = run_view(RunStatus::Running).id;
        RunEvent { run, seq: 1, at: moment(), actor: None, what, finish_ts: None }
    }

    fn agent(from: Option<AgentState>, to: AgentState, why: Option<&str>) -> RunEvent {
        let (agent, why) = (AgentId::from("node-1"), why.map(str::to_owned));
        event(Happened::Agent { agent, from, to, batch: Some(1), why, failure: None })
    }

    #[test]
    fn events_read_like_a_report() {
        let reason = Some(StatusReason {
            code: ReasonCode::BudgetExceeded,
            message: "2 agents failed,\nat most 1 may".to_owned(),
        });
        let from = Some(RunStatus::Running);
        let paused = event(Happened::Status { from, to: RunStatus::Paused, reason });
        let line = line_of(&paused, Detail::Main).unwrap();
        assert_eq!(line, "09:00:00  run is PAUSED: 2 agents failed, at most 1 may");

        let reason = Some(StatusReason {
            code: ReasonCode::Operator,
            message: "cancel by ada@vm: enough".to_owned(),
        });
        let mut ended = event(Happened::Status { from, to: RunStatus::Cancelling, reason });
        ended.actor = Some("ada@vm".to_owned());
        let line = line_of(&ended, Detail::Main).unwrap();
        assert_eq!(line, "09:00:00  run is CANCELLING: cancel by ada@vm: enough");

        let label = Some("zone a".to_owned());
        let (batch, started, skipped) = (Some(2), 3, 1);
        let next = "wait".to_owned();
        let (roster, asked, memo, refresh) = (9, None, None, Vec::new());
        let batch = Happened::Decision {
            roster,
            asked,
            batch,
            label,
            started,
            skipped,
            next,
            memo,
            refresh,
            held: None,
        };
        let mut batch = event(batch);
        batch.actor = Some("ada".to_owned());
        let line = line_of(&batch, Detail::Main).unwrap();
        assert_eq!(line, "09:00:00  batch 2 (zone a): 3 agents started, 1 agent left out (by ada)");
    }

    #[test]
    fn a_look_at_an_agent_says_what_is_new() {
        let tell = |attributes: bool, node: bool, datastore: bool| {
            let was = Was {
                attributes: attributes.then(Default::default),
                node: node.then(Default::default),
                datastore: datastore.then(Default::default),
                node_seen_at: Some(moment()),
                address: None,
            };
            let event = event(Happened::AgentInfo { agent: AgentId::from("node-1"), was });
            assert_eq!(line_of(&event, Detail::Agents), None);
            line_of(&event, Detail::All).unwrap()
        };
        assert!(tell(false, false, false).ends_with("node-1 was asked again: nothing changed"));
        assert!(tell(true, false, false).ends_with(": its attributes changed"));
        assert!(tell(false, true, false).ends_with(": what it says about its node changed"));
        let all = "its attributes, what it says about its node and what it says about its store";
        assert!(tell(true, true, true).ends_with(&format!("{all} changed")));
    }

    #[test]
    fn an_event_tells_which_agent_it_is_about() {
        let node = || AgentId::from("node-1");
        let (step, attempt) = ("drain".to_owned(), 2);
        let started = |takes| {
            let (agent, step) = (node(), step.clone());
            event(Happened::StepStarted { agent, step, attempt, takes })
        };
        let again = started(None);
        let line = line_of(&again, Detail::Agents).unwrap();
        assert!(line.ends_with("  node-1 tries drain again, attempt 2"), "{line}");
        let line = line_of(&started(Some(1)), Detail::Agents).unwrap();
        let expected = "  node-1 goes on with drain, attempt 2: attempt 1 ended well, late";
        assert!(line.ends_with(expected), "{line}");
        let outcome = "DONE".to_owned();
        let late = Happened::LateAction {
            agent: node(),
            step: step.clone(),
            attempt,
            outcome,
            action_id: Some(Uuid::from_u128(7)),
        };
        let line = line_of(&event(late.clone()), Detail::Agents).unwrap();
        assert!(
            line.ends_with(
                "node-1: the action of attempt 2 of drain ended late: DONE (action \
                 00000000-0000-0000-0000-000000000007)"
            ),
            "{line}"
        );
        let ended = |action_id| {
            let step = step.clone();
            let failure = None;
            event(Happened::StepEnded { agent: node(), step, attempt, failure, action_id })
        };
        let line = line_of(&ended(Some(Uuid::from_u128(7))), Detail::All).unwrap();
        assert!(line.ends_with("ended drain (action 00000000-0000-0000-0000-000000000007)"));
        assert!(line_of(&ended(None), Detail::All).unwrap().ends_with("node-1 ended drain"));
        let stage =
            Happened::Stage { stage: "primary".to_owned(), index: 1, selected: 1, once: false };
        let line = line_of(&event(stage.clone()), Detail::Main).unwrap();
        assert!(line.ends_with("  stage primary: 1 agent selected"), "{line}");
        let asked = |agent: Option<AgentId>, refused: Option<&str>| Happened::Command {
            id: crate::run::CommandId(uuid::Uuid::nil()),
            command: "give-up".to_owned(),
            agent,
            again: false,
            signal: None,
            override_guard: None,
            why: Some("gone".to_owned()),
            refused: refused.map(str::to_owned),
        };
        let line = line_of(&event(asked(Some(node()), Some("no"))), Detail::Main).unwrap();
        assert!(line.ends_with("  asked to give-up node-1: gone, refused: no"), "{line}");
        assert_eq!(agent_of(&late), Some(&node()));
        assert_eq!(agent_of(&asked(Some(node()), None)), Some(&node()));
        assert_eq!(agent_of(&asked(None, None)), None);
        assert_eq!(agent_of(&stage), None);
    }

    #[test]
    fn what_is_told_depends_on_the_detail() {
        let failed = agent(Some(AgentState::Running), AgentState::Failed, Some("no space"));
        assert!(line_of(&failed, Detail::Main).unwrap().ends_with("FAILED: no space"));
        let done = agent(Some(AgentState::Running), AgentState::Done, None);
        assert_eq!(line_of(&done, Detail::Main), None);
        assert!(line_of(&done, Detail::Agents).unwrap().ends_with("node-1 is DONE"));
        let joined = line_of(&agent(None, AgentState::Added, None), Detail::Main).unwrap();
        assert!(joined.ends_with("  node-1 is ADDED: joined the cluster"), "{joined}");
        let (pending, removed) = (Some(AgentState::Pending), AgentState::Removed);
        let left = line_of(&agent(pending, removed, Some("left")), Detail::Main).unwrap();
        assert!(left.ends_with("  node-1 is REMOVED: left"), "{left}");
        // For an agent that is gone, each further stage repeats this.
        assert_eq!(line_of(&agent(None, removed, Some("left")), Detail::Agents), None);
        let made = agent(None, AgentState::Pending, None);
        assert_eq!(line_of(&made, Detail::Agents), None);
        assert!(line_of(&made, Detail::All).is_some());
    }
}
