//! Asking the strategy, checking what it decided, and obeying it.

use std::collections::BTreeSet;

use super::changes::Changes;
use super::refreshing::Refreshing;
use super::state::{IllegalInput, Machine};
use super::steps::MAX_EXPRESSION_BYTES;
use crate::mutants::mutant;
use crate::run::decision::{MAX_LABEL_CHARS, shortest_wait};
use crate::run::failure::beginning;
use crate::run::{
    AgentId, AgentSeq, AgentState, Asked, Decision, Effect, Happened, MAX_DECIDED, MAX_MEMO_BYTES,
    MAX_REFRESH, MAX_START, Next, PlanFailure, PlanInput, PlannedNext, PluginLine, ReasonCode,
    RunStatus, StatusReason, Timestamp,
};

/// Bytes of records that one decision may start: they are in one commit, with room for all else.
const START_BYTES: usize = 2 * 1024 * 1024;

/// A decision that was checked.
pub(super) struct Checked {
    pub(super) start: Vec<AgentSeq>,
    pub(super) skip: Vec<(AgentSeq, String)>,
    pub(super) refresh: Vec<AgentSeq>,
}

impl Machine {
    /// The most agents that one decision may start: each is written whole, with the results of its
    /// steps so far.
    fn max_start(&self) -> u32 {
        let fit = START_BYTES / self.heaviest.max(1);
        u32::try_from(fit).unwrap_or(MAX_START).clamp(1, MAX_START)
    }

    /// Asks the strategy, if it is due and may be asked.
    pub(super) fn ask_strategy(&mut self, changes: &mut Changes) {
        let settled = match &self.run.progress.stage.next {
            Some(PlannedNext::Complete | PlannedNext::Abort { .. }) => true,
            Some(PlannedNext::Wait | PlannedNext::WaitUntil { .. }) | None => false,
        };
        let stage = &self.run.progress.stage;
        let busy = self.planning
            || !self.starting.is_empty()
            || stage.entering
            || self.admitting
            || !self.meanwhile.is_empty()
            || stage.retrying.is_some();
        if !self.plan_due || busy || settled || self.refreshing.goes_on() {
            return;
        }
        if !self.may_plan() || self.asks_afresh(changes) {
            return;
        }
        let Some((plugin, input)) = self.plan_question(changes) else { return };
        self.plan_due = false;
        self.planning = true;
        let memo = self.run.progress.stage.untold_memo.then(|| input.memo.clone());
        self.asked = Asked { at: input.now, max_start: input.max_start, memo };
        changes.effects.push(Effect::Plan { plugin, input });
    }

    /// Whether the run starts agents.
    fn may_plan(&self) -> bool {
        let status = self.run.progress.status;
        status == RunStatus::Running || mutant!(PauseStartsMore) && status == RunStatus::Paused
    }

    fn plan_question(&mut self, changes: &mut Changes) -> Option<(crate::run::Digest, PlanInput)> {
        let stage = self.stage()?;
        let pin = self.run.snapshot.playbook.plugins.get(&stage.strategy.plugin)?;
        match self.run.snapshot.strategy_arguments(stage) {
            Ok(arguments) => {
                let input = PlanInput {
                    stage: stage.name.clone(),
                    arguments,
                    memo: self.run.progress.stage.memo.clone(),
                    now: changes.now,
                    max_start: self.max_start(),
                };
                Some((pin.digest.clone(), input))
            }
            Err(error) => {
                let (stage, strategy) = (stage.name.clone(), &stage.strategy.plugin);
                let error = beginning(error.to_string(), MAX_EXPRESSION_BYTES);
                let message =
                    format!("the arguments of strategy {strategy} of stage {stage}: {error}");
                self.pause(ReasonCode::ExpressionFailed, message, changes);
                None
            }
        }
    }

