//! Mistakes that are made on purpose, to see that the simulator notices them. They exist only in builds
//! with the feature `mutants`, which no program is built with: elsewhere `mutant!` is `false`.
//!
//! One mistake at most is made on a thread. It is chosen before anything runs there and stays, so that
//! for the pure modules it is a constant like any other.

#[cfg(feature = "mutants")]
pub use chosen::{Mutant, choose};

/// Whether this mistake is made here.
#[cfg(feature = "mutants")]
#[macro_export]
macro_rules! mutant {
    ($mutant:ident) => {
        $crate::mutants::chosen::is_chosen($crate::mutants::Mutant::$mutant)
    };
}

/// Whether this mistake is made here.
#[cfg(not(feature = "mutants"))]
#[macro_export]
macro_rules! mutant {
    ($mutant:ident) => {
        false
    };
}

pub use crate::mutant;

/// Which mistake is made on this thread. `mutant!` asks here, also in other crates.
#[cfg(feature = "mutants")]
pub mod chosen {
    use std::cell::Cell;

    /// The mistakes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Mutant {
        /// Effects are performed before what led to them is committed.
        PerformBeforeCommit,
        /// A commit is written in two parts, its events last.
        TornCommit,
        /// An action that may have been sent is sent again without a look whether it is known.
        PostWithoutLook,
        /// A look right after a request counts, though the request may still be on its way.
        SettleSkipped,
        /// That an agent accepted an action is forgotten when the run is taken up again.
        AcceptanceForgotten,
        /// Each attempt of a step has the same number.
        AttemptReused,
        /// Agents that can't be reached count for no budget.
        UnreachableNotCounted,
        /// The budget is looked at one failure too late.
        BudgetCheckedLate,
        /// A pause lets the strategy start some more agents.
        PauseStartsMore,
        /// Requests are sent whatever became of the lease.
        LeaseNotChecked,
        /// The store takes commits of engines that lost the run.
        FenceIgnored,
        /// An abandoned run never gets its `finish_ts`, and so keeps the lock of its cluster.
        AbandonKeepsLock,
        /// The engine of a run that is abandoned may go on with it.
        AbandonNotFenced,
        /// A run that is set aside is not tried again.
        SetAsideForGood,
        /// A run takes its cluster without asking for the lock.
        ClusterNotLocked,
        /// The run gets its `finish_ts` first.
        FinishTsOnRunFirst,
        /// The last answer of a step is not written into its journal.
        AnswerNotRecorded,
        /// The next attempt does not wait for an action whose time is over.
        OutstandingForgotten,
        /// An unreadable answer about an action counts as the end of the action.
        GarbledEndsAction,
        /// An agent whose next attempt is due later is not woken for it after the run was taken up.
        RetryForgotten,
        /// How an agent had ended is forgotten once it has left a second time.
        EndingForgotten,
        /// An agent is gone once a single answer of the platform is without it.
        RemovedOnFirstAbsence,
        /// However many agents are absent at once, they are taken for gone.
        MassAbsenceBelieved,
        /// A run is not told of new addresses.
        MoveNotTold,
        /// An agent that is ADDED again takes part again, whatever was done to it before it left.
        AddedStartedTwice,
        /// What answers at an agent's address may be in any cluster.
        ClusterNotCompared,
        /// What answers at an agent's address may be any node.
        IdentityNotChecked,
        /// What was found when the stage began counts for an agent, however late the agent starts.
        IdentityNotLookedAt,
        /// Who was at an agent's address counts also after nothing answered there.
        IdentityKept,
        /// What answers 404 to everything is the agent.
        ProxyBelieved,
        /// Shares are of the agents that there are, not of those that the stage began with.
        SharesRecomputed,
        /// A resume lets a run that waits for approval go on.
        ResumePassesGate,
        /// What was noticed about a call is not forgotten when the call has ended.
        NoticeKept,
        /// A failure that the playbook passes over is not counted.
        PassedOverNotCounted,
        /// A look soon after a request counts, although something may still hold the request.
        SettledTooSoon,
        /// A look counts as soon as if the request had been sent without its arguments.
        SizeForgotten,
        /// A request that may have reached an agent that can't be reached now is taken for not sent.
        UnsentAssumed,
        /// An attempt does again what ended well but late.
        LateResultIgnored,
        /// An agent that refuses to say anything of its node is asked again, as if it did not answer.
        RefusalIsSilence,
        /// That an agent gave a strategy no answer is not forgotten when nobody asks any more.
        UnheardKept,
        /// Time in a run is that of the engine's own clock.
        OwnTime,
        /// A run that waits for a person keeps its engine.
        PausedKeepsPlace,
        /// A run that waits for a person waits for ever: no command wakes it.
        ParkedForGood,
        /// A command does not wake a run that nobody drives and that is not parked.
        LeftAsleep,
        /// An engine that stops gives its runs back while it still works on them.
        ReleasedTooSoon,
        /// What a strategy that waits answers again and again is written each time.
        RepeatsWritten,
        /// What agents said for a strategy before a run was paused counts when it goes on.
        FreshKept,
        /// An engine whose clock is far off counts as one that takes runs.
        ClockOffTakesRuns,
        /// The state of a run takes no notice of some events of its history.
        EventIgnored,
        /// The state of a run takes notice of some events of its history twice.
        EventTwice,
        /// Events are told as if they had happened already.
        EventOutOfOrder,
    }

    impl Mutant {
        /// All of them.
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
            Self::ProxyBelieved,
            Self::SharesRecomputed,
            Self::ResumePassesGate,
            Self::NoticeKept,
            Self::PassedOverNotCounted,
            Self::SettledTooSoon,
            Self::SizeForgotten,
            Self::UnsentAssumed,
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
            Self::EventIgnored,
            Self::EventTwice,
            Self::EventOutOfOrder,
        ];
    }

    thread_local! {
        static CHOSEN: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Makes this mistake on this thread from now on, or none.
    pub fn choose(mutant: Option<Mutant>) {
        CHOSEN.set(mutant);
    }

    /// Whether this mistake is made on this thread.
    pub fn is_chosen(mutant: Mutant) -> bool {
        CHOSEN.get() == Some(mutant)
    }
}
