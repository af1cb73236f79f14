//! `run …`: starts, watches and steers runs, and shows, exports and replays what is kept of them. One file for
//! each command, over the parts that several commands share.

mod abandon;
mod agents;
mod approve;
mod command;
mod events;
mod export;
mod fetch;
mod find;
mod gathered;
mod lines;
mod list;
mod logs;
mod logs_follow;
mod next;
mod output;
mod params;
mod plan;
mod replay;
mod retry;
#[cfg(test)]
mod scripted;
mod set_value;
mod signal;
mod start;
mod steer;
mod tail;
mod wait;
mod watch;
mod why;

pub use agents::print_agents;
pub(crate) use command::{RunCommand, run_command};
pub(crate) use find::find_run;
pub(crate) use gathered::{AgentOutput, gather};
pub(crate) use lines::batch_name;
pub(crate) use lines::{Detail, TIME_COLUMNS, line_of};
pub(crate) use params::ParamArgs;
pub use start::start_run;
pub(crate) use steer::ask;
pub(crate) use watch::{Stay, watch_and_show};
pub use watch::{Watched, watch};
pub(crate) use why::{explain, paragraph};
