//! Names and numbers that identify things. Each is a type of its own, so that the compiler tells them apart.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Identifies a run: a UUIDv7, so that identifiers sort by the moment of creation.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct RunId(pub Uuid);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RunId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self)
    }
}

/// Identifies an agent within its cluster. Agents keep their identifier from one run to the next.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct AgentId(pub String);

impl AgentId {
    /// What stands in place of an agent where the steps of a stage are done once, on the run. No agent has it.
    pub const OF_RUN: &str = "@run";

    /// The identifier of the run's own record, in which the stages on the run are kept.
    pub fn of_run() -> Self {
        Self(Self::OF_RUN.to_owned())
    }

    /// Whether this is the run itself and no agent.
    ///
    /// # Example
    /// ```
    /// use replibook_core::ids::AgentId;
    ///
    /// assert!(AgentId::of_run().is_run() && !AgentId::from("run").is_run());
    /// ```
    pub fn is_run(&self) -> bool {
        self.0 == Self::OF_RUN
    }

    /// The identifier as it is written in documents.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<&str> for AgentId {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Number of an agent record within its run, from 0, in the order in which the records were made.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct AgentSeq(pub u32);

/// Identifies one engine process that drives runs.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct EngineId(pub String);

/// Identifies a command that an operator gives to a run.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct CommandId(pub Uuid);

/// The sha256 digest of a plugin's bytes, written as `sha256:` and 64 lowercase hex digits.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(transform = digest_pattern)]
pub struct Digest(String);

/// Adds the pattern of a digest to its JSON Schema.
fn digest_pattern(schema: &mut schemars::Schema) {
    schema.insert("pattern".to_owned(), "^sha256:[0-9a-f]{64}$".into());
}

/// The text is not a digest.
#[derive(Debug, thiserror::Error)]
#[error("found {found:?}, expected \"sha256:\" and 64 lowercase hex digits")]
pub struct DigestError {
    found: String,
}

impl Digest {
    /// The digest of `bytes`.
    ///
    /// # Example
    /// ```
    /// use replibook_core::ids::Digest;
    ///
    /// let digest = Digest::of(b"abc");
    /// assert_eq!(digest.short(), "ba7816bf8f01");
    /// assert_eq!(digest.as_str().parse::<Digest>()?, digest);
    ///
    /// let error = "ba7816bf8f01".parse::<Digest>().unwrap_err();
    /// assert!(error.to_string().ends_with("expected \"sha256:\" and 64 lowercase hex digits"));
    /// # Ok::<(), replibook_core::ids::DigestError>(())
    /// ```
    pub fn of(bytes: &[u8]) -> Self {
        Self(format!("sha256:{}", hex::encode(Sha256::digest(bytes))))
    }

    /// The digest with its `sha256:` prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 hex digits alone.
    pub fn hex(&self) -> &str {
        self.0.strip_prefix("sha256:").unwrap_or(&self.0)
    }

