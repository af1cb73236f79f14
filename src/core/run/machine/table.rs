//! Says which input fits which status of a run: the one table. An input that can't come is an error, so that a
//! mistake of the driver is noticed at once.

use crate::run::state::Sent;
use crate::run::{AgentSeq, Input, Look, RunStatus};

/// The kinds of [`Input`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Cluster,
    Members,
    /// About the members, before they come.
    Unanswered,
    Guards,
    Refreshed,
    Planned,
    /// About an attempt, an agent that is looked at, or an action.
    OfAgent,
    Membership,
    Command,
    Woken,
    Forgotten,
    Stamped,
    Continue,
}

impl Kind {
    #[cfg(test)]
    const ALL: [Self; 13] = [
        Self::Cluster,
        Self::Members,
        Self::Unanswered,
        Self::Guards,
        Self::Refreshed,
        Self::Planned,
        Self::OfAgent,
        Self::Membership,
        Self::Command,
        Self::Woken,
        Self::Forgotten,
        Self::Stamped,
        Self::Continue,
    ];

    /// What the input is, for messages to whoever mends the program.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "who holds the cluster",
            Self::Members => "the members of the cluster",
            Self::Unanswered => "members that do not answer yet",
            Self::Guards => "the guards of the cluster",
            Self::Refreshed => "fresh information",
            Self::Planned => "a decision",
            Self::OfAgent => "something of an agent",
            Self::Membership => "a change of the members",
            Self::Command => "a command",
            Self::Woken => "the moment that was asked for",
            Self::Forgotten => "the removal of old lines",
            Self::Stamped => "the end of stamping",
            Self::Continue => "the continuation",
        }
    }

    /// The effect that the input answers, if it is one whose answer is awaited.
    pub(super) const fn answers(self) -> Option<Sent> {
        match self {
            Self::Members => Some(Sent::Members),
            Self::Planned => Some(Sent::Plan),
            Self::Forgotten => Some(Sent::Forget),
            Self::Continue => Some(Sent::Continue),
            Self::Cluster
            | Self::Unanswered
            | Self::Guards
            | Self::Refreshed
            | Self::OfAgent
            | Self::Membership
            | Self::Command
            | Self::Woken
            | Self::Stamped => None,
        }
    }
}

impl Input {
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::ClusterFree | Self::ClusterBusy { .. } => Kind::Cluster,
            Self::Members(_) | Self::MembersOfRetry { .. } | Self::MembersFailed(_) => {
                Kind::Members
            }
            Self::MembersUnanswered(_) => Kind::Unanswered,
            Self::Guards(_) => Kind::Guards,
            Self::Refreshed(_) | Self::LookedAround(_) => Kind::Refreshed,
            Self::Planned { .. } => Kind::Planned,
            Self::Activated { .. }
            | Self::Accepted { .. }
            | Self::Noticed { .. }
            | Self::Answered { .. }
            | Self::Checked { .. }
            | Self::Looked(_) => Kind::OfAgent,
            Self::Membership(_) => Kind::Membership,
            Self::Command(_) => Kind::Command,
            Self::Woken => Kind::Woken,
            Self::Forgotten(_) => Kind::Forgotten,
            Self::Stamped => Kind::Stamped,
            Self::Continue => Kind::Continue,
        }
    }

    /// The agent that the input is about, if it is about one.
    pub(super) const fn agent(&self) -> Option<AgentSeq> {
        match self {
            Self::Activated { key, .. }
            | Self::Accepted { key, .. }
            | Self::Noticed { key, .. }
            | Self::Answered { key, .. }
            | Self::Checked { key, .. }
            | Self::Looked(Look { key, .. }) => Some(key.agent),
            Self::ClusterFree
            | Self::ClusterBusy { .. }
            | Self::Members(_)
            | Self::MembersOfRetry { .. }
            | Self::MembersUnanswered(_)
            | Self::MembersFailed(_)
            | Self::Guards(_)
            | Self::Refreshed(_)
            | Self::LookedAround(_)
            | Self::Planned { .. }
            | Self::Membership(_)
            | Self::Command(_)
            | Self::Woken
            | Self::Forgotten(_)
            | Self::Stamped
            | Self::Continue => None,
        }
    }
}

/// Whether an input fits the status of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// The input is decided about.
    Fits,
    /// The input answers something that nobody wants to know any more, and changes nothing.
    TooLate,
    /// The input can't come, because nothing that it answers was asked.
    Never,
}

