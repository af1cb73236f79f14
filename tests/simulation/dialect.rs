//! Agents of the released generation: they answer in another form, and to other paths. Which agents are such, the engine
//! finds out.

use std::sync::Arc;

use async_trait::async_trait;
use replibook::agent::door::{
    is_known_already, read_scheduled, read_shards, read_stable_action, read_stable_agent,
    read_stable_queue, read_stable_store, stable_node,
};
use replibook::agent::{
    ActionPhase, ActionRequest, ActionStatus, AgentClient, AgentError, AnyDialect, Found,
    QueuedAction, Scheduled,
};
use replibook::playbook::Dialect;
use replibook::run::NodeInfo;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::agents::EngineAgents;
use crate::generate::Dice;
use crate::plan::Plan;
use crate::post_fault::PostFault;

impl Dice {
    /// Makes some agents such of the released generation. They say nothing of themselves by which stages could select,
    /// and while their store is silent not who they are either.
    pub(crate) fn dialects(&mut self, plan: &mut Plan) {
        let stages = plan.runs.iter().flat_map(|run| &run.stages);
        if stages.clone().any(|stage| stage.selects.is_some()) {
            return;
        }
        for agent in plan.agents.iter_mut().filter(|agent| agent.other.is_none()) {
            if !self.chance(60) {
                continue;
            }
            (agent.stable, agent.runs_again) = (true, false);
            if !plan.timeless && self.chance(20) {
                // The last hundred, of which others may have all but a few.
                agent.keeps = Some(self.one_of([0, 1, 1, 2]));
            }
            for action in agent.actions.iter_mut().filter(|action| action.posts.is_empty()) {
                if self.chance(25) {
                    action.posts.push(PostFault::Doubled);
                }
            }
        }
    }
}

/// A client that finds out of which generation each agent is.
pub(crate) fn both_dialects(agents: EngineAgents) -> Arc<dyn AgentClient> {
    let agents = Arc::new(agents);
    let speaking = |dialect| Arc::new(Speaking { agents: Arc::clone(&agents), dialect });
    let (main, stable) = (speaking(Dialect::Main), speaking(Dialect::Stable));
    Arc::new(AnyDialect::new(main, stable, None, Found::default()))
}

/// The agents, as they answer to somebody who speaks one dialect.
struct Speaking {
    agents: Arc<EngineAgents>,
    dialect: Dialect,
}

impl Speaking {
    /// Whether the agent has the calls of this dialect.
    fn has(&self, address: &str) -> Result<bool, AgentError> {
        let stable = self.agents.agents.is_stable(address);
        match (self.dialect, stable) {
            (Dialect::Main, false) => Ok(false),
            (Dialect::Stable, true) => Ok(true),
            (Dialect::Main, true) | (Dialect::Stable, false) => {
                let message = "no such route".to_owned();
                Err(AgentError::Refused { address: address.to_owned(), status: 404, message })
            }
        }
    }
}

fn unread(address: &str) -> impl Fn(replibook::agent::door::Malformed) -> AgentError + '_ {
    |error| AgentError::Malformed { address: address.to_owned(), message: error.to_string() }
}

fn body(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn word(phase: ActionPhase) -> &'static str {
    match phase {
        ActionPhase::New => "NEW",
        ActionPhase::Running => "RUNNING",
        ActionPhase::Done => "DONE",
        ActionPhase::Failed => "FAILED",
    }
}

#[async_trait]
impl AgentClient for Speaking {
    async fn schedule(
        &self,
        address: &str,
        request: &ActionRequest,
    ) -> Result<Scheduled, AgentError> {
        let stable = self.has(address)?;
        let scheduled = self.agents.schedule(address, request).await?;
        if !stable {
            return Ok(scheduled);
        }
        let status = match scheduled {
            Scheduled::Accepted => 200,
            Scheduled::Known => 409,
        };
        if is_known_already(status) {
            return Ok(Scheduled::Known);
        }
        if status != 200 {
            let message = "actions with this ID exist already".to_owned();
            return Err(AgentError::Refused { address: address.to_owned(), status, message });
        }
        let answer = body(&json!({ "id": request.id }));
        read_scheduled(&answer, request.id).map_err(unread(address))?;
        Ok(Scheduled::Accepted)
    }

    async fn action(&self, address: &str, id: Uuid) -> Result<Option<ActionStatus>, AgentError> {
        // A call that the agent does not have seems to be about an action that it does not know.
        let Ok(stable) = self.has(address) else { return Ok(None) };
        match self.agents.action(address, id).await? {
            Some(status) if stable => {
                let payload = match status.error {
                    Some(error) => json!({ "error": error, "layers": [error], "trace": null }),
                    None => status.payload.value(),
                };
                let action = json!({
                    "id": id, "state": word(status.phase), "state_payload": payload,
                    "args": {}, "headers": {}, "requester": "CORE_PLAYBOOK",
                });
                let answer = body(&json!({ "action": action, "history": [] }));
                read_stable_action(&answer, id).map(Some).map_err(unread(address))
            }
            found => Ok(found),
        }
    }

    async fn queue(&self, address: &str) -> Result<Vec<QueuedAction>, AgentError> {
        let stable = self.has(address)?;
        let queue = self.agents.queue(address).await?;
        if !stable {
            return Ok(queue);
        }
        let item = |action: &QueuedAction| json!({ "kind": action.kind, "id": action.id, "state": word(action.phase) });
        let answer = body(&queue.iter().map(item).collect());
        read_stable_queue(&answer).map_err(unread(address))
    }

    async fn node(&self, address: &str) -> Result<NodeInfo, AgentError> {
        let stable = self.has(address)?;
        let node = self.agents.node(address).await?;
        if !stable {
            return Ok(node);
        }
        let agent = json!({ "version": { "checkout": "c", "number": "0.5.0", "taint": "no" } });
        let version = read_stable_agent(&body(&agent)).map_err(unread(address))?;
        let store = json!({
            "cluster_display_name": null, "cluster_id": null, "kind": "Sim",
            "node_id": node.raw["node_id"], "version": "1.2.3",
        });
        let store = read_stable_store(&body(&store)).map_err(unread(address))?;
        let answers = node.status == "HEALTHY";
        Ok(stable_node(version, answers.then_some(&store)))
    }

    async fn store(&self, address: &str) -> Result<Value, AgentError> {
        let stable = self.has(address)?;
        let store = self.agents.store(address).await?;
        if !stable {
            return Ok(store);
        }
        let answer = body(&json!({ "cluster_id": store["cluster_id"], "kind": "Sim" }));
        read_stable_store(&answer).map(|store| store.store()).map_err(unread(address))
    }

    async fn shards(&self, address: &str) -> Result<Value, AgentError> {
        let stable = self.has(address)?;
        let shards = self.agents.shards(address).await?;
        if !stable {
            return Ok(shards);
        }
        read_shards(&body(&json!({ "shards": shards }))).map_err(unread(address))
    }
}
