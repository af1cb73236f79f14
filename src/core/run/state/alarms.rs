//! The moments at which something is due for agents. Each agent has one at most, and it always is the one of its
//! phase.

use std::collections::BTreeSet;

use crate::run::{AgentSeq, Timestamp};

/// The moments, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Alarms(BTreeSet<(Timestamp, AgentSeq)>);

impl Alarms {
    /// Replaces the moment of an agent.
    pub(super) fn change(&mut self, seq: AgentSeq, from: Option<Timestamp>, to: Option<Timestamp>) {
        if let Some(at) = from {
            self.0.remove(&(at, seq));
        }
        if let Some(at) = to {
            self.0.insert((at, seq));
        }
    }

    /// The earliest moment, and the agent that it belongs to.
    pub(super) fn first(&self) -> Option<(Timestamp, AgentSeq)> {
        self.0.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_has_one_moment_and_the_first_that_is_due_goes_first() {
        let mut alarms = Alarms::default();
        let at = |millis| Some(Timestamp::from_millis(millis));
        alarms.change(AgentSeq(1), None, at(30));
        alarms.change(AgentSeq(2), None, at(20));
        alarms.change(AgentSeq(1), at(30), at(10));
        assert_eq!(alarms.first(), at(10).map(|at| (at, AgentSeq(1))));
        alarms.change(AgentSeq(1), at(10), None);
        assert_eq!(alarms.first(), at(20).map(|at| (at, AgentSeq(2))));
        alarms.change(AgentSeq(2), at(20), None);
        assert_eq!(alarms.first(), None);
    }
}