/// Whether an input of this kind fits a run with this status.
pub(super) const fn fit(status: RunStatus, kind: Kind) -> Fit {
    use Fit::{Fits, Never, TooLate};
    match kind {
        Kind::Command => Fits,
        Kind::Cluster => match status {
            RunStatus::Pending => Fits,
            RunStatus::Finishing | RunStatus::Done | RunStatus::Failed | RunStatus::Cancelled => {
                TooLate
            }
            RunStatus::PendingApprove
            | RunStatus::Starting
            | RunStatus::Running
            | RunStatus::Paused
            | RunStatus::Cancelling => Never,
        },
        Kind::Members | Kind::Unanswered => match status {
            RunStatus::Starting | RunStatus::Running | RunStatus::Paused => Fits,
            RunStatus::Cancelling
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => TooLate,
            RunStatus::PendingApprove | RunStatus::Pending => Never,
        },
        Kind::Guards => match status {
            RunStatus::Starting
            | RunStatus::Running
            | RunStatus::Paused
            | RunStatus::Cancelling => Fits,
            // The run gets them again before its members, or starts nothing any more.
            RunStatus::PendingApprove
            | RunStatus::Pending
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => TooLate,
        },
        Kind::Refreshed | Kind::Planned | Kind::OfAgent => match status {
            RunStatus::Running
            | RunStatus::Paused
            | RunStatus::Cancelling
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => Fits,
            RunStatus::PendingApprove | RunStatus::Pending | RunStatus::Starting => Never,
        },
        Kind::Membership => match status {
            RunStatus::Starting
            | RunStatus::Running
            | RunStatus::Paused
            | RunStatus::Cancelling => Fits,
            // The members are yet to be loaded, or nothing is done to them any more.
            RunStatus::PendingApprove
            | RunStatus::Pending
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => TooLate,
        },
        // A run that has to be approved by some moment is approved before it.
        Kind::Woken => match status {
            RunStatus::PendingApprove
            | RunStatus::Pending
            | RunStatus::Starting
            | RunStatus::Running
            | RunStatus::Paused
            | RunStatus::Cancelling => Fits,
            RunStatus::Finishing | RunStatus::Done | RunStatus::Failed | RunStatus::Cancelled => {
                TooLate
            }
        },
        Kind::Forgotten | Kind::Continue => match status {
            RunStatus::Starting
            | RunStatus::Running
            | RunStatus::Paused
            | RunStatus::Cancelling => Fits,
            RunStatus::Finishing | RunStatus::Done | RunStatus::Failed | RunStatus::Cancelled => {
                TooLate
            }
            RunStatus::PendingApprove | RunStatus::Pending => Never,
        },
        Kind::Stamped => match status {
            RunStatus::Finishing => Fits,
            RunStatus::PendingApprove
            | RunStatus::Pending
            | RunStatus::Starting
            | RunStatus::Running
            | RunStatus::Paused
            | RunStatus::Cancelling
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => Never,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_status_and_input_is_in_the_table() {
        // A letter for each status, in order: f fits, l is too late, n never comes.
        let table = [
            (Kind::Cluster, "n f n n n n l l l l"),
            (Kind::Members, "n n f f f l l l l l"),
            (Kind::Unanswered, "n n f f f l l l l l"),
            (Kind::Guards, "l l f f f f l l l l"),
            (Kind::Refreshed, "n n n f f f f f f f"),
            (Kind::Planned, "n n n f f f f f f f"),
            (Kind::OfAgent, "n n n f f f f f f f"),
            (Kind::Membership, "l l f f f f l l l l"),
            (Kind::Command, "f f f f f f f f f f"),
            (Kind::Woken, "f f f f f f l l l l"),
            (Kind::Forgotten, "n n f f f f l l l l"),
            (Kind::Stamped, "n n n n n n f n n n"),
            (Kind::Continue, "n n f f f f l l l l"),
        ];
        assert_eq!(table.map(|(kind, _)| kind), Kind::ALL);
        for (kind, expected) in table {
            let found = RunStatus::ALL.map(|status| match fit(status, kind) {
                Fit::Fits => "f",
                Fit::TooLate => "l",
                Fit::Never => "n",
            });
            assert_eq!(found.join(" "), expected, "{kind:?}");
        }
    }

    #[test]
    fn what_is_said_of_members_before_they_come_is_not_their_coming() {
        let (agents, first, until) = (1, Vec::new(), crate::run::Timestamp::from_millis(0));
        let unanswered = crate::run::Unanswered { agents, first, until };
        for (input, answers) in [
            (Input::Members(Vec::new()), Some(Sent::Members)),
            (Input::MembersFailed(String::new()), Some(Sent::Members)),
            (Input::MembersUnanswered(unanswered), None),
        ] {
            assert_eq!(input.kind().answers(), answers, "{input:?}");
        }
    }
}
