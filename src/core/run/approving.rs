//! Approvals: what a run asks people, who has approved it so far, and whose approval counts.
//!
//! A run asks before its start, if its playbook says so, and where a strategy asks. Each question has a sum, by which an
//! approval says what its author has seen: an approval of something else never counts.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::call::canonical;
use super::document::{ReasonCode, Run, Snapshot, StatusReason};
use super::status::RunStatus;
use crate::ids::Digest;
use crate::mutants::mutant;
use crate::playbook::{AfterDeadline, Approval, Approvers};
use crate::time::Timestamp;

/// What a run asks people, and who has approved it so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Question {
    /// Sequence of the event with which the run asked. No two questions of a run have the same.
    pub number: u64,
    /// The sum of what is asked: before the start it is that of the [`Snapshot`], otherwise that of the question.
    pub seen: Digest,
    /// What is asked, as human-readable text.
    pub message: String,
    /// When the run asked.
    pub asked_at: Timestamp,
    /// Until when it has to be approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Whether it was not approved by then, and waits to be asked again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overdue: bool,
    /// The approvals that count so far, at most one of each person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<Given>,
}

/// An approval that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Given {
    /// Whose it is. `None` if nobody had to say who they are.
    pub by: Option<String>,
    /// When the run took it.
    pub at: Timestamp,
}

/// What an approval says beyond who gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Approves {
    /// The sum of what its author has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Digest>,
    /// Those groups of its author that the playbook names: `group:ISSUER/NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

/// What has become of a question, as the history tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "change")]
pub enum ApprovalChange {
    /// Whoever asked for the event has approved it.
    Counted {
        /// The sum of what they have seen.
        seen: Digest,
    },
    /// It was not approved in time.
    Overdue {
        /// What happens now.
        then: AfterDeadline,
        /// How far it came, as human-readable text.
        message: String,
    },
    /// It was overdue, and a person has the run ask again.
    AskedAgain,
}

/// Why an approval does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCounted {
    /// Its author has seen something else.
    #[error("it approves {seen}, and {asked} is asked: look at it again")]
    OtherSeen {
        /// The sum of what its author has seen.
        seen: Digest,
        /// The sum of what is asked.
        asked: Digest,
    },
    /// It does not say what its author has seen.
    #[error("it does not say what was seen: {asked} is asked")]
    Unseen {
        /// The sum of what is asked.
        asked: Digest,
    },
    /// Nobody knows who its author is.
    #[error("nobody knows whose approval it is, and that of {wanted} is wanted")]
    Unknown {
        /// Whose approvals count.
        wanted: String,
    },
    /// Its author is none of those who are wanted.
    #[error("the approval of {by} does not count: that of {wanted} is wanted")]
    NotWanted {
        /// Its author.
        by: String,
        /// Whose approvals count.
        wanted: String,
    },
    /// Its author has started the run.
    #[error("{by} has started the run: somebody else has to approve it")]
    Starter {
        /// Its author.
        by: String,
    },
    /// Nobody knows who has started the run, so it may be its author.
    #[error("nobody knows who started the run: it may be {by}, whose approval does not count then")]
    UnknownStarter {
        /// Its author.
        by: String,
    },
    /// Its author has approved it already.
    #[error("{by} has approved it already: somebody else has to approve it too")]
    Twice {
        /// Its author.
        by: String,
    },
}

impl Question {
    /// What the run asks before it starts; `None` if it asks nothing.
    pub fn before_start(snapshot: &Snapshot) -> Option<Self> {
        match snapshot.playbook.approval {
            Approval::Granted => None,
            Approval::Required => Some(Self::of_start(snapshot, 1, snapshot.created_at)),
        }
    }

    /// What the run asks before it starts, at this moment and with the event of this number.
    pub(super) fn of_start(snapshot: &Snapshot, number: u64, at: Timestamp) -> Self {
        Self::new(snapshot, number, (snapshot.sum(), required().message), at)
    }

    /// What the strategy of a stage asks.
    pub(super) fn of_strategy(
        snapshot: &Snapshot,
        stage: u16,
        message: &str,
        number: u64,
        at: Timestamp,
    ) -> Self {
        let stage = snapshot.playbook.stages.get(usize::from(stage)).map(|stage| &stage.name);
        let asked =
            json!({"run": snapshot.id, "event": number, "stage": stage, "question": message});
        let seen = Digest::of(canonical(&asked).as_bytes());
        Self::new(snapshot, number, (seen, message.to_owned()), at)
    }

    fn new(
        snapshot: &Snapshot,
        number: u64,
        (seen, message): (Digest, String),
        asked_at: Timestamp,
    ) -> Self {
        let deadline = snapshot.playbook.approvers.deadline;
        let until = deadline.map(|deadline| asked_at.plus(deadline.after));
        Self { number, seen, message, asked_at, until, overdue: false, given: Vec::new() }
    }

    /// Until when it has to be approved, if it still can be.
    pub(super) fn ends(&self) -> Option<Timestamp> {
        self.until.filter(|_| !self.overdue)
    }

    /// How many people have approved it.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.given.len()).unwrap_or(u32::MAX)
    }
}

impl Snapshot {
    /// The sum of the snapshot, as whoever approves the run has seen it: sha256 over its JSON in
    /// [canonical](fn@canonical) form, without the seed, which nobody sees.
    pub fn sum(&self) -> Digest {
        let shown = Self { seed: None, ..self.clone() };
        // A snapshot is JSON: each run is kept as such.
        let value = serde_json::to_value(&shown).unwrap_or_default();
        Digest::of(canonical(&value).as_bytes())
    }
}

