//! Folds the history of a run from its first event on, and asks for every decision again. The fold is the same
//! `evolve` that the live run uses, so at each decision it gives the roster that the strategy saw.

use std::collections::VecDeque;

use serde_json::Value;

use super::decisions::{Compared, Decided, Head, Other, answer_in_words, ask, is_limit};
use super::error::ReplayError;
use super::limits::COMPARED;
use super::player::Player;
use super::recording::Lines;
use super::report::{Difference, Place, Report, cut};
use super::steps::Attempts;
use crate::plugin::{PlanOutcome, PluginError};
use crate::run::{
    AgentId, Asked, AttemptKey, Digest, Happened, HistoryError, InfoChange, MAX_DECIDED, PlanInput,
    Roster as _, RosterAt, RunEvent,
};

/// The events of a run, and the roster that results from those read so far.
pub(super) struct History<'a> {
    player: &'a Player<'a>,
    events: Lines<RunEvent>,
    roster: RosterAt,
    other: Option<Other>,
    /// The memos that the strategy, and the other one, returned last.
    memo: String,
    other_memo: String,
    /// What the events say about attempts.
    pub(super) attempts: Attempts,
    /// What the other strategy would have decided.
    pub(super) compared: Vec<Compared>,
}

/// What the run's own strategy gave when it was asked, according to the history.
enum Recorded {
    Decided(Box<Decided>),
    /// The strategy gave no decision.
    Failed {
        code: String,
        message: String,
    },
    /// The host refused the decision with this hash.
    Refused {
        hash: String,
        message: String,
    },
}

/// One occasion on which the strategy was asked.
struct Moment {
    event: u64,
    asked: Asked,
    recorded: Recorded,
}

/// Why reading the history stops before its end.
enum Stop {
    /// The history can't be read.
    Error(ReplayError),
    /// It can't be the history of this run.
    Wrong(HistoryError),
}

impl From<ReplayError> for Stop {
    fn from(error: ReplayError) -> Self {
        Self::Error(error)
    }
}

impl From<HistoryError> for Stop {
    fn from(error: HistoryError) -> Self {
        Self::Wrong(error)
    }
}

impl<'a> History<'a> {
    /// Reads what the fold begins with. If `other` is given, that strategy is asked, otherwise the run's own.
    pub(super) fn new(player: &'a Player<'a>, other: Option<Other>) -> Result<Self, ReplayError> {
        let recording = player.recording;
        let mut changes = Vec::new();
        for event in recording.events()? {
            changes.extend(InfoChange::of(&event?));
        }
        let mut records = Vec::new();
        for record in recording.records()? {
            let mut record = record?;
            // Results may be large, and no strategy sees them.
            record.results.clear();
            record.past.clear();
            records.push(record);
        }
        Ok(Self {
            player,
            events: recording.events()?,
            roster: RosterAt::new(recording.snapshot().clone(), records, changes),
            other,
            memo: String::new(),
            other_memo: String::new(),
            attempts: Attempts::new(),
            compared: Vec::new(),
        })
    }

    /// Goes through all events. False when they can't belong to this run; the report then says why.
    pub(super) async fn play(&mut self, report: &mut Report) -> Result<bool, ReplayError> {
        match self.go(report).await {
            Ok(()) => Ok(true),
            Err(Stop::Error(error)) => Err(error),
            Err(Stop::Wrong(HistoryError { seq, found, expected })) => {
                let place = Place::Event { event: seq };
                let (recorded, now) = (found, format!("expected {expected}"));
                report.differs(Difference { place, what: "history", recorded, now });
                Ok(false)
            }
        }
    }

    async fn go(&mut self, report: &mut Report) -> Result<(), Stop> {
        while let Some(event) = self.events.next().transpose()? {
            let mut followers = VecDeque::new();
            match &event.what {
                Happened::Decision { asked, started, skipped, .. } => {
                    self.asked_with(asked.as_ref());
                    followers = self.followers(&event, started.saturating_add(*skipped))?;
                    let moment = self.decided(&event, &followers)?;
                    match asked {
                        Some(asked) => {
                            let (event, asked) = (event.seq, asked.clone());
                            let recorded = Recorded::Decided(Box::new(moment));
                            self.meet(Moment { event, asked, recorded }, report).await?;
                        }
                        None => {
                            let why = "an early version recorded it without what was asked";
                            report.leave_out(Place::Event { event: event.seq }, why);
                        }
                    }
                }
                Happened::NoDecision { roster: _, asked, code, message, decision_hash } => {
                    self.asked_with(Some(asked));
                    let message = message.clone();
                    let recorded = match code.clone() {
                        Some(code) => Recorded::Failed { code, message },
                        None => {
                            let hash = decision_hash.clone().unwrap_or_default();
                            Recorded::Refused { hash, message }
                        }
                    };
                    let moment = Moment { event: event.seq, asked: asked.clone(), recorded };
                    self.meet(moment, report).await?;
                }
                Happened::Stage { .. } => {
                    self.memo.clear();
                    self.other_memo.clear();
                }
                Happened::Status { .. }
                | Happened::Agent { .. }
                | Happened::AgentInfo { .. }
                | Happened::Moved { .. }
                | Happened::StepStarted { .. }
                | Happened::StepSkipped { .. }
                | Happened::StepEnded { .. }
                | Happened::LateAction { .. }
                | Happened::Guards { .. }
                | Happened::Closing { .. }
                | Happened::Approval { .. }
                | Happened::Command { .. } => {}
            }
            self.take(event)?;
            for follower in followers {
                self.take(follower)?;
            }
        }
        Ok(())
    }

