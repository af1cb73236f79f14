//! Agents that a strategy wants to start and that guards of the cluster hold: who, by which guard, and because of whom.

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, AgentSeq};
use crate::playbook::{CLOSED, FREEZE, WINDOWS};
use crate::time::{Millis, Timestamp};

/// For how long guards go by what a node said about its status. The time runs from the end of a round in which all
/// agents that a guard counts were asked: otherwise, a cluster that takes longer than this to ask would never be known
/// well enough. An agent that has worked or joined since it was asked is asked again in any case.
pub const FACTS_AGE: Millis = Millis::from_secs(10);

/// How long a decision may take that is made by what nodes said just before it, if it takes longer than [`FACTS_AGE`]. A
/// strategy has a second of CPU time, but may have to wait for it. One that must be compiled first takes longer still, and
/// decides anew once it is.
pub const MAX_DECIDING: Millis = Millis::from_secs(30);

/// How often all agents are asked about their nodes while guards hold somebody: often enough that what they say counts
/// without a break.
pub const LOOK_EVERY: Millis = Millis::from_secs(5);

/// The most agents that are remembered as held: as many as a decision may start. A strategy that names more waits for
/// these first, and every commit of the run writes their numbers.
pub const MAX_HELD: usize = super::MAX_START as usize;

/// How many of the agents are named, with what holds them. Explanations name no more, and every commit writes them.
pub const MAX_HELD_NAMED: usize = 4;

/// How many agents are named as the cause why another one is held.
pub const MAX_BECAUSE: usize = 3;

/// The agents that guards hold at the moment. They are PENDING, and the strategy wants to start them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Held {
    /// How many agents there are. If it is [`MAX_HELD`], there may be more.
    pub agents: u32,
    /// The first [`MAX_HELD_NAMED`] of them, with what holds each.
    pub some: Vec<HeldAgent>,
    /// The names of all guards that hold any of them, in alphabetical order. Windows are called `windows`, and
    /// freezes `freeze`.
    pub guards: Vec<String>,
    /// Since when there has always been somebody who is held.
    pub since: Option<Timestamp>,
    /// When the window opens, or the freeze ends, that holds all of them. `None` if guards that count agents hold them,
    /// or if no such moment is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Held {
    /// Whether nobody is held.
    pub fn is_nobody(&self) -> bool {
        self.agents == 0
    }
}

/// An agent that is held, and what holds it: the first guard that does, in the order of the Cluster document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HeldAgent {
    /// The agent.
    pub agent: AgentId,
    /// What holds it.
    pub by: HeldBy,
}

/// What holds an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum HeldBy {
    /// Too many agents of its group would be out.
    Agents {
        /// Name of the guard.
        guard: String,
        /// The group of the agent. `None`: all agents are one group.
        group: Option<GuardGroup>,
        /// How many agents the group has.
        of: u32,
        /// How many of them are out.
        out: u32,
        /// How many of them may be out.
        allowed: u32,
        /// The first [`MAX_BECAUSE`] of those that are out.
        because: Vec<AgentId>,
    },
    /// Too many groups would have agents that are out.
    Groups {
        /// Name of the guard.
        guard: String,
        /// The group of the agent.
        group: GuardGroup,
        /// How many groups have agents that are out.
        touched: u32,
        /// How many groups may have such agents.
        allowed: u32,
        /// An agent that is out in each of the first [`MAX_BECAUSE`] of these groups.
        because: Vec<AgentId>,
    },
    /// No window of the cluster is open.
    Windows {
        /// When one opens. `None`: at no time that is known.
        until: Option<Timestamp>,
    },
    /// The cluster is frozen.
    Freeze {
        /// Why, as the Cluster document says.
        reason: String,
        /// When agents may be started again. `None`: at no time that is known.
        until: Option<Timestamp>,
    },
    /// The cluster is closed to the run for now, whatever its guards say.
    Closed {
        /// Why.
        reason: String,
    },
}

/// A group of a guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct GuardGroup {
    /// The attribute whose values are the groups.
    pub attribute: String,
    /// The value of the group, as text. `None`: its agents don't have the attribute.
    pub value: Option<String>,
}

impl HeldBy {
    /// Name of the guard, as `resume --override-guard` takes it. That a cluster is closed can't be overridden.
    pub fn guard(&self) -> &str {
        match self {
            Self::Agents { guard, .. } | Self::Groups { guard, .. } => guard,
            Self::Windows { .. } => WINDOWS,
            Self::Freeze { .. } => FREEZE,
            Self::Closed { .. } => CLOSED,
        }
    }

    /// When it ends by itself, if that is known.
    pub const fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Agents { .. } | Self::Groups { .. } | Self::Closed { .. } => None,
            Self::Windows { until } | Self::Freeze { until, .. } => *until,
        }
    }
}

impl std::fmt::Display for GuardGroup {
    /// For example `zone a`, or `no zone`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} {value}", self.attribute),
            None => write!(f, "no {}", self.attribute),
        }
    }
}

/// Whom guards hold after a decision, as the history has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HeldThen {
    /// The agents that the decision names to start and that are held, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named: Vec<AgentId>,
    /// Agents that earlier decisions named to start and that are still held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<AgentId>,
    /// The names of the guards that hold them.
    pub by: Vec<String>,
    /// When the window opens, or the freeze ends, that holds all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// The agents that are remembered as held after a decision: those that were `known` before and still are held, whether
/// it names them or not, then others that it names, up to [`MAX_HELD`]. Those that are known stay, so that a strategy
/// that names others each time comes to an end. They are in the order of their numbers.
pub(super) fn remembered(
    known: &[AgentSeq],
    named: &[AgentSeq],
    before: &[AgentSeq],
) -> Vec<AgentSeq> {
    let (again, new): (Vec<AgentSeq>, Vec<_>) =
        named.iter().partition(|seq| known.binary_search(seq).is_ok());
    let all = before.iter().copied().chain(again).chain(new);
    let mut held: Vec<AgentSeq> = all.take(MAX_HELD).collect();
    held.sort_unstable();
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_known_as_held_stays_and_others_are_remembered_up_to_the_most() {
        let seqs = |from: u32, to: u32| (from..to).map(AgentSeq).collect::<Vec<_>>();
        assert_eq!(remembered(&seqs(3, 5), &seqs(4, 6), &seqs(3, 4)), seqs(3, 6));
        let most = u32::try_from(MAX_HELD).unwrap();
        let known = seqs(10, most + 8);
        let held = remembered(&known, &seqs(0, 10), &known);
        assert_eq!(held.len(), MAX_HELD);
        assert_eq!(held, [seqs(0, 2), known].concat());
    }
}
