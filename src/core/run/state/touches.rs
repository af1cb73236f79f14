//! What an event means for what is stored: whether the history tells it, and which documents it changes. So
//! whoever decides can't forget to write what it changed.

use super::event::{OfAgent, OfCall, OfMembership, OfRun, OfStrategy, What};
use crate::run::{CallName, Pending};

/// What is to be written because of an event.
///
/// Some events change a document without having it written. The change is written with the next thing that
/// happens, and is made again in the same way if a crash loses it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Touch {
    /// The history tells the event.
    pub(crate) told: bool,
    /// The progress of the run is written.
    pub(crate) progress: bool,
    /// The record of the agent is written to which the event happened.
    pub(crate) record: bool,
    /// The journal of the agent's attempt in flight is written.
    pub(crate) journal: bool,
}

const NOTHING: Touch = Touch { told: false, progress: false, record: false, journal: false };
const PROGRESS: Touch = Touch { progress: true, ..NOTHING };
const RECORD: Touch = Touch { record: true, ..NOTHING };
const JOURNAL: Touch = Touch { journal: true, ..NOTHING };
const TOLD: Touch = Touch { told: true, ..PROGRESS };
/// The history tells the event, and the record changes.
const TOLD_OF: Touch = Touch { record: true, ..TOLD };

pub(crate) const fn touches(what: &What) -> Touch {
    match what {
        What::Run(event) => of_run(event),
        What::Strategy(event) => of_strategy(event),
        What::Membership(event) => of_membership(event),
        What::Agent(_, event) => of_agent(event),
        What::Call(_, event) => of_call(event),
    }
}

const fn of_run(event: &OfRun) -> Touch {
    match event {
        OfRun::Created(_)
        | OfRun::Status { .. }
        | OfRun::Settled { .. }
        | OfRun::StageBegan { .. }
        | OfRun::Guards(_)
        | OfRun::Closes { .. }
        | OfRun::Approval { .. }
        | OfRun::Command { .. } => TOLD,
        OfRun::Reason(_)
        | OfRun::Unanswered(_)
        | OfRun::Gone(_)
        | OfRun::StageEnded
        | OfRun::ClosesNow
        | OfRun::Exceeded(_)
        | OfRun::Held
        | OfRun::LetGo
        | OfRun::Retries { .. }
        | OfRun::FailuresAccepted
        | OfRun::Overridden(_)
        | OfRun::Holds(_)
        | OfRun::Logged(_)
        | OfRun::Signalled(_)
        | OfRun::Forgot(_) => PROGRESS,
        OfRun::Sent(_) | OfRun::Came(_) | OfRun::WakesAt(_) | OfRun::Woke | OfRun::Stops { .. } => {
            NOTHING
        }
    }
}

const fn of_strategy(event: &OfStrategy) -> Touch {
    match event {
        OfStrategy::Decided(_) | OfStrategy::Undecided { .. } => TOLD,
        OfStrategy::Next(_)
        | OfStrategy::Reopened
        | OfStrategy::Memo(_)
        | OfStrategy::Unheard(_) => PROGRESS,
        // A repetition counts as not asked for.
        OfStrategy::Repeated { .. }
        | OfStrategy::Due
        | OfStrategy::Asks(_)
        | OfStrategy::Remembered { .. }
        | OfStrategy::Said(_)
        | OfStrategy::SaidAgain
        | OfStrategy::AsksAfresh
        | OfStrategy::Heard(_)
        | OfStrategy::TookOver(_)
        | OfStrategy::Writes(_)
        | OfStrategy::Fresh
        | OfStrategy::Weighs(_)
        | OfStrategy::LooksAround { .. }
        | OfStrategy::AwaitsLook
        | OfStrategy::LookedAround(_)
        | OfStrategy::TookAround(_)
        | OfStrategy::Judged => NOTHING,
    }
}

const fn of_membership(event: &OfMembership) -> Touch {
    match event {
        OfMembership::Made { .. } => TOLD_OF,
        OfMembership::Absence(_) => PROGRESS,
        OfMembership::Joins(_)
        | OfMembership::TookIn(_)
        | OfMembership::Noted(..)
        | OfMembership::CatchesUp
        | OfMembership::Admits(_) => NOTHING,
    }
}

const fn of_agent(event: &OfAgent) -> Touch {
    match event {
        OfAgent::Entered { .. }
        | OfAgent::Started { .. }
        | OfAgent::StepStarted { .. }
        | OfAgent::StepSkipped { .. }
        | OfAgent::StepDone { .. }
        | OfAgent::StepFailed(_)
        | OfAgent::Done
        | OfAgent::Failed { .. }
        | OfAgent::LeftOut { .. }
        | OfAgent::PutBack { .. }
        | OfAgent::Admitted
        | OfAgent::Removed
        | OfAgent::Returned(_)
        | OfAgent::Moved { .. }
        | OfAgent::Info { .. }
        | OfAgent::WrittenDown => TOLD_OF,
        OfAgent::Waits
        | OfAgent::Unidentified
        | OfAgent::Settled
        | OfAgent::DoesAgain
        | OfAgent::PassedOver
        | OfAgent::Advanced
        | OfAgent::Turns { .. }
        | OfAgent::RetriesAt(_)
        | OfAgent::Settles { .. }
        | OfAgent::Leaving
        | OfAgent::Stays
        | OfAgent::Signalled(_)
        | OfAgent::Noticed(_) => RECORD,
        OfAgent::TakenUp
        | OfAgent::Queued
        | OfAgent::Rests
        | OfAgent::Looking
        | OfAgent::Looked { .. }
        | OfAgent::Rang
        | OfAgent::Rings
        | OfAgent::Identified(_)
        | OfAgent::Erred(_)
        | OfAgent::Learned(_)
        | OfAgent::Unchanged
        | OfAgent::Unlearned => NOTHING,
    }
}

const fn of_call(event: &OfCall) -> Touch {
    match event {
        OfCall::EndedLate { .. } => TOLD_OF,
        OfCall::LeftOpen { .. } | OfCall::Settled | OfCall::Kept { .. } => RECORD,
        OfCall::Answered(answered) if matches!(answered.name, CallName::WaitSignal) => RECORD,
        // The record says which action is in flight, and which signal is waited for.
        OfCall::Called { action: Some(_), .. }
        | OfCall::Called { pending: Pending { name: CallName::WaitSignal, .. }, .. } => {
            Touch { journal: true, ..RECORD }
        }
        OfCall::Called { action: None, .. }
        | OfCall::Accepted
        | OfCall::Written
        | OfCall::Sees { written: true, .. } => JOURNAL,
        // The event itself has the journal, if it is to be written.
        OfCall::Closed { .. }
        | OfCall::Opened(_)
        | OfCall::Does { .. }
        | OfCall::Sees { written: false, .. }
        // The answer is written together with what comes next.
        | OfCall::Answered(_)
        | OfCall::Watched
        | OfCall::Unwatched => NOTHING,
    }
}
