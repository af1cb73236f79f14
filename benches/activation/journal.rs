//! The activations that are measured: their arguments, and the answers in their journals.

use replibook::playbook::Grants;
use replibook::run::{
    Activate, AgentId, AgentSeq, Answer, Answered, AttemptKey, Call, Digest, Journal, NodeInfo,
    RunId, Timestamp,
};
use serde_json::{Map, Value, json};

/// The kind of action that is run.
pub(crate) const KIND: &str = "agent.replicante.io/test.success";

/// The action's arguments.
pub(crate) fn arguments() -> Value {
    json!({ "grace": 30, "reason": "restart of the week" })
}

/// The arguments of the step. `action` and `safe-restart` both take these two.
pub(crate) fn step_arguments() -> Value {
    json!({ "kind": KIND, "args": arguments() })
}

/// What the action returned.
pub(crate) fn payload() -> Value {
    json!({ "moved": 3 })
}

/// An activation with one answer (the action's), or with two (the agent's information, then the action's).
pub(crate) fn activate(plugin: &Digest, answers: usize) -> Activate {
    let key = AttemptKey { agent: AgentSeq(0), stage: 0, step: 0, attempt: 1 };
    let (agent, start) = (AgentId::from("node-1"), Timestamp::from_millis(1_763_802_000_000));
    let node = NodeInfo {
        status: "HEALTHY".to_owned(),
        attributes: Map::new(),
        raw: json!({}),
        datastore: Default::default(),
    };
    let answered = |call: Call, answer| Answered {
        name: call.name(),
        arguments_hash: call.arguments_hash(),
        at: start,
        answer,
        bytes: None,
    };
    let run_action = Call::RunAction { kind: KIND.to_owned(), arguments: arguments().into() };
    let mut journaled = vec![
        answered(Call::Info, Answer::Info(Ok(node.into()))),
        answered(run_action, Answer::RunAction(Ok(payload().into()))),
    ];
    let answers = journaled.split_off(journaled.len() - answers);
    let journal = Journal {
        answers,
        ..Journal::new(
            RunId(uuid::Uuid::nil()),
            key,
            agent.clone(),
            "restart".to_owned(),
            start,
            step_arguments(),
        )
    };
    Activate {
        key,
        plugin: plugin.clone(),
        grants: Grants::of_actions(vec!["*".to_owned()]),
        journal,
        agent,
        attributes: Map::new().into(),
        cluster: "bench".to_owned(),
        stage: "all".to_owned(),
    }
}
