//! Logins of browsers that go on. Each makes this server ask an issuer, which anybody may have it do, so nobody takes the
//! places of all others, and who was wrong too often waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::run::Millis;
use crate::web::Client;

/// How many logins of one client are ended at once: issuers take a fraction of a second, and people behind one address
/// rarely come back from their issuer at the same moment. There are several times as many places in all.
const MAX_EACH: usize = 2;

/// How long somebody waits who finds no place.
const WAIT: Duration = Duration::from_secs(1);

/// The logins that go on. Clones share them. Moments are by a clock that nobody sets.
#[derive(Clone, Debug, Default)]
pub(super) struct Logins {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// How many go on, for each client that has any.
    going: HashMap<Client, usize>,
    /// Until when nobody there may try.
    barred: HashMap<Client, Millis>,
}

/// A place of a login, until it is dropped.
#[derive(Debug)]
pub(crate) struct LoginPlace {
    inner: Arc<Mutex<Inner>>,
    client: Client,
}

impl Logins {
    /// A client was wrong too often: it may not try before this moment.
    pub(super) fn bar(&self, client: Client, now: Millis, wait: Duration) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.barred.retain(|_, until| *until > now);
        // What is left of a millisecond is waited for, too.
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        inner.barred.insert(client, now.plus(Millis(wait)));
    }

    /// A place for a login of a client. `Err` is how long they have to wait before they may try again.
    ///
    /// # Errors
    /// They were wrong too often, or have all of their places.
    pub(super) fn enter(&self, client: Client, now: Millis) -> Result<LoginPlace, Duration> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = inner.barred.get(&client).filter(|until| **until > now) {
            return Err(Millis(until.0.saturating_sub(now.0)).to_std());
        }
        let going = inner.going.entry(client).or_default();
        if *going >= MAX_EACH {
            return Err(WAIT);
        }
        *going += 1;
        Ok(LoginPlace { inner: Arc::clone(&self.inner), client })
    }
}

impl Drop for LoginPlace {
    fn drop(&mut self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(going) = inner.going.get_mut(&self.client) {
            *going = going.saturating_sub(1);
            if *going == 0 {
                inner.going.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u8) -> Client {
        Client::at(([10, 0, 0, number], 1).into())
    }

    #[test]
    fn nobody_takes_the_places_of_others() {
        let logins = Logins::default();
        let mut places: Vec<_> =
            (0..MAX_EACH).map(|_| logins.enter(client(1), Millis(0)).unwrap()).collect();
        assert_eq!(logins.enter(client(1), Millis(0)).unwrap_err(), WAIT);
        assert!(logins.enter(client(2), Millis(0)).is_ok());
        places.pop();
        places.push(logins.enter(client(1), Millis(0)).unwrap());
        assert!(logins.enter(client(1), Millis(0)).is_err());
        places.clear();
        assert!(logins.inner.lock().unwrap().going.is_empty());
    }

    #[test]
    fn whoever_was_wrong_too_often_waits() {
        let logins = Logins::default();
        logins.bar(client(1), Millis(100), Duration::from_millis(50));
        let wait = logins.enter(client(1), Millis(110)).unwrap_err();
        assert_eq!(wait, Duration::from_millis(41));
        assert!(logins.enter(client(2), Millis(110)).is_ok());
        assert!(logins.enter(client(1), Millis(151)).is_ok());
        logins.bar(client(2), Millis(200), Duration::from_millis(50));
        assert_eq!(logins.inner.lock().unwrap().barred.len(), 1, "what is over is forgotten");
    }
}
