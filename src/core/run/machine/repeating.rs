//! A strategy that is asked again and again while its run waits: what it answers is written down once.
//!
//! What is not written is as if it had not been asked: an engine that takes the run over asks it again.
//! So there is nothing that a crash may lose, and nothing that grows while nothing happens.

use std::collections::VecDeque;

use sha2::{Digest as _, Sha256};

use super::changes::Changes;
use super::planning::Checked;
use super::refreshing::Refreshing;
use super::state::Machine;
use super::steering::CHUNK_BYTES;
use crate::mutants::mutant;
use crate::run::decision::QUICK_WAITS;
use crate::run::{
    About, AgentRecord, AgentSeq, AgentState, Decision, LogLevel, Next, PlannedNext, PluginLine,
    Refreshed, Timestamp,
};

/// Agents of a decision beside which what is known anew of other agents is written in the same commit;
/// above it that goes first, in commits of its own.
const DECIDED_BESIDE: usize = 100;

/// Agents of which news are written beside a decision: each is a record and an event.
const WRITTEN_BESIDE: usize = 100;

/// What the strategy answered last.
#[derive(Debug, Default)]
pub(super) struct LastAnswer {
    /// The decision, if it was to wait.
    wait: Option<Wait>,
    /// Sum of the lines that it wrote.
    lines: Option<[u8; 32]>,
    /// How often it wrote the same lines again, and when it did so last.
    again: u32,
    at: Timestamp,
}

/// A decision to wait that is in the history.
#[derive(Debug)]
struct Wait {
    /// The event that comes next: while nothing happens that stays.
    next_event: u64,
    until: bool,
    label: Option<String>,
    refresh: Vec<AgentSeq>,
}

impl Machine {
    /// Whether a decision is that of the last time: to wait, while nothing happened. A memo is the
    /// strategy's own, and makes news of a decision only for some time.
    pub(super) fn is_repeated(&self, decision: &Decision, checked: &Checked) -> bool {
        let Some(last) = &self.answered.wait else { return false };
        let until = match &decision.next {
            Next::Wait => false,
            Next::WaitUntil(_) => true,
            Next::Approval(_) | Next::Complete | Next::Abort(_) => return false,
        };
        let stage = &self.run.progress.stage;
        let is_same = last.next_event == self.run.progress.next_event
            && last.until == until
            && last.label == decision.label
            && last.refresh == checked.refresh;
        let is_told = stage.memo == decision.memo || stage.idle > QUICK_WAITS;
        let changes_nothing = checked.start.is_empty() && checked.skip.is_empty();
        is_same && is_told && changes_nothing && !self.admitting && !mutant!(RepeatsWritten)
    }

    /// Obeys a decision that is that of the last time. Only another memo is written.
    pub(super) fn wait_on(&mut self, decision: Decision, checked: Checked, changes: &mut Changes) {
        let idle = self.run.progress.stage.idle;
        self.run.progress.stage.idle = idle.saturating_add(1);
        let next = match decision.next {
            Next::WaitUntil(at) => self.wait_until(at, changes),
            Next::Wait | Next::Approval(_) | Next::Complete | Next::Abort(_) => PlannedNext::Wait,
        };
        let stage = &mut self.run.progress.stage;
        if stage.memo != decision.memo {
            (stage.memo, stage.untold_memo) = (decision.memo, true);
            changes.progress = true;
        }
        stage.refresh = checked.refresh;
        self.refreshing = Refreshing::No;
        let stage = &mut self.run.progress.stage;
        stage.next = Some(next);
        let unheard = self.run.progress.stage.unheard.clone();
        self.keep_unheard();
        changes.progress |= unheard != self.run.progress.stage.unheard;
    }

    /// Remembers a decision that was just written down.
    pub(super) fn remember(&mut self, label: Option<String>) {
        let stage = &self.run.progress.stage;
        let until = match &stage.next {
            Some(PlannedNext::Wait) => Some(false),
            Some(PlannedNext::WaitUntil { .. }) => Some(true),
            Some(PlannedNext::Complete | PlannedNext::Abort { .. }) | None => None,
        };
        let until = until.filter(|_| stage.idle > 0);
        let (next_event, refresh) = (self.run.progress.next_event, stage.refresh.clone());
        self.answered.wait = until.map(|until| Wait { next_event, until, label, refresh });
    }

