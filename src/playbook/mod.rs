//! From YAML to a playbook that is valid by construction. Pure: no I/O, no clock, no async.

mod expr;
mod model;
mod pending;
mod plugin_info;
mod problem;

pub use expr::{Expr, ExprError, Scope, Template};
pub use model::{
    Amount, Approval, Budget, BudgetScope, Cluster, ClusterAgent, Concurrency, Discovery, Grants,
    Membership, OnAdded, OnError, OnExceeded, OnRemoved, Playbook, PluginKind, PluginPin, Retry,
    Stage, Step, StrategyUse, Tls, Vcs,
};
pub use pending::{
    Kind, PlaybookDocument, PluginSource, Source, kind_of, parse_cluster, parse_playbook, resolve,
};
pub use plugin_info::PluginInfo;
pub use problem::{Problem, Problems};
