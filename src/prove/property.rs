//! What is to hold of a strategy, in words that operators know.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::playbook::ClusterGuards;

/// Something that is to hold whatever happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Property {
    /// The strategy always gives a decision, and one that can be followed.
    Answers,
    /// The stage ends.
    Ends,
    /// Nobody is left who could have been started when the stage is complete.
    Everybody,
    /// No agent is started twice.
    Once,
    /// The strategy names only agents that it may name.
    Named,
    /// The strategy waits only while something can change.
    Waits,
    /// The memo does not grow without end.
    Memo,
    /// Never more agents are at work than a number says.
    InFlight,
    /// Never two groups have agents at work.
    OneGroup,
    /// The strategy names nobody whom a guard of a cluster holds.
    Guards,
}

impl Property {
    /// All properties, in the order in which they are shown.
    pub const ALL: [Self; 10] = [
        Self::Answers,
        Self::Ends,
        Self::Everybody,
        Self::Once,
        Self::Named,
        Self::Waits,
        Self::Memo,
        Self::InFlight,
        Self::OneGroup,
        Self::Guards,
    ];

    /// The word that stands for the property on the command line and in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::Ends => "ends",
            Self::Everybody => "everybody",
            Self::Once => "once",
            Self::Named => "named",
            Self::Waits => "waits",
            Self::Memo => "memo",
            Self::InFlight => "in-flight",
            Self::OneGroup => "one-group",
            Self::Guards => "guards",
        }
    }

    /// The property of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|property| property.as_str() == word)
    }
}

impl std::fmt::Display for Property {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is to be proved of a strategy.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The most agents that may be at work at once, if that matters.
    pub in_flight: Option<u32>,
    /// The attribute of whose values only one may have agents at work, if that matters.
    pub one_group: Option<String>,
    /// The name of a cluster and its guards, if they matter. Windows and freezes do not count.
    pub guards: Option<(String, Arc<ClusterGuards>)>,
    /// Properties that need not hold.
    pub without: BTreeSet<Property>,
}

impl Wanted {
    /// Whether the property is to hold.
    pub fn wants(&self, property: Property) -> bool {
        let asked = match property {
            Property::Answers
            | Property::Ends
            | Property::Everybody
            | Property::Once
            | Property::Named
            | Property::Waits
            | Property::Memo => true,
            Property::InFlight => self.in_flight.is_some(),
            Property::OneGroup => self.one_group.is_some(),
            Property::Guards => self.guards.is_some(),
        };
        asked && !self.without.contains(&property)
    }

    /// The properties that are to hold.
    pub fn all(&self) -> Vec<Property> {
        Property::ALL.into_iter().filter(|property| self.wants(*property)).collect()
    }

    /// Whether it matters to any property in which group an agent is.
    pub(super) fn is_about_groups(&self) -> bool {
        self.one_group.is_some() || self.guards.is_some()
    }

    /// The property as a certificate has it, such as `ends`, `in-flight 2` or `one-group zone`.
    pub fn certified(&self, property: Property) -> String {
        let about = match property {
            Property::InFlight => self.in_flight.map(|most| most.to_string()),
            Property::OneGroup => self.one_group.clone(),
            Property::Guards => self.guards.as_ref().map(|(cluster, _)| cluster.clone()),
            Property::Answers
            | Property::Ends
            | Property::Everybody
            | Property::Once
            | Property::Named
            | Property::Waits
            | Property::Memo => None,
        };
        about.map_or_else(|| property.to_string(), |about| format!("{property} {about}"))
    }

    /// The property as a sentence for people.
    pub fn sentence(&self, property: Property) -> String {
        let text = match property {
            Property::Answers => "always gives a decision that can be followed",
            Property::Ends => "ends",
            Property::Everybody => "leaves nobody out when it is complete",
            Property::Once => "starts each agent at most once",
            Property::Named => "names only agents that it may name",
            Property::Waits => "waits only while something can change",
            Property::Memo => "keeps its memo bounded",
            Property::InFlight => {
                let most = self.in_flight.unwrap_or_default();
                return format!("never has more than {most} in flight");
            }
            Property::OneGroup => {
                let by = self.one_group.as_deref().unwrap_or_default();
                return format!("never has two groups of {by} in flight");
            }
            Property::Guards => {
                let cluster = self.guards.as_ref().map_or("", |(name, _)| name);
                return format!("keeps the guards of cluster {cluster}");
            }
        };
        text.to_owned()
    }
}

/// A property that does not hold, and why, as human-readable text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The property.
    pub property: Property,
    /// What happened.
    pub why: String,
}

impl Broken {
    pub(super) fn new(property: Property, why: impl Into<String>) -> Self {
        Self { property, why: why.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_property_has_a_word_of_its_own_and_a_sentence() {
        for property in Property::ALL {
            assert_eq!(Property::parse(property.as_str()), Some(property));
            assert!(!Wanted::default().sentence(property).is_empty());
        }
        assert_eq!(Property::parse("luck"), None);
    }

    #[test]
    fn what_nobody_asked_for_need_not_hold() {
        let wanted = Wanted { in_flight: Some(2), ..Wanted::default() };
        assert!(wanted.wants(Property::InFlight) && !wanted.wants(Property::OneGroup));
        let without = BTreeSet::from([Property::InFlight, Property::Everybody]);
        let wanted = Wanted { without, ..wanted };
        assert!(!wanted.wants(Property::InFlight) && !wanted.wants(Property::Everybody));
    }
}
