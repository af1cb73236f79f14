//! Whose approval lets a run go on: `approval` of a playbook, as it is written and as it is kept.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::{WHO_EXPECTED, Who};
use super::draft::Drafter;
use super::model::Approval;
use super::problem::code;
use crate::length::LENGTH_FORMAT;
use crate::time::Millis;

/// The most entries of `by`. A person who waits reads all of them, and every run has them in its snapshot.
pub const MAX_APPROVERS: usize = 32;

/// The most people that have to approve. Each approval is in the progress of the run, which every commit writes.
pub const MAX_APPROVALS: u32 = 16;

/// What `approval` may be as a word.
pub(super) const APPROVAL_PATTERN: &str = "^(granted|required)$";

/// [`APPROVAL_PATTERN`] as human-readable text.
pub(super) const APPROVAL_EXPECTED: &str = "granted, required, or a mapping that says who approves";

const DEADLINE: &str = "/spec/approval/deadline";
const THEN: &str = "/spec/approval/then";

/// Whose approvals count, how many there must be, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Approvers {
    /// Whose approvals count: `group:ISSUER/NAME`, `user:ISSUER/NAME` or `token:NAME`. Everybody's if it is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
    /// How many different people must approve.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u32,
    /// Whether the approval of whoever started the run does not count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_by_starter: bool,
    /// Until when they must have approved. `None`: there is no hurry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<ApprovalDeadline>,
}

/// How long people have for their approval, and what happens then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalDeadline {
    /// Milliseconds from the moment at which the run asks.
    pub after: Millis,
    /// What happens then.
    pub then: AfterDeadline,
}

/// What happens to a run that was not approved in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AfterDeadline {
    /// The run is cancelled.
    Cancel,
    /// The run waits for a person, who may have it ask again.
    Pause,
}

impl AfterDeadline {
    /// The word in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Pause => "pause",
        }
    }
}

const fn one() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_one(count: &u32) -> bool {
    *count == 1
}

impl Default for Approvers {
    /// Anybody, once, at any time.
    fn default() -> Self {
        Self { by: Vec::new(), count: 1, not_by_starter: false, deadline: None }
    }
}

impl Approvers {
    /// Whether anybody may approve, once, at any time: what a playbook gets that says nothing else.
    pub fn is_anybody(&self) -> bool {
        *self == Self::default()
    }

    /// Whether people have to be told apart, so that nobody can approve who has not proved who they are.
    ///
    /// # Example
    /// ```
    /// use replibook_core::playbook::Approvers;
    ///
    /// assert!(!Approvers::default().tells_people_apart());
    /// assert!(Approvers { count: 2, ..Approvers::default() }.tells_people_apart());
    /// ```
    pub fn tells_people_apart(&self) -> bool {
        !self.by.is_empty() || self.count > 1 || self.not_by_starter
    }

    /// Whether the approval of `actor`, who is in these groups, is wanted.
    pub(crate) fn wants(&self, actor: &str, groups: &[String]) -> bool {
        let is_it = |entry: &String| entry == actor || groups.contains(entry);
        self.by.is_empty() || self.by.iter().any(is_it)
    }

    /// Whose approvals count, as human-readable text: `group:id/dba or user:id/alice`.
    pub fn wanted(&self) -> String {
        match self.by.is_empty() {
            true => "anybody who may approve".to_owned(),
            false => self.by.join(" or "),
        }
    }
}

/// Whether a run waits for people, as it is written.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum ApprovalFile {
    /// `granted`, or `required`: anybody, once.
    Word(Approval),
    /// By whom, how often and until when.
    Rules(ApproversFile),
}

/// One schema for both forms: what is wrong with a mapping is then said at its place in it.
impl JsonSchema for ApprovalFile {
    fn schema_name() -> Cow<'static, str> {
        "Approval".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = ApproversFile::json_schema(generator);
        schema.insert("type".to_owned(), serde_json::json!(["object", "string"]));
        schema.insert("pattern".to_owned(), APPROVAL_PATTERN.into());
        let text = "Whether a run waits for people before it starts: `granted` (it does not), `required` (anybody, once), or by \
             whom, how often and until when. What a mapping says counts for the questions of strategies as well.";
        schema.insert("description".to_owned(), text.into());
        schema
    }
}

