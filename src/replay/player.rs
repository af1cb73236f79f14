//! Plays a recorded run again, from its first event to its last journal.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::available_parallelism;

use futures::StreamExt as _;
use serde_json::Value;

use super::decisions::{Compared, Other};
use super::error::ReplayError;
use super::history::History;
use super::recording::{Lines, Recording};
use super::report::{Difference, Report, cut};
use super::steps::{Attempt, Attempts, Expected, Found, InHistory, Made, place, wrongly_taken};
use crate::plugin::PluginHost;
use crate::run::{AgentId, AgentRecord, AgentSeq, AttemptKey, Digest, Journal, Snapshot};

/// Plays a recorded run again.
///
/// # Flow
/// The history is folded from its first event on. At each decision the fold gives the roster that the strategy
/// saw, and the strategy is asked again. What the history says about attempts is kept. Then each attempt is
/// repeated, activation by activation, each with as much of its journal as there was at that time.
///
/// # Guarantees
/// The result depends on nothing but the recording: no server, agent or clock is asked.
pub struct Player<'a> {
    pub(super) host: &'a PluginHost,
    pub(super) recording: &'a Recording,
    pub(super) only: Option<AgentId>,
    /// The plugins that can't be used, each with the reason.
    pub(super) unavailable: BTreeMap<Digest, String>,
    told: Option<&'a (dyn Fn(&Report) + Sync)>,
}

impl<'a> Player<'a> {
    /// Loads the run's plugins. A plugin that can't be loaded is named in the report wherever it would have
    /// been used.
    pub async fn new(host: &'a PluginHost, recording: &'a Recording) -> Self {
        let mut unavailable = BTreeMap::new();
        for digest in recording.snapshot().pins() {
            if let Err(why) = load(host, recording, digest).await {
                unavailable.insert(digest.clone(), why);
            }
        }
        Self { host, recording, only: None, unavailable, told: None }
    }

    /// Calls `told` repeatedly with the report as far as it has got.
    #[must_use]
    pub fn watched(self, told: &'a (dyn Fn(&Report) + Sync)) -> Self {
        Self { told: Some(told), ..self }
    }

    pub(super) fn tell(&self, report: &Report) {
        if let Some(told) = self.told {
            told(report);
        }
    }

    /// Replays only what was done on this agent, and no decisions.
    ///
    /// # Errors
    /// The run has no such agent.
    pub fn only(mut self, agent: AgentId) -> Result<Self, ReplayError> {
        for record in self.recording.records()? {
            if record?.agent == agent {
                self.only = Some(agent);
                return Ok(self);
            }
        }
        let run = self.recording.snapshot().id;
        Err(ReplayError::NotFound(format!("run {run} has no agent {:?}", agent.as_str())))
    }

    /// Repeats every decision and every activation.
    ///
    /// # Errors
    /// The recording can't be read. Differences are no errors: the report lists them.
    pub async fn replay(&self) -> Result<Report, ReplayError> {
        let mut report = Report::new(self.recording.snapshot().id);
        let mut history = History::new(self, None)?;
        if !history.play(&mut report).await? {
            // What is known about the attempts is incomplete.
            return Ok(report);
        }
        let History { attempts, .. } = history;
        self.replay_attempts(attempts, &mut report).await?;
        Ok(report)
    }

    /// Asks another strategy on each occasion on which the run's own one was asked.
    ///
    /// # Errors
    /// The recording can't be read, is not the history of this run, or has too many decisions.
    pub async fn compare(&self, other: Other) -> Result<Vec<Compared>, ReplayError> {
        let mut report = Report::new(self.recording.snapshot().id);
        let mut history = History::new(self, Some(other))?;
        history.play(&mut report).await?;
        match report.differences.into_iter().next() {
            None => Ok(history.compared),
            Some(Difference { place, recorded, now, .. }) => {
                let message = format!("{place}: found {recorded}, expected {now}");
                Err(ReplayError::malformed("events.ndjson", message))
            }
        }
    }

