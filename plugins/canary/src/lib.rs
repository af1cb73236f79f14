//! The strategy `canary`: some agents go first and are watched. If they stay well, the others follow in
//! growing batches.
//!
//! ```text
//! New ─▶ Start ─▶ Flight ─▶ Look ─▶ Next ─▶ Start …     the canaries are looked at until the soak is
//!                                    └────▶ complete    over, every other batch once
//! ```

mod arguments;
mod health;
mod memo;

use arguments::{ARGUMENTS, Approval, Arguments, OnIll};
use health::Health;
use memo::{Look, Memo, Phase};
use replibook_plugin_sdk::strategy::{Counts, Decision, Input, Next, Roster, State};

/// How many agents one decision looks at: a few thousand take some tens of milliseconds.
const LOOKED_AT: usize = 5_000;

replibook_plugin_sdk::strategy! {
    name: "canary",
    summary: "Starts some agents first, watches them, and goes on in growing batches.",
    arguments: ARGUMENTS,
    plan: plan,
}

fn plan(roster: &Roster<'_>, input: &Input, arguments: Arguments) -> Result<Decision, String> {
    let memo = input.memo()?.unwrap_or_default();
    Planning { roster, input, arguments, counts: roster.counts(), memo }.plan()
}

struct Planning<'a> {
    roster: &'a Roster<'a>,
    input: &'a Input,
    arguments: Arguments,
    counts: Counts,
    memo: Memo,
}

