//! Approvals: whose count in a run, and who approves what they have seen.

use replibook::run::{Approves, Digest, Question};
use serde_json::{Value, json};

use crate::generate::Dice;
use crate::plan::{Plan, StrategyPlan};

/// Somebody who may approve runs.
pub(crate) struct Person {
    pub(crate) name: &'static str,
    /// Whether they are in [`GROUP`].
    in_group: bool,
}

/// The group that playbooks name.
const GROUP: &str = "group:id/dba";

const PEOPLE: [Person; 5] = [
    Person { name: "user:id/bea", in_group: true },
    Person { name: "user:id/cem", in_group: true },
    Person { name: "user:id/dag", in_group: true },
    Person { name: "user:id/eva", in_group: false },
    Person { name: "token:ci", in_group: false },
];

/// Whose approvals a playbook counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Anybody,
    Group,
    GroupOrToken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ApproversPlan {
    pub(crate) by: By,
    pub(crate) count: u32,
    pub(crate) not_by_starter: bool,
    /// How long people have, and whether the run is cancelled then. Otherwise it waits until somebody has it ask again.
    pub(crate) deadline: Option<(u64, bool)>,
    /// Index of the person who starts the run.
    starter: usize,
}

impl ApproversPlan {
    /// `approval` of the playbook. `waits` says whether the run waits before its start.
    pub(crate) fn document(self, waits: bool) -> Value {
        let mut approval = json!({
            "count": self.count, "not_by_starter": self.not_by_starter, "before_start": waits,
        });
        let by: &[&str] = match self.by {
            By::Anybody => &[],
            By::Group => &[GROUP],
            By::GroupOrToken => &[GROUP, "token:ci"],
        };
        if !by.is_empty() {
            approval["by"] = json!(by);
        }
        if let Some((after, cancels)) = self.deadline {
            approval["deadline"] = json!(format!("{after}ms"));
            approval["then"] = json!(if cancels { "cancel" } else { "pause" });
        }
        approval
    }

    pub(crate) fn starter(self) -> &'static str {
        PEOPLE[self.starter].name
    }

    /// Whether the approval of this person may count.
    pub(crate) fn wants(self, name: &str) -> bool {
        let known = PEOPLE.iter().find(|person| person.name == name);
        let is_wanted = known.is_some_and(|person| match self.by {
            By::Anybody => true,
            By::Group => person.in_group,
            By::GroupOrToken => person.in_group || person.name == "token:ci",
        });
        is_wanted && !(self.not_by_starter && name == self.starter())
    }

    /// Who approves next: mostly somebody whose approval is missing, otherwise anybody.
    pub(crate) fn next(self, question: &Question, mixed: u64, calm: bool) -> &'static Person {
        let has = |name: &str| question.given.iter().any(|given| given.by.as_deref() == Some(name));
        let missing = |person: &&Person| self.wants(person.name) && !has(person.name);
        let missing: Vec<&Person> = PEOPLE.iter().filter(missing).collect();
        let at = |len: usize| usize::try_from(mixed / 16).unwrap_or_default() % len;
        match (missing.is_empty(), calm || mixed % 16 < 8) {
            (false, true) => missing[at(missing.len())],
            (true, _) | (false, false) => &PEOPLE[at(PEOPLE.len())],
        }
    }
}

impl Person {
    /// What the server says with their approval of what has this sum.
    pub(crate) fn approves(&self, seen: Digest) -> Approves {
        let groups = if self.in_group { vec![GROUP.to_owned()] } else { Vec::new() };
        Approves { seen: Some(seen), groups }
    }
}

impl Dice {
    /// Has runs be approved by certain people, before they start and where their strategies ask.
    pub(crate) fn approvers(&mut self, plan: &mut Plan) {
        for run in &mut plan.runs {
            run.approval = self.chance(60);
            let deadline =
                self.chance(60).then(|| (self.one_of([8_000, 20_000, 60_000]), self.chance(30)));
            run.approvers = Some(ApproversPlan {
                by: self.one_of([By::Anybody, By::Group, By::GroupOrToken]),
                count: 2 - u32::from(deadline.is_some() && self.chance(33)),
                not_by_starter: self.chance(50),
                deadline,
                starter: self.up_to(PEOPLE.len() as u64 - 1) as usize,
            });
            let first = &mut run.stages[0];
            if !first.once && self.chance(70) {
                first.strategy = StrategyPlan::Canary {
                    canaries: self.size([10, 25, 50]),
                    soak: self.one_of([0, 500, 6_000]),
                    approval: true,
                    batches: [self.size([10, 25, 50]), self.size([25, 50, 100])],
                    asks: self.chance(50),
                };
            }
        }
    }
}