    pub(super) fn planned(
        &mut self,
        result: Result<Decision, PlanFailure>,
        logs: Vec<PluginLine>,
        changes: &mut Changes,
    ) -> Result<(), IllegalInput> {
        if !self.planning {
            return Err(IllegalInput::new("a decision", "one", "a strategy that was not asked"));
        }
        self.planning = false;
        if !self.may_plan() {
            self.strategy_lines(logs, false, changes);
            return Ok(());
        }
        let (decided, repeated) = match &result {
            Ok(decision) => {
                let checked = self.check(decision);
                let is_repeated = |checked: &Checked| self.is_repeated(decision, checked);
                (decision.start.len() + decision.skip.len(), checked.is_ok_and(|c| is_repeated(&c)))
            }
            Err(_) => (0, false),
        };
        if !repeated && self.write_down_first(decided, changes) {
            return Ok(());
        }
        self.strategy_lines(logs, repeated, changes);
        let strategy = self.stage().map(|stage| stage.strategy.plugin.clone()).unwrap_or_default();
        match result {
            Err(PlanFailure { code, message, may_pass }) => {
                self.say_no_decision(Some(code.clone()), &message, None, changes);
                let message = format!("strategy {strategy} gave no decision ({code}): {message}");
                let reason = match may_pass {
                    true => ReasonCode::StrategyUnavailable,
                    false => ReasonCode::StrategyFailed,
                };
                self.pause(reason, message, changes);
            }
            Ok(decision) => match self.check(&decision) {
                Ok(checked) if repeated => self.wait_on(decision, checked, changes),
                Ok(checked) => self.obey(decision, checked, changes),
                Err(why) => {
                    self.say_no_decision(None, &why, Some(decision.hash()), changes);
                    let message = format!("refused the decision of strategy {strategy}: {why}");
                    self.pause(ReasonCode::DecisionRefused, message, changes);
                }
            },
        }
        Ok(())
    }

    /// Writes down that the strategy was asked in vain.
    fn say_no_decision(
        &mut self,
        code: Option<String>,
        message: &str,
        decision_hash: Option<String>,
        changes: &mut Changes,
    ) {
        let (roster, asked) = (self.run.progress.next_event - 1, self.asked.clone());
        self.run.progress.stage.untold_memo = false;
        self.forget_wait();
        let message = message.to_owned();
        changes.event(self, Happened::NoDecision { roster, asked, code, message, decision_hash });
    }

    /// Checks a decision against the roster. It is obeyed as a whole or not at all.
    fn check(&self, decision: &Decision) -> Result<Checked, String> {
        let Decision { start, skip, next, memo, label, refresh } = decision;
        let bytes = memo.len();
        if bytes > MAX_MEMO_BYTES {
            return Err(format!("its memo has {bytes} bytes, at most {MAX_MEMO_BYTES}"));
        }
        if label.as_ref().is_some_and(|label| label.chars().count() > MAX_LABEL_CHARS) {
            return Err(format!("its label is longer than {MAX_LABEL_CHARS} characters"));
        }
        let max_start = self.max_start();
        if start.len() > max_start as usize {
            return Err(format!("it starts {} agents, at most {max_start}", start.len()));
        }
        let decided = start.len() + skip.len();
        if decided > MAX_DECIDED as usize {
            return Err(format!("it names {decided} agents, at most {MAX_DECIDED}"));
        }
        if refresh.len() > MAX_REFRESH {
            let asked = refresh.len();
            return Err(format!("it has {asked} agents asked afresh, at most {MAX_REFRESH}"));
        }
        if !start.is_empty() && self.budget_exceeded() {
            return Err("it starts agents though the budget is exceeded".to_owned());
        }
        let known = |id: &AgentId| self.seq_of(id).ok_or_else(|| format!("agent {id} is unknown"));
        let mut named = BTreeSet::new();
        let mut named_in = |id: &AgentId, states: &[AgentState]| {
            let seq = known(id)?;
            let state = self.record(seq).map(|record| record.state);
            if state.is_none_or(|state| !states.contains(&state)) {
                let state = state.map_or("unknown", AgentState::as_str);
                let expected: Vec<_> = states.iter().map(|state| state.as_str()).collect();
                let expected = expected.join(" or ");
                return Err(format!("agent {id} is {state}, expected {expected}"));
            }
            if named.insert(seq) { Ok(seq) } else { Err(format!("agent {id} is named twice")) }
        };
        let start_seqs = start
            .iter()
            .map(|id| named_in(id, &[AgentState::Pending]))
            .collect::<Result<Vec<_>, _>>()?;
        let skip_seqs = skip
            .iter()
            .map(|(id, reason)| {
                let seq = named_in(id, &[AgentState::Pending, AgentState::Added])?;
                Ok((seq, reason.clone()))
            })
            .collect::<Result<Vec<_>, String>>()?;
        let left_out = skip_seqs.iter().filter(|(seq, _)| {
            self.record(*seq).is_some_and(|record| record.state == AgentState::Added)
        });
        let waits_for_nothing =
            start.is_empty() && self.nothing_in_flight() && !self.admits_after(left_out.count());
        if *next == Next::Wait && waits_for_nothing {
            return Err("it waits though nothing is in flight".to_owned());
        }
        let refresh_seqs = refresh.iter().map(known).collect::<Result<BTreeSet<_>, _>>()?;
        let refresh = refresh_seqs.into_iter().collect();
        Ok(Checked { start: start_seqs, skip: skip_seqs, refresh })
    }

