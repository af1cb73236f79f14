//! The credentials of a server of ours: the certificate that it shows, the authority of its clients, and the token that
//! they have to know.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::folder::Use;
use super::kept::{Kept, KeptCredentials};
use super::refused::NotUsed;
use crate::run::Digest;
use crate::web::{Secured, TlsSource, TokenSource};

/// The credentials of a server, as they count now. If they are gone, or got broken, those of before count, and also if they
/// ask for nothing any more: a file that is gone may be half of a rotation, and must not let everybody in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServedTls {
    kept: KeptCredentials,
    name: Arc<str>,
    last: Arc<Mutex<Last>>,
}

#[derive(Debug)]
struct Last {
    kept: Arc<Kept>,
    /// The settings, with what is cancelled once whoever connected under this authority may no longer be one of its clients.
    secured: Secured,
}

impl ServedTls {
    /// The credentials of this name.
    ///
    /// # Errors
    /// There are none, or they are not for a server.
    pub fn of(kept: &KeptCredentials, name: &str) -> Result<Self, NotUsed> {
        let found = kept.get(name, Use::Server)?;
        let (config, clients) = found.server().ok_or_else(|| NotUsed::Lacking {
            name: name.to_owned(),
            why: "they are not for a server".to_owned(),
        })?;
        let secured = Secured { config, clients, retired: CancellationToken::new() };
        let last = Last { kept: found, secured };
        Ok(Self { kept: kept.clone(), name: name.into(), last: Arc::new(Mutex::new(last)) })
    }

    /// Whether clients have to prove who they are.
    pub fn asks(&self) -> bool {
        self.look(|last| last.kept.asks())
    }

    /// Where a server takes the token from that requests have to bring.
    pub(crate) fn tokens(&self) -> TokenSource {
        let this = self.clone();
        TokenSource::of(move || {
            let digest = |token: &String| Digest::of(token.as_bytes());
            this.look(|last| last.kept.credential.token.as_ref().map(digest))
        })
    }

    /// Where a server takes its settings from, for each connection.
    pub(crate) fn source(&self) -> TlsSource {
        let this = self.clone();
        TlsSource::of(move || this.look(|last| last.secured.clone()))
    }

    /// Reads from what counts now.
    fn look<T>(&self, read: impl FnOnce(&Last) -> T) -> T {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(found) = self.kept.get(&self.name, Use::Server)
            && !Arc::ptr_eq(&found, &last.kept)
            && let Some((config, clients)) = found.server()
        {
            if last.kept.asks() && !found.asks() {
                self.kept.hold(&self.name, &found);
            } else {
                let retired = last.secured.retired.clone();
                let changes_clients = found.credential.ca != last.kept.credential.ca;
                let next = if changes_clients { CancellationToken::new() } else { retired.clone() };
                last.secured = Secured { config, clients, retired: next };
                last.kept = found;
                if changes_clients {
                    retired.cancel();
                }
            }
        }
        read(&last)
    }
}
