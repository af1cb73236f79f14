//! A paused run: why it is, and what moves it.

use super::explain::{GIVE_UP_AFTER, Telling};
use super::words::{quoted, word};
use crate::run::{AgentRecord, AgentState, ReasonCode, StatusReason};

impl Telling<'_> {
    pub(super) fn paused(&mut self) {
        self.begin(true);
        self.say_why_paused();
        self.say_approvals();
        if self.run.progress.stage.entering {
            self.say("The stage has not begun");
        }
        if self.count(AgentState::Running) > 0 {
            let head = match self.run.progress.hold {
                true => "Agents that have started stop after their present call",
                false => "Agents that have started still finish their steps",
            };
            self.say_in_flight(head);
        } else {
            self.say("No agent is in flight");
        }
        self.say_silent();
        self.say_failed();
        self.say_left_out();
        self.say("It waits for a person");
        self.offer_signals();
        self.offer_after_pause();
    }

    fn say_why_paused(&mut self) {
        let Some(StatusReason { code, message }) = &self.run.progress.reason else { return };
        let message = quoted(message);
        let text = match code {
            ReasonCode::BudgetExceeded => format!("Its budget is exceeded: {message}"),
            ReasonCode::Operator => format!("A person asked for that: {message}"),
            ReasonCode::Approval => format!("The strategy asks for approval: {message}"),
            ReasonCode::ApprovalOverdue => format!(
                "The strategy asked for approval: {message}. A resume has the run ask for it again"
            ),
            ReasonCode::StrategyFailed | ReasonCode::DecisionRefused => format!(
                "The strategy is at fault, not an agent: {message}. If it is asked the same again, it \
                 answers the same: only a new version of the playbook or of the plugin mends that, in a \
                 new run over the agents that are left"
            ),
            ReasonCode::ExpressionFailed => format!(
                "The playbook is at fault, not an agent: {message}. As long as the cluster and its agents \
                 say the same, it comes again: only a new version of the playbook mends that, in a new run \
                 over the agents that are left"
            ),
            ReasonCode::StrategyUnavailable => format!(
                "The strategy could not be asked: {message}. It is asked again when the run goes on"
            ),
            ReasonCode::StartFailed => format!(
                "Something about the cluster has to be mended: {message}. It is looked at again when \
                 the run goes on"
            ),
            ReasonCode::MassAbsence if self.run.progress.mass_absence.is_none() => {
                format!("It stopped for a person to look: {message}")
            }
            ReasonCode::MassAbsence => format!(
                "Either the cluster has shrunk by much or what tells its members is wrong: {message}"
            ),
            ReasonCode::ApprovalRequired
            | ReasonCode::StrategyAborted
            | ReasonCode::ClusterBusy
            | ReasonCode::MembershipChanged
            | ReasonCode::Abandoned
            | ReasonCode::SomeFailed
            | ReasonCode::NobodySelected
            | ReasonCode::AllDone => format!("The reason is: {message}"),
        };
        self.say(&text);
    }

    fn offer_after_pause(&mut self) {
        let code = self.run.progress.reason.as_ref().map(|reason| reason.code);
        let any_failed = self.count(AgentState::Failed) > 0;
        let mended = match any_failed {
            true => "retry --failed --unfinished",
            false => "retry --unfinished",
        };
        match code {
            Some(ReasonCode::Approval) => {
                self.offer("let it go on", "approve");
                self.offer("refuse it, which cancels the run", "reject");
                if any_failed {
                    self.offer("put the failed agents back first", "retry");
                }
                self.offer_give_up(GIVE_UP_AFTER);
                return;
            }
            Some(ReasonCode::BudgetExceeded) => {
                self.offer("go on, accepting the failures so far", "resume");
            }
            Some(ReasonCode::StrategyFailed | ReasonCode::DecisionRefused) => {
                self.offer("see what the strategy wrote", "logs");
                self.offer_mended(mended);
                self.offer("ask it again, where what it sees has changed", "resume");
                self.offer_give_up(GIVE_UP_AFTER);
                return;
            }
            Some(ReasonCode::ExpressionFailed) => {
                self.offer_mended(mended);
                let effect =
                    "work it out again, where what the cluster or its agents say has changed";
                self.offer(effect, "resume");
                self.offer_give_up(GIVE_UP_AFTER);
                return;
            }
            Some(ReasonCode::ApprovalOverdue) => {
                self.offer("ask for approval again", "resume");
            }
            Some(ReasonCode::StrategyUnavailable) => {
                self.offer("go on, once that is mended", "resume");
            }
            Some(ReasonCode::MassAbsence) if self.run.progress.mass_absence.is_none() => {
                self.offer("go on", "resume");
            }
            Some(ReasonCode::MassAbsence) => self.offer("take them for gone, and go on", "resume"),
            Some(ReasonCode::StartFailed) => self.offer("go on, once that is mended", "resume"),
            Some(
                ReasonCode::Operator
                | ReasonCode::ApprovalRequired
                | ReasonCode::StrategyAborted
                | ReasonCode::ClusterBusy
                | ReasonCode::MembershipChanged
                | ReasonCode::Abandoned
                | ReasonCode::SomeFailed
                | ReasonCode::NobodySelected
                | ReasonCode::AllDone,
            )
            | None => self.offer("go on", "resume"),
        }
        if any_failed {
            self.offer("put the failed agents back first", "retry");
        }
        self.offer_give_up(GIVE_UP_AFTER);
        match self.version_is_at_fault() {
            true => self.offer_mended("retry --failed --unfinished"),
            false => self.offer("give up", "cancel"),
        }
    }

    /// Whether the agents that failed will fail again with the same version of the playbook and its plugins.
    pub(super) fn version_is_at_fault(&self) -> bool {
        let of_version = |record: &AgentRecord| {
            record.error.as_ref().is_some_and(|failure| failure.reason.is_of_version())
        };
        let failed = &self.known.failed;
        self.count(AgentState::Failed) > 0 && !failed.is_empty() && failed.iter().all(of_version)
    }

    /// Offers to end the run and to go on with a mended version in a new one: a run keeps what it was
    /// started with.
    fn offer_mended(&mut self, retry: &str) {
        self.offer("end this run, to go on with a mended version in a new one", "cancel");
        self.offer_retry_mended("then go over those that are left", retry);
    }

    pub(super) fn offer_retry_mended(&mut self, effect: &str, retry: &str) {
        let name = word(&self.run.snapshot.playbook.name);
        self.offer(effect, &format!("{retry} --playbook {name}@VERSION"));
    }
}