    /// The events after a decision, one for each agent that it started or left out.
    fn followers(&mut self, of: &RunEvent, count: u32) -> Result<VecDeque<RunEvent>, Stop> {
        if count > MAX_DECIDED {
            let found = format!("a decision about {count} agents");
            return Err(wrong(of, found, format!("at most {MAX_DECIDED}")));
        }
        let mut followers = VecDeque::new();
        for _ in 0..count {
            followers.extend(self.events.next().transpose()?);
        }
        Ok(followers)
    }

    fn decided(&self, event: &RunEvent, followers: &VecDeque<RunEvent>) -> Result<Decided, Stop> {
        let Happened::Decision { label, started, skipped, next, memo, refresh, held, .. } =
            &event.what
        else {
            return Err(wrong(event, "something else".to_owned(), "a decision".to_owned()));
        };
        let head = Head {
            label: label.clone(),
            next: next.clone(),
            memo: memo.clone().unwrap_or_else(|| self.memo.clone()),
            refresh: refresh.clone(),
            held: held.as_ref().map(|held| held.named.clone()).unwrap_or_default(),
            started: *started,
            skipped: *skipped,
        };
        let expected = format!("{started} agents started and {skipped} left out after it");
        Decided::read(head, followers.iter()).map_err(|found| wrong(event, found, expected))
    }

    /// Takes the memo that the strategy was asked with: earlier decisions that only changed the memo have no
    /// event.
    fn asked_with(&mut self, asked: Option<&Asked>) {
        if let Some(memo) = asked.and_then(|asked| asked.memo.as_ref()) {
            self.memo.clone_from(memo);
        }
    }

    /// Applies an event to the roster, and notes what it says about attempts.
    fn take(&mut self, event: RunEvent) -> Result<(), Stop> {
        self.roster.apply(&event)?;
        match event.what {
            Happened::Decision { memo: Some(memo), .. } => self.memo = memo,
            Happened::StepStarted { agent, step, attempt, takes: _ } => {
                if let Some(key) = self.key(&agent, &step, attempt) {
                    let attributes = self.roster.record(&agent).map(|it| it.attributes.clone());
                    self.attempts.entry(key).or_default().attributes =
                        attributes.unwrap_or_default();
                }
            }
            Happened::StepEnded { agent, step, attempt, failure, action_id: _ } => {
                if let Some(key) = self.key(&agent, &step, attempt) {
                    let ended = failure.map_or(Ok(()), Err);
                    self.attempts.entry(key).or_default().ended = Some(ended);
                }
            }
            Happened::Decision { memo: None, .. }
            | Happened::NoDecision { .. }
            | Happened::Status { .. }
            | Happened::Stage { .. }
            | Happened::Agent { .. }
            | Happened::AgentInfo { .. }
            | Happened::Moved { .. }
            | Happened::StepSkipped { .. }
            | Happened::LateAction { .. }
            | Happened::Guards { .. }
            | Happened::Closing { .. }
            | Happened::Approval { .. }
            | Happened::Command { .. } => {}
        }
        Ok(())
    }

    fn key(&self, agent: &AgentId, step: &str, attempt: u32) -> Option<AttemptKey> {
        let seq = self.roster.record(agent)?.seq;
        let stage = self.roster.stage();
        let steps =
            &self.player.recording.snapshot().playbook.stages.get(usize::from(stage))?.steps;
        let step = steps.iter().position(|one| one.name == step)?;
        Some(AttemptKey { agent: seq, stage, step: u16::try_from(step).ok()?, attempt })
    }

    /// Asks the strategy again, or the other one, when the history says that the run's strategy was asked.
    async fn meet(&mut self, moment: Moment, report: &mut Report) -> Result<(), ReplayError> {
        match self.other.clone() {
            Some(other) => {
                self.ask_other(&other, moment).await?;
                report.decisions += 1;
            }
            None if self.player.only.is_some() => {}
            None => self.ask_again(moment, report).await,
        }
        self.player.tell(report);
        Ok(())
    }

