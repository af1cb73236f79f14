//! Ends streams of those who may not have them any more.

use std::time::Duration;

use super::caller::Caller;
use super::known_runs::RunOf;
use crate::api::state::ApiState;
use crate::playbook::access::{Object, Verb};

/// How often it is checked whether a stream may go on. With what reading a changed file takes, a stream ends within five
/// seconds of the change.
const CHECK: Duration = Duration::from_secs(1);

/// Returns once the caller may not view the run any more; never if nobody is asked who they are. `of` is what the run is
/// of; nothing for a run that can't be read.
pub(in crate::api) async fn withdrawn(state: ApiState, caller: Caller, of: Option<RunOf>) {
    let keeper = caller.keeper();
    if keeper.current().now().is_none() {
        return std::future::pending().await;
    }
    let object = of.as_ref().map_or(Object::Server, RunOf::object);
    loop {
        let is_known = keeper.still_knows(caller.identity(), caller.proof());
        if !is_known || !keeper.rights(caller.identity()).may(Verb::View, object) {
            return;
        }
        state.own_clock.sleep(CHECK).await;
    }
}
