//! How a command ends, as the shell sees it. The codes are an enum with a table of meanings, so that the help
//! text and the code can't disagree.

use std::process::ExitCode;

use crate::api::wire::RunView;
use crate::run::{AgentState, ReasonCode, RunStatus};

/// The exit codes of `replictl`. Scripts depend on them: a number never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All went well.
    Ok = 0,
    /// The run failed, its replay gave another result, or documents differ from those that are stored.
    RunFailed = 1,
    /// The command line makes no sense, or the server refused the request as such.
    Usage = 2,
    /// A document or the parameters of a run are not valid.
    Invalid = 3,
    /// Something that was named does not exist, or conflicts with what exists.
    NotFound = 4,
    /// The run is done, but some agents failed within the budget, or failed steps were passed over.
    SomeFailed = 5,
    /// The run waits for a person's approval.
    WaitingForApproval = 6,
    /// The run was cancelled.
    Cancelled = 7,
    /// The server did not answer, or not in the way of a Replibook server.
    Unreachable = 8,
    /// The run is paused, or is set aside because it can't go on: a person has to act.
    Paused = 9,
    /// The run is done, but no stage of it selected any agent.
    Nobody = 10,
    /// The server does not allow it: its policy does not, or whoever asks may not, or is not known.
    NotAllowed = 11,
    /// The output could not be written, most often because of a full disk.
    Output = 12,
    /// The command is stored, but was not applied while the program waited for that.
    NotApplied = 13,
    /// The data that was asked for, or the server's database, is damaged.
    Damaged = 14,
    /// What a command waits for did not happen in the time that it was given.
    TimedOut = 15,
    /// A person stopped watching (Ctrl-C); the run goes on. Shells use this number for it.
    Interrupted = 130,
}