impl Planning<'_> {
    /// Goes from phase to phase until there is something to decide.
    fn plan(mut self) -> Result<Decision, String> {
        loop {
            let decided = match self.memo.phase {
                Phase::New => {
                    self.begin(0);
                    None
                }
                Phase::Start => Some(self.start()?),
                Phase::Flight if self.counts.running > 0 => Some(Decision::new(Next::Wait)),
                Phase::Flight => {
                    self.land();
                    None
                }
                Phase::Look => self.look()?,
                Phase::Next if self.counts.pending == 0 => Some(Decision::new(Next::Complete)),
                Phase::Next => {
                    self.begin(self.memo.batch + 1);
                    None
                }
            };
            if let Some(decision) = decided {
                return decision.remember(&self.memo);
            }
        }
    }

    fn begin(&mut self, batch: u32) {
        let (size, _) = self.arguments.batches().batch(batch);
        let memo = &mut self.memo;
        memo.phase = Phase::Start;
        memo.batch = batch;
        memo.left = size.map(|size| size.of(self.counts.selected));
        memo.first = memo.decisions + 1;
        memo.after = None;
    }

    /// Starts as many agents of the batch as it may. If one decision can't start the whole batch, the next
    /// one goes on.
    fn start(&mut self) -> Result<Decision, String> {
        let most = self.memo.left.unwrap_or(u32::MAX).min(self.input.max_start);
        let select = self.arguments.select.clone().filter(|_| self.memo.batch == 0);
        let (start, is_all) = match &select {
            Some(select) => self.select(select, most)?,
            None => {
                let start = self.roster.first(State::Pending, most);
                let is_all = start.len() < most as usize;
                (start, is_all)
            }
        };
        let started = start.len() as u32;
        self.memo.decisions += u32::from(started > 0);
        self.memo.left = self.memo.left.map(|left| left - started);
        let is_whole = is_all || self.memo.left == Some(0);
        if self.memo.batch == 0 {
            self.memo.canaries = self.memo.decisions;
        }
        if !is_whole {
            let next = match started == self.input.max_start {
                true => Next::Wait,
                false => Next::WaitUntil(self.input.now),
            };
            return Ok(Decision::new(next).start(start, &self.label()));
        }
        if self.memo.decisions < self.memo.first {
            return Ok(Decision::new(match select {
                Some(select) if self.counts.pending > 0 => {
                    Next::Abort(format!("no agent can be a canary: none is selected by {select}"))
                }
                Some(_) | None if self.counts.running > 0 => Next::Wait,
                Some(_) | None => Next::Complete,
            }));
        }
        self.memo.phase = Phase::Flight;
        let next = match started > 0 || self.counts.running > 0 {
            true => Next::Wait,
            false => Next::WaitUntil(self.input.now),
        };
        Ok(Decision::new(next).start(start, &self.label()))
    }

    fn label(&self) -> String {
        self.arguments.batches().batch(self.memo.batch).1
    }

    /// The next agents, at most `most`, for which the expression holds; and whether there are no more of
    /// them.
    fn select(&mut self, expression: &str, most: u32) -> Result<(Vec<String>, bool), String> {
        let mut selected = Vec::new();
        let mut waiting = self.roster.agents_after(State::Pending, self.memo.after.clone());
        for _ in 0..LOOKED_AT {
            if selected.len() >= most as usize {
                return Ok((selected, false));
            }
            let Some(id) = waiting.next() else { return Ok((selected, true)) };
            self.memo.after = Some(id.clone());
            let is_selected = self.roster.matches(&id, expression);
            if is_selected.map_err(|why| format!("failed to select canaries: agent {id}: {why}"))? {
                selected.push(id);
            }
        }
        Ok((selected, false))
    }

    /// All agents of the batch have ended: the look at their health begins.
    fn land(&mut self) {
        let soak = self.arguments.soak.0 as f64;
        self.memo.until = (self.memo.batch == 0).then_some(self.input.now + soak);
        self.memo.look = Look::default();
        self.memo.phase = Phase::Look;
    }

    /// Goes on with the look at the health of the agents, and decides what follows.
    fn look(&mut self) -> Result<Option<Decision>, String> {
        if self.counts.running > 0 {
            // A person had an agent tried again.
            self.memo.phase = Phase::Flight;
            return Ok(Some(Decision::new(Next::Wait)));
        }
        let healthy = &self.arguments.healthy;
        match health::look(self.roster, &mut self.memo, healthy, self.input.now)? {
            Health::NotKnown => Ok(Some(Decision::new(Next::WaitUntil(self.input.now)))),
            Health::Ill(agents) => Ok(Some(self.ill(&agents))),
            Health::Well(agents) => self.well(agents),
        }
    }

    fn ill(&mut self, agents: &str) -> Decision {
        let label = match self.memo.batch {
            0 => self.label(),
            _ => format!("batch {}", self.label()),
        };
        match self.arguments.on_ill {
            OnIll::Abort => Decision::new(Next::Abort(format!("ill after {label}: {agents}"))),
            OnIll::Approval => {
                self.memo.accepted = self.memo.decisions;
                self.memo.phase = Phase::Next;
                let then = match self.counts.pending {
                    0 => "end the stage all the same".to_owned(),
                    pending => format!("go on with the other {pending}"),
                };
                Decision::new(Next::Approval(format!("ill after {label}: {agents}; {then}?")))
            }
        }
    }

    /// All agents that were looked at are well.
    fn well(&mut self, agents: u32) -> Result<Option<Decision>, String> {
        if self.memo.batch == 0 && self.counts.pending == 0 {
            // If agents join after this, the canaries are still to be watched.
            self.memo.look = Look::default();
            return Ok(Some(Decision::new(Next::Complete)));
        }
        self.memo.phase = Phase::Next;
        if self.memo.batch > 0 {
            return Ok(None);
        }
        if agents == 0 {
            // All canaries have left the cluster: other agents become canaries.
            self.memo.phase = Phase::New;
            return Ok(None);
        }
        if let Some(until) = self.memo.until.filter(|until| self.input.now < *until) {
            self.memo.phase = Phase::Look;
            self.memo.look = Look::default();
            let at = until.min(self.input.now + self.arguments.interval.0 as f64);
            health::ask(self.roster, &mut self.memo, self.input.now)?;
            return Ok(Some(Decision::new(Next::WaitUntil(at))));
        }
        let question = match &self.arguments.approval {
            Approval::Asked(false) => return Ok(None),
            Approval::Asked(true) => {
                let (pending, soak) = (self.counts.pending, self.arguments.soak);
                let soaked = if soak.0 > 0 { format!(" after {soak}") } else { String::new() };
                let canaries = if agents == 1 { "the canary is" } else { "the canaries are" };
                format!("{canaries} well{soaked}; go on with the other {pending}?")
            }
            Approval::Question(question) => question.clone(),
        };
        Ok(Some(Decision::new(Next::Approval(question))))
    }
}
