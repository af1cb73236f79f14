//! The HTTP API: playbooks, plugins, clusters and runs under `/api/v1`, and what operators need beside it.
//!
//! Each resource is one file that ends in a list of `Endpoint`s: a handler together with its description.
//! [`router()`] and `/openapi.json` are both made from these lists, so neither can have what the other lacks.
//! The types of requests and answers are in [`wire`]; every error is a problem document with one of the codes
//! of [`Code`].
//!
//! The API reads and writes the store. Whoever drives the runs finds new runs and commands there, and is only
//! woken through [`Signals`](crate::driver::Signals). A few things are in no store: the present members of a
//! cluster, for which it asks the driver's [`Followers`](crate::driver::Followers), and how agents are and what their
//! actions have written, for which it asks the agents themselves, to show it to people. It never has an agent do anything.

mod abandon;
mod access;
mod agent_query;
mod agents;
mod apply;
mod apply_all;
mod approving;
mod ask_agents;
mod bodies;
mod builtins;
mod cluster_agents;
mod clusters;
mod codes;
mod commands;
mod cookies;
mod credentials;
mod driven;
mod endpoint;
mod engines;
mod error;
mod events;
mod exec;
mod explanation;
mod exposition;
mod find_run;
mod follow;
mod guard;
mod gzip;
mod health;
mod imports;
mod journals;
mod limits;
mod listed;
mod login;
mod logs;
mod metrics;
mod openapi;
mod output;
mod output_pieces;
mod pages;
mod params;
mod plan;
mod plan_stages;
mod playbooks;
mod plugins;
mod policy;
mod process;
mod retry;
mod router;
mod runs;
mod selector;
mod serve;
mod shapes;
mod shares;
mod side_by_side;
mod signatures;
mod start;
mod state;
mod store_calls;
mod waiting;
mod watched;
mod weigh;
pub mod wire;
mod wire_access;
mod wire_approvals;
mod wire_commands;
mod wire_engines;
mod wire_exec;
mod wire_files;
mod wire_found;
mod wire_login;
mod wire_plan;
mod wire_plugins;
mod wire_signals;
mod wire_starts;

pub use builtins::install_builtins;
pub use error::{ApiError, Code};
pub use find_run::{MAX_DIGITS, MIN_DIGITS};
pub use limits::{
    MAX_APPLY_BODY, MAX_CLUSTER_BODY, MAX_JSON_BODY, MAX_PLAYBOOK_BODY, MAX_PLUGIN_BODY,
};
pub use openapi::document as openapi_document;
pub use router::router;
pub use selector::{AGENT_ROOTS, RUN_ROOTS, SELECTOR};
pub use serve::{serve, serve_secured};
pub use state::ApiState;
pub use store_calls::StoreCalls;
pub use waiting::serve_waiting;