impl Exit {
    /// All codes in order, each with a short meaning.
    pub const MEANINGS: [(Self, &'static str); 17] = [
        (Self::Ok, "all went well"),
        (Self::RunFailed, "the run failed, or a replay or a document differs"),
        (Self::Usage, "wrong usage, or the server refused the request as such"),
        (Self::Invalid, "a document or the parameters of a run are not valid"),
        (Self::NotFound, "not found, or in conflict with what is there"),
        (
            Self::SomeFailed,
            "done, but some agents failed within the budget, or steps that were passed over",
        ),
        (Self::WaitingForApproval, "the run waits for approval"),
        (Self::Cancelled, "the run was cancelled"),
        (Self::Unreachable, "the server can't be reached"),
        (Self::Paused, "the run is paused, or can't go on"),
        (Self::Nobody, "done, but nobody was selected"),
        (Self::NotAllowed, "the server does not allow it: its policy, or who may do what"),
        (Self::Output, "the output could not be written"),
        (Self::NotApplied, "what was asked of a run is accepted, not yet applied"),
        (Self::Damaged, "what was asked for, or the whole database, is damaged"),
        (Self::TimedOut, "what the command waited for did not happen in time"),
        (Self::Interrupted, "stopped watching: Ctrl-C, or nobody reads the output"),
    ];

    /// The number that the shell receives.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// This code, but [`Ok`](Self::Ok) in place of [`Nobody`](Self::Nobody) if that is allowed.
    #[must_use]
    pub const fn allowing_nobody(self, allowed: bool) -> Self {
        if allowed && matches!(self, Self::Nobody) { Self::Ok } else { self }
    }

    /// The exit code for the present state of a run; `None` while it goes on by itself.
    pub fn of_run(run: &RunView) -> Option<Self> {
        if run.is_given_up() {
            return None;
        }
        if run.set_aside().is_some() {
            return Some(Self::Paused);
        }
        match run.status {
            RunStatus::PendingApprove => Some(Self::WaitingForApproval),
            RunStatus::Paused if reason_of(run) == Some(ReasonCode::Approval) => {
                Some(Self::WaitingForApproval)
            }
            RunStatus::Paused => Some(Self::Paused),
            RunStatus::Done if run.nobody => Some(Self::Nobody),
            RunStatus::Done if some_failed(run) => Some(Self::SomeFailed),
            RunStatus::Done => Some(Self::Ok),
            RunStatus::Failed => Some(Self::RunFailed),
            RunStatus::Cancelled => Some(Self::Cancelled),
            RunStatus::Pending
            | RunStatus::Starting
            | RunStatus::Running
            | RunStatus::Cancelling
            | RunStatus::Finishing => None,
        }
    }
}

fn reason_of(run: &RunView) -> Option<ReasonCode> {
    run.reason.as_ref().map(|reason| reason.code)
}

fn some_failed(run: &RunView) -> bool {
    // One of these alone could miss a failure: a later stage starts its counts anew, and an agent that is gone
    // may count as failed.
    run.failures > 0
        || run.all_failures > 0
        || !run.passed_over.is_none()
        || run.counts.get(&AgentState::Failed).is_some_and(|count| *count > 0)
        || reason_of(run) == Some(ReasonCode::SomeFailed)
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample::{run_view, trouble};

    #[test]
    fn every_status_has_its_code() {
        let codes = RunStatus::ALL.map(|status| Exit::of_run(&run_view(status)).map(Exit::code));
        let expected = [
            Some(6), // PENDING_APPROVE
            None,    // PENDING
            None,    // STARTING
            None,    // RUNNING
            Some(9), // PAUSED
            None,    // CANCELLING
            None,    // FINISHING
            Some(0), // DONE
            Some(1), // FAILED
            Some(7), // CANCELLED
        ];
        assert_eq!(codes, expected);
    }

    #[test]
    fn every_code_has_its_meaning_here_and_in_the_readme() {
        let readme = include_str!("../../README.md");
        let table = readme.lines().skip_while(|line| *line != "| code | meaning |").skip(2);
        let table = table.take_while(|line| line.starts_with('|'));
        let told = table.map(|line| line.split('|').nth(1).unwrap().trim().parse::<u8>().unwrap());
        let codes = Exit::MEANINGS.map(|(exit, _)| exit.code());
        assert_eq!(told.collect::<Vec<_>>(), codes);
        assert!(codes.is_sorted());
    }

    #[test]
    fn failures_within_the_budget_are_not_success() {
        let mut run = run_view(RunStatus::Done);
        run.counts = [(AgentState::Done, 10), (AgentState::Failed, 2)].into();
        assert_eq!(Exit::of_run(&run), Some(Exit::SomeFailed));
    }

    #[test]
    fn what_was_passed_over_and_a_run_over_nobody_are_not_success() {
        let mut run = run_view(RunStatus::Done);
        run.passed_over = crate::run::PassedOver { failures: 5, agents: 1 };
        assert_eq!(Exit::of_run(&run), Some(Exit::SomeFailed));
        let mut run = run_view(RunStatus::Done);
        run.nobody = true;
        assert_eq!(Exit::of_run(&run).map(Exit::code), Some(10));
        assert_eq!(Exit::Nobody.allowing_nobody(true), Exit::Ok);
        assert_eq!(Exit::Nobody.allowing_nobody(false), Exit::Nobody);
        assert_eq!(Exit::SomeFailed.allowing_nobody(true), Exit::SomeFailed);
    }

    #[test]
    fn a_run_that_is_set_aside_waits_for_a_person_until_it_is_given_up() {
        for status in RunStatus::ALL {
            let mut run = run_view(status);
            run.trouble = Some(trouble(None));
            assert_eq!(Exit::of_run(&run), Some(Exit::Paused), "{status}");
            run.trouble = Some(trouble(Some("ann")));
            assert_eq!(Exit::of_run(&run), None, "{status}: it is about to end");
        }
        let mut run = run_view(RunStatus::Failed);
        run.trouble = Some(trouble(Some("ann")));
        run.finish_ts = Some(run.since);
        assert_eq!(Exit::of_run(&run), Some(Exit::RunFailed));
    }

    #[test]
    fn a_strategy_that_asks_for_approval_is_told_from_a_pause() {
        let mut run = run_view(RunStatus::Paused);
        run.reason = Some(crate::run::StatusReason {
            code: ReasonCode::Approval,
            message: "canary looks good; go on?".to_owned(),
        });
        assert_eq!(Exit::of_run(&run), Some(Exit::WaitingForApproval));
    }
}
