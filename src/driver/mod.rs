//! The driver: time and effects around the pure core. It decides nothing that the core could decide.
//!
//! ```text
//! engine ─ claims runs, renews leases, hands out commands
//!   └─ run driver ─ one task for each run:
//!        inputs ─▶ machine ─▶ transitions ─▶ committer ─▶ store
//!          ▲                                    │ once committed
//!          └────────────── effects ◀────────────┘  activations, calls to agents, timers
//! ```
//!
//! Everything that it touches is injected: store, agents, clock and plugins. A current-thread runtime is enough,
//! so that the simulator can repeat a history.
//!
//! The engine (`engine`): `claiming` and `beyond` say which runs it takes up, and `places` how many; `lacking` are
//! those whose secrets or credentials it does not have. `sharing`, `standing`, `exits` and `passing_on` spread runs over several
//! engines. `abandoned` ends runs that were given up, `upkeep` looks after plugins, `skew` watches the machine's
//! clock, and `activity` counts what was done. `file_sums` is what an engine reports of the files of its server.
//!
//! A run (`run_driver`): `load` reads it, `taking_up` begins with it, `committer` writes it under its `lease`, and
//! `effects` performs what follows, with `asking`, `asking_again`, `performing`, `reaching`, `secrets`, `sending`,
//! `stamping`, and `cluster` with its `queue`. `guards` tells it the guards of its cluster. `run_clock` gives it its time, and `trouble`
//! sets it aside when it can't go on.
//!
//! Both use `world` (everything that is injected), `signals` (how API and driver wake each other) and `discovery`
//! (the members of clusters). `samples` is for tests.

mod abandoned;
mod activity;
mod asking;
mod asking_again;
mod beyond;
mod claiming;
mod cluster;
mod committer;
mod discovery;
mod effects;
mod engine;
mod exits;
mod file_sums;
mod guards;
mod lacking;
mod lease;
mod load;
mod outside;
mod passing_on;
mod performing;
mod places;
mod queue;
mod reaching;
mod run_clock;
mod run_driver;
#[cfg(test)]
pub(crate) mod samples;
mod secrets;
mod sending;
mod sharing;
mod signals;
mod skew;
mod stamping;
mod standing;
mod taking_up;
mod trouble;
mod upkeep;
mod world;

pub use activity::{Activity, Unwritten};
pub use discovery::{Followers, Known, LOOK, PLATFORM_TIMEOUT, View, Ways, lacking};
pub use engine::{Engine, EngineConfig};
pub use file_sums::FileSums;
pub use signals::Signals;
pub use world::World;
