//! Agents that say what a test makes them say, as it comes.

use replibook::run::{Answer, Call, Member, Writes};

use super::World;
use crate::door::{action_said, fits, node_said};

/// Documents of a commit by kind, and their bytes.
pub(super) fn in_kinds(writes: &Writes) -> String {
    fn of<T: serde::Serialize>(documents: &[T]) -> (usize, usize) {
        let bytes = documents.iter().map(|d| serde_json::to_string(d).unwrap().len());
        (documents.len(), bytes.sum())
    }
    let (records, journals) = (of(&writes.records), of(&writes.journals));
    format!("records {records:?}, journals {journals:?}, events {:?}", of(&writes.events))
}

impl World {
    /// What an agent says next, where that is not what the work needs.
    pub(super) fn said(&mut self) -> Option<Vec<u8>> {
        (!self.says.is_empty()).then(|| {
            self.says.rotate_left(1);
            self.says[0].clone()
        })
    }

    /// What an agent says of itself at the start of a stage, as far as the driver keeps it.
    pub(super) fn say_at_start(&mut self, member: &mut Member) {
        let Some(Ok(node)) = self.said().map(|body| node_said(&body)) else { return };
        if fits(&node) {
            (member.attributes, member.node) = (node.attributes, node.raw);
        }
    }

    /// What it says to a call.
    pub(super) fn said_of(&mut self, what: &Call) -> Option<Answer> {
        let body = self.said()?;
        Some(match what {
            Call::Info => Answer::Info(node_said(&body)),
            _ => Answer::RunAction(action_said(&body)),
        })
    }
}
