//! Who sends a request, as its handler sees them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use uuid::Uuid;

use super::deeds::Deed;
pub(in crate::api) use super::known_runs::RunOf;
use crate::access::audit::{AuditEntry, AuditOutcome};
use crate::access::{Identity, Keeper, Proof, Subject};
use crate::api::error::{ApiError, Code};
use crate::api::runs;
use crate::api::state::ApiState;
use crate::playbook::access::{Object, Rights, Verb};
use crate::run::{RunId, Timestamp};

/// Who sends a request, and what they may do. Cheap to clone; clones are of the same request.
#[derive(Clone, Debug)]
pub(in crate::api) struct Caller {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    keeper: Keeper,
    identity: Identity,
    rights: Rights,
    /// By what they have proved it, if they have.
    proof: Option<Proof>,
    /// Whether the server asks who somebody is.
    is_asked: bool,
    request: Uuid,
    /// Where the request comes from.
    from: Option<String>,
    /// Method and path.
    to: String,
    /// How far its change is.
    change: Mutex<Change>,
}

/// How far a change is.
#[derive(Debug, Default)]
enum Change {
    /// The handler has not said anything yet.
    #[default]
    Unsaid,
    /// The request changes nothing, such as a dry run.
    None,
    /// It has begun, with this entry of the audit, if there is an audit.
    Begun(Option<Box<AuditEntry>>),
}

/// What the door knows about a request before it knows who sends it.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    /// Whether the method is one that changes nothing.
    pub(super) only_looks: bool,
    pub(super) from: Option<String>,
    pub(super) to: String,
}

