//! The imports of the world `strategy`, except for `logging` and `failing`, which both worlds share
//! (`step_imports`).

use super::bindings::since_0_2_0::replicante::playbook::held;
use super::bindings::strategy::replicante::playbook::roster::{
    self, AgentDetails, AgentState, NodeView, StateCounts,
};
use super::convert;
use super::error::{Stop, cut};
use super::guest::Guest;
use super::limits;
use replibook_core::playbook::Expr;
use replibook_core::run::{self, AgentId, MAX_ROSTER_PAGE};

impl roster::Host for Guest {
    fn counts(&mut self) -> wasmtime::Result<StateCounts> {
        let roster = self.roster("roster.counts")?;
        Ok(StateCounts {
            added: roster.count(run::AgentState::Added),
            pending: roster.count(run::AgentState::Pending),
            running: roster.count(run::AgentState::Running),
            done: roster.count(run::AgentState::Done),
            failed: roster.count(run::AgentState::Failed),
            skipped: roster.count(run::AgentState::Skipped),
            removed: roster.count(run::AgentState::Removed),
            selected: roster.selected(),
        })
    }

    fn page(
        &mut self,
        state: AgentState,
        after: Option<String>,
        limit: u32,
    ) -> wasmtime::Result<Vec<String>> {
        let roster = self.roster("roster.page")?;
        let after = after.map(AgentId);
        let limit = limit.min(MAX_ROSTER_PAGE);
        let ids = roster.page(convert::agent_state(state), after.as_ref(), limit);
        Ok(ids.into_iter().map(|id| id.0).collect())
    }

    fn details(&mut self, id: String) -> wasmtime::Result<Option<AgentDetails>> {
        let roster = self.roster("roster.details")?;
        Ok(roster.record(&AgentId(id)).map(convert::agent_details))
    }

    fn node(&mut self, id: String) -> wasmtime::Result<Option<NodeView>> {
        let roster = self.roster("roster.node")?;
        Ok(roster.record(&AgentId(id)).map(convert::node_view))
    }

    fn refresh(&mut self, ids: Vec<String>) -> wasmtime::Result<Result<(), String>> {
        let plan = self.plan("roster.refresh")?;
        let ids: Vec<_> = ids.into_iter().map(AgentId).collect();
        if let Some(unknown) = ids.iter().find(|id| plan.roster.record(id).is_none()) {
            return Ok(Err(not_in_run(unknown)));
        }
        plan.refresh.extend(ids);
        let (agents, most) = (plan.refresh.len(), limits::REFRESHED);
        if agents > most {
            let message =
                format!("the plugin has {agents} agents asked afresh, expected at most {most}");
            return Err(Stop::Limit { code: "refresh-limit", message }.into());
        }
        Ok(Ok(()))
    }

    fn matches(
        &mut self,
        id: String,
        expression: String,
    ) -> wasmtime::Result<Result<bool, String>> {
        let plan = self.plan("roster.matches")?;
        let most = limits::EXPRESSIONS;
        if plan.expressions.len() >= most && !plan.expressions.contains_key(&expression) {
            let message =
                format!("the plugin uses more than {most} different expressions in one plan");
            return Err(Stop::Limit { code: "expression-limit", message }.into());
        }
        let id = AgentId(id);
        let expression = plan.expressions.entry(expression);
        let expression = expression.or_insert_with_key(|source| Expr::parse(source));
        Ok(match expression {
            Ok(expression) => match plan.roster.matches(&id, expression) {
                Some(holds) => holds.map_err(|error| error.to_string()),
                None => Err(not_in_run(&id)),
            },
            Err(error) => Err(error.to_string()),
        })
    }
}

impl held::Host for Guest {
    fn page(&mut self, after: Option<String>, limit: u32) -> wasmtime::Result<Vec<String>> {
        let roster = self.roster("held.page")?;
        let ids = roster.held(after.map(AgentId).as_ref(), limit.min(MAX_ROSTER_PAGE));
        Ok(ids.into_iter().map(|id| id.0).collect())
    }
}

fn not_in_run(id: &AgentId) -> String {
    cut(format!("agent {id} is not in the run"), limits::MESSAGE_BYTES)
}
