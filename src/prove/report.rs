//! What a proof found.

use serde::Serialize;
use serde_json::Value;

use super::bounds::Bounds;
use super::property::Property;
use crate::playbook::policy::{PROOF_FORM, StrategyProof};
use crate::run::Digest;

/// What a proof found, as programs read it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The strategy.
    pub strategy: Named,
    /// Its arguments.
    pub arguments: Value,
    /// Whether all properties hold, as far as was looked.
    pub proved: bool,
    /// What was to hold, and whether it does.
    pub properties: Vec<Finding>,
    /// How far was looked.
    pub bounds: Bounds,
    /// How much was looked at.
    pub covered: Covered,
    /// Which states were taken for one, and why that is right.
    pub merged: Vec<String>,
    /// What was not looked at.
    pub not_covered: Vec<String>,
    /// The version of Replibook that did it.
    pub version: String,
}

impl Report {
    /// The certificate of it, which counts once somebody has signed it.
    pub fn certificate(&self) -> StrategyProof {
        let Bounds {
            agents,
            groups,
            failures,
            joins,
            leaves,
            pauses,
            changes,
            states,
            seeds,
            largest,
            memo,
        } = self.bounds;
        let small = [
            ("agents", agents),
            ("groups", groups),
            ("failures", failures),
            ("joins", joins),
            ("leaves", leaves),
            ("pauses", pauses),
            ("changes", changes),
            ("largest", largest),
            ("memo", memo),
        ];
        let bounds = small.into_iter().map(|(name, bound)| (name.to_owned(), u64::from(bound)));
        let held = self.properties.iter().filter(|finding| finding.result == Outcome::Held);
        StrategyProof {
            form: PROOF_FORM.to_owned(),
            digest: self.strategy.digest.clone(),
            arguments: self.arguments.clone(),
            properties: held.map(|finding| finding.certified.clone()).collect(),
            seeds,
            bounds: bounds.chain([("states".to_owned(), states)]).collect(),
            version: self.version.clone(),
        }
    }
}

/// A strategy, by what it says of itself and by its bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Named {
    /// The name that it gives itself.
    pub name: String,
    /// The version that it gives itself.
    pub version: String,
    /// Digest of its bytes.
    pub digest: Digest,
}

/// Whether a property holds.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The property.
    pub property: Property,
    /// The property as a sentence.
    pub sentence: String,
    /// The property as a certificate has it: its word, and the number or name that it is about.
    pub certified: String,
    /// Whether it holds.
    pub result: Outcome,
    /// The shortest history that was found to break it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counterexample: Option<Counterexample>,
}

/// Whether a property holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing that was tried breaks it.
    Held,
    /// Something breaks it.
    Broken,
    /// Nothing that was tried breaks it, but not all of it was tried: something else broke first, or there were too many states.
    Open,
}

impl Outcome {
    /// The word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Broken => "broken",
            Self::Open => "open",
        }
    }
}

/// A history that breaks a property.
#[derive(Clone, Debug, Serialize)]
pub struct Counterexample {
    /// Why the property does not hold.
    pub why: String,
    /// The seed that found it, if it was random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
    /// The agents at the beginning, with the names of their groups.
    pub fleet: Vec<(String, String)>,
    /// What happened, one after the other. The first moment is the beginning, at which nothing has happened.
    pub timeline: Vec<Moment>,
    /// How many events there are.
    pub events: usize,
}

/// One moment of a history.
#[derive(Clone, Debug, Serialize)]
pub struct Moment {
    /// What happened, as human-readable text.
    pub event: String,
    /// Milliseconds since the stage began.
    pub at: i64,
    /// How often it happened in a row.
    pub times: usize,
    /// What the strategy answered, as human-readable text.
    pub answers: Vec<String>,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Covered {
    /// Fleets of which everything was tried.
    pub fleets: u64,
    /// The most agents of those fleets, before any joins. With 0 none was tried whole.
    pub agents: u32,
    /// Different states of them.
    pub states: u64,
    /// Random histories of larger fleets.
    pub histories: u64,
    /// How often the strategy was asked in all.
    pub questions: u64,
}
