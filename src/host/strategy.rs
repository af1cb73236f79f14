//! Plans. A plan is a pure function: from the input of a strategy and its roster to a decision.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::catalog::{Compiled, Loaded};
use super::convert;
use super::engine::Runtime;
use super::error::{Fault, PluginError, Unwound, cut};
use super::guest::{Guest, Plan, Role, Seed};
use super::host::PlanOutcome;
use super::limits;
use replibook_core::run::{FailureReason, PlanInput, Roster};

/// Random bytes are the same for every plan, since the same question must get the same decision.
const SEED: Seed = Seed::Of([0; 32]);

/// Asks a strategy for its decision.
pub(super) fn plan(
    runtime: &Runtime,
    plugin: &Loaded,
    input: &PlanInput,
    roster: Arc<dyn Roster>,
) -> PlanOutcome {
    let Compiled::Strategy(strategy) = &plugin.compiled else {
        let message = format!("the plugin {} is not a strategy", plugin.info.name);
        return PlanOutcome::failed(PluginError::new("wrong-world", message));
    };
    let plan_input = convert::plan_input(input);
    let guest = Guest::new(Role::Strategy(Box::new(Plan::new(roster))), input.now, SEED);
    let mut store = guest.into_store(&runtime.engine);
    let returned = strategy
        .instantiate(&mut store)
        .and_then(|it| it.replicante_playbook_planning().call_plan(&mut store, &plan_input));
    let guest = store.into_data();
    let logs = guest.log.take();
    let refresh = match guest.role {
        Role::Strategy(plan) => plan.refresh,
        Role::Describe | Role::Step(_) => BTreeSet::new(),
    };
    let result = match returned {
        Ok(Ok(decision)) => convert::decision(decision, refresh),
        Ok(Err(message)) => {
            Err(PluginError::new("strategy-failed", cut(message, limits::MESSAGE_BYTES)))
        }
        Err(error) => match Unwound::from(error) {
            Unwound::GaveUp(message) => Err(PluginError::new("strategy-failed", message)),
            Unwound::Fault(fault) => Err(fault.into()),
            Unwound::Blocked(_) => {
                let message = "the strategy waited, which it must not do".to_owned();
                Err(Fault::new("forbidden-call", FailureReason::PluginTrapped, message).into())
            }
        },
    };
    PlanOutcome { result, logs }
}
