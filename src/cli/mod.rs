//! Command lines: one file for each group of commands.
//!
//! [`replictl`] reads its arguments (`root.rs`) and hands over to a command, which asks the server through
//! [`Client`] and writes data through [`Console`]. It uses the HTTP API and nothing else, so whatever it does,
//! other programs can do too. Every error is a [`CliError`], and every end has an [`Exit`] code.
//!
//! Some commands are also functions for other programs of this crate, such as the demonstration:
//! [`apply_file`], [`start_run`], [`watch`] and [`print_agents`].

mod access_args;
mod agent_rows;
mod apply;
mod auth;
mod choose;
mod client;
mod closed;
mod cluster_agents;
mod completion;
mod conflict;
mod context;
mod delete;
pub mod demo;
mod describe;
mod describe_more;
mod diff;
mod diff_files;
mod drawing;
mod endpoints;
mod engine;
mod error;
mod exec;
mod exit;
mod explain;
mod feed;
mod file_sums;
mod files;
mod get;
mod grants;
mod guards;
mod held;
mod import;
mod imports;
mod log_lines;
mod logging;
mod login;
mod output;
mod output_arg;
mod page;
mod pick;
mod pin;
mod plugin;
mod prepare;
mod problems;
mod progress;
mod registry_args;
mod root;
mod rows;
mod run;
#[cfg(test)]
mod sample;
mod serve;
mod size;
mod sse;
mod store;
mod store_report;
mod table;
mod text;
mod token;
mod trust;
mod typed;
mod validate;
mod waiting;
mod who;
mod work;

pub use access_args::AccessArgs;
pub use apply::{Applied, apply_file};
pub use client::{
    CONNECT_TIMEOUT, Client, DEFAULT_SERVER, MAX_ANSWER_BYTES, MAX_TRIES, REQUEST_TIMEOUT,
    UPLOAD_TIMEOUT,
};
pub use endpoints::{MAX_PAGE, Pages};
pub use error::{CliError, ClientError};
pub use exit::Exit;
pub use feed::{FeedLimits, MAX_AWAY, MAX_SILENCE, Update, follow};
pub use logging::{LogArgs, LogFormat};
pub use login::LoginFailed;
pub use output::{Console, Format, Row};
pub use registry_args::RegistryArgs;
pub use root::{Cli, HELP_WIDTH, SERVER_VARIABLE, replictl, report};
pub use run::{Watched, print_agents, start_run, watch};
pub use serve::{ServeArgs, serve};
pub use store::{Place, StoreArgs, StoreCommand, look_after};
pub use table::{Narrower, table};
pub use token::{TokenCommand, token};
pub use trust::Trust;
pub use typed::{Odd, parse, say_failed};
