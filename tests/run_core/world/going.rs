//! How a world goes on, and its log.

use replibook_core::run::{AgentId, Effect, Input, LogLine, OldLines, Timestamp};

use super::World;

impl World {
    /// Applies an input that must be refused, and returns the refusal as text.
    pub(crate) fn refuse(&mut self, input: Input) -> String {
        self.machine.apply(input, self.now()).unwrap_err().to_string()
    }

    /// Performs effects until an agent is to be looked at.
    pub(crate) fn until_look(&mut self) {
        let is_look = |effect: &Effect| matches!(effect, Effect::Look { .. });
        while !self.effects.iter().any(is_look) {
            self.perform(0, false);
        }
    }

    /// Performs all effects except calls to agents, until only those are left.
    pub(crate) fn until_calls(&mut self) {
        let is_call = |effect: &Effect| matches!(effect, Effect::Perform(_));
        while let Some(next) = self.effects.iter().position(|effect| !is_call(effect)) {
            self.perform(next, false);
        }
    }

    /// Answers the question for the members with a failure.
    pub(crate) fn have_no_members(&mut self) {
        let asks = |effect: &Effect| matches!(effect, Effect::LoadMembers);
        let asked = self.effects.iter().position(asks).unwrap();
        self.effects.remove(asked);
        self.apply(Input::MembersFailed("no platform".to_owned()));
    }

    /// Performs everything that is outstanding now, but not what follows from it.
    pub(crate) fn perform_all(&mut self) {
        for _ in 0..self.effects.len() {
            self.now += 10;
            self.perform(0, false);
        }
    }

    /// Goes on until `count` actions are in flight.
    pub(crate) fn until_in_flight(&mut self, count: usize) {
        let out = |effects: &[Effect]| {
            effects.iter().filter(|effect| matches!(effect, Effect::Perform(_))).count()
        };
        while out(&self.effects) < count {
            let next = self.effects.iter().position(|e| !matches!(e, Effect::Perform(_))).unwrap();
            self.perform(next, false);
        }
    }

    /// The log, in order.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &LogLine> {
        self.lines.values()
    }

    /// Lets some time pass.
    pub(crate) fn tick(&mut self) {
        self.now += 10;
    }

    pub(crate) fn moment(&self) -> Timestamp {
        self.now()
    }

    /// Removes the lines of the log that the machine wants to have removed.
    pub(crate) fn forget_all(&mut self) {
        let is_forget = |effect: &Effect| matches!(effect, Effect::Forget(_));
        while let Some(next) = self.effects.iter().position(is_forget) {
            let effect = self.effects.remove(next);
            if let Some(input) = self.outcome(effect, false) {
                self.apply(input);
            }
        }
    }

    /// Adds lines that are committed.
    pub(super) fn take_lines(&mut self, lines: Vec<LogLine>) {
        for line in lines {
            let agent = line.agent.clone().unwrap_or_else(|| AgentId::from(""));
            let known = self.lines.insert((line.event, agent, line.line), line);
            assert_eq!(known, None, "a line has a place of its own");
        }
    }

    /// Removes these lines.
    pub(super) fn forget_lines(&mut self, lines: &[OldLines]) {
        let is_gone = |line: &LogLine, gone: &OldLines| {
            line.level == gone.level
                && (gone.from..=gone.to).contains(&line.event)
                && line.number <= gone.last
        };
        self.lines.retain(|_, line| !lines.iter().any(|gone| is_gone(line, gone)));
    }
}
