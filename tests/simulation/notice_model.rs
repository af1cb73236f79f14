//! What people are told about calls in flight: only while they are in flight, only after they have taken a
//! while, and not often.

use std::collections::BTreeMap;

use replibook::agent::AgentLimits;
use replibook::run::{
    AgentRecord, AgentSeq, AgentState, Notice, Progress, StepPhase, Timestamp, UnheardAgent,
};

use crate::ledger::{Check, expect};

/// For each agent, since when it was last said to be silent.
#[derive(Default)]
pub(crate) struct NoticeModel {
    silences: BTreeMap<AgentSeq, Timestamp>,
}

impl NoticeModel {
    /// Checks the notice of a record that was committed.
    pub(crate) fn take(&mut self, record: &AgentRecord, now: Timestamp) -> Check {
        let Some(notice) = &record.notice else { return Ok(()) };
        let tries = record.state == AgentState::Running && record.phase == StepPhase::Trying;
        let waits = tries || record.outstanding.is_some();
        let rule = "what is noticed of a call is forgotten when it has ended";
        expect(waits, rule, || format!("{record:?}"))?;
        let limits = AgentLimits::default();
        let (since, least) = (
            notice.since(),
            match notice {
                Notice::NoAnswer { .. } => limits.silent_after,
                Notice::Queued { .. } => limits.queue_after,
            },
        );
        let rule = "a short wait is not worth a word";
        expect(now.since(since) >= least, rule, || format!("{record:?} at {now}"))?;
        if notice.is_silence() {
            let before = self.silences.insert(record.seq, since);
            let apart = before
                .is_none_or(|before| before == since || since.since(before) >= limits.silent_after);
            expect(apart, "a silence is told once", || format!("{before:?}, {record:?}"))?;
        }
        Ok(())
    }
}

/// Checks that a run counts its silent agents correctly. No agent is silent once the run is over.
pub(crate) fn counts(progress: &Progress, records: &BTreeMap<AgentSeq, AgentRecord>) -> Check {
    let over = progress.status.is_settled();
    let is_silent =
        |record: &&AgentRecord| !over && record.notice.as_ref().is_some_and(Notice::is_silence);
    let silent = records.values().filter(is_silent).count();
    let said = &progress.silent;
    let fits = said.agents as usize == silent && said.some.len() == silent.min(4);
    expect(fits, "silent agents are counted right", || format!("{said:?}, and {silent} are"))?;
    let unheard = &progress.stage.unheard;
    let named = |agent: &UnheardAgent| records.values().find(|r| r.agent == agent.agent);
    let has_answered = |agent: &&UnheardAgent| named(agent).is_none_or(|r| !r.node.is_null());
    let wrong = unheard.some.iter().find(has_answered);
    let few = unheard.some.len() <= 4 && unheard.some.len() <= unheard.agents as usize;
    let rule = "only who gave a strategy no answer is said to have given none";
    expect(wrong.is_none() && few && (!over || unheard.is_nobody()), rule, || {
        format!("{unheard:?}, and {wrong:?} has answered")
    })
}
