//! Waits for a status, and what a node says.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_status_is_waited_for_through_absence() {
    let world = World::new(at_once());
    world.agents.set_status(AT, "UNAVAILABLE");
    world.agents.set_unreachable_until(AT, START.plus(Millis::from_secs(20)));
    let recover = async {
        world.ctx.clock.sleep(Millis::from_secs(60).to_std()).await;
        world.agents.set_status(AT, "DEGRADED");
    };
    let timeout = Millis::from_secs(300);
    let statuses = healthy();
    let waited = wait_status(&world.ctx, AT, &statuses, START, timeout, None);
    let (status, ()) = tokio::join!(waited, recover);
    assert_eq!(status, Ok("DEGRADED".to_owned()));
    assert!((60_000..65_001).contains(&world.passed()), "{} ms", world.passed());
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_status_ends_at_its_deadline_with_what_was_seen() {
    let world = World::new(at_once());
    world.agents.set_status(AT, "UNAVAILABLE");
    let since = START;
    let end = wait_status(&world.ctx, AT, &healthy(), since, Millis(7_777), None).await;
    let Err(CallError::TimedOut(message)) = end else { panic!("{end:?}") };
    assert_eq!(
        message,
        "http://node-1 was not HEALTHY or DEGRADED within 7777 ms; at last, its status was UNAVAILABLE"
    );
    assert_eq!(world.passed(), 7_777);
    // A wait that is resumed after its deadline still looks once.
    world.agents.set_status(AT, "HEALTHY");
    let end = wait_status(&world.ctx, AT, &healthy(), since, Millis(7_777), None).await;
    assert_eq!(end, Ok("HEALTHY".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_status_that_is_refused_says_so_and_at_once_where_nobody_is_let_in() {
    let timeout = Millis(7_777);
    for (status, took) in [(401, 0), (403, 0), (404, 7_777), (302, 7_777)] {
        let world = World::new(at_once());
        world.agents.set_refuses(AT, Some(status));
        let end = wait_status(&world.ctx, AT, &healthy(), START, timeout, None).await;
        let Err(CallError::Refused(message)) = end else { panic!("{end:?}") };
        let said = format!("http://node-1 answered {status}: not for you");
        assert!(message.ends_with(&said), "{message}");
        assert_eq!(world.passed(), took, "{status}");
    }
    // Whatever stands before a node that restarts may answer 404 meanwhile.
    let world = World::new(at_once());
    world.agents.set_status(AT, "UNAVAILABLE");
    let restart = async {
        world.ctx.clock.sleep(Millis(3_000).to_std()).await;
        world.agents.set_refuses(AT, Some(404));
    };
    let statuses = healthy();
    let waited = wait_status(&world.ctx, AT, &statuses, START, timeout, None);
    let (end, ()) = tokio::join!(waited, restart);
    assert!(matches!(&end, Err(CallError::TimedOut(m)) if m.contains("answered 404")), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn a_look_that_hangs_does_not_outlast_the_wait() {
    let world = World::new(at_once());
    world.agents.set_latency(AT, Millis::from_secs(3_600));
    let end = wait_status(&world.ctx, AT, &healthy(), START, Millis(5_000), None).await;
    assert!(matches!(end, Err(CallError::TimedOut(_))), "{end:?}");
    assert_eq!(world.passed(), 5_000);
}

#[tokio::test(start_paused = true)]
async fn info_is_fresh_and_whole() {
    let world = World::new(at_once());
    let attributes = json!({"role": "SECONDARY"});
    world.agents.set_attributes(AT, attributes.as_object().cloned().unwrap());
    let node = info(&world.ctx, AT, Wanted::default()).await.unwrap();
    assert_eq!((node.status.as_str(), &node.raw["attributes"]), ("HEALTHY", &attributes));
}
