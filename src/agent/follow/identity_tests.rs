//! Calls to an address where another node answers.

use std::sync::Arc;

use serde_json::{Value, json};

use super::tests::request;
use super::*;
use crate::agent::{Asked, FakeAgents, Script, When};
use crate::clock::TokioClock;
use crate::run::{AgentId, CallError, Expected, Millis, Timestamp, Wanted};

const AT: &str = "http://web-3";
const START: Timestamp = Timestamp::from_millis(1_000_000);

fn world(says: &str) -> (FakeAgents, FollowContext) {
    let clock = Arc::new(TokioClock::starting_at(START));
    let agents = FakeAgents::new(clock.clone());
    agents.add(AT, Script::Succeed { when: When::Looks(0), payload: json!(1) });
    agents.set_node_id(AT, says);
    let client = Arc::new(agents.clone());
    let limits = AgentLimits::default();
    (agents, FollowContext { client, clock, limits })
}

async fn run(ctx: &FollowContext, start: Start<'_>) -> Result<Value, CallError> {
    let request = request();
    let agent = AgentId::from("web-3");
    let whoever = Expected { agent: &agent, cluster_id: None };
    let start = Start { expected: start.expected.or(Some(whoever)), ..start };
    run_action(ctx, AT, &request, start, || {}, async || true).await.map(|payload| payload.value())
}

fn posts(agents: &FakeAgents) -> usize {
    agents.asked(AT).iter().filter(|(_, asked)| matches!(asked, Asked::Post(_))).count()
}

