//! Agents that answer exactly what a test makes them answer.

use replibook_core::run::{
    Answer, AttemptKey, Call, Effect, Input, KeptNode, Member, Perform, Writes,
};

use super::World;
use crate::door::{action_said, fits, node_said};

/// How many bytes a store counts for a commit: all its documents except the run, as JSON.
pub(super) fn bytes(writes: &Writes) -> usize {
    fn of<T: serde::Serialize>(documents: &[T]) -> usize {
        documents.iter().map(|document| serde_json::to_string(document).unwrap().len()).sum()
    }
    let Writes { progress: _, records, journals, logs, events, commands } = writes;
    of(records) + of(journals) + of(logs) + of(events) + of(commands)
}

/// How many documents of each kind a commit has, and their bytes, as text.
pub(super) fn in_kinds(writes: &Writes) -> String {
    fn of<T: serde::Serialize>(documents: &[T]) -> (usize, usize) {
        let bytes = documents.iter().map(|d| serde_json::to_string(d).unwrap().len());
        (documents.len(), bytes.sum())
    }
    let (records, journals) = (of(&writes.records), of(&writes.journals));
    format!("records {records:?}, journals {journals:?}, events {:?}", of(&writes.events))
}

impl World {
    /// The next answer of an agent; none if it is what the work needs.
    pub(super) fn said(&mut self) -> Option<Vec<u8>> {
        (!self.says.is_empty()).then(|| {
            self.says.rotate_left(1);
            self.says[0].clone()
        })
    }

    /// Performs this many effects, all of which go well. Returns whether none are left: an agent that never says how its action
    /// ended is asked for ever.
    pub(crate) fn rests_after(&mut self, effects: usize) -> bool {
        for _ in 0..effects {
            self.now += 10;
            match (self.effects.is_empty(), self.wake) {
                (false, _) => self.perform(0, false),
                (true, Some(_)) => self.wake(),
                (true, None) => return true,
            }
        }
        false
    }

    /// Sets what an agent says about itself at the start of a stage, as far as the driver keeps it.
    pub(super) fn say_at_start(&mut self, member: &mut Member) {
        let Some(Ok(node)) = self.said().map(|body| node_said(&body)) else { return };
        if fits(&node) {
            (member.attributes, member.node) = (node.attributes, node.raw);
        }
    }

    /// What the agent answers to a call.
    pub(super) fn said_of(&mut self, what: &Call) -> Option<Answer> {
        let body = self.said()?;
        Some(match what {
            Call::Info => Answer::Info(node_said(&body).map(KeptNode::from)),
            _ => Answer::RunAction(action_said(&body)),
        })
    }

    /// Performs effects until a step is to be activated. Returns its attempt.
    pub(crate) fn until_activation(&mut self) -> AttemptKey {
        let key = |effect: &Effect| match effect {
            Effect::Activate(activate) => Some(activate.key),
            _ => None,
        };
        loop {
            if let Some(key) = self.effects.iter().find_map(key) {
                return key;
            }
            assert!(!self.effects.is_empty(), "no step is to be activated");
            self.perform(0, false);
        }
    }

    /// The first call to an agent that is in flight.
    pub(crate) fn first_call(&self) -> &Perform {
        let call = |effect: &'_ Effect| matches!(effect, Effect::Perform(_));
        let Some(Effect::Perform(perform)) = self.effects.iter().find(|effect| call(effect)) else {
            panic!("no call is out");
        };
        perform
    }

    /// Answers the first call to an agent that is in flight.
    pub(crate) fn answer_first_call(&mut self, answer: Answer) {
        let (key, call) = (self.first_call().key, self.first_call().call);
        let is_it = |effect: &Effect| matches!(effect, Effect::Perform(p) if p.key == key && p.call == call);
        self.effects.retain(|effect| !is_it(effect));
        self.apply(Input::Answered { key, call, answer });
    }

    /// Takes the run up from the store of an earlier version, in which it is not recorded how many agents
    /// were selected.
    pub(crate) fn take_up_without_selected(&mut self) {
        self.run.progress.selected = 0;
        self.crash();
    }
}
