//! Strategies that are asked again and again while their run waits: the same answer is written only once.
//!
//! An answer that is not written counts as not asked for: an engine that takes the run over asks the strategy
//! again. So a crash can lose nothing, and nothing grows while nothing happens.

use sha2::{Digest as _, Sha256};

use super::planning::Checked;
use super::steering::CHUNK_BYTES;
use super::turn::{Legal, Turn};
use crate::mutants::mutant;
use crate::run::decision::QUICK_WAITS;
use crate::run::state::{OfAgent, OfStrategy, State};
use crate::run::{
    About, AgentSeq, AgentState, Decision, LogLevel, Next, PlannedNext, PluginLine, Refreshed,
};

/// If a decision is about more agents than this, what is newly known about other agents is not written beside it
/// but goes first, in commits of its own.
const DECIDED_BESIDE: usize = 100;

/// For how many agents the news is written beside a decision. Each takes a record and an event.
const WRITTEN_BESIDE: usize = 100;

impl State {
    /// Whether a decision repeats the last one: it waits, and nothing has happened since. A memo is the strategy's
    /// own, and a new memo makes a decision new only for some time.
    pub(super) fn is_repeated(&self, decision: &Decision, checked: &Checked) -> bool {
        let Some(last) = &self.last_answer().wait else { return false };
        let until = match &decision.next {
            Next::Wait => false,
            Next::WaitUntil(_) => true,
            Next::Approval(_) | Next::Complete | Next::Abort(_) => return false,
        };
        let stage = &self.progress().stage;
        let is_same = last.next_event == self.progress().next_event
            && last.until == until
            && last.label == decision.label
            && last.refresh == checked.refresh;
        let is_told = stage.memo == decision.memo || stage.idle > QUICK_WAITS;
        let admitted = &checked.admitted;
        let changes_nothing =
            admitted.start.is_empty() && admitted.held == stage.held && checked.skip.is_empty();
        is_same && is_told && changes_nothing && !self.is_admitting() && !mutant!(RepeatsWritten)
    }
}

impl Turn<'_> {
    /// Follows a decision that repeats the last one. Only a new memo is written.
    pub(super) fn wait_on(&mut self, decision: Decision, checked: Checked) -> Legal {
        let Checked { refresh, .. } = checked;
        let stage = &self.progress().stage;
        let next = match decision.next {
            Next::WaitUntil(at) => self.wait_until(at, stage.idle),
            Next::Wait | Next::Approval(_) | Next::Complete | Next::Abort(_) => PlannedNext::Wait,
        };
        let unheard = self.kept_unheard(&refresh);
        let (is_heard, is_told) = (stage.unheard != unheard, stage.memo == decision.memo);
        self.emit(OfStrategy::Repeated { refresh, next })?;
        if !is_told {
            self.emit(OfStrategy::Memo(decision.memo))?;
        }
        if is_heard {
            self.emit(OfStrategy::Unheard(unheard))?;
        }
        match self.progress().held_agents.is_nobody() {
            true => Ok(()),
            false => self.say_who_is_held(),
        }
    }

    /// Writes the log lines of the strategy. Lines that repeat the last ones are only counted, as long as the
    /// decision also repeats the last one.
    pub(super) fn strategy_lines(&mut self, lines: Vec<PluginLine>, repeated: bool) -> Legal {
        let stage = self.stage()?.name.clone();
        let sum = sum_of(&lines);
        let last = self.last_answer();
        if repeated && last.lines == Some(sum) && !mutant!(RepeatsWritten) {
            return match lines.is_empty() {
                true => Ok(()),
                false => self.emit(OfStrategy::SaidAgain),
            };
        }
        let said = (last.again > 0).then(|| PluginLine {
            level: LogLevel::Info,
            message: match last.again {
                1 => format!("(the same once again, at {})", last.at),
                again => format!("(the same {again} times again, until {})", last.at),
            },
        });
        self.emit(OfStrategy::Said(sum))?;
        self.log(said.into_iter().chain(lines).collect(), &stage, None)
    }

    /// Takes over what an agent said when it was asked for the strategy. News is written at once, anything else
    /// together with the next thing that is written.
    pub(super) fn learn(&mut self, seq: AgentSeq, new: About) -> Legal {
        let idle = self.progress().stage.idle;
        let record = self.record(seq)?;
        let known = record.about();
        let in_flight = record.state == AgentState::Running;
        // The agent's step goes on with the attributes that it has seen so far, which would have to be kept.
        let of_step = in_flight && known.attributes != new.attributes;
        let moment = About { seen_at: new.seen_at, ..known.clone() };
        let is_news = match idle > QUICK_WAITS {
            // Something that counts up would be news for ever.
            true => status_of(&known) != status_of(&new),
            false => moment != new,
        };
        if is_news || of_step || mutant!(RepeatsWritten) {
            return self.about(seq, new);
        }
        self.emit((seq, OfAgent::Learned(new)))
    }

    /// Writes down what the strategy knew about agents when it made a decision about `decided` agents, because the
    /// event of the decision refers to that. If it is too much for one commit, it is written first, and true is
    /// returned: the strategy must be asked again.
    pub(super) fn write_down_first(&mut self, decided: usize) -> Legal<bool> {
        let agents: Vec<_> = self.unwritten().collect();
        let weights = agents.iter().map(|seq| self.weight(*seq));
        let bytes: usize = weights.sum::<Legal<usize>>()?;
        let fits = agents.len() <= WRITTEN_BESIDE && bytes <= CHUNK_BYTES;
        if agents.is_empty() || fits && decided <= DECIDED_BESIDE {
            for seq in agents {
                self.write_down(seq)?;
            }
            return Ok(false);
        }
        let mut news = Vec::new();
        for agent in agents {
            let about = self.record(agent)?.about();
            self.emit((agent, OfAgent::Unlearned))?;
            news.push(Refreshed { agent, about, silence: None });
        }
        self.emit(OfStrategy::Writes(news))?;
        Ok(true)
    }
}

fn status_of(about: &About) -> Option<&str> {
    Some(about.node.get("node_status")?.as_str().unwrap_or("UNKNOWN"))
}

fn sum_of(lines: &[PluginLine]) -> [u8; 32] {
    let mut sum = Sha256::new();
    for PluginLine { level, message } in lines {
        // With the length of each line, so that no two logs have the same text.
        sum.update([*level as u8]);
        sum.update(message.len().to_le_bytes());
        sum.update(message);
    }
    sum.finalize().into()
}
