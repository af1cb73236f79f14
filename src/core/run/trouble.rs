//! Why a run can't go on at all: each engine that takes it up has to give it up again. The trouble is kept beside
//! the run, since the run's own documents may be what is damaged.

use serde::{Deserialize, Serialize};

use crate::ids::{EngineId, RunId};
use crate::time::{Millis, Timestamp};

/// How long a run in trouble rests after its first failure. A momentary problem is over by then.
pub const FIRST_REST: Millis = Millis::from_secs(10);

/// The longest rest of a run in trouble between two tries. A repaired store or an upgraded engine is noticed
/// within this time, and trying costs little at that pace.
pub const LONGEST_REST: Millis = Millis::from_secs(5 * 60);

/// How many characters of the message of a failure are kept.
pub const MAX_TROUBLE: usize = 500;

/// A run that can't be loaded, or can't be committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Trouble {
    /// The run.
    pub run: RunId,
    /// Name of the run's cluster, if it is known.
    pub cluster: Option<String>,
    /// What kind of trouble it is.
    pub code: TroubleCode,
    /// What happened, as human-readable text of at most [`MAX_TROUBLE`] characters.
    pub message: String,
    /// Since when the run has been in this kind of trouble.
    pub since: Timestamp,
    /// How often engines have failed with the run since then.
    pub tries: u32,
    /// When an engine last failed with the run.
    pub tried_at: Timestamp,
    /// The engine that last failed with the run.
    pub engine: Option<EngineId>,
    /// Set once a person has given up the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abandoned: Option<Abandoned>,
    /// When the run finished, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_ts: Option<Timestamp>,
}

/// A person gave up a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Abandoned {
    /// Who gave it up, as the person said.
    pub actor: Option<String>,
    /// Why, as the person said.
    pub why: String,
    /// When the run was given up. All documents of the run get it as `finish_ts`.
    pub at: Timestamp,
    /// When the lease ends under which an engine may still send something for the run. The cluster does not become
    /// free before.
    pub not_before: Timestamp,
}

/// The kinds of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TroubleCode {
    /// A document of the run can't be read.
    Damaged,
    /// What the run would commit is larger than a commit may be.
    TooLarge,
    /// The store refuses what the run would commit.
    Refused,
    /// An input does not fit the run.
    IllegalInput,
    /// The run's driver panicked.
    Panicked,
    /// No trouble: a person gave up a run that was going on.
    Abandoned,
}

impl TroubleCode {
    /// The word that stands for the kind in the API, on the command line and in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::TooLarge => "too-large",
            Self::Refused => "refused",
            Self::IllegalInput => "illegal-input",
            Self::Panicked => "panicked",
            Self::Abandoned => "abandoned",
        }
    }
}

impl Trouble {
    /// The trouble after one more failure. `before` is what is known about earlier failures.
    #[must_use]
    pub fn after(before: Option<Self>, new: Self) -> Self {
        match before {
            Some(before) if before.code == new.code => {
                Self { since: before.since, tries: before.tries.saturating_add(1), ..new }
            }
            Some(_) | None => Self { tries: 1, ..new },
        }
    }

    /// How long the run rests before it is tried again. The rest grows with each failure.
    pub fn rest(&self) -> Millis {
        let doublings = self.tries.saturating_sub(1).min(16);
        Millis(FIRST_REST.0.saturating_mul(1 << doublings).min(LONGEST_REST.0))
    }
}

/// The part of a failure's message that is kept.
pub fn trouble_message(text: &str) -> String {
    text.chars().take(MAX_TROUBLE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(code: TroubleCode, at: i64) -> Trouble {
        Trouble {
            run: RunId(uuid::Uuid::nil()),
            cluster: None,
            code,
            message: String::new(),
            since: Timestamp::from_millis(at),
            tries: 0,
            tried_at: Timestamp::from_millis(at),
            engine: None,
            abandoned: None,
            finish_ts: None,
        }
    }

    #[test]
    fn rests_grow_up_to_the_longest_and_another_trouble_begins_anew() {
        let mut known = None;
        let mut rests = Vec::new();
        for at in 0..40 {
            let next = Trouble::after(known, trouble(TroubleCode::Damaged, at));
            rests.push(next.rest().0 / 1_000);
            known = Some(next);
        }
        assert_eq!(rests[..6], [10, 20, 40, 80, 160, 300]);
        assert_eq!(rests[39], 300);
        let known = known.unwrap();
        assert_eq!((known.since, known.tries), (Timestamp::from_millis(0), 40));
        let other = Trouble::after(Some(known), trouble(TroubleCode::TooLarge, 50));
        assert_eq!((other.since, other.tries), (Timestamp::from_millis(50), 1));
        let many = Trouble { tries: u32::MAX, ..other };
        assert_eq!(
            (many.rest(), trouble_message(&"é".repeat(501)).chars().count()),
            (LONGEST_REST, 500)
        );
    }
}
