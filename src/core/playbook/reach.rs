//! How the agents of a cluster are reached.

use super::dialect::Dialect;
use super::model::Cluster;

/// How the agents of a cluster are reached, as its Cluster object says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The credentials for them: a name under the server's `--credentials`.
    pub credentials: Option<String>,
    /// The dialect that they speak; `None`: that is found out.
    pub dialect: Option<Dialect>,
    /// Why nothing may be sent to them, as human-readable text: the Cluster object is of an earlier version.
    pub outdated: Option<String>,
}

impl Cluster {
    /// How its agents are reached.
    pub fn reach(&self) -> Reach {
        let (credentials, dialect) = (self.credentials.clone(), self.dialect);
        Reach { credentials, dialect, outdated: self.outdated() }
    }
}
