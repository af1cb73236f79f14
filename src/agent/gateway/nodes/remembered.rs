//! Jobs that have ended, as long as there is room. Whoever started one asks for it next, and its end does not change.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use super::place::Node;
use super::seen::{JobState, Seen};

/// The most bytes of these jobs together.
const MAX_REMEMBERED: usize = 8 * 1024 * 1024;

/// What a job takes beside its texts, about.
const OVERHEAD: usize = 512;

type Key = (Node, Uuid);

/// Cheap to share.
#[derive(Default)]
pub(super) struct Remembered(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    all: HashMap<Key, (Arc<Seen>, usize)>,
    order: VecDeque<Key>,
    bytes: usize,
}

impl Remembered {
    pub(super) fn get(&self, node: &Node, id: Uuid) -> Option<Arc<Seen>> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.all.get(&(node.clone(), id)).map(|(seen, _)| Arc::clone(seen))
    }

    /// Remembers a job if it has ended.
    pub(super) fn put(&self, node: &Node, id: Uuid, seen: &Seen) {
        let JobState::Ended(end) = &seen.state else { return };
        let metadata: usize =
            seen.metadata.iter().map(|(k, v)| k.len() + v.to_string().len()).sum();
        let words = seen.kind.len() + seen.args.to_string().len() + metadata;
        let bytes = OVERHEAD + words + end.stdout.len() + end.stderr.len();
        if bytes > MAX_REMEMBERED / 4 {
            return;
        }
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (node.clone(), id);
        if inner.all.insert(key.clone(), (Arc::new(seen.clone()), bytes)).is_some() {
            // What is known of one job is always the same.
            return;
        }
        inner.order.push_back(key);
        inner.bytes += bytes;
        while inner.bytes > MAX_REMEMBERED {
            let Some(oldest) = inner.order.pop_front() else { break };
            if let Some((_, bytes)) = inner.all.remove(&oldest) {
                inner.bytes = inner.bytes.saturating_sub(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Map, Value};

    use super::*;
    use crate::agent::gateway::nodes::{End, Place};
    use crate::run::Timestamp;

    fn seen(bytes: usize) -> Seen {
        let now = Timestamp::default();
        let end = End {
            code: 0,
            killed: None,
            stdout: Bytes::from(vec![b'x'; bytes]),
            cut: false,
            stderr: Bytes::new(),
            started: now,
            ended: now,
        };
        Seen {
            kind: "k".to_owned(),
            args: Value::Null,
            metadata: Map::new(),
            created: now,
            sent: now,
            state: JobState::Ended(end),
        }
    }

    #[test]
    fn the_oldest_make_room() {
        let (all, node) = (Remembered::default(), Node::at(Place::Local));
        let part = MAX_REMEMBERED / 4 - 1024;
        for id in 0..5 {
            all.put(&node, Uuid::from_u128(id), &seen(part));
            all.put(&node, Uuid::from_u128(id), &seen(part));
        }
        assert!(all.get(&node, Uuid::from_u128(0)).is_none());
        assert!((1..5).all(|id| all.get(&node, Uuid::from_u128(id)).is_some()));
        all.put(&node, Uuid::from_u128(9), &seen(MAX_REMEMBERED / 4));
        assert!(all.get(&node, Uuid::from_u128(9)).is_none(), "it would drive out all others");
        let mut wordy = seen(0);
        let words = Value::String("x".repeat(MAX_REMEMBERED / 4));
        wordy.metadata.insert("note".to_owned(), words);
        all.put(&node, Uuid::from_u128(7), &wordy);
        assert!(all.get(&node, Uuid::from_u128(7)).is_none(), "metadata count");
        let running = Seen { state: JobState::NotStarted, ..seen(0) };
        all.put(&node, Uuid::from_u128(8), &running);
        assert!(all.get(&node, Uuid::from_u128(8)).is_none(), "it is not its last word");
    }
}
