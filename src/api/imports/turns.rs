//! Turns: of those that have the same key one goes at a time, and nobody waits for another key. Plugins are compiled in
//! the turn of their client, so that many of one client do not hold up that of another, and in the turn of their digest,
//! so that the same bytes are not compiled twice.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The keys whose turn it is, or that wait for that. Cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::api) struct Turns<K>(Arc<Mutex<HashMap<K, Weak<Semaphore>>>>);

/// The turn of a key, given back when dropped.
#[derive(Debug)]
pub(in crate::api) struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
    /// Others with this key find it as long as somebody has it.
    _of_key: Arc<Semaphore>,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash> Turns<K> {
    /// Waits until those of this key that came before are done.
    pub(in crate::api) async fn take(&self, key: K) -> Turn {
        let of_key = self.of(key);
        // The semaphore is never closed.
        let permit = Arc::clone(&of_key).acquire_owned().await.ok();
        Turn { _permit: permit, _of_key: of_key }
    }

    fn of(&self, key: K) -> Arc<Semaphore> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = keys.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        keys.retain(|_, turn| turn.strong_count() > 0);
        let made = Arc::new(Semaphore::new(1));
        keys.insert(key, Arc::downgrade(&made));
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::Client;

    #[tokio::test]
    async fn a_client_waits_for_itself_and_for_nobody_else() {
        let turns = Turns::default();
        let client = |n: u8| Client::at(([10, 0, 0, n], 1).into());
        let first = turns.take(client(1)).await;
        let mut second = Box::pin(turns.take(client(1)));
        assert!(futures::poll!(&mut second).is_pending());
        let _other = turns.take(client(2)).await;
        drop(first);
        let second = second.await;
        assert_eq!(turns.0.lock().unwrap().len(), 2);
        drop(second);
        let _third = turns.take(client(3)).await;
        assert_eq!(turns.0.lock().unwrap().len(), 2, "who is gone is forgotten");
    }
}