    async fn replay_attempts(
        &self,
        attempts: Attempts,
        report: &mut Report,
    ) -> Result<(), ReplayError> {
        let mut records = self.recording.records()?.peekable();
        let mut journals = self.recording.journals()?;
        let mut with_journal = BTreeSet::new();
        let mut before: Option<Journal> = None;
        let at_once = 2 * available_parallelism().map_or(1, usize::from);
        loop {
            // Only a few journals at a time, so that a run of any size fits into memory.
            let mut batch = Vec::with_capacity(at_once);
            while batch.len() < at_once {
                let Some(journal) = journals.next().transpose()? else { break };
                with_journal.insert(journal.key);
                let record = record_of(&mut records, journal.key.agent)?;
                if self.only.as_ref().is_some_and(|only| *only != journal.agent) {
                    continue;
                }
                if let Some([recorded, now]) = wrongly_taken(before.as_ref(), &journal) {
                    let (agent, name, key) = (&journal.agent, &journal.step_name, journal.key);
                    let place = place(agent, &self.stage_name(key), name, key, 0);
                    report.differs(Difference { place, what: "late result", recorded, now });
                }
                // Only an attempt whose action ended late is needed again, perhaps after other attempts of its
                // step.
                let is_near = |of: &Journal| of.key.is_of_step_of(journal.key);
                if journal.late.is_some() || !before.as_ref().is_some_and(is_near) {
                    before = journal.late.is_some().then(|| journal.clone());
                }
                batch.extend(self.prepare(journal, record, &attempts, report));
            }
            if batch.is_empty() {
                break;
            }
            let made = futures::stream::iter(batch).map(|attempt| attempt.play(self.host));
            let mut made = made.buffered(at_once);
            while let Some(Made { activations, found }) = made.next().await {
                report.attempts += 1;
                report.activations += activations;
                match found {
                    Found::Same => {}
                    Found::Differs(difference) => report.differs(difference),
                    Found::NotReplayed(place, why) => report.leave_out(place, why),
                }
                self.tell(report);
            }
        }
        self.without_journal(&attempts, &with_journal, report)
    }

    fn stage_name(&self, key: AttemptKey) -> String {
        let stages = &self.recording.snapshot().playbook.stages;
        stages.get(usize::from(key.stage)).map(|stage| stage.name.clone()).unwrap_or_default()
    }

    /// What is needed to repeat an attempt; `None` if it can't be repeated, which the report says.
    fn prepare(
        &self,
        journal: Journal,
        record: Option<&AgentRecord>,
        attempts: &Attempts,
        report: &mut Report,
    ) -> Option<Attempt> {
        let snapshot = self.recording.snapshot();
        let key = journal.key;
        let stage = snapshot.playbook.stages.get(usize::from(key.stage));
        let step = stage.and_then(|stage| stage.steps.get(usize::from(key.step)));
        let known = attempts.get(&key);
        let (Some(stage), Some(step), Some(known), Some(record)) = (stage, step, known, record)
        else {
            let name = stage.map(|stage| stage.name.as_str()).unwrap_or_default();
            let place = place(&journal.agent, name, &journal.step_name, key, 0);
            let (recorded, now) = ("a journal".to_owned(), "no such attempt began".to_owned());
            report.differs(Difference { place, what: "attempt", recorded, now });
            return None;
        };
        let here = || place(&record.agent, &stage.name, &step.name, key, 0);
        let Some(pin) = snapshot.playbook.plugins.get(&step.plugin) else {
            report.leave_out(here(), format!("the playbook has no plugin {:?}", step.plugin));
            return None;
        };
        if let Some(why) = self.unavailable.get(&pin.digest) {
            report.leave_out(here(), why.as_str());
            return None;
        }
        let attributes = journal.attributes.clone().unwrap_or_else(|| known.attributes.clone());
        Some(Attempt {
            attributes,
            cluster: snapshot.cluster.clone(),
            stage: stage.name.clone(),
            plugin: pin.digest.clone(),
            grants: step.grants.clone(),
            expected: expected(snapshot, &journal, known, record, attempts),
            journal,
        })
    }