    fn obey(&mut self, decision: Decision, checked: Checked, changes: &mut Changes) {
        let roster = self.run.progress.next_event - 1;
        let asked = Some(self.asked.clone());
        let stage = &mut self.run.progress.stage;
        stage.untold_memo = false;
        // It may be large, and often is what it was.
        let memo = (stage.memo != decision.memo).then(|| decision.memo.clone());
        stage.memo = decision.memo;
        // Also after a last decision: agents that join may make the strategy be asked again.
        stage.refresh = checked.refresh;
        self.refreshing = Refreshing::No;
        self.keep_unheard();
        let stage = &mut self.run.progress.stage;
        let started = u32::try_from(checked.start.len()).unwrap_or(u32::MAX);
        stage.batches += u32::from(started > 0);
        let idle = started == 0 && checked.skip.is_empty();
        stage.idle = if idle { stage.idle.saturating_add(1) } else { 0 };
        let batch = stage.batches;
        changes.event(
            self,
            Happened::Decision {
                roster,
                asked,
                batch: (started > 0).then_some(batch),
                label: decision.label.clone(),
                started,
                skipped: u32::try_from(checked.skip.len()).unwrap_or(u32::MAX),
                next: decision.next.to_string(),
                memo,
                refresh: decision.refresh,
            },
        );
        for (seq, reason) in checked.skip {
            self.leave_out(seq, reason, changes);
        }
        self.admitting = self.admits_after(0);
        self.run.progress.stage.next = None;
        for seq in checked.start {
            if let Some(record) = self.record_mut(seq) {
                record.batch = Some(batch);
                record.batch_label.clone_from(&decision.label);
                record.started_at = Some(changes.now);
            }
            changes.agent(self, seq, AgentState::Running, None);
            self.starting.push_back(seq);
        }
        self.go_on_after(decision.next, started == self.max_start(), changes);
        self.remember(decision.label);
    }

    /// Acts on what the strategy wants to happen next.
    fn go_on_after(&mut self, next: Next, ask_again: bool, changes: &mut Changes) {
        let planned = match next {
            Next::Wait => PlannedNext::Wait,
            Next::WaitUntil(at) => self.wait_until(at, changes),
            Next::Approval(message) => {
                self.pause(ReasonCode::Approval, message, changes);
                return;
            }
            // It is asked again once those who joined are in the stage.
            Next::Complete if self.admitting => PlannedNext::Wait,
            Next::Complete => PlannedNext::Complete,
            Next::Abort(reason) => PlannedNext::Abort { code: ReasonCode::StrategyAborted, reason },
        };
        changes.progress = true;
        self.run.progress.stage.next = Some(planned);
        self.plan_due |= ask_again;
        self.end_stage_if_over(changes);
    }

    /// When the strategy is asked again that wants to wait until then.
    pub(super) fn wait_until(&self, at: Timestamp, changes: &Changes) -> PlannedNext {
        let idle = self.run.progress.stage.idle.saturating_sub(1);
        PlannedNext::WaitUntil { at: at.max(changes.now.plus(shortest_wait(idle))) }
    }

    pub(super) fn pause(&mut self, code: ReasonCode, message: String, changes: &mut Changes) {
        changes.status(self, RunStatus::Paused, Some(StatusReason { code, message }));
    }
}
