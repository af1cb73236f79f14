//! Pulls from and pushes to registries, each within one time.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::bounds::Bounds;
use super::docker;
use super::error::RegistryError;
use super::login::{DOCKER_HUB, Login};
use super::manifest::Interfaces;
use super::origin::Origin;
use super::pull::{self, Progress, Resolved};
use super::push::{self, Pushed};
use super::referrers;
use super::session::{Session, may_be_plain};
use crate::credentials::{Credentials, Use};
use crate::playbook::OciReference;
use crate::playbook::policy::Signature;

/// Settings of [`Registries`].
#[derive(Clone, Debug, Default)]
pub struct RegistryConfig {
    /// How long registries may take.
    pub bounds: Bounds,
    /// Registries that are asked without encryption, beside those on this machine: `HOST` or `HOST:PORT`.
    pub plain_http: Vec<String>,
    /// The operator's credentials. Those for a registry come before [`docker`](Self::docker).
    pub credentials: Option<Credentials>,
    /// A `config.json` as docker writes it.
    pub docker: Option<PathBuf>,
}

/// Pulls plugins from registries and pushes them there. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    config: Arc<RegistryConfig>,
}

impl Registries {
    /// Connects when it is first used.
    pub fn new(config: RegistryConfig) -> Self {
        Self { config: Arc::new(config) }
    }

    /// Finds out what a reference stands for at present: only the manifest is read. Dropping the future ends
    /// everything.
    ///
    /// # Errors
    /// The registry can't be asked, has no such artefact, or has one that is not exactly one plugin.
    pub async fn open(&self, reference: &OciReference) -> Result<Artefact, RegistryError> {
        let until = self.until();
        let mut session = self.session(reference, "pull").await?;
        let opened = pull::resolve(&mut session, reference);
        let found = timeout_at(until, opened).await.unwrap_or_else(|_| self.too_long(&session))?;
        Ok(Artefact { registries: self.clone(), session, found, until })
    }

    /// Pushes a component under the tag of `reference`. `imports` and `exports` are the names of its interfaces, which
    /// others can then read without its bytes.
    ///
    /// # Errors
    /// The reference has a digest, or the registry can't be asked or does not take it.
    pub async fn push(
        &self,
        reference: &OciReference,
        component: Bytes,
        exports: Vec<String>,
        imports: Vec<String>,
    ) -> Result<Pushed, RegistryError> {
        let until = self.until();
        let mut session = self.session(reference, "pull,push").await?;
        let interfaces = Interfaces::new(exports, imports);
        let pushed = push::push(&mut session, reference, component, &interfaces);
        timeout_at(until, pushed).await.unwrap_or_else(|_| self.too_long(&session))
    }

    /// Puts signatures beside a plugin that was pushed to the repository of `reference`. One that is there already stays
    /// the only one of its kind.
    ///
    /// # Errors
    /// The registry can't be asked, does not take them, has something else where lists of them are kept, or would have more
    /// than are read.
    pub async fn sign(
        &self,
        reference: &OciReference,
        plugin: &Pushed,
        signatures: &[Signature],
    ) -> Result<(), RegistryError> {
        if signatures.is_empty() {
            return Ok(());
        }
        let until = self.until();
        let mut session = self.session(reference, "pull,push").await?;
        let known = timeout_at(until, referrers::signatures(&mut session, &plugin.manifest)).await;
        let known = known.unwrap_or_else(|_| self.too_long(&session))?;
        let new: Vec<_> = signatures.iter().filter(|one| !known.contains(one)).collect();
        referrers::check_number(&plugin.manifest, known.len() + new.len())?;
        for signature in new {
            let attached = referrers::attach(&mut session, plugin, signature);
            timeout_at(until, attached).await.unwrap_or_else(|_| self.too_long(&session))?;
        }
        Ok(())
    }

    fn until(&self) -> Instant {
        Instant::now() + self.config.bounds.in_all
    }

