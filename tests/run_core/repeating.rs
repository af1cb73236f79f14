//! A strategy that is asked again and again while its run waits: what it repeats is written once, and the
//! run's log is bounded.

use replibook_core::run::{
    AgentState, Decision, Effect, FIRST_FORMAT, Happened, Input, KNOWN_FORMAT, LogLevel,
    MAX_RUN_LINES, MAX_RUN_LOG_BYTES, Machine, Next, PluginLine, Roster, Timestamp,
};

use super::parts::Setup;
use super::world::{Choice, World};

fn line(level: LogLevel, message: &str) -> PluginLine {
    PluginLine { level, message: message.to_owned() }
}

/// A run that waits for nothing, and whose strategy is asked for the first time.
fn waiting() -> World {
    let mut world = World::new(Setup::plain(3, 0));
    world.start();
    world
}

/// Answers the strategy's question with a wait that `change` has changed, and with these lines. Goes on until
/// the strategy is asked again.
fn wait(world: &mut World, lines: &[PluginLine], change: impl Fn(&mut Decision, &Machine)) {
    let change = |decision: &mut Decision, machine: &Machine| {
        decision.start.clear();
        decision.next = Next::WaitUntil(Timestamp::from_millis(0));
        change(decision, machine);
    };
    world.decide_with(change, lines.to_vec());
    world.forget_all();
    world.wake();
    world.start();
}

fn decisions(world: &World) -> usize {
    world.events().filter(|event| matches!(event.what, Happened::Decision { .. })).count()
}

fn lines(world: &World) -> Vec<String> {
    world.lines().map(|line| line.message.clone()).collect()
}

#[test]
fn a_strategy_that_says_the_same_again_has_nothing_written() {
    let mut world = waiting();
    let said = [line(LogLevel::Info, "still waiting"), line(LogLevel::Debug, "as ever")];
    wait(&mut world, &said, |_, _| {});
    let commits = world.commits;
    for _ in 0..1_000 {
        wait(&mut world, &said, |_, _| {});
    }
    assert_eq!(world.commits, commits, "nothing changed");
    assert_eq!((decisions(&world), lines(&world).len()), (1, 2));

    // Something new is written, and before it what was repeated.
    wait(&mut world, &[line(LogLevel::Info, "nearly there")], |_, _| {});
    let told = lines(&world);
    assert!(told[2].starts_with("(the same 1000 times again, until "), "{told:?}");
    assert_eq!(told[3..], ["nearly there"]);
    assert_eq!(decisions(&world), 1, "it decided the same");
    wait(&mut world, &[], |decision, _| decision.label = Some("another".to_owned()));
    assert_eq!(decisions(&world), 2);
    let places: Vec<_> = world.lines().map(|line| (line.event, line.line)).collect();
    let mut once = places.clone();
    once.dedup();
    assert_eq!(places, once, "each line has a place of its own");
}

#[test]
fn what_was_not_written_is_done_again_after_a_crash() {
    let mut world = waiting();
    let said = [line(LogLevel::Info, "still waiting")];
    for _ in 0..5 {
        wait(&mut world, &said, |_, _| {});
    }
    world.choose(&Choice::Crash);
    wait(&mut world, &said, |_, _| {});
    // After the crash it is not known that the strategy had said so.
    assert_eq!((decisions(&world), lines(&world).len()), (2, 2));
    let commits = world.commits;
    wait(&mut world, &said, |_, _| {});
    assert_eq!(world.commits, commits);
    world.run_dry();
    world.check_the_end();
}

#[test]
fn a_memo_that_counts_is_kept_but_does_not_fill_the_history() {
    let mut world = waiting();
    for number in 0..200 {
        wait(&mut world, &[], |decision, _| decision.memo = format!("{number}"));
        assert_eq!(world.progress().stage.memo, number.to_string());
    }
    let told = decisions(&world);
    assert!((40..45).contains(&told), "{told}");
    world.choose(&Choice::Crash);
    world.decide_to(|decision, _| decision.memo = "done with it".to_owned());
    let last = world.events().filter_map(|event| match &event.what {
        Happened::Decision { asked, memo, .. } => Some((asked.clone().unwrap().memo, memo.clone())),
        _ => None,
    });
    let last = last.last().unwrap();
    assert_eq!(last, (Some("199".to_owned()), Some("done with it".to_owned())));
    assert!(!world.progress().stage.untold_memo);
    world.run_dry();
    world.check_the_end();
}

