//! Random histories of random fleets that are larger than those of which everything is tried, and their shrinking.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::event::Event;
use super::fleet::Fleet;
use super::moved::Moved;
use super::property::{Broken, Property};
use super::scene::{Scene, Strategy};
use super::world::World;
use crate::run::IllegalInput;

/// The most events of one random history, for each agent of its fleet: each starts and ends, and some join, leave or wait.
const EVENTS_AN_AGENT: usize = 8;

/// The most groups of a random fleet.
const GROUPS: u32 = 6;

/// One in how many agents of a random history fails, at most.
const ONE_FAILS_IN: u32 = 8;

/// A history of a fleet that breaks a property.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) fleet: Fleet,
    pub(super) broken: Broken,
    pub(super) events: Vec<Event>,
}

/// One random history. `None` if it breaks nothing.
///
/// # Errors
/// Something that can't be: a mistake of this program.
pub(super) fn wander(
    scene: &Scene,
    strategy: &dyn Strategy,
    seed: u32,
    asked: &mut u64,
) -> Result<Option<Found>, IllegalInput> {
    let mut random = StdRng::seed_from_u64(seed.into());
    let most = scene.bounds.largest.max(1);
    let agents = random.random_range(1..=most);
    let groups = random.random_range(1..=GROUPS.min(agents));
    let fleet = Fleet { groups: (0..agents).map(|_| random.random_range(0..groups)).collect() };
    let (mut world, mut moved) = World::begin(scene, &fleet, GROUPS, strategy)?;
    let mut events = Vec::new();
    for _ in 0..agents as usize * EVENTS_AN_AGENT + 100 {
        *asked += moved.asked;
        if let Some(broken) = first(scene, &moved) {
            return Ok(Some(Found { fleet, broken, events }));
        }
        let may = world.may();
        // Agents mostly end well, and what happens seldom in life does so here.
        let kinds: Vec<&Event> = match random.random_range(0..20) {
            0..=12 => may.iter().filter(|event| matches!(event, Event::Ends(_))).collect(),
            13 | 14 => may.iter().filter(|event| matches!(event, Event::Fails(_))).collect(),
            15..=17 => may.iter().filter(|event| event.agent().is_none()).collect(),
            _ => may.iter().collect(),
        };
        let event = kinds.choose(&mut random).map(|event| (*event).clone());
        let Some(event) = event.or_else(|| may.choose(&mut random).cloned()) else { break };
        match world.happen(&event, strategy)? {
            Some(happened) => moved = happened,
            None => break,
        }
        events.push(event);
    }
    Ok(None)
}

/// The bounds of random histories: more of everything.
pub(super) fn larger(scene: Scene) -> Scene {
    let mut scene = scene;
    let largest = scene.bounds.largest;
    let bounds = &mut scene.bounds;
    bounds.failures = bounds.failures.max(largest / ONE_FAILS_IN);
    bounds.joins = bounds.joins.max(3);
    bounds.leaves = bounds.leaves.max(3);
    bounds.pauses = bounds.pauses.max(2);
    bounds.changes = bounds.joins + bounds.leaves + bounds.pauses;
    scene
}

/// Plays a history again, leaving out what can't happen. Returns what it breaks first, and the events until then.
///
/// # Errors
/// Something that can't be: a mistake of this program.
pub(super) fn play(
    scene: &Scene,
    strategy: &dyn Strategy,
    fleet: &Fleet,
    events: &[Event],
) -> Result<Option<Found>, IllegalInput> {
    let (mut world, moved) = World::begin(scene, fleet, GROUPS, strategy)?;
    let found = |broken, events: Vec<Event>| Found { fleet: fleet.clone(), broken, events };
    let mut happened = Vec::new();
    if let Some(broken) = first(scene, &moved) {
        return Ok(Some(found(broken, happened)));
    }
    for event in events {
        let Some(moved) = world.happen(event, strategy)? else { continue };
        happened.push(event.clone());
        if let Some(broken) = first(scene, &moved) {
            return Ok(Some(found(broken, happened)));
        }
    }
    Ok(None)
}

/// The first property that does not hold any more.
fn first(scene: &Scene, moved: &Moved) -> Option<Broken> {
    moved.broken.iter().find(|broken| scene.wanted.wants(broken.property)).cloned()
}

/// Makes a history as small as it gets: fewer agents, fewer events, as long as the same property breaks.
///
/// # Errors
/// Something that can't be: a mistake of this program.
pub(super) fn shrink(
    scene: &Scene,
    strategy: &dyn Strategy,
    mut found: Found,
) -> Result<Found, IllegalInput> {
    loop {
        let before = (found.fleet.len(), found.events.len());
        let mut part = found.events.len().max(1);
        while part > 0 {
            let mut from = 0;
            while from < found.events.len() {
                let mut fewer = found.events.clone();
                fewer.drain(from..(from + part).min(fewer.len()));
                match same(scene, strategy, &found.fleet, &fewer, found.broken.property)? {
                    Some(smaller) if smaller.events.len() < found.events.len() => found = smaller,
                    Some(_) | None => from += part,
                }
            }
            part /= 2;
        }
        let mut agents = found.fleet.len();
        while agents > 1 {
            // The last agents go first: the names of the others stay what they are.
            agents -= 1;
            let fleet = Fleet { groups: found.fleet.groups[..agents].to_vec() };
            let events = renamed(&found.events, agents, found.fleet.len());
            match same(scene, strategy, &fleet, &events, found.broken.property)? {
                Some(smaller) => found = smaller,
                None => break,
            }
        }
        if (found.fleet.len(), found.events.len()) == before {
            return Ok(found);
        }
    }
}

/// The events in a fleet of fewer agents, in which those that join have other names.
fn renamed(events: &[Event], fewer: usize, agents: usize) -> Vec<Event> {
    let number = |name: &str| name.rsplit('-').next().and_then(|it| it.parse::<usize>().ok());
    let rename = |agent: &crate::run::AgentId| match number(agent.as_str()) {
        Some(place) if place > agents => super::fleet::agent(place - 1 - (agents - fewer)),
        Some(_) | None => agent.clone(),
    };
    let renamed = events.iter().map(|event| match event {
        Event::Ends(agent) => Event::Ends(rename(agent)),
        Event::Fails(agent) => Event::Fails(rename(agent)),
        Event::Joins(agent, group) => Event::Joins(rename(agent), *group),
        Event::Leaves(agent) => Event::Leaves(rename(agent)),
        Event::Pauses => Event::Pauses,
        Event::Resumes => Event::Resumes,
        Event::Approves => Event::Approves,
        Event::Waits => Event::Waits,
    });
    renamed.collect()
}

/// The history as far as it breaks this property.
fn same(
    scene: &Scene,
    strategy: &dyn Strategy,
    fleet: &Fleet,
    events: &[Event],
    property: Property,
) -> Result<Option<Found>, IllegalInput> {
    let found = play(scene, strategy, fleet, events)?;
    Ok(found.filter(|found| found.broken.property == property))
}
