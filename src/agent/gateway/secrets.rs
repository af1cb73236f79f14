//! The secrets of actions, in memory alone. They are needed to take them out of what the actions print: what has secrets and
//! is not here any more shows nothing of its output.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::agent::server::Hidden;
use crate::run::Millis;

/// How many bytes of arguments with secrets are kept. Of what is beyond that, the oldest are forgotten.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// How many actions with secrets are kept.
const MAX_ACTIONS: usize = 20_000;

/// How long the secrets of an action are kept after somebody was told of its end: whoever did not get the answer asks again
/// soon.
const KEPT: Millis = Millis::from_secs(10 * 60);

/// The secrets of the actions that are at work. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Secrets(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    actions: HashMap<Uuid, Action>,
    /// The actions, the oldest first; some may be forgotten already.
    order: VecDeque<Uuid>,
    bytes: usize,
}

struct Action {
    hidden: Arc<Hidden>,
    /// When somebody was first told of its end.
    told: Option<Millis>,
}

impl Secrets {
    /// Keeps the secrets of an action that has none here yet. Returns whether it had none.
    pub(super) fn put(&self, id: Uuid, hidden: Arc<Hidden>, now: Millis) -> bool {
        let mut kept = self.lock();
        if kept.actions.contains_key(&id) {
            return false;
        }
        kept.bytes = kept.bytes.saturating_add(hidden.bytes());
        kept.actions.insert(id, Action { hidden, told: None });
        kept.order.push_back(id);
        kept.sweep(now);
        true
    }

    /// The secrets of an action.
    pub(super) fn get(&self, id: Uuid) -> Option<Arc<Hidden>> {
        self.lock().actions.get(&id).map(|action| Arc::clone(&action.hidden))
    }

    /// Somebody was told that the action has ended.
    pub(super) fn told(&self, id: Uuid, now: Millis) {
        if let Some(action) = self.lock().actions.get_mut(&id) {
            action.told.get_or_insert(now);
        }
    }

    /// Forgets an action that was not begun.
    pub(super) fn forget(&self, id: Uuid) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn remove(&mut self, id: Uuid) {
        if let Some(action) = self.actions.remove(&id) {
            self.bytes = self.bytes.saturating_sub(action.hidden.bytes());
        }
    }

    /// Forgets what is old, and what is too much.
    fn sweep(&mut self, now: Millis) {
        while let Some(id) = self.order.front().copied() {
            let is_old = self.actions.get(&id).is_none_or(|action| {
                action.told.is_some_and(|told| now.0.saturating_sub(told.0) > KEPT.0)
            });
            let is_much = self.bytes > MAX_BYTES || self.actions.len() > MAX_ACTIONS;
            if !is_old && !is_much {
                return;
            }
            self.order.pop_front();
            self.remove(id);
        }
    }
}

/// Actions that are known to have no secrets, so that nobody has to look again before a piece of their output is shown. Cheap
/// to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Plain(Arc<Mutex<HashSet<Uuid>>>);

impl Plain {
    pub(super) fn has(&self, id: Uuid) -> bool {
        self.lock().contains(&id)
    }

    pub(super) fn put(&self, id: Uuid) {
        let mut known = self.lock();
        // Those that are forgotten are looked at again.
        if known.len() >= MAX_ACTIONS {
            known.clear();
        }
        known.insert(id);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::run::SECRET_PLACES;

    fn hidden(bytes: usize) -> Arc<Hidden> {
        let args = json!({"a": "x".repeat(bytes)}).to_string();
        let metadata = json!({ SECRET_PLACES: r#"[{"at": "/a"}]"# }).to_string();
        Arc::new(Hidden::of(args, metadata).1.unwrap())
    }

    const fn id(n: usize) -> Uuid {
        Uuid::from_u128(n as u128)
    }

    #[test]
    fn secrets_are_kept_until_somebody_knows_the_end_and_a_while_longer() {
        let secrets = Secrets::default();
        assert!(secrets.put(id(1), hidden(10), Millis(0)));
        assert!(!secrets.put(id(1), hidden(20), Millis(0)), "the first one counts");
        secrets.told(id(1), Millis(5));
        secrets.put(id(2), hidden(10), Millis(5 + KEPT.0));
        assert!(secrets.get(id(1)).is_some());
        secrets.put(id(3), hidden(10), Millis(6 + KEPT.0));
        assert!(secrets.get(id(1)).is_none() && secrets.get(id(2)).is_some());
        secrets.forget(id(2));
        assert!(secrets.get(id(2)).is_none());
        secrets.forget(id(3));
        assert_eq!(secrets.lock().bytes, 0);
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let secrets = Secrets::default();
        for n in 0..=MAX_ACTIONS {
            secrets.put(id(n), hidden(10), Millis(0));
        }
        assert!(secrets.get(id(0)).is_none() && secrets.get(id(1)).is_some());
        let secrets = Secrets::default();
        for n in 0..65 {
            secrets.put(id(n), hidden(1024 * 1024), Millis(0));
        }
        assert!(secrets.get(id(0)).is_none() && secrets.get(id(64)).is_some());
        assert!(secrets.lock().bytes <= MAX_BYTES);
        let plain = Plain::default();
        for n in 0..=MAX_ACTIONS {
            plain.put(id(n));
        }
        assert!(plain.has(id(MAX_ACTIONS)) && !plain.has(id(0)));
    }
}
