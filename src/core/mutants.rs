//! Mistakes that are made on purpose, to see that the simulator notices them. They exist only in builds with the
//! feature `mutants`, and no program is built with it: without the feature, `mutant!` is `false`.
//!
//! At most one mistake is made on a thread. It is chosen before anything runs on that thread and does not change
//! afterwards, so for the pure modules it is a constant.

#[cfg(feature = "mutants")]
pub use chosen::{Mutant, choose};

/// Whether this mistake is made on this thread.
#[cfg(feature = "mutants")]
#[macro_export]
macro_rules! mutant {
    ($mutant:ident) => {
        $crate::mutants::chosen::is_chosen($crate::mutants::Mutant::$mutant)
    };
}

/// Whether this mistake is made on this thread: never, without the feature.
#[cfg(not(feature = "mutants"))]
#[macro_export]
macro_rules! mutant {
    ($mutant:ident) => {
        false
    };
}

pub use crate::mutant;

/// Which mistake is made on this thread. `mutant!` expands to a call of this module, in other crates too.
#[cfg(feature = "mutants")]
pub mod chosen {
    use std::cell::Cell;

    /// The mistakes. The comment of each says what goes wrong.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Mutant {
        /// Effects are performed before what led to them is committed.
        PerformBeforeCommit,
        /// A commit is written in two parts, its events last.
        TornCommit,
        /// An action that may have been sent is sent again, without asking the agent whether it knows the action.
        PostWithoutLook,
        /// The agent is asked right after a request and its answer counts, though the request may still be on its
        /// way.
        SettleSkipped,
        /// When a run is taken up again, it forgets that an agent accepted an action.
        AcceptanceForgotten,
        /// All attempts of a step have the same number.
        AttemptReused,
        /// Agents that can't be reached count against no budget.
        UnreachableNotCounted,
        /// The budget is checked one failure too late.
        BudgetCheckedLate,
        /// While a run is paused, its strategy may still start some more agents.
        PauseStartsMore,
        /// Requests are sent whatever became of the lease.
        LeaseNotChecked,
        /// The store accepts commits from engines that lost the run.
        FenceIgnored,
        /// An abandoned run never gets its `finish_ts`, and so keeps the lock of its cluster.
        AbandonKeepsLock,
        /// The engine of an abandoned run may go on with it.
        AbandonNotFenced,
        /// A run that is set aside is not tried again.
        SetAsideForGood,
        /// A run uses its cluster without asking for the lock.
        ClusterNotLocked,
        /// The run gets its `finish_ts` before its records do.
        FinishTsOnRunFirst,
        /// The last answer of a step is not written into its journal.
        AnswerNotRecorded,
        /// The next attempt does not wait for an action whose time has run out.
        OutstandingForgotten,
        /// An unreadable answer about an action counts as the end of that action.
        GarbledEndsAction,
        /// After the run is taken up again, an agent whose next attempt is due later is never woken for it.
        RetryForgotten,
        /// Once an agent has left a second time, it is forgotten how its work had ended.
        EndingForgotten,
        /// An agent is taken for gone once a single answer of the platform lacks it.
        RemovedOnFirstAbsence,
        /// Absent agents are taken for gone, however many are absent at once.
        MassAbsenceBelieved,
        /// A run is not told when an agent's address changes.
        MoveNotTold,
        /// An agent that comes back takes part again, whatever was done to it before it left.
        AddedStartedTwice,
        /// Whatever answers at an agent's address may belong to any cluster.
        ClusterNotCompared,
        /// Whatever answers at an agent's address may be any node.
        IdentityNotChecked,
        /// What was found out about an agent when the stage began still counts when it starts, however late that
        /// is.
        IdentityNotLookedAt,
        /// What was found out about an agent still counts after nothing answered at its address.
        IdentityKept,
        /// Rescue steps that end well make a failed agent DONE.
        RescueForgives,
        /// When a run is cancelled, its stages that are always done are not.
        AlwaysSkipped,
        /// A stage on the run is done anew after a crash.
        OnceAgain,
        /// Something that answers 404 to every request is taken for the agent.
        ProxyBelieved,
        /// Shares are worked out from the agents that are there now, not from those that the stage began with.
        SharesRecomputed,
        /// A resume makes a run that waits for approval go on.
        ResumePassesGate,
        /// The second approval of one person counts as well.
        ApprovedTwice,
        /// Whoever started a run may approve it, whatever its playbook says.
        StarterApproves,
        /// The approval of one question counts for another.
        OldQuestionApproved,
        /// When a run is taken up again, it forgets until when it has to be approved.
        DeadlineForgotten,
        /// When a run is taken up again, it forgets which agents are those that it is limited to.
        LimitForgotten,
        /// What was noticed about a call is kept after the call has ended.
        NoticeKept,
        /// A failure that the playbook passes over is not counted.
        PassedOverNotCounted,
        /// The agent is asked too soon after a request and its answer counts, although something may still hold
        /// the request.
        SettledTooSoon,
        /// The waiting time after a request does not grow with the size of its arguments.
        SizeForgotten,
        /// A request is taken for not sent while its agent can't be reached, though it may have arrived.
        UnsentAssumed,
        /// The answer that nothing was begun yet, and that it may be later, is taken for a refusal.
        TooEarlyRefuses,
        /// The answer that an agent knows an action already is taken for a refusal.
        ConflictIsRefusal,
        /// An action that its agent no longer knows is sent to it again.
        LostSentAgain,
        /// An attempt does again what an earlier attempt had done well, but too late.
        LateResultIgnored,
        /// An agent that refuses to say anything about its node is asked again, as if it had not answered.
        RefusalIsSilence,
        /// It is not forgotten that an agent gave a strategy no answer, even when nobody asks it any more.
        UnheardKept,
        /// A run takes its time from the engine's own clock.
        OwnTime,
        /// A run that waits for a person keeps its engine.
        PausedKeepsPlace,
        /// A run that waits for a person waits for ever, because no command wakes it.
        ParkedForGood,
        /// A command does not wake a run that no engine drives and that is not parked.
        LeftAsleep,
        /// An engine that stops releases its runs while it still works on them.
        ReleasedTooSoon,
        /// When a waiting strategy gives the same answer again and again, each answer is written.
        RepeatsWritten,
        /// What agents said for a strategy before a pause still counts when the run goes on.
        FreshKept,
        /// An engine whose clock is far off counts as an engine that takes runs.
        ClockOffTakesRuns,
        /// A signal that came before its wait does not end it.
        SignalForgotten,
        /// A signal to one agent ends the waits of all.
        SignalToAll,
        /// A signal ends more than one wait of an attempt.
        SignalTwice,
        /// A server that answers with a redirect is not taken at its word: the request is sent to where it points. The
        /// client itself is no part of the simulator: `src/outbound/http.rs` has it follow no redirect, and the test
        /// `a_request_arrives_with_its_key_and_a_redirect_is_an_answer` beside it watches that.
        RedirectFollowed,
        /// A request that was cut off because its lease had almost run out is never sent again, although the lease goes
        /// on after all.
        RequestForgotten,
        /// What comes from outside is kept with the secrets in it.
        SecretJournaled,
        /// A secret goes where the playbook lets it go, whatever the policy says.
        OneSideGrants,
        /// Each agent of a decision is judged by its guards as if it were the only one that starts.
        GuardsBeforeOthers,
        /// Agents that have left the cluster count for its guards.
        RemovedGuarded,
        /// A share of a guard is rounded up.
        ShareRoundedUp,
        /// The clock of a window is taken to show UTC.
        WindowInUtc,
        /// What a node said before the run worked on it still counts for guards.
        FactsKept,
        /// The state of a run ignores some events of its history.
        EventIgnored,
        /// The state of a run applies some events of its history twice.
        EventTwice,
        /// What the history says of an event is worked out only after the state has changed.
        EventOutOfOrder,
    }

    impl Mutant {
        /// All mistakes, in the order in which they are declared.
        pub const ALL: &[Self] = &[
            Self::PerformBeforeCommit,
            Self::TornCommit,
            Self::PostWithoutLook,
            Self::SettleSkipped,
            Self::AcceptanceForgotten,
            Self::AttemptReused,
            Self::UnreachableNotCounted,
            Self::BudgetCheckedLate,
            Self::PauseStartsMore,
            Self::LeaseNotChecked,
            Self::FenceIgnored,
            Self::AbandonKeepsLock,
            Self::AbandonNotFenced,
            Self::SetAsideForGood,
            Self::ClusterNotLocked,
            Self::FinishTsOnRunFirst,
            Self::AnswerNotRecorded,
            Self::OutstandingForgotten,
            Self::GarbledEndsAction,
            Self::RetryForgotten,
            Self::EndingForgotten,
            Self::RemovedOnFirstAbsence,
            Self::MassAbsenceBelieved,
            Self::MoveNotTold,
            Self::AddedStartedTwice,
            Self::ClusterNotCompared,
            Self::IdentityNotChecked,
            Self::IdentityNotLookedAt,
            Self::IdentityKept,
            Self::RescueForgives,
            Self::AlwaysSkipped,
            Self::OnceAgain,
            Self::ProxyBelieved,
            Self::SharesRecomputed,
            Self::ResumePassesGate,
            Self::ApprovedTwice,
            Self::StarterApproves,
            Self::OldQuestionApproved,
            Self::DeadlineForgotten,
            Self::LimitForgotten,
            Self::NoticeKept,
            Self::PassedOverNotCounted,
            Self::SettledTooSoon,
            Self::SizeForgotten,
            Self::UnsentAssumed,
            Self::TooEarlyRefuses,
            Self::ConflictIsRefusal,
            Self::LostSentAgain,
            Self::LateResultIgnored,
            Self::RefusalIsSilence,
            Self::UnheardKept,
            Self::OwnTime,
            Self::PausedKeepsPlace,
            Self::ParkedForGood,
            Self::LeftAsleep,
            Self::ReleasedTooSoon,
            Self::RepeatsWritten,
            Self::FreshKept,
            Self::ClockOffTakesRuns,
            Self::SignalForgotten,
            Self::SignalToAll,
            Self::SignalTwice,
            Self::RedirectFollowed,
            Self::RequestForgotten,
            Self::SecretJournaled,
            Self::OneSideGrants,
            Self::GuardsBeforeOthers,
            Self::RemovedGuarded,
            Self::ShareRoundedUp,
            Self::WindowInUtc,
            Self::FactsKept,
            Self::EventIgnored,
            Self::EventTwice,
            Self::EventOutOfOrder,
        ];
    }

    thread_local! {
        static CHOSEN: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Makes this mistake on this thread from now on; with `None`, no mistake.
    pub fn choose(mutant: Option<Mutant>) {
        CHOSEN.set(mutant);
    }

    /// Whether this mistake is made on this thread.
    pub fn is_chosen(mutant: Mutant) -> bool {
        CHOSEN.get() == Some(mutant)
    }
}
