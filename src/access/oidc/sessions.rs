//! Browsers that have logged in. A session is known by 256 random bits, of which only the checksum is kept, and belongs to
//! this process: who is sent to another engine logs in again there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::random::random_text;
use crate::access::{Identity, Subject};
use crate::clock::Clock;
use crate::playbook::access::OidcIssuer;
use crate::run::{Millis, Timestamp};

/// How long a session goes on after the login: a working day. The issuer is not asked again in between, so what it changes
/// counts after that time at the latest.
pub const SESSION: Millis = Millis(8 * 3_600_000);

/// The most sessions of one person: several browsers, some of which were closed without logging out.
pub const MAX_SESSIONS_EACH: usize = 16;

/// The most sessions in all: about 10 MB. Only who has logged in gets one.
pub const MAX_SESSIONS: usize = 10_000;

/// The browsers that have logged in. Cheap to clone; clones share the sessions.
#[derive(Clone)]
pub struct Sessions {
    clock: Arc<dyn Clock>,
    open: Arc<Mutex<BTreeMap<[u8; 32], Session>>>,
}

#[derive(Clone)]
struct Session {
    /// The identifier of the issuer that vouched: its short name may come to stand for another one.
    issuer: String,
    identity: Identity,
    until: Timestamp,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Sessions {
    /// No sessions yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, open: Arc::default() }
    }

    /// Opens a session for somebody for whom the issuer with this identifier has vouched. Returns what the browser has to
    /// send. Where there are too many, the oldest one ends.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn open(&self, issuer: &str, identity: Identity) -> Result<String, NoRandom> {
        let text = random_text()?;
        let now = self.clock.now();
        let until = now.plus(SESSION);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, session| session.until > now);
        let subject = identity.subject().clone();
        while end_oldest(&mut open, MAX_SESSIONS_EACH, |session| {
            *session.identity.subject() == subject
        }) {}
        while end_oldest(&mut open, MAX_SESSIONS, |_| true) {}
        open.insert(sum(&text), Session { issuer: issuer.to_owned(), identity, until });
        Ok(text)
    }

    /// Whose session a browser sends, as long as its issuer still is one of these.
    pub fn find(&self, text: &str, issuers: &[OidcIssuer]) -> Option<Identity> {
        self.found(&sum(text), issuers)
    }

    /// Like [`find`](Self::find), by the sum of what the browser sends, in hexadecimal digits.
    pub(crate) fn find_by_sum(&self, sum: &str, issuers: &[OidcIssuer]) -> Option<Identity> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(sum, &mut bytes).ok()?;
        self.found(&bytes, issuers)
    }

    fn found(&self, sum: &[u8; 32], issuers: &[OidcIssuer]) -> Option<Identity> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let found = open.get(sum).filter(|session| session.until > self.clock.now())?;
        let Subject::User { issuer: name, .. } = found.identity.subject() else { return None };
        let is_known = |one: &OidcIssuer| one.issuer == found.issuer && one.name == *name;
        issuers.iter().any(is_known).then(|| found.identity.clone())
    }

    /// Ends a session. Returns whether there was one.
    pub fn close(&self, text: &str) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&sum(text)).is_some()
    }
}

/// Ends the oldest of the sessions that `of` chooses if there are `most` of them or more. Returns whether it did.
fn end_oldest(
    open: &mut BTreeMap<[u8; 32], Session>,
    most: usize,
    of: impl Fn(&Session) -> bool,
) -> bool {
    let chosen = || open.iter().filter(|(_, session)| of(session));
    if chosen().count() < most {
        return false;
    }
    let oldest = chosen().min_by_key(|(_, session)| session.until).map(|(sum, _)| *sum);
    oldest.is_some_and(|sum| open.remove(&sum).is_some())
}

/// The system has no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to get random bytes from the system")]
pub struct NoRandom;

fn sum(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::TokioClock;

    fn issuer(name: &str, identifier: &str) -> OidcIssuer {
        OidcIssuer {
            name: name.to_owned(),
            issuer: identifier.to_owned(),
            audience: "replibook".to_owned(),
            user: "sub".to_owned(),
            groups: None,
            client: None,
        }
    }

    fn alice(number: usize) -> Identity {
        Identity::user("id", &format!("alice-{number}"), [], Timestamp::MAX).unwrap()
    }

    fn sessions() -> (Sessions, Arc<dyn Clock>) {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(Timestamp::from_millis(1)));
        (Sessions::new(clock.clone()), clock)
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_goes_on_until_it_is_closed_or_a_day_is_over() {
        let (sessions, clock) = sessions();
        let known = [issuer("id", "https://id.example.com")];
        let opened = sessions.open("https://id.example.com", alice(1)).unwrap();
        assert_eq!(sessions.find(&opened, &known), Some(alice(1)));
        assert_eq!(sessions.find("", &known), None);
        assert_eq!(sessions.find(&opened[1..], &known), None);
        for other in [issuer("id", "https://evil.example"), issuer("b", "https://id.example.com")] {
            assert_eq!(sessions.find(&opened, &[other]), None, "another issuer has the name now");
        }
        let second = sessions.open("https://id.example.com", alice(1)).unwrap();
        assert_ne!(opened, second);
        assert!(sessions.close(&second) && !sessions.close(&second));
        assert_eq!(sessions.find(&second, &known), None);
        clock.sleep(SESSION.to_std()).await;
        assert_eq!(sessions.find(&opened, &known), None);
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_are_bounded_for_each_and_for_all() {
        let (sessions, clock) = sessions();
        let known = [issuer("id", "https://id.example.com")];
        let mut opened = Vec::new();
        for _ in 0..=MAX_SESSIONS_EACH {
            opened.push(sessions.open("https://id.example.com", alice(0)).unwrap());
            clock.sleep(Millis(1).to_std()).await;
        }
        let going: Vec<_> = opened.iter().map(|one| sessions.find(one, &known).is_some()).collect();
        assert!(!going[0] && going[1..].iter().all(|going| *going), "the oldest one has ended");
        for number in 1..MAX_SESSIONS {
            let session = Session {
                issuer: String::new(),
                identity: alice(number),
                until: clock.now().plus(SESSION),
            };
            sessions.open.lock().unwrap().insert(sum(&number.to_string()), session);
        }
        sessions.open("https://id.example.com", alice(1)).unwrap();
        assert_eq!(sessions.open.lock().unwrap().len(), MAX_SESSIONS);
    }
}
