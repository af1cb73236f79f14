//! Tries everything that may happen to one fleet, the shortest histories first. So the first history that breaks a property
//! is one of the shortest.

use std::collections::{BTreeMap, HashSet, VecDeque};

use super::event::Event;
use super::fleet::Fleet;
use super::looks::Looks;
use super::moved::Moved;
use super::property::{Broken, Property};
use super::scene::{Scene, Strategy};
use super::world::World;
use crate::run::IllegalInput;

/// What was found by trying everything.
#[derive(Debug, Default)]
pub(super) struct Explored {
    /// How many states there are.
    pub(super) states: u64,
    /// How often the strategy was asked.
    pub(super) asked: u64,
    /// What it looks at.
    pub(super) looks: Looks,
    /// Properties that do not hold, each with the first history that breaks it.
    pub(super) broken: BTreeMap<Property, (Broken, Vec<Event>)>,
    /// Whether there were too many states to look at all of them.
    pub(super) cut: bool,
}

/// The state from which another one came, and what happened to it.
type Step = (usize, Option<Event>);

/// Tries everything that may happen to a fleet. `looks` is what the strategy is known to look at; agents join in as many
/// groups as `join_in`, and at most `most` states are looked at.
///
/// # Errors
/// Something that can't be: a mistake of this program.
pub(super) fn explore(
    scene: &Scene,
    fleet: &Fleet,
    join_in: u32,
    strategy: &dyn Strategy,
    looks: Looks,
    most: u64,
) -> Result<Explored, IllegalInput> {
    let mut explored = Explored { looks, ..Explored::default() };
    loop {
        let known = explored.looks;
        let again = round(scene, fleet, join_in, strategy, most, &mut explored)?;
        if !again {
            return Ok(explored);
        }
        debug_assert!(explored.looks != known, "it looked at something new");
        // States that differ in this were taken for one. What was broken is broken, but another history may be shorter.
        let (looks, asked) = (explored.looks, explored.asked);
        explored = Explored { looks, asked, ..Explored::default() };
    }
}

/// Looks at all states once. Returns true if the strategy looked at something that was left out.
fn round(
    scene: &Scene,
    fleet: &Fleet,
    join_in: u32,
    strategy: &dyn Strategy,
    most: u64,
    explored: &mut Explored,
) -> Result<bool, IllegalInput> {
    let (world, moved) = World::begin(scene, fleet, join_in, strategy)?;
    let mut seen = HashSet::from([world.key(explored.looks)]);
    let mut steps: Vec<Step> = vec![(0, None)];
    let mut queue = VecDeque::new();
    if explored.take(scene, moved, &steps, 0) {
        return Ok(true);
    }
    queue.push_back((world, 0));
    explored.states = 1;
    while let Some((world, at)) = queue.pop_front() {
        for event in world.may() {
            let mut next = world.clone();
            let Some(moved) = next.happen(&event, strategy)? else { continue };
            let stops = moved.broken.iter().any(|broken| is_endless(broken.property));
            steps.push((at, Some(event)));
            let new = steps.len() - 1;
            let is_broken = !moved.broken.is_empty();
            if explored.take(scene, moved, &steps, new) {
                return Ok(true);
            }
            if stops {
                // More of the same would follow, and the shorter histories were looked at.
                return Ok(false);
            }
            if next.refused || !seen.insert(next.key(explored.looks)) {
                if !is_broken {
                    steps.pop();
                }
                continue;
            }
            explored.states += 1;
            if explored.states >= most {
                explored.cut = true;
                return Ok(false);
            }
            if !next.over {
                queue.push_back((next, new));
            }
        }
    }
    Ok(false)
}

/// Whether more of the same follows, again and again, once this is broken.
const fn is_endless(property: Property) -> bool {
    match property {
        Property::Memo | Property::Ends => true,
        Property::Answers
        | Property::Everybody
        | Property::Once
        | Property::Named
        | Property::Waits
        | Property::InFlight
        | Property::OneGroup
        | Property::Guards => false,
    }
}

impl Explored {
    /// Takes over what came of an event. Returns true if the strategy looked at something that was left out.
    fn take(&mut self, scene: &Scene, moved: Moved, steps: &[Step], at: usize) -> bool {
        self.asked += moved.asked;
        for broken in moved.broken {
            if scene.wanted.wants(broken.property) {
                let entry = self.broken.entry(broken.property);
                entry.or_insert_with(|| (broken, history(steps, at)));
            }
        }
        let looks = self.looks.and(moved.looks);
        let is_new = looks != self.looks;
        self.looks = looks;
        is_new
    }
}

/// What has happened until this state.
fn history(steps: &[Step], mut at: usize) -> Vec<Event> {
    let mut history = Vec::new();
    while let Some((from, Some(event))) = steps.get(at) {
        history.push(event.clone());
        at = *from;
    }
    history.reverse();
    history
}
