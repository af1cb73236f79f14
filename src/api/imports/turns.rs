//! Lets each client have one plugin compiled at a time, so that many of one client do not hold up that of another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::web::Client;

/// The clients that have something compiled, or wait for that. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(in crate::api) struct Turns(Arc<Mutex<HashMap<Client, Weak<Semaphore>>>>);

/// The turn of a client, given back when dropped.
#[derive(Debug)]
pub(in crate::api) struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
    /// Others of this client find it as long as somebody has it.
    _of_client: Arc<Semaphore>,
}

impl Turns {
    /// Waits until the other plugins of this client that came before are done.
    pub(in crate::api) async fn take(&self, client: Client) -> Turn {
        let of_client = self.of(client);
        // The semaphore is never closed.
        let permit = Arc::clone(&of_client).acquire_owned().await.ok();
        Turn { _permit: permit, _of_client: of_client }
    }

    fn of(&self, client: Client) -> Arc<Semaphore> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = clients.get(&client).and_then(Weak::upgrade) {
            return known;
        }
        clients.retain(|_, turn| turn.strong_count() > 0);
        let made = Arc::new(Semaphore::new(1));
        clients.insert(client, Arc::downgrade(&made));
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
