//! Asks the strategy, checks what it decided, and follows the decision. A decision comes from a plugin, so it is
//! checked as a whole before any part of it takes effect.

use std::collections::BTreeSet;

use super::guarding::Admitted;
use super::steps::MAX_EXPRESSION_BYTES;
use super::turn::{Legal, Turn};
use crate::mutants::mutant;
use crate::run::decision::{MAX_LABEL_CHARS, shortest_wait};
use crate::run::failure::beginning;
use crate::run::state::{Decided, OfAgent, OfMembership, OfRun, OfStrategy, Sent, StageAt, State};
use crate::run::{
    AgentId, AgentSeq, AgentState, Asked, Decision, Digest, Effect, MAX_DECIDED, MAX_MEMO_BYTES,
    MAX_REFRESH, MAX_START, Next, PlanFailure, PlanInput, PlannedNext, PluginLine, ReasonCode,
    RunStatus, Timestamp,
};

/// Bytes of records that one decision may start. They go into one commit, with room for all else.
const START_BYTES: usize = 2 * 1024 * 1024;

/// The parts of a decision that were checked, with the numbers of the agents.
pub(super) struct Checked {
    /// How many agents the decision names to start.
    pub(super) named: usize,
    /// Which of them start.
    pub(super) admitted: Admitted,
    pub(super) skip: Vec<(AgentSeq, String)>,
    pub(super) refresh: Vec<AgentSeq>,
}

impl State {
    /// The most agents that one decision may start. Each record is written whole, with the results of its steps so
    /// far.
    fn max_start(&self) -> u32 {
        let fit = START_BYTES / self.heaviest().max(1);
        u32::try_from(fit).unwrap_or(MAX_START).clamp(1, MAX_START)
    }

    /// Whether guards would judge a decision by what nodes said too long ago.
    fn lacks_facts(&self, checked: &Checked, now: Timestamp) -> bool {
        checked.named > 0 && self.counts_nodes(now) && !self.knows_nodes(self.last_asked().at, now)
    }

    /// Whether the run may start agents now.
    fn may_plan(&self) -> bool {
        let status = self.acts_as();
        status == RunStatus::Running || mutant!(PauseStartsMore) && status == RunStatus::Paused
    }

    /// Checks a decision against the roster. A decision is followed as a whole or not at all.
    fn check(&self, decision: &Decision, now: Timestamp) -> Result<Checked, String> {
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
        let state_of = |seq| self.find(seq).map(|agent| agent.record().state);
        let mut named = BTreeSet::new();
        let mut named_in = |id: &AgentId, states: &[AgentState]| {
            let seq = known(id)?;
            let state = state_of(seq);
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
        let left_out =
            skip_seqs.iter().filter(|(seq, _)| state_of(*seq) == Some(AgentState::Added));
        let waits_for_nothing =
            start.is_empty() && self.nothing_in_flight() && !self.admits_after(left_out.count());
        if *next == Next::Wait && waits_for_nothing && !self.still_holds(now) {
            return Err("it waits though nothing is in flight".to_owned());
        }
        let refresh_seqs = refresh.iter().map(known).collect::<Result<BTreeSet<_>, _>>()?;
        let refresh = refresh_seqs.into_iter().collect();
        let skipped: Vec<_> = skip_seqs.iter().map(|(seq, _)| *seq).collect();
        let admitted = self.admit_named(&start_seqs, &skipped, now);
        let named = start_seqs.len();
        Ok(Checked { named, admitted, skip: skip_seqs, refresh })
    }
}

impl Turn<'_> {
    /// Notes that something changed about which the strategy must be asked.
    pub(super) fn plan_is_due(&mut self) -> Legal {
        // The change may just have ended the run.
        match self.status().is_settled() {
            true => Ok(()),
            false => self.emit(OfStrategy::Due),
        }
    }

    /// Asks the strategy, if a question is due and may be asked.
    pub(super) fn ask_strategy(&mut self) -> Legal {
        match self.stage_at() {
            StageAt::Due => {}
            StageAt::Entering
            | StageAt::Work(_)
            | StageAt::Asking
            | StageAt::Decided
            | StageAt::Waits
            | StageAt::Stands => return Ok(()),
        }
        if self.is_once() {
            return self.start_once();
        }
        if self.asks_afresh()? || self.looks_first()? {
            return Ok(());
        }
        match self.plan_question()? {
            Ok((plugin, input)) => {
                let memo = self.progress().stage.untold_memo.then(|| input.memo.clone());
                let asked = Asked { at: input.now, max_start: input.max_start, memo };
                self.emit(OfStrategy::Asks(asked))?;
                self.effect(Effect::Plan { plugin, input });
                Ok(())
            }
            Err(message) => self.pause(ReasonCode::ExpressionFailed, message),
        }
    }

    /// What the strategy is asked, or why its arguments can't be worked out.
    fn plan_question(&self) -> Legal<Result<(Digest, PlanInput), String>> {
        let stage = self.stage()?;
        let plugin = self.plugin(&stage.strategy.plugin)?;
        Ok(match self.snapshot().strategy_arguments(stage) {
            Ok(arguments) => {
                let input = PlanInput {
                    stage: stage.name.clone(),
                    arguments,
                    memo: self.progress().stage.memo.clone(),
                    now: self.now,
                    max_start: self.max_start(),
                };
                Ok((plugin.clone(), input))
            }
            Err(error) => {
                let (stage, strategy) = (&stage.name, &stage.strategy.plugin);
                let error = beginning(error.to_string(), MAX_EXPRESSION_BYTES);
                Err(format!("the arguments of strategy {strategy} of stage {stage}: {error}"))
            }
        })
    }

