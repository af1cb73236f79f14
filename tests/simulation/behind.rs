//! Agents that are nodes behind a gateway. It answers also while it can't reach its node, and then says whether anything may have
//! begun there.

use crate::generate::Dice;
use crate::plan::Plan;
use crate::post_fault::PostFault;

/// How the connection to a node ends under a request that schedules an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Before anything was sent there: nothing has begun, and nothing will.
    Before,
    /// Once the node knows what to do. The next look has it begin.
    Claimed,
    /// Once the action has begun.
    Begun,
}

/// What a gateway answers to a request that may have begun something, and to a question.
pub(crate) const UNKNOWN: u16 = 502;

impl Cut {
    pub(crate) const fn status(self) -> u16 {
        match self {
            Self::Before => 425,
            Self::Claimed | Self::Begun => UNKNOWN,
        }
    }
}

impl Dice {
    /// Puts some agents behind a gateway.
    pub(crate) fn gateways(&mut self, plan: &mut Plan) {
        for agent in plan.agents.iter_mut().filter(|agent| !agent.stable) {
            if !self.chance(60) {
                continue;
            }
            if self.chance(40) {
                agent.behind = Some(self.window(30_000));
            }
            for action in agent.actions.iter_mut().filter(|action| action.posts.is_empty()) {
                if self.chance(40) {
                    let cut = self.one_of([Cut::Before, Cut::Claimed, Cut::Begun]);
                    action.posts.push(PostFault::Cut(cut));
                }
            }
        }
    }
}
