//! Makes a playbook that is valid by construction from YAML or JSON. It is pure: no I/O, no clock, no async.
//!
//! ```text
//! text ──walk, read──▶ value ──schema──▶ document ──rules──▶ draft ──plugins──▶ Playbook
//!      text, spans          schema, explain      draft, template, expr    resolve, arguments
//! ```
//!
//! [`parse_playbook`] goes as far as a draft, which needs no plugin; [`resolve`] does the rest. All problems of a
//! document are reported at once, each with its path, line and column.
//!
//! Clusters are read in [`parse_cluster`], with what [guards](ClusterGuards) them, and policies, by which a server
//! judges plugins, in [`policy`], and the nodes of a gateway in [`inventory`].

pub mod access;
mod approvers;
mod arguments;
mod bind;
mod cluster;
mod depth;
mod dialect;
mod document;
mod document_cluster;
mod draft;
mod draft_grants;
mod draft_once;
mod draft_plugin;
mod draft_secrets;
mod draft_stage;
mod explain;
mod expr;
mod fields;
mod grants;
mod guards;
mod integers;
pub mod inventory;
mod model;
mod model_stage;
mod names;
mod narrowing;
mod params;
mod partly;
mod pin;
mod plugin_info;
pub mod policy;
mod problem;
mod query;
mod reach;
mod read;
mod references;
mod repair;
mod resolve;
#[cfg(test)]
mod roundtrip_tests;
mod scan;
mod schema;
mod schema_keywords;
mod schema_limits;
mod schema_path;
mod schema_types;
mod schema_work;
mod secrets;
mod source;
mod spans;
mod suspects;
mod template;
mod text;
mod units;
mod unquoted;
mod unsupported;
mod values;
mod warnings;

pub use crate::length::{LENGTH_EXPECTED, LENGTH_FORMAT, LengthError, MAX_LENGTH};
pub use approvers::{AfterDeadline, ApprovalDeadline, Approvers, MAX_APPROVALS, MAX_APPROVERS};
pub use arguments::check_arguments;
pub use bind::MAX_VALUE_BYTES;
pub use cluster::parse_cluster;
pub use depth::{MAX_JSON_DEPTH, json_depth_ok};
pub use dialect::Dialect;
pub use document::Kind;
pub use explain::describe;
pub use expr::{Expr, ExprError, MAX_EXPR_BYTES, MAX_WORK, Scope, SecretTokens};
pub use fields::{Allowed, Field, UnknownField, explain_field};
pub(crate) use grants::origin_of_url;
pub use grants::{Grants, HttpGrant, HttpMethod};
pub use guards::{
    CLOSED, Calendar, ClosedBy, ClusterGuards, FREEZE, Freeze, Gate, Guard, HEALTHY, MAX_FREEZES,
    MAX_GUARDS, MAX_HEALTHY, MAX_REASON_CHARS, MAX_WINDOWS, WINDOWS, Window,
};
pub(crate) use integers::is_too_long;
pub use model::{
    Amount, Approval, Budget, BudgetScope, Cluster, ClusterAgent, Concurrency, Discovery, Identity,
    Membership, OnAdded, OnError, OnExceeded, OnRemoved, Playbook, PluginKind, PluginPin, Retry,
    Stage, Step, StrategyUse, Tls, Vcs,
};
pub use model_stage::{StageOn, StepRole};
pub use names::{
    ADDRESS_EXPECTED, IDENTIFIER_EXPECTED, is_agent_identifier, is_identifier, parse_address,
};
pub use narrowing::{Asked as NarrowingAsked, Narrowing};
pub use params::{MAX_PARAMS_BYTES, check_params};
pub use pin::{PinError, pin};
pub use plugin_info::{PluginInfo, Provenance, RUN_ACTION, SignedBy};
pub use problem::{MAX_EXCERPT, MAX_PROBLEMS, Problem, Problems, code};
pub use query::{MAX_QUERY_WORK, Picks, Query, QueryError, Root};
pub use reach::Reach;
pub use read::{PlaybookDocument, kind_of, parse_playbook};
pub use resolve::resolve;
pub use scan::{MAX_EXPR_DEPTH, MAX_LOOP_DEPTH};
pub use schema::{MAX_SCHEMA_BYTES, check_arguments_schema, json_schema};
pub use schema_types::{SchemaPlace, Types, type_of};
pub use secrets::{Destination, MAX_SECRETS, SECRET_NAME_EXPECTED, SecretGrant, is_secret_name};
pub use source::{OciReference, OciVersion, PluginSource, Source};
pub use spans::{MAX_DEPTH, MAX_KEY_BYTES};
pub use template::{MAX_EXPRESSIONS, MAX_RENDERED_BYTES, Template};
pub use text::{Limits, MAX_CLUSTER_BYTES, MAX_PLAYBOOK_BYTES, Text, read_value};
pub use warnings::warnings;
