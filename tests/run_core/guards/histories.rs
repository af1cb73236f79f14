//! Random fleets, guards, strategies and mishaps.

use proptest::prelude::*;
use replibook_core::playbook::{Amount, ClusterGuards, Freeze, Guard};
use replibook_core::run::{AgentId, AgentRecord, AgentState, RunStatus, Timestamp, Verb};

use super::fleet::{Fleet, START, zoned, zoned_member};
use super::model::{Said, lets_everybody_go};
use super::strategies::Kind;
use super::windows::evening;
use super::{guard, guards};

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Choice {
    Perform(u16),
    PerformWell(u16),
    Pass(u16),
    Wake,
    Move(u16),
    FallIll(u16, Said),
    GetWell(u16),
    Guards(ClusterGuards),
    Join,
    Leave(u16),
    Crash,
    Command(Verb),
    Override(bool),
}

pub(crate) fn choices() -> impl Strategy<Value = Vec<Choice>> {
    let said = prop::sample::select(vec![None, Some("UNAVAILABLE"), Some("READ_ONLY")]);
    let verb = prop::sample::select(vec![Verb::Pause, Verb::PauseNow, Verb::Resume, Verb::Retry]);
    let choice = prop_oneof![
        20 => any::<u16>().prop_map(Choice::PerformWell),
        4 => any::<u16>().prop_map(Choice::Perform),
        4 => any::<u16>().prop_map(Choice::Pass),
        2 => Just(Choice::Wake),
        1 => any::<u16>().prop_map(Choice::Move),
        4 => (any::<u16>(), said).prop_map(|(who, said)| Choice::FallIll(who, said)),
        3 => any::<u16>().prop_map(Choice::GetWell),
        1 => all_guards().prop_map(Choice::Guards),
        1 => Just(Choice::Join),
        1 => any::<u16>().prop_map(Choice::Leave),
        1 => Just(Choice::Crash),
        1 => verb.prop_map(Choice::Command),
        1 => any::<bool>().prop_map(Choice::Override),
    ];
    prop::collection::vec(choice, 0..150)
}

pub(crate) fn all_guards() -> impl Strategy<Value = ClusterGuards> {
    let amount = prop_oneof![
        (0_u32..4).prop_map(Amount::Count),
        prop::sample::select(vec![1_000_u32, 2_500, 3_300, 5_000, 6_700]).prop_map(Amount::Share),
    ];
    let one = (any::<bool>(), amount, prop::option::of(1_u32..3));
    let times = (prop::bool::weighted(0.2), prop::bool::weighted(0.2), any::<bool>());
    (prop::collection::vec(one, 0..4), times).prop_map(|(all, (window, freeze, read_only))| {
        let guard = |(at, (zoned, amount, groups)): (usize, (bool, Amount, Option<u32>))| -> Guard {
            guard(&format!("g{at}"), zoned, amount, groups.filter(|_| zoned))
        };
        let mut made = guards(all.into_iter().enumerate().map(guard).collect());
        made.windows.extend(window.then(evening));
        made.freezes.extend(freeze.then(|| Freeze {
            from: Timestamp::from_millis(START + 60_000),
            to: Timestamp::from_millis(START + 240_000),
            reason: "a fair".to_owned(),
        }));
        made.healthy.extend(read_only.then(|| "READ_ONLY".to_owned()));
        made
    })
}

pub(crate) type Setting = (usize, ClusterGuards, Kind, Vec<Choice>);

pub(crate) fn settings() -> impl Strategy<Value = Setting> {
    (1_usize..16, all_guards(), prop::sample::select(Kind::ALL.to_vec()), choices())
}

fn choose(fleet: &mut Fleet, choice: &Choice, joined: &mut usize) {
    let somebody = |who: u16, fleet: &Fleet| -> Option<AgentId> {
        let count = fleet.members.len();
        (count > 0).then(|| fleet.members[usize::from(who) % count].agent.clone())
    };
    fleet.now += 10;
    match choice {
        Choice::Perform(index) => fleet.perform(usize::from(*index), index % 5 == 0),
        Choice::PerformWell(index) => fleet.perform(usize::from(*index), false),
        Choice::Pass(millis) => fleet.now += i64::from(*millis) / 3,
        Choice::Wake => fleet.wake(),
        Choice::Move(who) => {
            if let Some(agent) = somebody(*who, fleet) {
                fleet.relocate(&agent);
            }
        }
        Choice::FallIll(who, said) => {
            if let Some(agent) = somebody(*who, fleet) {
                fleet.ill.insert(agent, *said);
            }
        }
        Choice::GetWell(who) => {
            if let Some(agent) = somebody(*who, fleet) {
                fleet.ill.remove(&agent);
            }
        }
        Choice::Guards(guards) => fleet.guarded_by(guards.clone()),
        Choice::Join => {
            fleet.join(zoned_member(100 + *joined));
            *joined += 1;
        }
        Choice::Leave(who) => {
            if let Some(agent) = somebody(*who, fleet).filter(|_| fleet.members.len() > 1) {
                fleet.leave(agent.as_str());
            }
        }
        Choice::Crash => fleet.crash(),
        Choice::Command(verb) => {
            fleet.command(*verb, None, None);
        }
        Choice::Override(first) => {
            let guard = if *first { "g0" } else { "windows" };
            fleet.command(Verb::Resume, Some(guard), Some("because"));
        }
    }
}

/// Plays one history. The error says what was wrong with it.
pub(crate) fn play((agents, guards, strategy, choices): Setting) -> Result<(), String> {
    let mut fleet = Fleet::new(zoned(agents), guards, strategy);
    let mut joined = 0;
    for choice in &choices {
        fleet.let_decide();
        choose(&mut fleet, choice, &mut joined);
        fleet.broken.take().map_or(Ok(()), Err)?;
    }
    fleet.ill.clear();
    fleet.let_decide();
    if fleet.progress().status == RunStatus::Paused {
        fleet.command(Verb::Resume, None, None);
    }
    let ended = fleet.run_dry(4_000);
    fleet.broken.take().map_or(Ok(()), Err)?;
    fleet.check_replay()?;
    let records: Vec<AgentRecord> = fleet.records.values().cloned().collect();
    if fleet.progress().status == RunStatus::Paused {
        return Err(format!("it paused again: {:?}", fleet.progress().reason));
    }
    if !ended {
        let waits = fleet.in_state(AgentState::Pending);
        let free = lets_everybody_go(&fleet.guards, &records);
        let held = &fleet.progress().held_agents;
        if free || held.is_nobody() {
            return Err(format!("all is well, but {waits:?} wait, held: {held:?}"));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// Whatever happens, no start leaves a guard exceeded. Once all is well, the run ends, unless a guard lets nobody
    /// be out; then the run says so.
    #[test]
    fn no_start_leaves_a_guard_exceeded(setting in settings()) {
        prop_assert_eq!(play(setting), Ok(()));
    }
}
