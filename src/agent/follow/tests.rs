//! Calls against scripted agents, in paused time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::*;
use crate::agent::{
    ActionRequest, AgentHttpConfig, Asked, FakeAgents, Fault, KnownId, Script, When,
};
use crate::clock::TokioClock;
use crate::run::{CallError, Millis, Timestamp, Wanted};

#[path = "jump_tests.rs"]
mod jump_tests;
#[path = "node_tests.rs"]
mod node_tests;

const AT: &str = "http://node-1";
const START: Timestamp = Timestamp::from_millis(1_000_000);
const FRESH: Start<'_> = Start {
    again: false,
    accepted: false,
    look_only: false,
    bytes: None,
    expected: None,
    unidentified: false,
};
const AGAIN: Start<'_> = Start { again: true, ..FRESH };
const ACCEPTED: Start<'_> = Start { again: true, accepted: true, ..FRESH };

fn healthy() -> Vec<String> {
    vec!["HEALTHY".to_owned(), "DEGRADED".to_owned()]
}

/// The action that the agent is asked to perform.
pub(super) fn request() -> ActionRequest {
    ActionRequest {
        id: Uuid::from_u128(7),
        kind: "demo.example.com/x".to_owned(),
        args: Value::Null.into(),
        created_time: START,
        metadata: Map::new(),
    }
}

struct World {
    agents: FakeAgents,
    ctx: FollowContext,
    request: ActionRequest,
    accepted: AtomicU32,
}

impl World {
    fn new(script: Script) -> Self {
        let clock = Arc::new(TokioClock::starting_at(START));
        let agents = FakeAgents::new(clock.clone());
        agents.add(AT, script);
        let client = Arc::new(agents.clone());
        let request = request();
        let ctx = FollowContext { client, clock, limits: AgentLimits::default() };
        Self { agents, ctx, request, accepted: AtomicU32::new(0) }
    }

    async fn run(&self, start: Start<'_>) -> Result<Value, CallError> {
        let on_accepted = || {
            self.accepted.fetch_add(1, Ordering::Relaxed);
        };
        run_action(&self.ctx, AT, &self.request, start, on_accepted, async || true)
            .await
            .map(|payload| payload.value())
    }

    fn passed(&self) -> u64 {
        self.ctx.clock.now().since(START).0
    }

    fn accepted(&self) -> u32 {
        self.accepted.load(Ordering::Relaxed)
    }

    fn executions(&self) -> u32 {
        self.agents.executions(AT).get(&self.request.id).copied().unwrap_or(0)
    }

    /// The requests in order: `P` for a POST, `L` for a look, `Q` for the queue, `N` for the node, `S` for
    /// store or shards.
    fn trace(&self) -> String {
        let letter = |asked: &Asked| match asked {
            Asked::Post(_) => 'P',
            Asked::Look(_) => 'L',
            Asked::Queue => 'Q',
            Asked::Node => 'N',
            Asked::Store | Asked::Shards => 'S',
        };
        self.agents.asked(AT).iter().map(|(_, asked)| letter(asked)).collect()
    }
}

impl World {
    /// When each POST reached the agent, counted from the start.
    fn posts(&self) -> Vec<Millis> {
        let asked = self.agents.asked(AT);
        let posts = asked.iter().filter(|(_, asked)| matches!(asked, Asked::Post(_)));
        posts.map(|(at, _)| at.since(START)).collect()
    }

    /// The action was sent again after the first request could no longer be on its way, and after another look.
    #[track_caller]
    fn sent_twice(&self) {
        assert_eq!(self.posts(), [Millis(0), LONGEST_HELD]);
        assert!(self.trace().ends_with("LNLPL"), "{}", self.trace());
        assert_eq!(self.executions(), 1);
    }
}

fn succeed(when: When) -> Script {
    Script::Succeed { when, payload: json!({"moved": 3}) }
}

fn at_once() -> Script {
    succeed(When::Looks(0))
}

#[tokio::test(start_paused = true)]
async fn a_quick_action_is_done_at_the_first_look_and_needs_no_note() {
    let world = World::new(at_once());
    assert_eq!(world.run(FRESH).await, Ok(json!({"moved": 3})));
    assert_eq!((world.trace().as_str(), world.accepted(), world.passed()), ("PL", 0, 50));
}

