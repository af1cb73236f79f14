//! What is reported of calls while they are followed, in paused time.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::tests::request;
use super::*;
use crate::agent::{Asked, FakeAgents, FakeQueue, Fault, Script, When};
use crate::clock::TokioClock;
use crate::run::Wanted;
use crate::run::{CallError, Millis, Notice, Timestamp};

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

fn seconds(count: u64) -> Timestamp {
    START.plus(Millis::from_secs(count))
}

/// Each report and when it came, in milliseconds from the start.
type Told = Arc<Mutex<Vec<(u64, Option<Notice>)>>>;

struct World {
    agents: FakeAgents,
    ctx: FollowContext,
    told: Told,
}

impl World {
    fn new(script: Script) -> Self {
        Self::knowing(script, None, false, true)
    }

    /// A world where `known` was reported before; `room` says whether reports are accepted.
    fn knowing(script: Script, known: Option<Notice>, again: bool, room: bool) -> Self {
        let clock = Arc::new(TokioClock::starting_at(START));
        let agents = FakeAgents::new(clock.clone());
        agents.add(AT, script);
        let client = Arc::new(agents.clone());
        let plain = FollowContext { client, clock, limits: AgentLimits::default() };
        let told = Told::default();
        let (kept, clock) = (told.clone(), plain.clock.clone());
        let ctx = plain.watched(known, again, move |notice| {
            kept.lock().unwrap().push((clock.now().since(START).0, notice));
            room
        });
        Self { agents, ctx, told }
    }

    async fn run(&self) -> Result<Value, CallError> {
        let request = request();
        run_action(&self.ctx, AT, &request, FRESH, || (), async || true)
            .await
            .map(|payload| payload.value())
    }

    fn told(&self) -> Vec<(u64, Option<Notice>)> {
        self.told.lock().unwrap().clone()
    }

    fn queue_asked(&self) -> usize {
        self.agents.asked(AT).iter().filter(|(_, asked)| *asked == Asked::Queue).count()
    }
}

fn succeed(after: u64) -> Script {
    Script::Succeed { when: When::After(Millis::from_secs(after)), payload: json!(1) }
}

fn refused(since: Timestamp) -> Option<Notice> {
    let message = format!("failed to connect to {AT}: connection refused");
    Some(Notice::NoAnswer { since, message, errors: false })
}

fn behind(since: Timestamp, before: u32, kind: Option<&str>) -> Option<Notice> {
    Some(Notice::Queued { since, before, behind: kind.map(str::to_owned) })
}

