//! Journals grow by one answer at a time, and a step's result is what its journal says.

use replibook::run::{AgentState, Answer, AttemptKey, CallName, Happened, Journal, RunEvent};

use crate::ledger::{Check, expect};
use crate::run_model::RunModel;

/// Whether this journal may follow what was committed of it before.
pub(crate) fn follows(old: Option<&Journal>, new: &Journal) -> Check {
    let key = new.key;
    let Some(old) = old else {
        let taken = new.taken.map_or(0, |taken| taken.answers as usize);
        // The answers that were taken over may be all that the step needs; otherwise the journal waits for
        // the next call.
        let right = new.answers.len() == taken;
        return expect(right, "an answer has a call before it", || {
            format!("{key:?} begins with {} answers, {taken} taken over", new.answers.len())
        });
    };
    let mut kept = new.answers.starts_with(&old.answers) && old.log_lines <= new.log_lines;
    kept &= old.late.is_none() || old.late == new.late;
    expect(kept, "what a journal holds stays", || format!("{old:?} became {new:?}"))?;
    match &new.answers[old.answers.len()..] {
        [] => {
            let (was, is) = (old.pending.as_ref(), new.pending.as_ref());
            let same = match (was, is) {
                (Some(was), Some(is)) => {
                    let same = was.name == is.name && was.arguments_hash == is.arguments_hash;
                    same && was.at == is.at && was.accepted <= is.accepted
                }
                // A call that is given up or late is no longer pending. A call that appears is new: the run
                // was on hold.
                (Some(_) | None, None) | (None, Some(_)) => true,
            };
            expect(same, "a pending call stays as it was committed", || format!("{was:?}, {is:?}"))
        }
        [answer] => {
            let asked = old.pending.as_ref();
            let fits = asked.is_some_and(|asked| {
                asked.name == answer.name && asked.arguments_hash == answer.arguments_hash
            });
            expect(fits, "an answer has a call before it", || format!("{asked:?}, {answer:?}"))
        }
        more => Err(("an answer has a call before it", format!("{key:?} got {more:?} at once"))),
    }
}

/// Whether an attempt took over the answers of an earlier one and the late end of its action, or took over
/// nothing.
pub(crate) fn takes_over(before: Option<&Journal>, new: &Journal) -> Check {
    let Some(taken) = new.taken else { return Ok(()) };
    let ended = before.and_then(Journal::with_late);
    let same = ended.as_deref() == new.answers.get(..taken.answers as usize);
    let same = same && before.is_some_and(|before| before.arguments == new.arguments);
    expect(same, "an attempt goes on from one before", || format!("{before:?}, {new:?}"))
}

/// Whether no agent has left with an action in flight that no record names any more.
pub(crate) fn gone_after_call(model: &RunModel, events: &[RunEvent]) -> Check {
    for event in events {
        let Happened::Agent { agent, from: Some(_), to: AgentState::Removed, .. } = &event.what
        else {
            continue;
        };
        let record = model.record_of(agent);
        let is_known = record.is_some_and(|record| record.outstanding.is_some());
        let waits = |journal: &&Journal| {
            let call = journal.pending.as_ref().map(|pending| pending.name);
            journal.agent == *agent && call == Some(CallName::RunAction) && !journal.cut_off
        };
        let waits = model.journals.values().find(waits);
        let rule = "an agent is gone once its call has ended";
        expect(is_known || waits.is_none(), rule, || format!("{agent}: {waits:?}"))?;
    }
    Ok(())
}

/// Whether each step that ended well has its last answer in its journal, and its result in the record.
pub(crate) fn ended_well(model: &RunModel, events: &[RunEvent]) -> Check {
    for event in events {
        let Happened::StepEnded { agent, step, attempt, failure: None, action_id } = &event.what
        else {
            continue;
        };
        let rule = "what a step returned is in its journal";
        let record = model.record_of(agent);
        let record = record.ok_or_else(|| (rule, format!("{agent} has no record")))?;
        let place = model.place_of(step);
        let (stage, index) = place.ok_or_else(|| (rule, format!("{step} is no step")))?;
        let key = AttemptKey { agent: record.seq, stage, step: index, attempt: *attempt };
        let journal = model.journals.get(&key);
        let sent = journal.and_then(|journal| journal.actions().last().map(|sent| sent.action_id));
        let rule_of_id = "an event says by what its agent knows the action";
        expect(sent == *action_id, rule_of_id, || format!("{action_id:?}, and {sent:?}"))?;
        let last = journal.filter(|journal| journal.pending.is_none());
        let last = last.and_then(|journal| journal.answers.last()).map(|last| &last.answer);
        let result = record.results.get(step);
        let fits = match last {
            Some(Answer::RunAction(Ok(value))) => result == Some(value),
            Some(Answer::WaitStatus(Ok(_)) | Answer::HttpSend(Ok(_))) => result.is_some(),
            Some(Answer::WaitSignal(Ok(received))) => result == Some(&received.payload),
            _ => false,
        };
        expect(fits, rule, || format!("{step} on {agent}: {result:?}, and {journal:?}"))?;
    }
    Ok(())
}