#[tokio::test(start_paused = true)]
async fn a_long_action_is_noted_once_and_looked_at_ever_more_rarely() {
    let world = World::new(succeed(When::After(Millis::from_secs(600))));
    assert_eq!(world.run(FRESH).await, Ok(json!({"moved": 3})));
    assert_eq!(world.accepted(), 1);
    assert_eq!(world.executions(), 1);
    let looks = world.agents.asked(AT).len();
    assert!((125..140).contains(&looks), "{looks} requests in 10 minutes");
    assert!(world.passed() < 606_000, "{} ms", world.passed());
}

#[tokio::test(start_paused = true)]
async fn a_failure_and_a_refusal_are_told_apart() {
    let world = World::new(Script::Fail { when: When::Looks(2), message: "disk full".to_owned() });
    assert_eq!(world.run(FRESH).await, Err(CallError::Failed("disk full".to_owned())));
    let world = World::new(Script::Refuse { message: "no such kind".to_owned() });
    assert_eq!(
        world.run(FRESH).await,
        Err(CallError::Refused("http://node-1 answered 400: no such kind".to_owned()))
    );
    assert_eq!(world.trace(), "P");
}

#[tokio::test(start_paused = true)]
async fn a_post_whose_answer_was_lost_is_not_sent_again() {
    for known_id in [KnownId::Conflict, KnownId::RunAgain] {
        let world = World::new(succeed(When::Looks(1)));
        world.agents.set_known_id(AT, known_id);
        world.agents.add_fault(AT, Fault::DropAnswer);
        assert_eq!(world.run(FRESH).await, Ok(json!({"moved": 3})));
        assert_eq!((world.trace().as_str(), world.executions()), ("PLL", 1));
        assert_eq!(world.accepted(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_that_was_lost_is_sent_again_after_a_look() {
    let world = World::new(at_once());
    world.agents.add_fault(AT, Fault::DropRequest);
    assert_eq!(world.run(FRESH).await, Ok(json!({"moved": 3})));
    world.sent_twice();
}

#[tokio::test(start_paused = true)]
async fn a_post_that_takes_effect_late_is_waited_for() {
    let world = World::new(at_once());
    world.agents.set_known_id(AT, KnownId::RunAgain);
    world.agents.add_fault(AT, Fault::LateEffect(Millis(900)));
    assert_eq!(world.run(FRESH).await, Ok(json!({"moved": 3})));
    assert_eq!((world.posts().len(), world.executions()), (1, 1));
    assert!(
        world.passed() < 1_500,
        "it is looked at often while it may arrive: {}",
        world.passed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_post_that_is_held_while_its_sender_dies_is_not_sent_a_second_time() {
    for known_id in [KnownId::Conflict, KnownId::RunAgain] {
        for held in [2_500, 14_500] {
            let world = World::new(at_once());
            world.agents.set_known_id(AT, known_id);
            world.agents.add_fault(AT, Fault::Hold(Millis(held)));
            let dies = Millis(100).to_std();
            assert!(tokio::time::timeout(dies, world.run(FRESH)).await.is_err(), "it is held");
            assert_eq!(world.run(AGAIN).await, Ok(json!({"moved": 3})));
            assert_eq!((world.posts().len(), world.executions()), (1, 1), "{known_id:?} {held}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_request_may_be_on_its_way_for_as_long_as_it_takes_to_send() {
    // A mebibyte at 20 kB per second, which keeps arriving after the server that sent it has died.
    let mut world = World::new(at_once());
    world.request.args = json!("x".repeat(1024 * 1024)).into();
    world.agents.set_known_id(AT, KnownId::RunAgain);
    world.agents.add_fault(AT, Fault::Hold(Millis(52_000)));
    let dies = Millis(100).to_std();
    assert!(tokio::time::timeout(dies, world.run(FRESH)).await.is_err(), "it is under way");
    assert_eq!(world.run(AGAIN).await, Ok(json!({"moved": 3})));
    assert_eq!((world.posts().len(), world.executions()), (1, 1));
    // If the request was never sent, it is sent once an earlier one could no longer be on its way.
    let mut world = World::new(at_once());
    world.request.args = json!("x".repeat(1024 * 1024)).into();
    assert_eq!(world.run(AGAIN).await, Ok(json!({"moved": 3})));
    assert!((78_000..80_000).contains(&world.posts()[0].0), "{:?}", world.posts());
}

#[tokio::test(start_paused = true)]
async fn a_large_request_is_waited_for_also_where_it_is_only_looked_at() {
    // A call that only looks comes without the arguments, and if an earlier version sent them, nobody knows how
    // large they were.
    for bytes in [Some(1024 * 1024), None] {
        let mut world = World::new(at_once());
        let arguments = json!("x".repeat(1024 * 1024));
        let looked_at = std::mem::replace(&mut world.request.args, arguments.into());
        world.agents.add_fault(AT, Fault::Hold(Millis(52_000)));
        let dies = Millis(100).to_std();
        assert!(tokio::time::timeout(dies, world.run(FRESH)).await.is_err(), "it is under way");
        world.request.args = looked_at;
        let look_only = Start { look_only: true, bytes, ..FRESH };
        assert_eq!(world.run(look_only).await, Ok(json!({"moved": 3})), "{bytes:?}");
        assert_eq!((world.posts().len(), world.executions()), (1, 1));
    }
    // A small request is declared lost sooner.
    let world = World::new(at_once());
    let end = world.run(Start { look_only: true, bytes: Some(100), ..FRESH }).await;
    assert!(matches!(end, Err(CallError::Lost(_))), "{end:?}");
    assert_eq!(world.passed(), LONGEST_HELD.0);
}

#[test]
fn a_request_may_be_held_for_as_long_as_our_own_is_waited_for() {
    let AgentLimits { settle, unreachable_after, .. } = AgentLimits::default();
    assert!(settle.to_std() >= AgentHttpConfig::default().request_timeout);
    assert!(
        settle.0 * 2 < unreachable_after.0,
        "an agent gets another request within its patience"
    );
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_breaks_is_asked_again_and_looked_at_first() {
    let world = World::new(at_once());
    world.agents.add_fault(AT, Fault::Break);
    assert_eq!(world.run(FRESH).await, Ok(json!({"moved": 3})));
    world.sent_twice();
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_fails_at_each_post_is_given_up() {
    let world = World::new(at_once());
    for _ in 0..1_000 {
        world.agents.add_fault(AT, Fault::DropRequest);
    }
    let error = world.run(FRESH).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable(_)), "{error}");
    assert!((120_000..140_000).contains(&world.passed()), "{} ms", world.passed());
}

#[tokio::test(start_paused = true)]
async fn a_call_taken_up_after_a_crash_looks_first() {
    // The POST had arrived.
    let world = World::new(succeed(When::Looks(1)));
    world.agents.set_known_id(AT, KnownId::RunAgain);
    assert_eq!(world.run(FRESH).await, Ok(json!({"moved": 3})));
    assert_eq!(world.run(AGAIN).await, Ok(json!({"moved": 3})));
    assert_eq!((world.trace().as_str(), world.executions()), ("PLLL", 1));
    // The POST had not been sent.
    let world = World::new(at_once());
    assert_eq!(world.run(AGAIN).await, Ok(json!({"moved": 3})));
    assert_eq!((world.posts(), world.executions()), (vec![LONGEST_HELD], 1));
    assert_eq!(world.passed(), 15_050);
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_and_is_not_known_is_lost_and_never_sent_again() {
    let world = World::new(at_once());
    let error = world.run(ACCEPTED).await.unwrap_err();
    assert!(matches!(error, CallError::Lost(_)), "{error}");
    assert_eq!((world.trace().as_str(), world.accepted()), ("LNL", 0));
    // The action was accepted in this process.
    for looks in [0, 2] {
        let world = World::new(Script::Forget { when: When::Looks(looks) });
        let error = world.run(FRESH).await.unwrap_err();
        assert!(matches!(error, CallError::Lost(_)), "{error}");
        assert_eq!(world.executions(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_acceptance_is_noted_when_the_agent_vanishes_after_it() {
    let world = World::new(Script::Stall);
    world.agents.set_latency(AT, Millis(2));
    let vanish = async {
        world.ctx.clock.sleep(Millis(10).to_std()).await;
        world.agents.set_unreachable_until(AT, START.plus(Millis::from_secs(10_000)));
    };
    let (end, ()) = tokio::join!(world.run(FRESH), vanish);
    assert!(matches!(end, Err(CallError::Unreachable(_))), "{end:?}");
    assert_eq!((world.trace().as_str(), world.accepted()), ("P", 1));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_away_for_a_while_is_waited_for() {
    let world = World::new(at_once());
    world.agents.set_unreachable_until(AT, START.plus(Millis::from_secs(100)));
    assert_eq!(world.run(FRESH).await, Ok(json!({"moved": 3})));
    // No connection was made, so no look is needed.
    assert_eq!(world.trace(), "PL");
    assert!((100_000..106_000).contains(&world.passed()), "{} ms", world.passed());
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_stays_away_is_unreachable_at_the_deadline() {
    let world = World::new(at_once());
    world.agents.set_unreachable_until(AT, START.plus(Millis::from_secs(10_000)));
    let error = world.run(FRESH).await.unwrap_err();
    assert!(matches!(error, CallError::NotTaken(_)), "nothing was sent: {error}");
    assert_eq!(world.passed(), 120_000);
    let error = info(&world.ctx, AT, Wanted::default()).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable(_)), "{error}");
    assert_eq!(world.passed(), 240_000);
}

/// If the agent can't be reached, it is not known what became of a request that may have been sent.
#[tokio::test(start_paused = true)]
async fn only_what_was_never_taken_is_said_to_be_out_nowhere() {
    let away = START.plus(Millis::from_secs(10_000));
    // Sent by an earlier process.
    let world = World::new(at_once());
    world.agents.set_unreachable_until(AT, away);
    let error = world.run(AGAIN).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable(_)), "{error}");
    // Sent by this process.
    let world = World::new(at_once());
    world.agents.add_fault(AT, Fault::DropRequest);
    let vanish = async {
        world.ctx.clock.sleep(Millis(100).to_std()).await;
        world.agents.set_unreachable_until(AT, away);
    };
    let (end, ()) = tokio::join!(world.run(FRESH), vanish);
    assert!(matches!(end, Err(CallError::Unreachable(_))), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_while_the_guard_says_no() {
    let world = World::new(at_once());
    let clock = &world.ctx.clock;
    let open_at = START.plus(Millis::from_secs(300));
    let guard = || async move { clock.now() >= open_at };
    let end = run_action(&world.ctx, AT, &world.request, FRESH, || (), guard).await;
    // The wait was longer than the patience with agents, and does not count against this one.
    assert_eq!(end, Ok(json!({"moved": 3}).into()));
    assert!(world.agents.asked(AT).iter().all(|(at, _)| *at >= open_at));
}

/// A proxy before the agent has lost its way to it, and answers 404 to everything.
#[tokio::test(start_paused = true)]
async fn a_404_counts_only_where_an_agent_is_there_that_can_say_more() {
    let gone = START.plus(Millis::from_secs(10_000));
    for start in [ACCEPTED, AGAIN, Start { look_only: true, ..ACCEPTED }] {
        let world = World::new(at_once());
        world.agents.set_proxied_until(AT, gone);
        let error = world.run(start).await.unwrap_err();
        assert!(matches!(error, CallError::Unreachable(_)), "{start:?}: {error}");
        assert_eq!(world.posts(), [], "{start:?}");
    }
    // The proxy may find the agent again between two requests.
    for found in (1..60).map(|half| Millis(500 * half)) {
        let world = World::new(succeed(When::After(Millis::from_secs(60))));
        world.agents.set_latency(AT, Millis(1_000));
        let lose_way = async {
            world.ctx.clock.sleep(Millis::from_secs(10).to_std()).await;
            let until = world.ctx.clock.now().plus(found);
            world.agents.set_proxied_until(AT, until);
        };
        let (end, ()) = tokio::join!(world.run(FRESH), lose_way);
        assert_eq!((end, world.executions()), (Ok(json!({"moved": 3})), 1), "{found:?}");
    }
    // The call goes on when the proxy finds the agent again.
    let world = World::new(succeed(When::After(Millis::from_secs(60))));
    let lose_way = async {
        world.ctx.clock.sleep(Millis::from_secs(10).to_std()).await;
        world.agents.set_proxied_until(AT, START.plus(Millis::from_secs(40)));
    };
    let (end, ()) = tokio::join!(world.run(FRESH), lose_way);
    assert_eq!((end, world.executions()), (Ok(json!({"moved": 3})), 1));
}

#[tokio::test(start_paused = true)]
async fn a_payload_over_the_limit_is_a_failure() {
    let payload = |bytes: usize| Script::Succeed {
        when: When::Looks(0),
        payload: Value::String("x".repeat(bytes - 2)),
    };
    let limit = AgentLimits::default().payload_bytes;
    assert!(World::new(payload(limit)).run(FRESH).await.is_ok());
    let Err(CallError::Failed(message)) = World::new(payload(limit + 1)).run(FRESH).await else {
        panic!("expected a failure");
    };
    assert!(message.contains("1048577 bytes; expected at most 1048576"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn two_posts_are_never_on_their_way_at_once() {
    let world = World::new(at_once());
    world.agents.set_latency(AT, Millis(300));
    for fault in [Fault::DropRequest, Fault::Break, Fault::LateEffect(Millis(500))] {
        world.agents.add_fault(AT, fault);
    }
    assert_eq!(world.run(FRESH).await, Ok(json!({"moved": 3})));
    assert_eq!((world.agents.overlaps(), world.agents.most_executions()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn after_an_answer_to_a_post_that_can_not_be_read_the_agent_is_looked_at() {
    for known_id in [KnownId::Conflict, KnownId::RunAgain] {
        let world = World::new(succeed(When::Looks(1)));
        world.agents.set_known_id(AT, known_id);
        world.agents.add_fault(AT, Fault::GarbleAnswer);
        assert_eq!(world.run(FRESH).await, Ok(json!({"moved": 3})));
        assert_eq!((world.trace().as_str(), world.executions()), ("PLL", 1));
    }
    // The POST had no effect, and another one would get the same answer.
    let world = World::new(at_once());
    world.agents.add_fault(AT, Fault::GarbleRequest);
    let end = world.run(FRESH).await;
    let Err(CallError::Malformed(message)) = end else { panic!("{end:?}") };
    assert!(message.starts_with("http://node-1 answered something unexpected: the body"));
    assert_eq!((world.posts().len(), world.executions()), (1, 0));
    // Whoever answered may still hold the request.
    assert_eq!(world.passed(), LONGEST_HELD.0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_look_that_can_not_be_read_ends_the_call_at_once() {
    let world = World::new(succeed(When::After(Millis::from_secs(60))));
    let minute = START.plus(Millis::from_secs(60));
    let garble = async {
        world.ctx.clock.sleep(Millis(10_000).to_std()).await;
        world.agents.set_garbled_until(AT, minute);
    };
    let (end, ()) = tokio::join!(world.run(FRESH), garble);
    assert!(matches!(end, Err(CallError::Malformed(_))), "{end:?}");
    assert!((10_000..15_000).contains(&world.passed()), "{} ms", world.passed());
    // A call that may only look goes on until the answer can be read again.
    let look_only = Start { look_only: true, ..AGAIN };
    assert_eq!(world.run(look_only).await, Ok(json!({"moved": 3})));
    // Or until patience has ended.
    world.agents.set_garbled_until(AT, START.plus(Millis::from_secs(10_000)));
    let began = world.passed();
    let end = world.run(look_only).await;
    let Err(CallError::Malformed(message)) = end else { panic!("{end:?}") };
    assert!(message.ends_with("given up after 120 s"), "{message}");
    assert_eq!(world.passed() - began, 120_000);
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_says_of_its_node_is_readable_or_told_at_once() {
    let world = World::new(at_once());
    world.agents.set_garbled_until(AT, START.plus(Millis::from_secs(20)));
    let end = info(&world.ctx, AT, Wanted::default()).await;
    assert!(matches!(end, Err(CallError::Malformed(_))), "{end:?}");
    assert_eq!(world.passed(), 0);
    // A wait for a status is meant for nodes that restart, and has its own deadline.
    let end = wait_status(&world.ctx, AT, &healthy(), START, Millis::from_secs(60), None).await;
    assert_eq!(end, Ok("HEALTHY".to_owned()));
}