    /// Reports attempts that began but have no journal: there was no activation, or the journal was removed.
    fn without_journal(
        &self,
        attempts: &Attempts,
        with_journal: &BTreeSet<AttemptKey>,
        report: &mut Report,
    ) -> Result<(), ReplayError> {
        let mut records = self.recording.records()?.peekable();
        for (key, known) in attempts.iter().filter(|(key, _)| !with_journal.contains(key)) {
            let Some(record) = record_of(&mut records, key.agent)? else { continue };
            if self.only.as_ref().is_some_and(|only| *only != record.agent) {
                continue;
            }
            let stage = self.recording.snapshot().playbook.stages.get(usize::from(key.stage));
            let step = stage.and_then(|stage| stage.steps.get(usize::from(key.step)));
            let (Some(stage), Some(step)) = (stage, step) else { continue };
            let here = place(&record.agent, &stage.name, &step.name, *key, 0);
            match &known.ended {
                Some(Ok(())) => report.differs(Difference {
                    place: here,
                    what: "attempt",
                    recorded: "it ended well".to_owned(),
                    now: "it has no journal".to_owned(),
                }),
                Some(Err(failure)) => {
                    let why = format!("{}: {}", failure.reason, cut(&failure.message));
                    report.leave_out(here, format!("there was no activation: {why}"));
                }
                None => report.leave_out(here, "there was no activation"),
            }
        }
        Ok(())
    }
}

/// How an attempt ended according to the records, and so has to end now.
fn expected(
    snapshot: &Snapshot,
    journal: &Journal,
    known: &InHistory,
    record: &AgentRecord,
    attempts: &Attempts,
) -> Expected {
    match &known.ended {
        _ if journal.cut_off => Expected::Anything,
        None => Expected::Anything,
        Some(Err(failure)) => Expected::Failed(failure.clone()),
        Some(Ok(())) => {
            let is_last = is_last_result(snapshot, journal, attempts);
            let kept = record.results.get(&journal.step_name).filter(|_| is_last);
            // A missing result that should be there counts as null, and is compared.
            Expected::Done(is_last.then(|| kept.cloned().unwrap_or_else(|| Value::Null.into())))
        }
    }
}

/// Whether the agent's record has the result of this attempt, not that of a later one.
fn is_last_result(snapshot: &Snapshot, journal: &Journal, attempts: &Attempts) -> bool {
    let last = AttemptKey { stage: u16::MAX, step: u16::MAX, attempt: u32::MAX, ..journal.key };
    let later = attempts.range(journal.key..=last).skip(1);
    let mut later = later.filter(|(_, known)| matches!(known.ended, Some(Ok(()))));
    !later.any(|(key, _)| step_name(snapshot, *key) == Some(journal.step_name.as_str()))
}

fn step_name(snapshot: &Snapshot, key: AttemptKey) -> Option<&str> {
    let stage = snapshot.playbook.stages.get(usize::from(key.stage))?;
    Some(stage.steps.get(usize::from(key.step))?.name.as_str())
}

/// The record of an agent, from records that are read in the order of agents.
fn record_of(
    records: &mut std::iter::Peekable<Lines<AgentRecord>>,
    agent: AgentSeq,
) -> Result<Option<&AgentRecord>, ReplayError> {
    while records.next_if(|next| next.as_ref().is_ok_and(|record| record.seq < agent)).is_some() {}
    match records.peek() {
        Some(Ok(record)) if record.seq == agent => {}
        Some(Ok(_)) | None => return Ok(None),
        Some(Err(_)) => return records.next().transpose().map(|_| None),
    }
    Ok(records.peek().and_then(|record| record.as_ref().ok()))
}

/// Loads a plugin into the host; an error says why that is not possible.
async fn load(host: &PluginHost, recording: &Recording, digest: &Digest) -> Result<(), String> {
    if host.is_loaded(digest) {
        return Ok(());
    }
    let bytes = recording.plugin(digest).map_err(|error| error.to_string())?;
    host.import(bytes).await.map(drop).map_err(|error| error.to_string())
}