    /// The first 12 hex digits, to show to people.
    pub fn short(&self) -> &str {
        self.hex().get(..12).unwrap_or_default()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let digits = text.strip_prefix("sha256:").unwrap_or_default();
        let lowercase_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if digits.len() == 64 && digits.chars().all(lowercase_hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err(DigestError { found: text.to_owned() })
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

/// Names one attempt of one step on one agent. Together with a run it identifies one journal.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
pub struct AttemptKey {
    /// The agent record that the attempt works on.
    pub agent: AgentSeq,
    /// Index of the stage in the playbook, from 0.
    pub stage: u16,
    /// Index of the step in the stage, from 0.
    pub step: u16,
    /// Number of the attempt among those of this step on this agent, from 1. Numbers only grow.
    pub attempt: u32,
}

/// An action that was sent to an agent, or is about to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SentAction {
    /// The identifier by which the agent knows the action. It follows from the other fields, the run and the
    /// agent.
    pub action_id: Uuid,
    /// The attempt whose step made the call.
    pub key: AttemptKey,
    /// Number of the call within the attempt, from 0.
    pub call: u32,
}

impl SentAction {
    /// The action that call number `call` of the attempt `key` sends to `agent`.
    pub fn of(run: RunId, agent: &AgentId, key: AttemptKey, call: u32) -> Self {
        Self { action_id: key.action_id(run, agent, call), key, call }
    }
}

/// The only phase of steps in this version. It is in the names of actions, which leaves room for other phases.
const PHASE: &str = "steps";

/// Namespace of the UUIDv5 names of actions. It never changes, because an action must keep its identifier across
/// versions of the engine.
const ACTION_NAMESPACE: Uuid = Uuid::from_u128(0x6d0c_3c5e_51d7_4f0e_9a3b_7d1f_52a8_e604);

impl AttemptKey {
    /// Identifier of the action that call number `call` of this attempt schedules.
    ///
    /// # Example
    /// ```
    /// use replibook_core::ids::{AgentId, AgentSeq, AttemptKey, RunId};
    ///
    /// let run: RunId = "0192a3b4-0000-7000-8000-000000000001".parse()?;
    /// let agent = AgentId::from("node-1");
    /// let first = AttemptKey { agent: AgentSeq(0), stage: 0, step: 0, attempt: 1 };
    /// let second = AttemptKey { attempt: 2, ..first };
    ///
    /// // Another process finds the same identifier; another attempt gives another identifier.
    /// assert_eq!(first.action_id(run, &agent, 0), first.action_id(run, &agent, 0));
    /// assert_ne!(first.action_id(run, &agent, 0), second.action_id(run, &agent, 0));
    /// assert!(first.is_of_step_of(second));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn action_id(&self, run: RunId, agent: &AgentId, call: u32) -> Uuid {
        let name = format!("{}/{}/{call}", self.name(run), agent);
        Uuid::new_v5(&ACTION_NAMESPACE, name.as_bytes())
    }

    /// Seed of the random bytes that the step sees in this attempt.
    pub fn seed(&self, run: RunId) -> [u8; 32] {
        Sha256::digest(format!("seed/{}", self.name(run)).as_bytes()).into()
    }

    /// Whether both are attempts of one step on one agent.
    pub fn is_of_step_of(self, other: Self) -> bool {
        Self { attempt: 0, ..self } == Self { attempt: 0, ..other }
    }

    fn name(&self, run: RunId) -> String {
        let Self { agent, stage, step, attempt } = self;
        format!("{run}/{}/{stage}/{PHASE}/{step}/{attempt}", agent.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_checked_when_it_is_read() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.as_str().parse::<Digest>().unwrap(), digest);
        assert_eq!(digest.short(), "ba7816bf8f01");
        for bad in ["", "sha256:", "sha256:BA", "md5:ba7816bf", &digest.as_str()[1..]] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_part_of_the_key_changes_the_action_id() {
        let run = RunId(Uuid::from_u128(1));
        let agent = AgentId::from("node-1");
        let key = AttemptKey { agent: AgentSeq(0), stage: 0, step: 0, attempt: 1 };
        let id = key.action_id(run, &agent, 0);
        assert_eq!(id, key.action_id(run, &agent, 0));
        let others = [
            key.action_id(run, &agent, 1),
            key.action_id(RunId(Uuid::from_u128(2)), &agent, 0),
            key.action_id(run, &AgentId::from("node-2"), 0),
            AttemptKey { agent: AgentSeq(1), ..key }.action_id(run, &agent, 0),
            AttemptKey { stage: 1, ..key }.action_id(run, &agent, 0),
            AttemptKey { step: 1, ..key }.action_id(run, &agent, 0),
            AttemptKey { attempt: 2, ..key }.action_id(run, &agent, 0),
        ];
        assert!(!others.contains(&id));
    }
}
