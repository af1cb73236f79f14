//! A history that breaks a property, as people read it.

use super::check::names;
use super::event::Event;
use super::fleet::{self, Fleet};
use super::moved::{Moved, Told};
use super::property::Broken;
use super::report::{Counterexample, Moment};
use super::scene::{START, Scene, Strategy};
use super::world::World;
use crate::run::{IllegalInput, Timestamp};

/// How much of a text of a strategy is shown, in characters.
const SHOWN: usize = 120;

/// Plays the history once more, and writes down what happens.
///
/// # Errors
/// Something that can't be: a mistake of this program.
pub(super) fn counterexample(
    scene: &Scene,
    strategy: &dyn Strategy,
    fleet: &Fleet,
    join_in: u32,
    (broken, events): (&Broken, &[Event]),
    seed: Option<u32>,
) -> Result<Counterexample, IllegalInput> {
    let (mut world, moved) = World::begin(scene, fleet, join_in, strategy)?;
    let mut timeline = vec![moment("the stage begins".to_owned(), world.now, &moved)];
    for event in events {
        let Some(moved) = world.happen(event, strategy)? else { continue };
        let next = moment(in_words(scene, event), world.now, &moved);
        match timeline.last_mut() {
            // Only the clock differs.
            Some(last) if last.event == next.event && last.answers == next.answers => {
                last.times += 1;
                last.at = next.at;
            }
            Some(_) | None => timeline.push(next),
        }
    }
    let fleet = fleet.agents().map(|(agent, group)| (agent.0, fleet::group(group))).collect();
    let events = timeline.len() - 1;
    Ok(Counterexample { why: cut(&broken.why), seed, fleet, timeline, events })
}

fn moment(event: String, at: Timestamp, moved: &Moved) -> Moment {
    let mut answers: Vec<String> = moved.told.iter().map(answer).collect();
    // The host asks again after it has looked at the nodes for the guards.
    answers.dedup();
    Moment { event, at: at.as_millis() - START.as_millis(), times: 1, answers }
}

fn in_words(scene: &Scene, event: &Event) -> String {
    match event {
        Event::Ends(agent) => format!("{agent} ends well"),
        Event::Fails(agent) => format!("{agent} fails"),
        Event::Joins(agent, group) => match scene.attributes().first() {
            Some(by) => format!("{agent} joins, in {by} {}", fleet::group(*group)),
            None => format!("{agent} joins"),
        },
        Event::Leaves(agent) => format!("{agent} leaves"),
        Event::Pauses => "a person pauses the run".to_owned(),
        Event::Resumes => "a person resumes the run".to_owned(),
        Event::Approves => "a person approves".to_owned(),
        Event::Waits => "the moment comes for which it waits".to_owned(),
    }
}

fn answer(told: &Told) -> String {
    let Told { starts, skips, next, label, memo: _ } = told;
    let mut parts = Vec::new();
    if !starts.is_empty() {
        parts.push(format!("starts {}", names(&starts.iter().collect::<Vec<_>>())));
    }
    if !skips.is_empty() {
        parts.push(format!("leaves out {}", names(&skips.iter().collect::<Vec<_>>())));
    }
    // When exactly it wants to be asked again differs from one answer to the next.
    let next = if next.starts_with("wait until ") { "wait until a moment" } else { next };
    parts.push(cut(next));
    let label = label.as_ref().map(|label| format!(" ({})", cut(label))).unwrap_or_default();
    format!("{}{label}", parts.join(", then "))
}

fn cut(text: &str) -> String {
    let shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() { format!("{shown}…") } else { shown }
}
