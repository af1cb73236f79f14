//! Agents of the released generation: the client against a fake of them over sockets, whose answers are those of the
//! agents' source, and the wire against the types of Replicante's own crate.

use std::sync::Arc;

use replibook::agent::{
    ActionPhase, AgentClient, AgentError, AnyDialect, Found, Scheduled, StableAgents,
};
use replibook::playbook::Dialect;
use replicante_models_agent::actions::ActionRequester;
use replicante_models_agent::actions::api::{ActionInfoResponse, ActionScheduleRequest};
use replicante_models_agent::info::{AgentInfo, DatastoreInfo, Shards};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::agent::support::{ID, client, raw, request};
use crate::stable_agent::{FAIL, PING, Settings, StableAgent};

fn stable() -> StableAgents {
    StableAgents::over(client())
}

/// A client that finds out how to speak.
fn any(told: Option<Dialect>) -> AnyDialect {
    AnyDialect::new(Arc::new(client()), Arc::new(stable()), told, Found::default())
}

#[tokio::test]
async fn an_action_goes_from_its_request_to_its_end() {
    let agent = StableAgent::start(Settings::default()).await;
    let (client, at) = (stable(), agent.address.as_str());
    let mut ping = request(ID, PING, json!({"count": 2}));
    ping.metadata.insert("replibook.attempt".to_owned(), "1".into());
    assert_eq!(client.schedule(at, &ping).await.unwrap(), Scheduled::Accepted);
    // 409: it is there already.
    assert_eq!(client.schedule(at, &ping).await.unwrap(), Scheduled::Known);
    assert_eq!(agent.actions().len(), 1);
    let kept = &agent.actions()[0];
    assert_eq!(kept["requester"], "CORE_PLAYBOOK");
    assert_eq!(kept["headers"], json!({"replibook.attempt": "1"}));
    assert_eq!(kept["created_ts"], "2026-11-22T09:00:00.000Z");

    let queue = client.queue(at).await.unwrap();
    assert_eq!((queue[0].id, queue[0].kind.as_str()), (ID, PING));
    let pong = "Pong at 2026-11-22 09:00:00 UTC";
    for (phase, payload) in [
        (ActionPhase::New, Value::Null),
        (ActionPhase::Running, json!([pong])),
        (ActionPhase::Done, json!([pong, pong])),
    ] {
        let status = client.action(at, ID).await.unwrap().unwrap();
        assert_eq!((status.phase, status.payload), (phase, payload.into()));
    }
    assert_eq!(client.queue(at).await.unwrap(), []);

    let failing = Uuid::from_u128(2);
    client.schedule(at, &request(failing, FAIL, Value::Null)).await.unwrap();
    client.action(at, failing).await.unwrap();
    let status = client.action(at, failing).await.unwrap().unwrap();
    assert_eq!(status.phase, ActionPhase::Failed);
    assert_eq!(status.error.as_deref(), Some("triggered debugging action that fails"));
}

#[tokio::test]
async fn only_the_last_hundred_that_ended_are_known() {
    let agent = StableAgent::start(Settings::default()).await;
    let (client, at) = (stable(), agent.address.as_str());
    client.schedule(at, &request(ID, PING, Value::Null)).await.unwrap();
    client.action(at, ID).await.unwrap();
    agent.do_for_others(99);
    assert!(client.action(at, ID).await.unwrap().is_some());
    agent.do_for_others(1);
    assert!(client.action(at, ID).await.unwrap().is_none());
}

#[tokio::test]
async fn refusals_say_what_the_agent_says() {
    let agent = StableAgent::start(Settings::default()).await;
    let (client, at) = (stable(), agent.address.as_str());
    let refused = async |kind: &str| {
        let error = client.schedule(at, &request(ID, kind, Value::Null)).await.unwrap_err();
        let AgentError::Refused { status, message, .. } = error else { panic!("{error}") };
        (status, message)
    };
    let unknown = "actions with kind no.such/action are not available".to_owned();
    assert_eq!(refused("no.such/action").await, (400, unknown));
    let asked = agent.asked().len();
    let message = "no agent of this dialect has an action \"../../info/agent\"".to_owned();
    assert_eq!(refused("../../info/agent").await, (400, message));
    assert_eq!(agent.asked().len(), asked, "nothing was sent");
}

#[tokio::test]
async fn an_agent_without_actions_is_told_apart_from_an_unknown_action() {
    let settings = Settings { actions: false, ..Settings::default() };
    let agent = StableAgent::start(settings).await;
    let (client, at) = (stable(), agent.address.as_str());
    let post = client.schedule(at, &request(ID, PING, Value::Null)).await.map(drop);
    let look = client.action(at, ID).await.map(drop);
    for error in [post.unwrap_err(), look.unwrap_err()] {
        let AgentError::Refused { message, .. } = &error else { panic!("{error}") };
        assert!(message.starts_with("its actions are switched off"), "{message}");
        assert!(message.contains("`credentials:`"), "{message}");
        assert!(!error.may_have_taken_effect());
    }
    agent.change(|settings| settings.actions = true);
    assert!(client.action(at, ID).await.unwrap().is_none());
}