    /// The next decision is written down whatever it is.
    pub(super) fn forget_wait(&mut self) {
        self.answered.wait = None;
    }

    /// Writes the lines of the strategy. Those of the last time are only counted, as long as its decision
    /// is also that of the last time.
    pub(super) fn strategy_lines(
        &mut self,
        lines: Vec<PluginLine>,
        repeated: bool,
        changes: &mut Changes,
    ) {
        let stage = self.stage().map(|stage| stage.name.clone()).unwrap_or_default();
        let sum = Some(sum_of(&lines));
        if repeated && self.answered.lines == sum && !mutant!(RepeatsWritten) {
            if !lines.is_empty() {
                (self.answered.again, self.answered.at) =
                    (self.answered.again.saturating_add(1), changes.now);
            }
            return;
        }
        let before = std::mem::take(&mut self.answered.again);
        let said = (before > 0).then(|| PluginLine {
            level: LogLevel::Info,
            message: match before {
                1 => format!("(the same once again, at {})", self.answered.at),
                _ => format!("(the same {before} times again, until {})", self.answered.at),
            },
        });
        self.answered.lines = sum;
        let lines = said.into_iter().chain(lines).collect();
        changes.logs(self, lines, &stage, None);
    }

    /// Takes over what an agent said that was asked for the strategy. It is written if it is news; else
    /// with the next thing that is.
    pub(super) fn learn(&mut self, seq: AgentSeq, new: About, changes: &mut Changes) {
        let idle = self.run.progress.stage.idle;
        let Some(record) = Self::record(self, seq) else { return };
        let known = record.about();
        let in_flight = record.state == AgentState::Running;
        // Its step goes on with what it saw so far, which would have to be kept.
        let of_step = in_flight && known.attributes != new.attributes;
        let moment = About { seen_at: new.seen_at, ..known.clone() };
        let is_news = match idle > QUICK_WAITS {
            // What counts up would be news for ever.
            true => status_of(&known) != status_of(&new),
            false => moment != new,
        };
        if is_news || of_step || mutant!(RepeatsWritten) {
            changes.about(self, seq, new);
            return;
        }
        self.unwritten.entry(seq).or_insert(known);
        if let Some(record) = self.record_mut(seq) {
            set_about(record, new);
        }
    }

    /// Writes down what the strategy knew of agents when it made a decision about so many: its event
    /// says that. Where this is too much for one commit the strategy has to be asked again, which is
    /// returned.
    pub(super) fn write_down_first(&mut self, decided: usize, changes: &mut Changes) -> bool {
        let agents: Vec<_> = self.unwritten.keys().copied().collect();
        let bytes: usize = agents.iter().map(|seq| self.weight(*seq)).sum();
        let fits = agents.len() <= WRITTEN_BESIDE && bytes <= CHUNK_BYTES;
        if agents.is_empty() || fits && decided <= DECIDED_BESIDE {
            for seq in agents {
                changes.write_down(self, seq);
            }
            return false;
        }
        let news: VecDeque<_> = std::mem::take(&mut self.unwritten)
            .into_iter()
            .filter_map(|(agent, written)| {
                let record = self.record_mut(agent)?;
                let about = record.about();
                set_about(record, written);
                Some(Refreshed { agent, about, silence: None })
            })
            .collect();
        self.refreshing = Refreshing::Writing(news);
        self.plan_due = true;
        true
    }
}

fn set_about(record: &mut AgentRecord, about: About) {
    let About { attributes, node, datastore, seen_at } = about;
    (record.attributes, record.node, record.datastore) = (attributes, node, datastore);
    record.node_seen_at = seen_at;
}

fn status_of(about: &About) -> Option<&str> {
    Some(about.node.get("node_status")?.as_str().unwrap_or("UNKNOWN"))
}

fn sum_of(lines: &[PluginLine]) -> [u8; 32] {
    let mut sum = Sha256::new();
    for PluginLine { level, message } in lines {
        // With its length, so that no two logs have one text.
        sum.update([*level as u8]);
        sum.update(message.len().to_le_bytes());
        sum.update(message);
    }
    sum.finalize().into()
}