#[tokio::test(start_paused = true)]
async fn a_call_that_goes_on_as_it_should_tells_nothing() {
    let world = World::new(succeed(60));
    world.run().await.unwrap();
    assert_eq!((world.told(), world.queue_asked()), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn a_blip_tells_nothing() {
    let world = World::new(succeed(60));
    world.agents.set_unreachable_until(AT, START.plus(Millis(2_000)));
    for fault in [Fault::DropRequest, Fault::Break] {
        world.agents.add_fault(AT, fault);
    }
    world.run().await.unwrap();
    assert_eq!(world.told(), []);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_away_is_told_of_once_and_again_when_it_is_back() {
    let world = World::new(succeed(0));
    world.agents.set_unreachable_until(AT, seconds(100));
    world.run().await.unwrap();
    let told = world.told();
    assert_eq!(
        told.iter().map(|(_, notice)| notice.clone()).collect::<Vec<_>>(),
        [refused(START), None]
    );
    assert!((5_000..8_000).contains(&told[0].0), "{told:?}");
    assert!((100_000..106_000).contains(&told[1].0), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_answers_with_errors_is_told_apart() {
    let world = World::new(succeed(0));
    for _ in 0..6 {
        world.agents.add_fault(AT, Fault::Break);
    }
    // Looks that do not find the action are good answers, so only the requests between them count.
    world.run().await.unwrap();
    assert_eq!(world.told(), [], "it answers each look");
    let message = format!("{AT} answered 503: busy");
    let error = crate::agent::AgentError::Broken {
        address: AT.to_owned(),
        status: 503,
        message: "busy".to_owned(),
    };
    assert_eq!(error.to_string(), message);
    assert!(super::watch::is_answer(&error));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_hangs_is_told_of_before_it_ends() {
    let world = World::new(succeed(0));
    world.agents.set_latency(AT, Millis::from_secs(60));
    let info = info(&world.ctx, AT, Wanted::default()).await;
    assert!(info.is_ok());
    let message = format!("{AT} has not answered the last request yet");
    let hangs = Some(Notice::NoAnswer { since: START, message, errors: false });
    assert_eq!(world.told(), [(5_000, hangs), (60_000, None)]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_status_tells_that_its_agent_is_silent() {
    let world = World::new(succeed(0));
    world.agents.set_unreachable_until(AT, seconds(30));
    let statuses = ["HEALTHY".to_owned()];
    let timeout = Millis::from_secs(300);
    wait_status(&world.ctx, AT, &statuses, START, timeout, None).await.unwrap();
    let told: Vec<_> = world.told().into_iter().map(|(_, notice)| notice).collect();
    assert_eq!(told, [refused(START), None]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_comes_and_goes_tells_no_more_than_its_silences() {
    let world = World::new(Script::Stall);
    let flap = async {
        for turn in 0..100 {
            // Away for 3 s out of every 6 s: no silence is long enough.
            world.agents.set_unreachable_until(AT, seconds(turn * 6 + 3));
            world.ctx.clock.sleep(Millis::from_secs(6).to_std()).await;
        }
        world.agents.set_script(AT, succeed(0));
    };
    let (end, ()) = tokio::join!(world.run(), flap);
    assert!(end.is_ok(), "{end:?}");
    let told = world.told();
    // A look that is due in a gap may miss it, so that two silences become one.
    assert!(told.windows(3).all(|three| three[2].0 - three[0].0 >= 5_000), "{told:?}");
    assert!(told.len() <= 80, "{} tellings in ten minutes", told.len());
}

#[tokio::test(start_paused = true)]
async fn what_there_is_no_room_for_is_told_at_the_next_occasion_and_delays_nothing() {
    let world = World::knowing(succeed(0), None, false, false);
    world.agents.set_unreachable_until(AT, seconds(30));
    world.run().await.unwrap();
    let full = world.ctx.clock.now();
    assert!(world.told().len() > 2, "it is tried again");
    assert!(world.told().iter().all(|(_, notice)| *notice == refused(START)));
    let world = World::new(succeed(0));
    world.agents.set_unreachable_until(AT, seconds(30));
    world.run().await.unwrap();
    assert_eq!(world.ctx.clock.now(), full);
}

#[tokio::test(start_paused = true)]
async fn what_was_told_before_a_crash_is_taken_back() {
    let since = START;
    for (known, expected) in [(refused(since), 1), (behind(since, 2, None), 1), (None, 1)] {
        let world = World::knowing(succeed(2), known, true, true);
        world.ctx.clock.sleep(Millis(10).to_std()).await;
        world.run().await.unwrap();
        let told: Vec<_> = world.told().into_iter().map(|(_, notice)| notice).collect();
        assert_eq!(told, vec![None; expected]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silence_that_outlasts_a_crash_keeps_its_beginning() {
    let world = World::knowing(succeed(0), refused(START), true, true);
    world.ctx.clock.sleep(Millis::from_secs(50).to_std()).await;
    world.agents.set_unreachable_until(AT, seconds(90));
    world.run().await.unwrap();
    let told = world.told();
    assert!(told[..told.len() - 1].iter().all(|(_, notice)| *notice == refused(START)), "{told:?}");
    assert_eq!(told.last().unwrap().1, None);
}

#[tokio::test(start_paused = true)]
async fn an_action_behind_others_tells_how_many_and_what_goes_first() {
    let world = World::new(succeed(0));
    let kinds = |count: usize| FakeQueue::After(vec!["demo.example.com/backup".to_owned(); count]);
    world.agents.set_busy_until(AT, seconds(60));
    world.agents.set_queue(AT, kinds(3));
    let shrink = async {
        world.ctx.clock.sleep(Millis::from_secs(20).to_std()).await;
        world.agents.set_queue(AT, kinds(1));
    };
    let (end, ()) = tokio::join!(world.run(), shrink);
    end.unwrap();
    let told = world.told();
    let since = told[0].1.as_ref().unwrap().since();
    let kind = Some("demo.example.com/backup");
    let said: Vec<_> = told.iter().map(|(_, notice)| notice.clone()).collect();
    // The end of the action follows at once, so nobody is told that it is not NEW any more.
    assert_eq!(said, [behind(since, 3, kind), behind(since, 1, kind)]);
    assert!((5_000..10_000).contains(&told[0].0), "{told:?}");
    assert!(told[1].0 - told[0].0 >= 30_000, "changes are told rarely: {told:?}");
}

#[tokio::test(start_paused = true)]
async fn an_action_that_begins_is_told_of_no_more() {
    let world = World::new(succeed(60));
    world.agents.set_busy_until(AT, seconds(20));
    world.agents.set_queue(AT, FakeQueue::After(vec!["a".to_owned()]));
    world.run().await.unwrap();
    let told = world.told();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[1].1, None);
}

#[tokio::test(start_paused = true)]
async fn an_action_that_is_not_begun_although_nothing_comes_before_is_told_of_later() {
    let world = World::new(succeed(0));
    world.agents.set_busy_until(AT, seconds(40));
    world.agents.set_queue(AT, FakeQueue::After(Vec::new()));
    world.run().await.unwrap();
    let told = world.told();
    let since = told[0].1.as_ref().unwrap().since();
    assert_eq!(told[0].1, behind(since, 0, None));
    assert!((15_000..22_000).contains(&told[0].0), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_tell_its_queue_is_soon_asked_no_more_and_harms_nothing() {
    for (queue, asked) in [(FakeQueue::Missing, 1), (FakeQueue::Garbage, 1), (FakeQueue::Hangs, 3)]
    {
        let world = World::new(succeed(0));
        world.agents.set_busy_until(AT, seconds(300));
        world.agents.set_queue(AT, queue.clone());
        assert_eq!(world.run().await, Ok(json!(1)), "{queue:?}");
        assert_eq!((world.queue_asked(), world.told()), (asked, vec![]), "{queue:?}");
        assert!(world.ctx.clock.now().since(seconds(300)) <= Millis::from_secs(6), "{queue:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_words_of_a_stranger_are_cut() {
    let world = World::new(succeed(0));
    world.agents.set_busy_until(AT, seconds(20));
    world.agents.set_queue(AT, FakeQueue::After(vec!["ä".repeat(10_000)]));
    world.run().await.unwrap();
    let Some(Notice::Queued { behind: Some(kind), .. }) = &world.told()[0].1 else {
        panic!("{:?}", world.told());
    };
    assert_eq!(kind.chars().count(), 301);
}