/// Whose approvals count, before the start of a run and where a strategy asks.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Approvers")]
pub(super) struct ApproversFile {
    /// Whose approvals count: `group:ISSUER/NAME`, `user:ISSUER/NAME` or `token:NAME`; those of everybody who may approve when
    /// absent.
    #[serde(default)]
    #[schemars(extend("minItems" = 1, "maxItems" = MAX_APPROVERS))]
    by: Option<Vec<String>>,
    /// How many different people must approve; 1 when absent.
    #[serde(default)]
    #[schemars(extend("default" = 1), range(min = 1, max = MAX_APPROVALS))]
    count: Option<u32>,
    /// Whether the approval of whoever started the run does not count; `false` when absent.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    not_by_starter: bool,
    /// Whether a run waits before it starts; `true` when absent. With `false` only the questions of strategies wait for these
    /// approvals.
    #[serde(default)]
    #[schemars(extend("default" = true))]
    before_start: Option<bool>,
    /// How long people have from the moment at which the run asks; no limit when absent. It needs `then`.
    #[serde(default)]
    #[schemars(extend("format" = LENGTH_FORMAT))]
    deadline: Option<String>,
    /// What happens to a run that was not approved in time. It needs `deadline`.
    #[serde(default)]
    then: Option<AfterDeadline>,
}

impl Drafter {
    /// Whether a run waits before it starts, and whose approvals count.
    pub(super) fn approval(&mut self, file: Option<ApprovalFile>) -> (Approval, Approvers) {
        let rules = match file {
            None => return (Approval::Granted, Approvers::default()),
            Some(ApprovalFile::Word(word)) => return (word, Approvers::default()),
            Some(ApprovalFile::Rules(rules)) => rules,
        };
        let ApproversFile { by, count, not_by_starter, before_start, deadline, then } = rules;
        let by = self.approvers(by.unwrap_or_default());
        let count = count.unwrap_or(1);
        let only_some = !by.is_empty() && by.iter().all(|entry| !entry.starts_with("group:"));
        if only_some && (by.len() as u64) < u64::from(count) {
            let few = by.len();
            let message =
                format!("{count} must approve, but only {few} can, and no group is named");
            self.add(code::BAD_VALUE, "/spec/approval/count", &message);
        }
        let has = (deadline.is_some(), then.is_some());
        let after = self.duration(DEADLINE.to_owned(), deadline);
        match has {
            (true, false) => {
                let message = "it does not say what happens then: `then` is missing";
                self.add(code::MISSING_KEY, DEADLINE, message);
            }
            (false, true) => {
                let message = "it happens after no deadline: `deadline` is missing";
                self.add(code::MISSING_KEY, THEN, message);
            }
            (true, true) | (false, false) => {}
        }
        let deadline = after.zip(then).map(|(after, then)| ApprovalDeadline { after, then });
        let waits = match before_start {
            Some(false) => Approval::Granted,
            Some(true) | None => Approval::Required,
        };
        (waits, Approvers { by, count, not_by_starter, deadline })
    }

    fn approvers(&mut self, by: Vec<String>) -> Vec<String> {
        for (index, entry) in by.iter().enumerate() {
            let path = format!("/spec/approval/by/{index}");
            if Who::parse(entry).is_none() {
                self.bad(&path, "approver", entry, WHO_EXPECTED);
            } else if by[..index].contains(entry) {
                self.add(code::DUPLICATE, &path, &format!("{entry:?} is named before"));
            }
        }
        by
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_named_is_wanted() {
        let by = ["group:id/dba", "user:id/alice"].map(str::to_owned).to_vec();
        let some = Approvers { by, ..Approvers::default() };
        let groups = |text: &str| vec![text.to_owned()];
        assert!(some.wants("user:id/alice", &[]));
        assert!(some.wants("user:id/bob", &groups("group:id/dba")));
        assert!(!some.wants("user:id/bob", &groups("group:other/dba")));
        assert!(!some.wants("user:other/alice", &[]));
        assert!(Approvers::default().wants("token:ci", &[]));
        assert_eq!(some.wanted(), "group:id/dba or user:id/alice");
    }

    #[test]
    fn what_was_kept_before_there_were_approvers_is_read() {
        assert_eq!(serde_json::from_str::<Approvers>("{}").unwrap(), Approvers::default());
        assert_eq!(serde_json::to_string(&Approvers::default()).unwrap(), "{}");
    }
}
