//! Who approves the runs of a playbook, as its view says it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::playbook::{AfterDeadline, Approval, ApprovalDeadline, Approvers, Playbook};

/// Whose approvals let the runs of a playbook go on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalView {
    /// Whether runs wait for approval before they start. If not, only the questions of strategies wait for it.
    pub before_start: bool,
    /// Whose approvals count: `group:ISSUER/NAME`, `user:ISSUER/NAME` or `token:NAME`. Empty: those of everybody who may
    /// approve.
    pub by: Vec<String>,
    /// How many different identities must approve.
    pub count: u32,
    /// Whether the approval of whoever started the run does not count.
    pub not_by_starter: bool,
    /// How long they have, and what happens then; null: there is no limit.
    pub deadline: Option<ApprovalDeadline>,
}

impl ApprovalView {
    /// What the playbook says; `None` if its runs wait for nobody before they start, and anybody may answer its strategies.
    pub(super) fn of(playbook: &Playbook) -> Option<Self> {
        let before_start = playbook.approval == Approval::Required;
        if !before_start && playbook.approvers.is_anybody() {
            return None;
        }
        let Approvers { by, count, not_by_starter, deadline } = playbook.approvers.clone();
        Some(Self { before_start, by, count, not_by_starter, deadline })
    }

    /// The same as human-readable text: `2 approvals before the start and where a strategy asks; wants group:id/dba; …`.
    pub fn in_words(&self) -> String {
        let number = match self.count {
            1 => "1 approval".to_owned(),
            several => format!("{several} approvals"),
        };
        let when = match self.before_start {
            true => "before the start and where a strategy asks",
            false => "where a strategy asks",
        };
        let by = match self.by.is_empty() {
            true => "of anybody who may approve".to_owned(),
            false => format!("wants {}", self.by.join(" or ")),
        };
        let mut parts = vec![format!("{number} {when}"), by];
        if self.not_by_starter {
            parts.push("not by who started the run".to_owned());
        }
        if let Some(ApprovalDeadline { after, then }) = &self.deadline {
            let then = match then {
                AfterDeadline::Cancel => "it is cancelled",
                AfterDeadline::Pause => "it has to be asked again",
            };
            parts.push(format!("within {after}, then {then}"));
        }
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Millis;

    #[test]
    fn who_approves_is_said_in_words() {
        let anybody = ApprovalView {
            before_start: true,
            by: Vec::new(),
            count: 1,
            not_by_starter: false,
            deadline: None,
        };
        assert_eq!(
            anybody.in_words(),
            "1 approval before the start and where a strategy asks; of anybody who may approve"
        );
        let after = Millis::from_secs(7_200);
        let deadline = Some(ApprovalDeadline { after, then: AfterDeadline::Cancel });
        let two = ApprovalView {
            before_start: false,
            by: vec!["group:id/dba".to_owned(), "token:ci".to_owned()],
            count: 2,
            not_by_starter: true,
            deadline,
        };
        assert_eq!(
            two.in_words(),
            "2 approvals where a strategy asks; wants group:id/dba or token:ci; not by who started the run; \
             within 2h, then it is cancelled"
        );
    }
}