    async fn ask_again(&mut self, moment: Moment, report: &mut Report) {
        let place = Place::Event { event: moment.event };
        if let Recorded::Failed { code, message } = &moment.recorded
            && is_limit(code)
        {
            report.leave_out(place, format!("{code}: {}", cut(message)));
            return;
        }
        let question = self.own_strategy().and_then(|plugin| {
            let why = self.player.unavailable.get(&plugin);
            why.map_or_else(|| Ok(()), |why| Err(why.clone()))?;
            Ok((plugin, self.input(&moment.asked, self.memo.clone(), None)?))
        });
        let (plugin, input) = match question {
            Ok(question) => question,
            Err(why) => return report.leave_out(place, why),
        };
        let now = self.ask(&plugin, input).await.result;
        report.decisions += 1;
        if let Err(PluginError { code, message }) = &now
            && is_limit(code)
        {
            report.decisions -= 1;
            report.leave_out(place, format!("{code}, which it was not then: {}", cut(message)));
            return;
        }
        let hash = now.as_ref().ok().map(crate::run::Decision::hash);
        let now = now.map(|decision| Decided::of(decision, held_by(&moment.recorded)));
        let (recorded, now) = match (&moment.recorded, &now) {
            (Recorded::Decided(before), Ok(now)) if **before == *now => return,
            (Recorded::Decided(before), Ok(now)) => {
                (before.in_words(Some(now)), now.in_words(Some(before)))
            }
            (Recorded::Failed { code, message }, Err(now))
                if now.code == code && now.message == *message =>
            {
                return;
            }
            (Recorded::Refused { hash: before, .. }, Ok(_)) if hash.as_ref() == Some(before) => {
                return;
            }
            (recorded, now) => (in_words(recorded), answer_in_words(now)),
        };
        report.differs(Difference { place, what: "decision", recorded, now });
    }

    async fn ask_other(&mut self, other: &Other, moment: Moment) -> Result<(), ReplayError> {
        if self.compared.len() >= COMPARED {
            let message =
                format!("found more than {COMPARED} decisions, expected at most that many");
            return Err(ReplayError::malformed("events.ndjson", message));
        }
        let input = self.input(&moment.asked, self.other_memo.clone(), other.with.clone());
        let input = input.map_err(ReplayError::NotFound)?;
        let stage = input.stage.clone();
        let result = self.ask(&other.plugin, input).await.result;
        let result = result.map(|decision| Decided::of(decision, held_by(&moment.recorded)));
        if let Ok(decided) = &result {
            self.other_memo.clone_from(&decided.memo);
        }
        self.compared.push(Compared {
            event: moment.event,
            at: moment.asked.at,
            stage,
            recorded: in_words(&moment.recorded),
            other: answer_in_words(&result),
        });
        Ok(())
    }

    fn own_strategy(&self) -> Result<Digest, String> {
        let playbook = &self.player.recording.snapshot().playbook;
        let stage = playbook.stages.get(usize::from(self.roster.stage()));
        let pin = stage.and_then(|stage| playbook.plugins.get(&stage.strategy.plugin));
        pin.map(|pin| pin.digest.clone())
            .ok_or_else(|| "the playbook has no such plugin".to_owned())
    }

    fn input(&self, asked: &Asked, memo: String, with: Option<Value>) -> Result<PlanInput, String> {
        let snapshot = self.player.recording.snapshot();
        let stage = snapshot.playbook.stages.get(usize::from(self.roster.stage()));
        let stage = stage.ok_or_else(|| "the playbook has no such stage".to_owned())?;
        let arguments = match with {
            Some(with) => with,
            None => snapshot.strategy_arguments(stage).map_err(|error| error.to_string())?,
        };
        let Asked { at: now, max_start, memo: _ } = *asked;
        Ok(PlanInput { stage: stage.name.clone(), arguments, memo, now, max_start })
    }

    /// Lends the roster to a strategy, and takes it back.
    async fn ask(&mut self, plugin: &Digest, input: PlanInput) -> PlanOutcome {
        let nobody = RosterAt::new(self.player.recording.snapshot().clone(), [], Vec::new());
        let roster = std::mem::replace(&mut self.roster, nobody);
        let (roster, outcome) = ask(self.player.host, plugin, input, roster).await;
        self.roster = roster;
        outcome
    }
}

/// The agents to start that guards held.
fn held_by(recorded: &Recorded) -> &[AgentId] {
    match recorded {
        Recorded::Decided(decided) => &decided.held,
        Recorded::Failed { .. } | Recorded::Refused { .. } => &[],
    }
}

fn in_words(recorded: &Recorded) -> String {
    match recorded {
        Recorded::Decided(decided) => decided.in_words(None),
        Recorded::Failed { code, message } => format!("no decision ({code}): {}", cut(message)),
        Recorded::Refused { hash, message } => {
            let sum = hash.get(..12).unwrap_or(hash);
            format!("a decision of sum {sum}, refused: {}", cut(message))
        }
    }
}

fn wrong(event: &RunEvent, found: String, expected: String) -> Stop {
    Stop::Wrong(HistoryError { seq: event.seq, found, expected })
}
