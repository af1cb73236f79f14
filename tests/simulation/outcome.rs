//! The outcome of a history: the checks at its end, and what two histories are compared by.

use std::collections::BTreeMap;

use replibook::agent::platform::PlatformError;
use replibook::run::{
    AgentId, AgentState, Answer, CallError, FailureReason, Happened, JsonText, PlatformNode, RunId,
    RunStatus, Timestamp, Writes,
};
use replibook::store::{MAX_PAGE, MemoryStore, Store as _};
use uuid::Uuid;

use crate::agents::{number, payload, place};
use crate::ledger::{Check, Ledger, expect};
use crate::plan::{End, Interruption, Plan, Trouble, Window};
use crate::post_fault::PostFault;
use crate::post_model::Post;
use crate::signal_model;

/// Everything that came of a history, without times.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) runs: BTreeMap<RunId, RunOutcome>,
    /// How often each action took effect.
    pub(crate) executions: BTreeMap<Uuid, u32>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RunOutcome {
    pub(crate) status: RunStatus,
    pub(crate) agents: BTreeMap<AgentId, AgentOutcome>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AgentOutcome {
    state: AgentState,
    attempts: Vec<u32>,
    results: BTreeMap<String, JsonText>,
    failed: Option<FailureReason>,
}

impl Outcome {
    pub(crate) fn of(ledger: &Ledger) -> Self {
        let mut outcome = Self::default();
        for (id, run) in &ledger.runs {
            let agents = run.records.values().map(|record| {
                let agent = AgentOutcome {
                    state: record.state,
                    attempts: record.attempts.clone(),
                    results: record.results.clone(),
                    failed: record.error.as_ref().map(|error| error.reason),
                };
                (record.agent.clone(), agent)
            });
            let agents = agents.collect();
            outcome.runs.insert(*id, RunOutcome { status: run.status, agents });
        }
        let posts = ledger.posts.by_id.iter().filter(|(_, post)| post.executions > 0);
        outcome.executions = posts.map(|(id, post)| (*id, post.executions)).collect();
        outcome
    }
}

/// The answer of a platform as text, for the trace.
pub(crate) fn heard_in_words(answer: &Result<Option<Vec<PlatformNode>>, PlatformError>) -> String {
    match answer {
        Ok(Some(nodes)) => {
            let name = |node: &PlatformNode| node.node_id.clone().unwrap_or_default();
            nodes.iter().map(name).collect::<Vec<_>>().join(" ")
        }
        Ok(None) => "nothing of the cluster".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// What a commit says as text, for the trace.
pub(crate) fn in_words(writes: &Writes) -> String {
    let mut words: Vec<String> = Vec::new();
    for event in &writes.events {
        words.push(match &event.what {
            Happened::Status { to, .. } => format!("{}: {to}", event.seq),
            Happened::Agent { agent, to, .. } => format!("{}: {agent} {to}", event.seq),
            Happened::Decision { started, next, .. } => {
                format!("{}: decision starts {started}, {next}", event.seq)
            }
            other => format!("{}: {other:?}", event.seq),
        });
    }
    for journal in &writes.journals {
        let pending = journal.pending.as_ref().map(|pending| (pending.name, pending.accepted));
        let (agent, step, answers) = (&journal.agent, &journal.step_name, journal.answers.len());
        words.push(format!("journal {agent} {step} {answers} answers, then {pending:?}"));
    }
    words.join("; ")
}

/// Checks that everything that belongs to a run that is over has its `finish_ts`.
pub(crate) async fn check_stamps(run: RunId, store: &MemoryStore) -> Check {
    let rule = "finish_ts is on the run last";
    let failed = |error: replibook::store::StoreError| (rule, error.to_string());
    let finish_ts = match store.read_run(run).await.map_err(failed)? {
        Some(Ok(run)) => run.progress.finish_ts,
        Some(Err(damaged)) => damaged.glance.finish_ts,
        None => None,
    };
    let mut stamps: Vec<Option<Timestamp>> = vec![finish_ts];
    // A damaged document has no known stamp.
    let records = store.read_records(run, None, None, MAX_PAGE).await.map_err(failed)?;
    stamps.extend(records.iter().flatten().map(|record| record.finish_ts));
    let journals = store.read_journals(run, None, None, MAX_PAGE).await.map_err(failed)?;
    stamps.extend(journals.iter().flatten().map(|journal| journal.finish_ts));
    let logs = store.logs(run, None, None, MAX_PAGE).await.map_err(failed)?;
    stamps.extend(logs.iter().map(|line| line.finish_ts));
    let mut after = 0;
    loop {
        let events = store.events(run, after, MAX_PAGE).await.map_err(failed)?;
        let Some(last) = events.last() else { break };
        after = last.seq;
        stamps.extend(events.iter().map(|event| event.finish_ts));
    }
    let other = stamps.iter().filter(|stamp| **stamp != finish_ts || stamp.is_none()).count();
    expect(other == 0, rule, || format!("{other} documents have another one than {finish_ts:?}"))?;
    let known = store.troubles_of(&[run]).await.map_err(failed)?.pop();
    let kept =
        |known: &replibook::run::Trouble| known.abandoned.is_some() && known.finish_ts == finish_ts;
    let rule = "only a run that was given up ends in trouble";
    expect(known.as_ref().is_none_or(kept), rule, || format!("{known:?} at {finish_ts:?}"))
}

/// Checks what has to hold once all runs have ended: no action was lost, and no answer belongs to another
/// action.
pub(crate) fn check_end(ledger: &Ledger, plan: &Plan) -> Check {
    for (id, post) in &ledger.posts.by_id {
        check_action(ledger, plan, *id, post)?;
    }
    ledger.requests.check_end(&ledger.runs)?;
    for run in ledger.runs.values().filter(|run| !run.abandoned) {
        signal_model::check_end(run)?;
        for record in run.records.values() {
            let rule = "a run that ended has no agent in flight";
            let going = record.state == AgentState::Running;
            expect(!going, rule, || format!("{} of {}", record.agent, run.id))?;
            let unreachable =
                record.error.as_ref().is_some_and(|e| e.reason == FailureReason::Unreachable);
            let silent = record.undecided && unreachable;
            let rule = "who refuses to say is not taken for one that can't be reached";
            expect(!silent || !only_denies(plan, &record.agent), rule, || format!("{record:?}"))?;
        }
    }
    Ok(())
}

/// Whether every look at the agent arrives and is refused.
fn only_denies(plan: &Plan, agent: &AgentId) -> bool {
    let frozen = |trouble: &Trouble| matches!(trouble.what, Interruption::Frozen { .. });
    let held = plan.engines.iter().flat_map(|engine| &engine.troubles).any(frozen);
    let agent = number(agent).and_then(|agent| plan.agents.get(agent));
    agent.is_some_and(|agent| {
        let always = agent.denies == Some(Window { from: 0, to: u64::MAX });
        let stays = agent.away.is_none() && agent.gone.is_empty() && agent.moves.is_empty();
        always && stays && !held && plan.platform.is_none()
    })
}

fn check_action(ledger: &Ledger, plan: &Plan, id: Uuid, post: &Post) -> Check {
    let run = &ledger.runs[&post.run];
    if run.abandoned {
        return Ok(());
    }
    let record = &run.records[&post.key.agent];
    let journal = &run.journals[&post.key];
    let ran = post.executions > 0;
    let Some(agent) = number(&post.agent) else {
        return expect(!ran, "agents of another cluster do nothing", || post.agent.to_string());
    };
    let step = place(usize::from(post.key.stage), usize::from(post.key.step));
    let end = plan.agents[agent].actions[step].end_of(post.key.attempt);
    let say = || format!("{id}, step {step} of {}: {journal:?}", post.agent);
    let left = run.members.left.contains(&post.agent);
    let answer = journal.answers.get(post.call).or(journal.late.as_ref());
    let Some(answer) = answer else {
        // The attempt timed out or was cut off: it must not count as one that went well.
        let attempt = (post.agent.clone(), journal.step_name.clone(), post.key.attempt);
        let failed = run.attempts.get(&attempt) == Some(&true);
        let over = failed || record.state == AgentState::Failed || left;
        return expect(over, "no action is lost", say);
    };
    let late = journal.late.is_some();
    let (right, rule) = match &answer.answer {
        Answer::RunAction(Ok(value)) => {
            let ends = matches!(end, End::Done | End::Stalled);
            (ran && ends && *value == payload(agent, step), "an answer is that of its action")
        }
        Answer::RunAction(Err(CallError::Failed(_))) => {
            (ran && end == End::Failed, "an answer is that of its action")
        }
        Answer::RunAction(Err(CallError::Refused(_))) => {
            // A proxy may be in the way of a second request, for an action that the agent has forgotten.
            let forgets = end == End::Forgotten || plan.agents[agent].forgets();
            let proxied = plan.agents[agent].proxied.is_some();
            let right = !ran && end == End::Refused || proxied && (!ran || forgets);
            (right, "only what was refused counts as refused")
        }
        Answer::RunAction(Err(CallError::Lost(_))) => {
            let forgets = end == End::Forgotten || plan.agents[agent].forgets();
            // An action that is only looked at may never have been sent.
            let only_looked = run.status == RunStatus::Cancelled || late || left;
            let given_up = run.given_up.contains(&post.agent);
            let right = ran && forgets || only_looked || given_up;
            (right, "only what an agent forgot counts as lost")
        }
        Answer::RunAction(Err(CallError::Malformed(_))) => {
            let posts = &plan.agents[agent].actions[step].posts;
            let garbled =
                |fault: &PostFault| matches!(fault, PostFault::Garbled | PostFault::Stray);
            let right = plan.agents[agent].garbles.is_some() || posts.iter().any(garbled);
            (right, "only what can't be read counts as malformed")
        }
        Answer::RunAction(Err(CallError::NotTaken(_))) => (!ran, "what is out nowhere did not run"),
        Answer::RunAction(Err(CallError::WrongNode(_))) => {
            (false, "no step is told that another node answered")
        }
        Answer::RunAction(Err(CallError::NotGranted(_) | CallError::Secret(_))) => {
            (false, "no action here has a secret")
        }
        Answer::RunAction(Err(CallError::Unreachable(_) | CallError::TimedOut(_)))
        | Answer::Info(_)
        | Answer::WaitStatus(_)
        | Answer::HttpSend(_)
        | Answer::WaitSignal(_)
        | Answer::Sleep => (true, ""),
    };
    expect(right, rule, say)
}