impl Run {
    /// Why this approval does not count; `None` if it does, or if nothing is asked. The run itself judges once more when
    /// it takes the approval.
    pub fn not_counted(
        &self,
        actor: Option<&str>,
        approves: Option<&Approves>,
    ) -> Option<NotCounted> {
        let question = self.question()?;
        let approvers = &self.snapshot.playbook.approvers;
        let asked = || question.seen.clone();
        match approves.and_then(|approves| approves.seen.as_ref()) {
            Some(seen) if *seen == question.seen || mutant!(OldQuestionApproved) => {}
            Some(seen) => {
                return Some(NotCounted::OtherSeen { seen: seen.clone(), asked: asked() });
            }
            // Whoever may approve anything once need not look at the sum.
            None if approvers.is_anybody() => {}
            None => return Some(NotCounted::Unseen { asked: asked() }),
        }
        if !approvers.tells_people_apart() {
            return None;
        }
        let Some(by) = actor else {
            return Some(NotCounted::Unknown { wanted: approvers.wanted() });
        };
        let groups = approves.map_or(&[][..], |approves| &approves.groups);
        let by = by.to_owned();
        if !approvers.wants(&by, groups) {
            return Some(NotCounted::NotWanted { by, wanted: approvers.wanted() });
        }
        match &self.snapshot.started_by {
            _ if !approvers.not_by_starter || mutant!(StarterApproves) => {}
            Some(starter) if *starter != by => {}
            Some(_) => return Some(NotCounted::Starter { by }),
            None => return Some(NotCounted::UnknownStarter { by }),
        }
        let before = question.given.iter().any(|given| given.by.as_ref() == Some(&by));
        (before && !mutant!(ApprovedTwice)).then_some(NotCounted::Twice { by })
    }

    /// What the run asks people at the moment, with all that they need to answer. `None` if it asks nothing.
    pub fn asks(&self) -> Option<Asks> {
        let Question { number, seen, message, asked_at, until, overdue: _, given } =
            self.question()?.clone();
        let Approvers { by, count, not_by_starter, deadline } =
            self.snapshot.playbook.approvers.clone();
        let then = deadline.map(|deadline| deadline.then);
        Some(Asks {
            number,
            seen,
            message,
            asked_at,
            until,
            then,
            by,
            count,
            not_by_starter,
            given,
        })
    }

    /// What the run asks, as long as it can be approved.
    fn question(&self) -> Option<&Question> {
        // Whoever abandons a run asks no machine, and leaves the question where it is.
        let waits = match self.progress.status {
            RunStatus::PendingApprove | RunStatus::Paused => true,
            RunStatus::Pending
            | RunStatus::Starting
            | RunStatus::Running
            | RunStatus::Cancelling
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => false,
        };
        self.progress.question.as_ref().filter(|question| waits && !question.overdue)
    }
}

/// What a run asks people, with all that they need to answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Asks {
    /// Sequence of the event with which the run asked.
    pub number: u64,
    /// The sum of what is asked, which an approval names. Before the start it is the sha256 of the run's snapshot as JSON
    /// without spaces, with the keys of all mappings in order.
    pub seen: Digest,
    /// What is asked, as human-readable text.
    pub message: String,
    /// When the run asked.
    pub asked_at: Timestamp,
    /// Until when it has to be approved; missing if there is no hurry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What happens then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<AfterDeadline>,
    /// Whose approvals count; missing if those of everybody who may approve do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
    /// How many different people must approve.
    pub count: u32,
    /// Whether the approval of whoever started the run does not count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_by_starter: bool,
    /// The approvals that count so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<Given>,
}

impl Asks {
    /// Whether it says more than that anybody may approve at any time.
    pub fn has_rules(&self) -> bool {
        let Self { until, by, count, not_by_starter, .. } = self;
        until.is_some() || !by.is_empty() || *count > 1 || *not_by_starter
    }

    /// How far it has come, as human-readable text: `1 of 2 approvals, by user:id/alice; wants group:id/dba; until …`.
    pub fn so_far(&self) -> String {
        let mut parts = vec![so_far(self.count, &self.given)];
        if !self.by.is_empty() {
            parts.push(format!("wants {}", self.by.join(" or ")));
        }
        if self.not_by_starter {
            parts.push("not by who started the run".to_owned());
        }
        if let Some(until) = self.until {
            let then = match self.then {
                Some(AfterDeadline::Cancel) => ", then it is cancelled",
                Some(AfterDeadline::Pause) => ", then it has to be asked again",
                None => "",
            };
            parts.push(format!("until {}{then}", to_the_second(until)));
        }
        parts.join("; ")
    }
}

/// `1 of 2 approvals, by user:id/alice`.
pub(super) fn so_far(count: u32, given: &[Given]) -> String {
    let approvals = if count == 1 { "approval" } else { "approvals" };
    let names: Vec<_> = given.iter().filter_map(|given| given.by.as_deref()).collect();
    let by = if names.is_empty() { String::new() } else { format!(", by {}", names.join(" and ")) };
    format!("{} of {count} {approvals}{by}", given.len())
}

/// The moment as people read it, never later than it is.
pub(super) fn to_the_second(at: Timestamp) -> String {
    let text = at.to_string();
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

/// The reason for which a run waits before its start.
pub(super) fn required() -> StatusReason {
    StatusReason {
        code: ReasonCode::ApprovalRequired,
        message: "the playbook asks for approval before it starts".to_owned(),
    }
}
