//! Which specification of the agent API the agents of a cluster follow. Both are served under `/api/unstable`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A specification of the agent API, as Replicante's documentation calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// The one that is being developed: agents of SDKs since 2023, and Replibook's own.
    Main,
    /// The released one: agents for ZooKeeper, Kafka and MongoDB of versions 0.4.1 and 0.5.
    Stable,
}

impl Dialect {
    /// The word that stands for it in a document.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Stable => "stable",
        }
    }

    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Main => Self::Stable,
            Self::Stable => Self::Main,
        }
    }
}