#[tokio::test]
async fn a_node_whose_store_is_silent_is_unavailable() {
    let agent = StableAgent::start(Settings::default()).await;
    let (client, at) = (stable(), agent.address.as_str());
    let node = client.node(at).await.unwrap();
    assert_eq!((node.status.as_str(), &node.raw["node_id"]), ("HEALTHY", &json!("1")));
    assert_eq!(client.store(at).await.unwrap(), json!({"cluster_id": "zoo", "attributes": {}}));
    let shard = json!({
        "id": "zoo", "role": "PRIMARY", "commit_offset": {"unit": "zxid", "value": 7}, "lag": null,
    });
    assert_eq!(client.shards(at).await.unwrap(), json!([shard]));

    agent.change(|settings| settings.store_answers = false);
    let node = client.node(at).await.unwrap();
    assert_eq!((node.status.as_str(), &node.raw["node_id"]), ("UNAVAILABLE", &Value::Null));
    let error = client.store(at).await.unwrap_err();
    assert!(matches!(error, AgentError::Broken { status: 500, .. }), "{error}");
}

#[tokio::test]
async fn a_node_whose_store_hangs_is_unavailable_and_its_agent_answers() {
    let settings = Settings { store_hangs: true, ..Settings::default() };
    let agent = StableAgent::start(settings).await;
    for client in [&stable() as &dyn AgentClient, &any(None)] {
        let node = client.node(&agent.address).await.unwrap();
        assert_eq!((node.status.as_str(), &node.raw["node_id"]), ("UNAVAILABLE", &Value::Null));
    }
}

#[tokio::test]
async fn the_dialect_is_found_out_by_what_answers() {
    let agent = StableAgent::start(Settings::default()).await;
    let at = agent.address.as_str();
    let client = any(None);
    assert_eq!(client.node(at).await.unwrap().raw["store_id"], "Zookeeper");
    client.schedule(at, &request(ID, PING, Value::Null)).await.unwrap();
    assert!(client.action(at, ID).await.unwrap().is_some());
    // Once it is known, nothing is asked in vain.
    let asked = agent.asked();
    assert_eq!(asked.iter().filter(|asked| *asked == "GET info/node").count(), 1, "{asked:?}");
    assert_eq!(agent.posts(), 1);
    // After a restart, a look comes first, and finds it out as well.
    let again = any(None);
    assert!(again.action(at, ID).await.unwrap().is_some());
    assert!(again.action(at, Uuid::from_u128(3)).await.unwrap().is_none());
    // Who is told another dialect is refused, and sends no action anywhere.
    let error = any(Some(Dialect::Main)).schedule(at, &request(ID, PING, Value::Null)).await;
    assert!(matches!(error, Err(AgentError::Refused { status: 404, .. })), "{error:?}");
    assert_eq!(agent.actions().len(), 1);
}

/// Our wire, read by the types that the agents' own code has for it.
#[tokio::test]
async fn the_wire_is_that_of_replicantes_own_types() {
    let agent = StableAgent::start(Settings::default()).await;
    let at = agent.address.as_str();
    let mut ping = request(ID, PING, json!({"count": 1}));
    ping.metadata.insert("replibook.run".to_owned(), "r1".into());
    stable().schedule(at, &ping).await.unwrap();
    let body = agent.body_of_last_post();
    let read: ActionScheduleRequest = serde_json::from_slice(&body).unwrap();
    assert_eq!(read.action_id.unwrap().to_string(), ID.to_string());
    assert_eq!(read.args, json!({"count": 1}));
    assert_eq!(read.requester, Some(ActionRequester::CorePlaybook));
    assert_eq!(read.created_ts.unwrap().timestamp_millis(), 1_795_338_000_000);

    // The fake answers as agents do: what it says are values of their types, and written by them it is the same.
    let answer = |path: &'static str| async move {
        raw(at, "GET", &format!("/api/unstable/{path}"), "").await.json()
    };
    let info = answer("info/agent").await;
    let read: AgentInfo = serde_json::from_value(info.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), info);
    let store = answer("info/datastore").await;
    let read: DatastoreInfo = serde_json::from_value(store.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), store);
    let shards = answer("shards").await;
    let read: Shards = serde_json::from_value(shards.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), shards);
    for _ in 0..2 {
        let path = format!("/api/unstable/actions/info/{ID}");
        let action = raw(at, "GET", &path, "").await.json();
        let read: ActionInfoResponse = serde_json::from_value(action.clone()).unwrap();
        assert_eq!(read.action.id.to_string(), ID.to_string());
        assert_eq!(read.action.headers["replibook.run"], "r1");
        assert_eq!(
            serde_json::to_value(read).unwrap()["action"]["state"],
            action["action"]["state"]
        );
    }
}