    pub(super) fn planned(
        &mut self,
        result: Result<Decision, PlanFailure>,
        logs: Vec<PluginLine>,
    ) -> Legal {
        let is_stale = self.is_plan_stale();
        self.emit(OfRun::Came(Sent::Plan))?;
        if is_stale {
            return Ok(());
        }
        if !self.may_plan() {
            return self.strategy_lines(logs, false);
        }
        let (decided, repeated) = match &result {
            Ok(decision) => {
                let checked = self.check(decision, self.now);
                if checked.as_ref().is_ok_and(|checked| self.lacks_facts(checked, self.now)) {
                    // It counts as not made, since what nodes say may change it.
                    self.plan_is_due()?;
                    let whole = !self.around().is_fresh_for(self.last_asked().at, self.now);
                    return self.look_around(whole, true);
                }
                let is_repeated = |checked: &Checked| self.is_repeated(decision, checked);
                (decision.start.len() + decision.skip.len(), checked.is_ok_and(|c| is_repeated(&c)))
            }
            Err(_) => (0, false),
        };
        if !repeated && self.write_down_first(decided)? {
            return Ok(());
        }
        self.strategy_lines(logs, repeated)?;
        let strategy = self.stage()?.strategy.plugin.clone();
        match result {
            Err(PlanFailure { code, message, may_pass }) => {
                self.no_decision(Some(code.clone()), &message, None)?;
                let message = format!("strategy {strategy} gave no decision ({code}): {message}");
                let reason = match may_pass {
                    true => ReasonCode::StrategyUnavailable,
                    false => ReasonCode::StrategyFailed,
                };
                self.pause(reason, message)
            }
            Ok(decision) => match self.check(&decision, self.now) {
                Ok(checked) if repeated => self.wait_on(decision, checked),
                Ok(checked) => self.obey(decision, checked),
                Err(why) => {
                    self.no_decision(None, &why, Some(decision.hash()))?;
                    let message = format!("refused the decision of strategy {strategy}: {why}");
                    self.pause(ReasonCode::DecisionRefused, message)
                }
            },
        }
    }

    /// Records that the strategy was asked in vain.
    fn no_decision(
        &mut self,
        code: Option<String>,
        message: &str,
        decision_hash: Option<String>,
    ) -> Legal {
        let message = message.to_owned();
        self.emit(OfStrategy::Undecided { code, message, decision_hash })
    }

    fn obey(&mut self, decision: Decision, checked: Checked) -> Legal {
        let Checked { named: _, admitted, skip, refresh } = checked;
        let Admitted { start, held, grew, holds } = admitted;
        let Decision { next, memo, label, refresh: named, .. } = decision;
        let started = u32::try_from(start.len()).unwrap_or(u32::MAX);
        let idle = self.progress().stage.idle;
        self.emit(OfStrategy::Decided(Decided {
            label: label.clone(),
            started,
            skipped: u32::try_from(skip.len()).unwrap_or(u32::MAX),
            next: next.to_string(),
            memo,
            refresh,
            named,
            held,
            holds,
        }))?;
        for (seq, reason) in skip {
            self.leave_out(seq, reason)?;
        }
        self.emit(OfMembership::Admits(self.admits_after(0)))?;
        let batch = self.progress().stage.batches;
        for seq in start {
            self.emit((seq, OfAgent::Started { batch, label: label.clone() }))?;
        }
        let waits = if self.progress().stage.idle == 0 { 0 } else { idle };
        if !self.progress().guards.guard_nothing() || !self.progress().held_agents.is_nobody() {
            self.say_who_is_held()?;
        }
        // A strategy that learns that somebody is held may name somebody else.
        self.go_on_after(next, waits, grew || started == self.max_start())?;
        self.emit(OfStrategy::Remembered { label })
    }

    /// Acts on what the strategy wants to happen next.
    fn go_on_after(&mut self, next: Next, idle: u32, ask_again: bool) -> Legal {
        let planned = match next {
            Next::Wait => PlannedNext::Wait,
            Next::WaitUntil(at) => self.wait_until(at, idle),
            Next::Approval(message) => return self.pause(ReasonCode::Approval, message),
            // The strategy is asked again once the agents that joined are in the stage.
            Next::Complete if self.is_admitting() => PlannedNext::Wait,
            // It wants them started, so the stage is not complete.
            Next::Complete if !self.progress().stage.held.is_empty() => PlannedNext::Wait,
            Next::Complete => PlannedNext::Complete,
            Next::Abort(reason) => PlannedNext::Abort { code: ReasonCode::StrategyAborted, reason },
        };
        self.emit(OfStrategy::Next(planned))?;
        if ask_again {
            self.plan_is_due()?;
        }
        self.end_stage_if_over()
    }

    /// When the strategy is asked again that wants to wait until `at`, after this many idle decisions.
    pub(super) fn wait_until(&self, at: Timestamp, idle: u32) -> PlannedNext {
        PlannedNext::WaitUntil { at: at.max(self.now.plus(shortest_wait(idle))) }
    }
}
