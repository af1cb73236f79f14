//! The time of the store jumps forward while a call is followed, because another member became its primary.

use super::*;
use crate::clock::Clock as _;
use replibook_kit::SetClock;

const HOUR: i64 = 3_600_000;

/// A world whose time jumps forward by an hour soon after its start; the agents' time does not.
fn jumping(script: Script) -> (World, Arc<SetClock>) {
    let (mut world, clock) = (World::new(script), Arc::new(SetClock::starting_at(START)));
    world.ctx.clock = clock.clone();
    (world, clock)
}

async fn run_beside_a_jump(
    world: &World,
    clock: &SetClock,
    start: Start<'_>,
) -> Result<Value, CallError> {
    let jump = async {
        clock.sleep(Millis(700).to_std()).await;
        clock.set(HOUR);
    };
    tokio::join!(world.run(start), jump).0
}

#[tokio::test(start_paused = true)]
async fn what_must_have_passed_before_a_second_request_has_passed() {
    let (world, clock) = jumping(at_once());
    world.agents.add_fault(AT, Fault::DropRequest);
    assert_eq!(run_beside_a_jump(&world, &clock, FRESH).await, Ok(json!({"moved": 3})));
    world.sent_twice();
    // A request that an earlier process may have sent.
    let (world, clock) = jumping(at_once());
    assert_eq!(run_beside_a_jump(&world, &clock, AGAIN).await, Ok(json!({"moved": 3})));
    assert_eq!(world.posts(), [LONGEST_HELD]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_given_up_only_after_it_was_away_for_long() {
    let (world, clock) = jumping(at_once());
    let begun = clock.passed();
    world.agents.set_unreachable_until(AT, START.plus(Millis::from_secs(10_000)));
    let end = run_beside_a_jump(&world, &clock, FRESH).await;
    assert!(matches!(end, Err(CallError::NotTaken(_))), "{end:?}");
    let passed = Millis(clock.passed().0 - begun.0);
    assert_eq!(passed, AgentLimits::default().unreachable_after);
}