#[test]
fn a_run_says_that_older_engines_would_lose_its_log_and_its_memo() {
    let mut world = waiting();
    for number in 0..60 {
        let untold = world.progress().stage.untold_memo;
        assert_eq!(world.progress().needs, if untold { 2 } else { FIRST_FORMAT });
        wait(&mut world, &[], |decision, _| decision.memo = format!("{number}"));
    }
    assert!(world.progress().stage.untold_memo);
    // This stays: documents that an older engine would lose may still be in the store.
    world.decide_to(|decision, _| decision.memo = "told".to_owned());
    assert!(!world.progress().stage.untold_memo);
    assert_eq!(world.progress().needs, 2);

    let mut world = waiting();
    wait(&mut world, &[line(LogLevel::Debug, "a line")], |_, _| {});
    assert_eq!(world.progress().needs, 2);
    world.choose(&Choice::Crash);
    world.run_dry();
    assert_eq!((world.progress().needs, KNOWN_FORMAT), (2, 6));
}

/// Has all agents asked afresh each round. They say something else each time if `change`, and otherwise the
/// same.
fn watch(world: &mut World, rounds: usize, change: bool) {
    for _ in 0..rounds {
        world.decide_with(
            |decision, machine| {
                decision.start.clear();
                decision.next = Next::WaitUntil(Timestamp::from_millis(0));
                decision.refresh = Roster::page(machine, AgentState::Pending, None, 10);
            },
            vec![],
        );
        world.wake();
        let asked = world.effects().find_map(|effect| match effect {
            Effect::Refresh(agents) => Some(agents.clone()),
            _ => None,
        });
        world.tick();
        let now = world.moment();
        let Input::Refreshed(mut answers) = super::refresh::answers(asked.unwrap(), now, false)
        else {
            panic!("other answers");
        };
        if !change {
            for answer in &mut answers {
                answer.about.attributes = Default::default();
                answer.about.node = serde_json::json!({"node_status": "HEALTHY"}).into();
            }
        }
        world.answer_refresh(Input::Refreshed(answers));
    }
}

fn infos(world: &World) -> usize {
    world.events().filter(|event| matches!(event.what, Happened::AgentInfo { .. })).count()
}

#[test]
fn agents_that_are_watched_are_written_when_there_is_news_or_somebody_acts_on_it() {
    let mut world = waiting();
    watch(&mut world, 2, false);
    let (commits, known) = (world.commits, infos(&world));
    watch(&mut world, 100, false);
    assert_eq!((world.commits, infos(&world)), (commits, known), "only the moment is another one");
    // A decision that results from the answers writes what it was made from.
    world.decide_to(|decision, _| decision.next = Next::Wait);
    assert_eq!(infos(&world), known + 3);
    world.run_dry();
    world.check_the_end();
}

#[test]
fn what_agents_say_anew_each_time_is_news_only_for_some_time() {
    let mut world = waiting();
    watch(&mut world, 60, true);
    let known = infos(&world);
    watch(&mut world, 100, true);
    assert_eq!(infos(&world), known);
    world.choose(&Choice::Crash);
    world.run_dry();
    world.check_the_end();
}

#[test]
fn a_full_log_is_bounded_whatever_crashes() {
    let mut world = waiting();
    // Each character takes six bytes in the store.
    let text = "\u{1}".repeat(1_340);
    for number in 0..200_u64 {
        // 240 kB each time, and always different ones.
        let level = if number % 2 == 0 { LogLevel::Debug } else { LogLevel::Info };
        let said = (0..30).map(|n| line(level, &format!("{number} {n} {text}")));
        wait(&mut world, &said.collect::<Vec<_>>(), |_, _| {});
        if number % 37 == 0 {
            world.choose(&Choice::Crash);
            world.forget_all();
            world.start();
        }
    }
    let log = &world.progress().log;
    assert!(log.bytes() <= MAX_RUN_LOG_BYTES && log.lines() <= MAX_RUN_LINES);
    let kept: Vec<_> = world.lines().cloned().collect();
    assert_eq!(log.lines(), kept.len() as u64, "what is kept is what is counted");
    assert!(log.dropped[&LogLevel::Debug] > 0);
    let kept = |level| kept.iter().filter(|line| line.level == level).count();
    assert!(kept(LogLevel::Debug) < kept(LogLevel::Info), "the least severe went first");
}
