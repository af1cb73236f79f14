//! How far asking agents about their nodes has come, for the guards of the cluster. None of it is stored: a machine
//! that is loaded anew asks everybody again before it starts anybody.

use std::collections::VecDeque;

use super::illegal::IllegalInput;
use crate::run::{FACTS_AGE, MAX_DECIDING, Millis, Refreshed, Timestamp};

/// How soon after a whole round a strategy is asked, if that round was for its decision and nothing else comes first.
const AT_ONCE: Millis = Millis::from_secs(1);

/// How far the questions to agents for guards have come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Around {
    pub(super) round: Round,
    /// When a whole round last ended: how old what nodes said is at most, apart from those that are asked again.
    pub(super) whole_at: Option<Timestamp>,
}

/// One round of questions.
#[derive(Clone, Debug, Default)]
pub(crate) enum Round {
    /// Nobody is being asked.
    #[default]
    No,
    /// Agents are being asked.
    Asking(Kind),
    /// Agents are being asked, but their answers no longer matter.
    InVain,
    /// The agents have answered, and these answers are still to be taken over.
    Taking(Kind, VecDeque<Refreshed>),
}

/// What a round is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// Whether all agents are asked that guards count.
    pub(crate) whole: bool,
    /// Whether nobody is started before they have answered.
    pub(crate) needed: bool,
    /// When the round began.
    pub(crate) began: Timestamp,
}

impl Around {
    /// Whether a round is under way.
    pub(crate) const fn goes_on(&self) -> bool {
        match self.round {
            Round::Asking(_) | Round::InVain | Round::Taking(..) => true,
            Round::No => false,
        }
    }

    /// Whether a round is under way that must end before anybody is started.
    pub(crate) const fn is_needed(&self) -> bool {
        match &self.round {
            Round::Asking(kind) | Round::Taking(kind, _) => kind.needed,
            // The answers must come before agents can be asked again.
            Round::InVain => true,
            Round::No => false,
        }
    }

    /// Whether answers are still to be taken over.
    pub(crate) const fn is_taking(&self) -> bool {
        match self.round {
            Round::Taking(..) => true,
            Round::No | Round::Asking(_) | Round::InVain => false,
        }
    }

    /// An answer that is still to be taken over.
    pub(crate) fn answer(&self, index: usize) -> Option<&Refreshed> {
        match &self.round {
            Round::Taking(_, answers) => answers.get(index),
            Round::No | Round::Asking(_) | Round::InVain => None,
        }
    }

    /// When a whole round last ended.
    pub(crate) const fn whole_at(&self) -> Option<Timestamp> {
        self.whole_at
    }

    /// Whether what nodes said counts at a moment.
    pub(crate) fn is_fresh(&self, at: Timestamp) -> bool {
        self.whole_at.is_some_and(|whole| at.since(whole) <= FACTS_AGE)
    }

    /// Whether what nodes said counts for a decision that is made now and was `asked` for before. If the decision itself
    /// takes long, the nodes were asked just before it: what they say after it can't be known any better.
    pub(crate) fn is_fresh_for(&self, asked: Timestamp, now: Timestamp) -> bool {
        let is_soon = |whole: Timestamp| asked.since(whole) <= AT_ONCE;
        let is_slow = now.since(asked) <= MAX_DECIDING && self.whole_at.is_some_and(is_soon);
        self.is_fresh(now) || is_slow
    }

    /// What was heard before this moment may be older than what a node has said since.
    pub(super) const fn last(&self) -> Option<Timestamp> {
        match &self.round {
            Round::Asking(kind) | Round::Taking(kind, _) => Some(kind.began),
            Round::No | Round::InVain => self.whole_at,
        }
    }

    pub(super) fn asks(&mut self, kind: Kind) -> Result<(), IllegalInput> {
        if self.goes_on() {
            return Err(IllegalInput::new(
                "questions for guards",
                "another round",
                "one that is out",
            ));
        }
        self.round = Round::Asking(kind);
        Ok(())
    }

    /// Nobody is started before the present round has ended.
    pub(super) const fn is_awaited(&mut self) {
        match &mut self.round {
            Round::Asking(kind) | Round::Taking(kind, _) => kind.needed = true,
            Round::No | Round::InVain => {}
        }
    }

    pub(super) fn heard(
        &mut self,
        answers: &[Refreshed],
        at: Timestamp,
    ) -> Result<(), IllegalInput> {
        match &self.round {
            Round::Asking(kind) => {
                self.round = Round::Taking(*kind, answers.iter().cloned().collect());
                self.took(0, at)
            }
            Round::InVain => {
                self.round = Round::No;
                Ok(())
            }
            Round::No | Round::Taking(..) => {
                let answers = answers.len();
                Err(IllegalInput::new("what nodes say for guards", answers, "agents not asked"))
            }
        }
    }

    pub(super) fn took(&mut self, number: usize, at: Timestamp) -> Result<(), IllegalInput> {
        let Round::Taking(kind, answers) = &mut self.round else {
            let what = "that answers for guards were taken over";
            return Err(IllegalInput::missing(what, "answers", "the run"));
        };
        answers.drain(..number.min(answers.len()));
        if answers.is_empty() {
            if kind.whole {
                self.whole_at = Some(at);
            }
            self.round = Round::No;
        }
        Ok(())
    }

    /// What nodes say now no longer matters. All are asked again before anybody is started later.
    pub(super) fn forget(&mut self) {
        self.whole_at = None;
        self.round = match std::mem::take(&mut self.round) {
            Round::Asking(_) | Round::InVain => Round::InVain,
            Round::No | Round::Taking(..) => Round::No,
        };
    }
}