const NEW: Start<'_> = Start {
    again: false,
    accepted: false,
    look_only: false,
    bytes: None,
    expected: None,
    unidentified: true,
};

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_to_another_node_at_once() {
    let (agents, ctx) = world("web-6");
    let error = run(&ctx, NEW).await.unwrap_err();
    let expected =
        "wrong node: what answers at http://web-3 says that it is node web-6, expected web-3";
    assert_eq!((error.to_string().as_str(), posts(&agents)), (expected, 0));
    let (agents, ctx) = world("web-3");
    assert_eq!(run(&ctx, NEW).await, Ok(json!(1)));
    assert_eq!(posts(&agents), 1);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_is_waited_for_before_anything_is_sent() {
    let (agents, ctx) = world("web-6");
    agents.set_unreachable_until(AT, START.plus(Millis::from_secs(30)));
    assert!(matches!(run(&ctx, NEW).await, Err(CallError::WrongNode(_))));
    assert_eq!(posts(&agents), 0);
    let (agents, ctx) = world("web-3");
    agents.set_unreachable_until(AT, START.plus(Millis::from_secs(10_000)));
    assert!(matches!(run(&ctx, NEW).await, Err(CallError::NotTaken(_))));
}

/// The action may have been sent, or was accepted, before another node was at the address: it is neither lost
/// nor sent again.
#[tokio::test(start_paused = true)]
async fn what_another_node_does_not_know_is_neither_lost_nor_sent() {
    for start in [
        Start { again: true, ..NEW },
        Start { again: true, accepted: true, ..NEW },
        Start { again: true, accepted: true, look_only: true, ..NEW },
        Start { again: true, look_only: true, ..NEW },
    ] {
        let (agents, ctx) = world("web-6");
        let error = run(&ctx, start).await.unwrap_err();
        assert!(matches!(&error, CallError::Unreachable(m) if m.contains("web-6")), "{error}");
        assert_eq!(posts(&agents), 0, "{start:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_back_in_its_place_goes_on() {
    let (agents, ctx) = world("web-6");
    let back = async {
        ctx.clock.sleep(Millis::from_secs(20).to_std()).await;
        agents.set_node_id(AT, "web-3");
    };
    let (end, ()) = tokio::join!(run(&ctx, Start { again: true, ..NEW }), back);
    assert_eq!((end, posts(&agents)), (Ok(json!(1)), 1));
}

#[tokio::test(start_paused = true)]
async fn the_status_of_another_node_is_not_waited_for() {
    let (_, ctx) = world("web-6");
    let agent = AgentId::from("web-3");
    let healthy = ["HEALTHY".to_owned()];
    let wait = |expected| wait_status(&ctx, AT, &healthy, START, Millis(5_000), expected);
    let error =
        wait(Some(Expected { agent: &agent, cluster_id: None })).await.unwrap_err().to_string();
    assert!(error.ends_with("says that it is node web-6, expected web-3"), "{error}");
    assert_eq!(wait(None).await, Ok("HEALTHY".to_owned()));
}

/// A node of another cluster may have the same name.
#[tokio::test(start_paused = true)]
async fn nothing_is_sent_into_another_cluster() {
    let agent = AgentId::from("web-3");
    let expected = Some(Expected { agent: &agent, cluster_id: Some("rs0") });
    let start = Start { expected, ..NEW };
    let store = |id: &str| json!({"cluster_id": id, "attributes": {}});
    let (agents, ctx) = world("web-3");
    agents.set_store(AT, store("rs1"));
    let error = run(&ctx, start).await.unwrap_err().to_string();
    assert!(error.ends_with("says that it is in cluster rs1, expected rs0"), "{error}");
    let healthy = ["HEALTHY".to_owned()];
    let wait = wait_status(&ctx, AT, &healthy, START, Millis(5_000), expected).await;
    assert!(wait.unwrap_err().to_string().contains("in cluster rs1"));
    assert_eq!(posts(&agents), 0);
    // An agent that says nothing of its cluster contradicts nobody: it has no such call, or its store is down.
    for says in [None, Some(Value::Null), Some(store("rs0")), Some(store("")), Some(json!({}))] {
        let (agents, ctx) = world("web-3");
        if let Some(says) = says.clone() {
            agents.set_store(AT, says);
        }
        assert_eq!(run(&ctx, start).await, Ok(json!(1)), "{says:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_expression_looks_at_is_asked_again_until_it_is_there() {
    let wanted = Wanted { store: true, shards: true, cluster: false };
    let (agents, ctx) = world("web-3");
    let info_now = info(&ctx, AT, wanted).await.unwrap();
    assert_eq!(info_now.datastore.store, json!({}), "it has no such call");
    assert_eq!(info_now.datastore.shards, json!([]));
    agents.set_shards(AT, Value::Null);
    let back = async {
        ctx.clock.sleep(Millis::from_secs(20).to_std()).await;
        agents.set_shards(AT, json!([{"id": "a"}]));
    };
    let (said, ()) = tokio::join!(info(&ctx, AT, wanted), back);
    assert_eq!(said.unwrap().datastore.shards, json!([{"id": "a"}]));
    agents.set_shards(AT, Value::Null);
    let error = info(&ctx, AT, wanted).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable(_)), "{error}");
    let asked = agents.asked(AT).iter().filter(|(_, asked)| *asked == Asked::Store).count();
    let plain = info(&ctx, AT, Wanted::default()).await.unwrap();
    assert!(plain.datastore.is_empty());
    let after = agents.asked(AT).iter().filter(|(_, asked)| *asked == Asked::Store).count();
    assert_eq!(asked, after, "what nobody looks at is not asked");
}

/// Nothing got through at first, and once something does another node may be there.
#[tokio::test(start_paused = true)]
async fn who_is_there_is_seen_again_after_a_silence_or_a_wait() {
    let seen = Start { unidentified: false, ..NEW };
    let away = START.plus(Millis::from_secs(40));
    for (says, sent) in [("web-3", 1), ("web-6", 0)] {
        let (agents, ctx) = world(says);
        agents.set_unreachable_until(AT, away);
        let end = run(&ctx, seen).await;
        assert_eq!((end.is_ok(), posts(&agents)), (sent == 1, sent), "{end:?}");
        // The same after a while in which the lease could not be renewed.
        let (agents, ctx) = world(says);
        let (request, agent, clock) = (request(), AgentId::from("web-3"), &ctx.clock);
        let expected = Some(Expected { agent: &agent, cluster_id: None });
        let start = Start { expected, ..seen };
        let guard = || async move { clock.now() >= away };
        let end = run_action(&ctx, AT, &request, start, || {}, guard).await;
        assert_eq!((end.is_ok(), posts(&agents)), (sent == 1, sent), "{end:?}");
    }
}

/// Whoever says nothing of its node contradicts nobody, and proves nothing about an action.
#[tokio::test(start_paused = true)]
async fn a_proxy_that_answers_404_is_no_other_node_and_not_the_agent() {
    let (agents, ctx) = world("web-3");
    agents.set_proxied_until(AT, START.plus(Millis::from_secs(10_000)));
    let error = run(&ctx, NEW).await.unwrap_err();
    assert!(matches!(error, CallError::Refused(_)), "{error}");
    let error = run(&ctx, Start { again: true, ..NEW }).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable(_)), "{error}");
    assert_eq!(posts(&agents), 1, "the first one");
}