impl Caller {
    /// Somebody who has proved who they are, or need not.
    pub(super) fn new(
        keeper: &Keeper,
        identity: Identity,
        rights: Rights,
        proof: Option<Proof>,
        arrived: Arrived,
    ) -> Self {
        let Arrived { from, to, .. } = arrived;
        let inner = Inner {
            is_asked: keeper.current().now().is_some(),
            keeper: keeper.clone(),
            identity,
            rights,
            proof,
            request: Uuid::new_v4(),
            from,
            to,
            change: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Anybody, on a server that asks nobody, for tests of handlers.
    #[cfg(test)]
    pub(in crate::api) fn anybody() -> Self {
        let arrived = Arrived { only_looks: true, from: None, to: String::new() };
        Self::new(&Keeper::default(), Identity::anybody(), Rights::all(), None, arrived)
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    pub(super) fn keeper(&self) -> &Keeper {
        &self.inner.keeper
    }

    /// By what they have proved who they are, if they have.
    pub(super) fn proof(&self) -> Option<&Proof> {
        self.inner.proof.as_ref()
    }

    /// Who is written as the actor: who they proved to be, or on a server that asks nobody, whom they say.
    pub(in crate::api) fn actor(&self, said: Option<String>) -> Option<String> {
        match self.inner.is_asked {
            true => self.inner.identity.actor(),
            false => said,
        }
    }

    /// Whether the server asks who somebody is.
    pub(in crate::api) fn is_asked(&self) -> bool {
        self.inner.is_asked
    }

    /// The groups that they are in, as rules name them.
    pub(in crate::api) fn groups(&self) -> Vec<String> {
        self.inner.identity.groups().collect()
    }

    pub(super) fn rights(&self) -> &Rights {
        &self.inner.rights
    }

    /// Whether any of their rules gives this verb for that.
    pub(in crate::api) fn may_do(&self, verb: Verb, object: Object<'_>) -> bool {
        self.inner.rights.may(verb, object)
    }

    /// Whether there is nothing that they may not view.
    pub(in crate::api) fn views_all(&self) -> bool {
        self.inner.rights.view_all()
    }

    /// Whether they may view this.
    pub(in crate::api) fn views(&self, object: Object<'_>) -> bool {
        self.inner.rights.may(Verb::View, object)
    }

    /// Whether they may view this run.
    pub(in crate::api) async fn views_run(
        &self,
        state: &ApiState,
        run: RunId,
    ) -> Result<bool, ApiError> {
        if self.views_all() {
            return Ok(true);
        }
        let of = state.known_runs.of(state.store.as_ref(), run).await?;
        Ok(of.is_some_and(|of| self.views(of.object())))
    }

    /// What a run is of, for what they are about to do with it.
    ///
    /// # Errors
    /// There is no such run, as far as they may know. One that can't be read is `None` to those who may view everything.
    pub(in crate::api) async fn run_of(
        &self,
        state: &ApiState,
        run: RunId,
    ) -> Result<Option<Arc<RunOf>>, ApiError> {
        let of = state.known_runs.of(state.store.as_ref(), run).await?;
        match &of {
            Some(of) if self.views(of.object()) => {}
            None if self.views_all() => {}
            Some(_) | None => return Err(runs::not_found(run)),
        }
        Ok(of)
    }

    /// Checks that they may do this with that, which they may view.
    ///
    /// # Errors
    /// They may not.
    pub(in crate::api) fn may(&self, deed: Deed, object: Object<'_>) -> Result<(), ApiError> {
        let verbs = deed.verbs();
        match verbs.is_empty() || verbs.iter().any(|verb| self.inner.rights.may(*verb, object)) {
            true => Ok(()),
            false => Err(self.refusal(deed, Some(object))),
        }
    }

    /// Checks that they may do this with a run. What a run is of that can't be read is for those who may do it with all.
    ///
    /// # Errors
    /// They may not.
    pub(in crate::api) fn may_with_run(
        &self,
        deed: Deed,
        of: Option<&RunOf>,
    ) -> Result<(), ApiError> {
        self.may(deed, of.map_or(Object::Server, RunOf::object))
    }

    /// Why they may not do something.
    pub(super) fn refusal(&self, deed: Deed, object: Option<Object<'_>>) -> ApiError {
        let verbs: Vec<&str> = deed.verbs().iter().map(|verb| verb.as_str()).collect();
        let whom = match object {
            Some(Object::Run { playbook, cluster }) => {
                format!(" for runs of {playbook} on {cluster}")
            }
            Some(Object::Playbook(name)) => format!(" for playbook {name}"),
            Some(Object::Cluster(name)) => format!(" for cluster {name}"),
            Some(Object::Server) => " in a rule for all playbooks and clusters".to_owned(),
            Some(Object::Shared) | None => String::new(),
        };
        let detail = format!(
            "{} may not {}: expected the verb {}{whom}",
            self.inner.identity.subject(),
            deed.words(),
            verbs.join(" or "),
        );
        ApiError::new(Code::NotAllowed, detail)
    }

    /// The request changes nothing, although its endpoint does otherwise.
    pub(in crate::api) fn changes_nothing(&self) {
        *self.inner.change.lock().unwrap_or_else(PoisonError::into_inner) = Change::None;
    }

    /// Notes in the audit that they are about to change something, which they were found to be allowed to. Nothing may be
    /// changed before this. `urgent` is what stops things, and has to go on even if the audit is full.
    ///
    /// # Errors
    /// The audit can't be written.
    pub(in crate::api) fn begin(
        &self,
        deed: Deed,
        about: &[(&str, &str)],
        urgent: bool,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let mut change = self.inner.change.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(audit) = self.inner.keeper.audit() else {
            *change = Change::Begun(None);
            return Ok(());
        };
        let mut entry = self.entry(deed, AuditOutcome::Begins, now);
        let about = about.iter().filter(|(_, text)| !text.is_empty());
        entry.about = about.map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        audit.write(&entry, urgent).map_err(|error| {
            let detail = "the audit can't be written, so nothing is changed but to pause, cancel or reject runs";
            ApiError::new(Code::AuditUnavailable, detail).caused_by(error)
        })?;
        *change = Change::Begun(Some(Box::new(entry)));
        Ok(())
    }

    /// Notes in the audit what became of the request. `deed` is what its endpoint does.
    pub(super) fn end(&self, deed: Deed, status: u16, code: Option<Code>, now: Timestamp) {
        let mut change = self.inner.change.lock().unwrap_or_else(PoisonError::into_inner);
        let (begun, outcome) = match (std::mem::take(&mut *change), status) {
            (Change::Unsaid | Change::None, 401 | 403 | 404 | 429) => (None, AuditOutcome::Refused),
            (Change::Unsaid, 0..=399) => {
                tracing::error!(what = deed.words(), "a change that the audit does not know of");
                debug_assert!(false, "the handler that does this does not say so: {deed:?}");
                (None, AuditOutcome::Done)
            }
            // It failed before it could change anything.
            (Change::Unsaid | Change::None | Change::Begun(None), _) => return,
            (Change::Begun(Some(entry)), 0..=399) => (Some(*entry), AuditOutcome::Done),
            (Change::Begun(Some(entry)), _) => (Some(*entry), AuditOutcome::Failed),
        };
        let Some(audit) = self.inner.keeper.audit() else { return };
        // The door has counted those of whom nothing is known.
        let identity = &self.inner.identity;
        let is_counted =
            outcome == AuditOutcome::Refused && *identity.subject() != Subject::Anybody;
        if is_counted && !self.inner.keeper.may_note_refusal(identity) {
            return;
        }
        let entry = begun.unwrap_or_else(|| self.entry(deed, outcome, now));
        let code = code.map(|code| code.as_str().to_owned());
        let entry = AuditEntry { at: now, outcome, status: Some(status), code, ..entry };
        // The reserve is for what begins: without its end it is known who stopped what.
        if let Err(error) = audit.write(&entry, false) {
            tracing::error!(%error, request = %entry.request, "the audit lacks how a request ended");
        }
    }

    /// Notes in the audit that the request was given up before it was answered, if it had begun.
    pub(super) fn left(&self, now: Timestamp) {
        let mut change = self.inner.change.lock().unwrap_or_else(PoisonError::into_inner);
        let Change::Begun(Some(begun)) = std::mem::take(&mut *change) else { return };
        let Some(audit) = self.inner.keeper.audit() else { return };
        let begun = *begun;
        let entry = AuditEntry { at: now, outcome: AuditOutcome::Unknown, ..begun };
        if let Err(error) = audit.write(&entry, false) {
            tracing::error!(%error, request = %entry.request, "the audit lacks how a request ended");
        }
    }

    fn entry(&self, deed: Deed, outcome: AuditOutcome, at: Timestamp) -> AuditEntry {
        let inner = &self.inner;
        AuditEntry {
            at,
            request: inner.request,
            who: inner.is_asked.then(|| inner.identity.subject().to_string()),
            from: inner.from.clone(),
            what: deed.words().to_owned(),
            to: inner.to.clone(),
            about: BTreeMap::new(),
            outcome,
            status: None,
            code: None,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let found = parts.extensions.get::<Self>().cloned();
        found.ok_or_else(|| ApiError::internal("a request came in by no door"))
    }
}
