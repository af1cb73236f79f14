//! Who may do what with the API.
//!
//! `deeds` is the one table of what can be done and which verb it wants; each endpoint names its deed there. `door` is what
//! each request goes through before its handler: it finds out who sends it, and hides what they may not view. A handler asks
//! its [`Caller`] for all that a path does not say. `hidden` takes out what an answer says of runs that its reader
//! may not view, and `told` finds what the server says in it. `known_runs` remembers which playbook and cluster a run is of,
//! `lists` reads lists without what is hidden, `loosening` says who may change a cluster, and `withdrawn` ends streams of those
//! who may not have them any more. `whoami` and `audited` are endpoints.

mod audited;
mod caller;
mod deeds;
mod door;
mod hidden;
mod known_runs;
mod lists;
mod loosening;
mod told;
mod whoami;
mod withdrawn;

pub(super) use audited::endpoints as audit_endpoints;
pub(super) use caller::Caller;
pub(super) use deeds::Deed;
pub(super) use door::{Way, enter, too_often};
pub(super) use known_runs::{KnownRuns, RunOf};
pub(super) use lists::{read_seen, sights};
pub(super) use loosening::{may_apply, may_delete};
pub(super) use whoami::endpoints as auth_endpoints;
pub(super) use withdrawn::withdrawn;