    fn too_long<T>(&self, session: &Session) -> Result<T, RegistryError> {
        out_of(self.config.bounds.in_all, session)
    }

    async fn session(
        &self,
        reference: &OciReference,
        actions: &'static str,
    ) -> Result<Session, RegistryError> {
        let config = self.config.clone();
        let host = match reference.registry.as_str() {
            "docker.io" => DOCKER_HUB.to_owned(),
            other => other.to_owned(),
        };
        let repository = reference.repository.clone();
        // Files of credentials are read.
        let opened = tokio::task::spawn_blocking(move || {
            let (registry, login) = config.login(&host)?;
            let (plain, bounds) = (config.plain_http.clone(), config.bounds.clone());
            Session::new(registry, repository, actions, login, plain, bounds)
        });
        opened.await.map_err(|error| RegistryError::Client(error.to_string()))?
    }
}

fn out_of<T>(time: Duration, session: &Session) -> Result<T, RegistryError> {
    let (origin, seconds) = (session.registry.clone(), time.as_secs());
    Err(RegistryError::OutOfTime { origin, seconds })
}

/// A plugin in a registry, whose manifest is known.
pub struct Artefact {
    registries: Registries,
    session: Session,
    found: Resolved,
    until: Instant,
}

impl Artefact {
    /// What the manifest says.
    pub const fn found(&self) -> &Resolved {
        &self.found
    }

    /// The bytes of the plugin: exactly those that the manifest names. Dropping the future ends everything.
    ///
    /// # Errors
    /// The registry does not give them, gives others, or is too slow.
    pub async fn bytes(mut self, progress: &Progress) -> Result<Bytes, RegistryError> {
        let pulled = pull::plugin(&mut self.session, &self.found, progress);
        let pulled = timeout_at(self.until, pulled).await;
        pulled.unwrap_or_else(|_| self.registries.too_long(&self.session))
    }

    /// The signatures that the registry has for the plugin, each once. None of them is checked: that takes the bytes.
    ///
    /// # Errors
    /// The registry does not give them in time, gives others than it lists, or has too many.
    pub async fn signatures(&mut self) -> Result<Vec<Signature>, RegistryError> {
        let time = self.registries.config.bounds.signatures;
        let until = self.until.min(Instant::now() + time);
        let read = referrers::signatures(&mut self.session, &self.found.manifest);
        timeout_at(until, read).await.unwrap_or_else(|_| out_of(time, &self.session))
    }
}

impl RegistryConfig {
    /// The origin of a registry and what it is told. Where plain HTTP is allowed, credentials for https come first.
    fn login(&self, host: &str) -> Result<(Origin, Login), RegistryError> {
        let origin = |scheme: &str| {
            let parsed: Result<Origin, _> = format!("{scheme}://{host}").parse();
            parsed.map_err(RegistryError::Reference)
        };
        let (secure, plain) = (origin("https")?, origin("http")?);
        let is_plain = may_be_plain(&plain, &self.plain_http);
        let candidates =
            if is_plain { vec![secure.clone(), plain.clone()] } else { vec![secure.clone()] };
        for candidate in candidates {
            if let Some(login) = self.of_folders(&candidate)? {
                return Ok((candidate, login));
            }
        }
        let registry = if is_plain { plain } else { secure };
        let found = self.docker.as_ref().map(|path| docker::login(path, &registry)).transpose()?;
        Ok((registry, found.flatten().unwrap_or_default()))
    }

    fn of_folders(&self, registry: &Origin) -> Result<Option<Login>, RegistryError> {
        let Some(credentials) = &self.credentials else { return Ok(None) };
        let (found, broken) = credentials.all(Use::Registry)?;
        for credential in &found {
            let login = Login::of_folder(credential)?;
            if login.origins.contains(registry) {
                return Ok(Some(login));
            }
        }
        // The one that can't be read may be the one that is needed.
        match broken.into_iter().next() {
            Some(error) => Err(error.into()),
            None => Ok(None),
        }
    }
}
