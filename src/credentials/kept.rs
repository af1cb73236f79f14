//! The credentials that count now. They are read again when their folder changes, so that new certificates count without
//! a restart. Credentials that got broken change nothing: those before count, and what is wrong is said.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::{ClientConfig, ServerConfig};

use super::error::CredentialsError;
use super::expiry::{Expiry, expiries};
use super::folder::{Credential, Credentials, Use};
use super::places::Places;
use super::refused::NotUsed;
use super::tls;
use crate::run::Digest;

/// Credentials that can be used, with the settings of TLS that they stand for.
#[derive(Debug)]
pub struct Kept {
    /// What they are.
    pub credential: Credential,
    /// Digest of all their files. It tells one content from another, and never leaves the process: there are secrets in
    /// what it is of.
    pub(crate) content: Digest,
    pub(super) expiries: Vec<Expiry>,
    settings: Settings,
}

#[derive(Debug)]
enum Settings {
    /// For connections to others, and where they may lead.
    Client(Box<ClientConfig>, Places),
    /// The second says who its clients are, if they have to show a certificate.
    Server(Arc<ServerConfig>, Option<tls::Clients>),
    /// Registries have their own clients.
    Registry,
}

impl Kept {
    /// Makes ready what was read.
    ///
    /// # Errors
    /// What is wrong with which file.
    fn of(credential: Credential, content: Digest) -> Result<Self, CredentialsError> {
        let bad = |why: String| credential.bad(why);
        let settings = match credential.used {
            Use::Agent | Use::Platform => {
                let places = Places::read(&credential.name, credential.origins()).map_err(bad)?;
                let config = tls::client_config(Some(&credential)).map_err(bad)?;
                Settings::Client(Box::new(config), places)
            }
            Use::Server => {
                let (config, clients) = tls::server_config(&credential).map_err(bad)?;
                Settings::Server(Arc::new(config), clients)
            }
            Use::Registry => {
                tls::check(&credential).map_err(bad)?;
                Settings::Registry
            }
        };
        let expiries = expiries(&credential).map_err(bad)?;
        Ok(Self { credential, content, expiries, settings })
    }

    /// How to connect to an address with these credentials.
    ///
    /// # Errors
    /// They may not go there.
    pub(crate) fn client_for(&self, address: &str) -> Result<&ClientConfig, NotUsed> {
        match &self.settings {
            Settings::Client(config, places) => places.check(address).map(|()| &**config),
            Settings::Server(..) | Settings::Registry => Err(self.of_other_use(Use::Agent)),
        }
    }

    /// How a server with these credentials is connected to, and who its clients are, if they have to show a certificate;
    /// `None` if they are not for a server.
    pub(super) fn server(&self) -> Option<(Arc<ServerConfig>, Option<tls::Clients>)> {
        match &self.settings {
            Settings::Server(config, clients) => Some((Arc::clone(config), clients.clone())),
            Settings::Client(..) | Settings::Registry => None,
        }
    }

    /// Whether a server with these credentials wants to know its clients.
    pub(super) const fn asks(&self) -> bool {
        self.credential.ca.is_some() || self.credential.token.is_some()
    }

    fn of_other_use(&self, wanted: Use) -> NotUsed {
        let Credential { name, used, .. } = &self.credential;
        NotUsed::Use { name: name.clone(), found: used.word(), expected: wanted.word() }
    }
}

/// What is under one name.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// What counts; `None` if there was never anything good.
    pub(super) good: Option<Arc<Kept>>,
    /// Why the present content does not count; `None` if it does.
    pub(super) problem: Option<String>,
    /// Why the server does not go over to what is good here; `None` if it does, or was not asked to.
    pub(super) held: Option<String>,
}

/// The credentials of a server, as they count now. Cheap to clone; clones share them. The default has none.
#[derive(Clone, Debug, Default)]
pub struct KeptCredentials {
    pub(super) folder: Option<Credentials>,
    pub(super) names: Arc<RwLock<BTreeMap<String, Standing>>>,
}

impl KeptCredentials {
    /// Reads a folder for the first time.
    ///
    /// # Errors
    /// It can't be read, or something in it is not as expected: a server does not start with that.
    pub fn open(folder: Credentials) -> Result<Self, CredentialsError> {
        let mut names = BTreeMap::new();
        for name in folder.names()? {
            let good = Some(Arc::new(read(&folder, &name)?));
            names.insert(name, Standing { good, ..Standing::default() });
        }
        Ok(Self { folder: Some(folder), names: Arc::new(RwLock::new(names)) })
    }

    /// The credentials of a name, for one use.
    ///
    /// # Errors
    /// [`NotUsed`]: there are none, or they are for another use.
    pub fn get(&self, name: &str, wanted: Use) -> Result<Arc<Kept>, NotUsed> {
        let lacking = |why: &str| NotUsed::Lacking { name: name.to_owned(), why: why.to_owned() };
        if self.folder.is_none() {
            return Err(lacking("the server was started without it"));
        }
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let standing = names.get(name).ok_or_else(|| lacking("there is no such folder"))?;
        let kept = standing.good.as_ref();
        let kept = kept.ok_or_else(|| lacking(standing.problem.as_deref().unwrap_or_default()))?;
        match kept.credential.used == wanted {
            true => Ok(Arc::clone(kept)),
            false => Err(kept.of_other_use(wanted)),
        }
    }

    /// Whether there is a folder of the name, whatever is in it.
    pub(crate) fn is_there(&self, name: &str) -> bool {
        self.names.read().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }

    /// Checks that the credentials of a name may go to an address.
    ///
    /// # Errors
    /// [`NotUsed`] if there are none of this use, or they may not go there.
    pub fn check(&self, name: &str, wanted: Use, address: &str) -> Result<(), NotUsed> {
        self.get(name, wanted)?.client_for(address).map(drop)
    }

    /// When each certificate expires, in the order of names.
    pub fn expiries(&self) -> Vec<Expiry> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let kept = names.values().filter_map(|standing| standing.good.as_ref());
        kept.flat_map(|kept| kept.expiries.iter().cloned()).collect()
    }

    /// What is wrong with the present content of the folder, while what was there before counts.
    pub fn problems(&self) -> Vec<String> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let said = |standing: &Standing| standing.problem.clone().or_else(|| standing.held.clone());
        names.values().filter_map(said).collect()
    }

    /// Says, once, that a server does not go over to this content of a name, which would let everybody in.
    pub(super) fn hold(&self, name: &str, found: &Arc<Kept>) {
        let is_meant = |standing: &Standing| {
            standing.held.is_none()
                && standing.good.as_ref().is_some_and(|good| Arc::ptr_eq(good, found))
        };
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        if !names.get(name).is_some_and(is_meant) {
            return;
        }
        drop(names);
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(standing) = names.get_mut(name).filter(|standing| is_meant(standing)) {
            let why = found.credential.bad(
                "found neither a ca.pem nor a token beside it, expected one of them, as before: without them the server \
                 would let everybody in"
                    .to_owned(),
            );
            tracing::error!(name, "{why}; what was there before still counts until a restart");
            standing.held = Some(why.to_string());
        }
    }
}

/// Reads what is under a name, and makes it ready.
pub(super) fn read(folder: &Credentials, name: &str) -> Result<Kept, CredentialsError> {
    let credential = folder.read(name)?;
    let content = credential.content();
    Kept::of(credential, content)
}
