//! A whole proof: first everything over small fleets, from the smallest on, then random histories over larger ones.

use std::collections::BTreeMap;

use super::bounds::Bounds;
use super::explore::explore;
use super::fleet::Fleet;
use super::looks::Looks;
use super::property::Property;
use super::report::{Counterexample, Covered, Finding, Outcome};
use super::scene::{Scene, Strategy};
use super::timeline::counterexample;
use super::wander::{larger, shrink, wander};
use crate::run::{AgentState, IllegalInput};

/// What a proof found, apart from the name of the strategy.
#[derive(Clone, Debug)]
pub struct Proof {
    /// Whether all properties hold, as far as was looked.
    pub proved: bool,
    /// What was to hold, and whether it does.
    pub findings: Vec<Finding>,
    /// How much was looked at.
    pub covered: Covered,
    /// Which states were taken for one, and why that is right.
    pub merged: Vec<String>,
    /// What was not looked at.
    pub not_covered: Vec<String>,
}

/// Looks at a strategy. `told` is called again and again with how far that is.
///
/// # Errors
/// Something that can't be: a mistake of this program. A property that does not hold is no error.
pub fn prove(
    scene: Scene,
    strategy: &dyn Strategy,
    told: &dyn Fn(&Covered),
) -> Result<Proof, IllegalInput> {
    let mut going = Going::default();
    let bounds = scene.bounds;
    going.everything(&scene, strategy, told)?;
    let wanted = scene.wanted.clone();
    if going.broken.is_empty() && bounds.seeds > 0 && bounds.largest > 0 {
        going.at_random(larger(scene), strategy, told)?;
    }
    let stopped = going.cut || !going.broken.is_empty();
    let finding = |property: Property| {
        let counterexample = going.broken.get(&property).cloned();
        let result = match (&counterexample, stopped) {
            (Some(_), _) => Outcome::Broken,
            (None, true) => Outcome::Open,
            (None, false) => Outcome::Held,
        };
        let (sentence, certified) = (wanted.sentence(property), wanted.certified(property));
        Finding { property, sentence, certified, result, counterexample }
    };
    Ok(Proof {
        proved: !stopped,
        findings: wanted.all().into_iter().map(finding).collect(),
        covered: going.covered,
        merged: merged(going.looks, wanted.is_about_groups()),
        not_covered: not_covered(&going, &bounds),
    })
}

#[derive(Default)]
struct Going {
    covered: Covered,
    looks: Looks,
    broken: BTreeMap<Property, Counterexample>,
    /// Whether there were too many states.
    cut: bool,
}

impl Going {
    /// Tries everything over fleets of one agent, of two, and so on. A size at which something breaks is the last one.
    fn everything(
        &mut self,
        scene: &Scene,
        strategy: &dyn Strategy,
        told: &dyn Fn(&Covered),
    ) -> Result<(), IllegalInput> {
        for agents in 1..=scene.bounds.agents {
            let about_groups = scene.wanted.is_about_groups();
            let mut fleets = vec![Fleet::alike(agents)];
            let mut at = 0;
            let mut widened = false;
            while at < fleets.len() {
                let groups = about_groups || self.looks.sees_groups();
                if groups && !widened {
                    // It matters in which groups agents are, so nothing that was tried counts.
                    (widened, at) = (true, 0);
                    fleets = Fleet::all(agents, scene.bounds.groups);
                }
                let saw = self.looks.sees_groups();
                let join_in = if groups { scene.bounds.groups } else { 1 };
                self.one(scene, (&fleets[at], join_in), strategy)?;
                if self.looks.sees_groups() != saw && !about_groups {
                    continue;
                }
                at += 1;
                self.covered.fleets += 1;
                told(&self.covered);
                if self.cut {
                    return Ok(());
                }
            }
            self.covered.agents = agents;
            if !self.broken.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn one(
        &mut self,
        scene: &Scene,
        (fleet, join_in): (&Fleet, u32),
        strategy: &dyn Strategy,
    ) -> Result<(), IllegalInput> {
        let left = scene.bounds.states.saturating_sub(self.covered.states).max(1);
        let explored = explore(scene, fleet, join_in, strategy, self.looks, left)?;
        self.covered.states += explored.states;
        self.covered.questions += explored.asked;
        self.looks = self.looks.and(explored.looks);
        self.cut |= explored.cut;
        for (property, (broken, events)) in explored.broken {
            let is_shorter = |known: &Counterexample| events.len() < known.timeline.len() - 1;
            if self.broken.get(&property).is_none_or(is_shorter) {
                let history = (&broken, events.as_slice());
                let example = counterexample(scene, strategy, fleet, join_in, history, None)?;
                self.broken.insert(property, example);
            }
        }
        Ok(())
    }

    /// Random histories of larger fleets. The first that breaks something is the last.
    fn at_random(
        &mut self,
        scene: Scene,
        strategy: &dyn Strategy,
        told: &dyn Fn(&Covered),
    ) -> Result<(), IllegalInput> {
        for seed in 0..scene.bounds.seeds {
            let found = wander(&scene, strategy, seed, &mut self.covered.questions)?;
            self.covered.histories += 1;
            told(&self.covered);
            let Some(found) = found else { continue };
            let found = shrink(&scene, strategy, found)?;
            let history = (&found.broken, found.events.as_slice());
            let example =
                counterexample(&scene, strategy, &found.fleet, u32::MAX, history, Some(seed))?;
            self.broken.insert(found.broken.property, example);
            return Ok(());
        }
        Ok(())
    }
}

/// Which states were taken for one.
fn merged(looks: Looks, about_groups: bool) -> Vec<String> {
    let mut merged = vec![
        "states in which all is the same that the strategy ever asked about, and all that may still happen"
            .to_owned(),
    ];
    if looks.sees_records() {
        merged.push(
            "no agents: it looks at single agents, so each of them counts for itself".to_owned(),
        );
        return merged;
    }
    let told: Vec<_> =
        AgentState::ALL.into_iter().filter(|it| !looks.has(Looks::page(*it))).collect();
    if !told.is_empty() {
        let names: Vec<_> = told.iter().map(|state| state.as_str()).collect();
        merged.push(format!(
            "agents that are {}: it is told only how many there are, never which",
            names.join(", ")
        ));
    }
    if !looks.sees_groups() {
        let text = "fleets that differ only in groups: it never looks at an attribute";
        merged.extend((!about_groups).then(|| text.to_owned()));
    }
    merged
}

/// What was not looked at, so that nobody takes the proof for more than it is.
fn not_covered(going: &Going, bounds: &Bounds) -> Vec<String> {
    let mut not = Vec::new();
    if going.cut {
        not.push(format!(
            "fleets of more than {} agents whole: there are more than {} states",
            going.covered.agents, bounds.states
        ));
    } else if !going.broken.is_empty() && going.covered.histories == 0 {
        not.push("larger fleets: the proof ends where something breaks".to_owned());
    }
    not.push(match going.covered.histories {
        0 => format!("fleets of more than {} agents", going.covered.agents),
        histories => format!(
            "fleets of more than {} agents, but for {histories} random histories",
            going.covered.agents
        ),
    });
    not.push(format!(
        "small fleets with more failures than {}, or more than {} of joins, departures and pauses together; agents that return",
        bounds.failures, bounds.changes
    ));
    not.push("groups by other names, or agents without the attribute".to_owned());
    not.push(
        "time: steps take none, and the clock moves only to moments that the strategy asks for"
            .to_owned(),
    );
    not.push("nodes that are ill, budgets, retries by a person, windows and freezes".to_owned());
    not
}
