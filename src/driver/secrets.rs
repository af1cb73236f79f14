//! The secrets of one run: they are put into a call when it is performed, and taken out of everything that comes back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::playbook::Destination;
use crate::run::{
    Answer, Call, CallError, Caller, HttpError, Input, KnownSecrets, Notice, Perform, Scrubber,
    SecretError, SecretPlace, SecretText, Snapshot, destination, filled, secret_places, secrets_in,
};
use crate::secrets::Secrets;
use replibook_core::mutant;

/// The secrets that the playbook of a run names. Cheap to clone; clones share what was read.
#[derive(Clone)]
pub(super) struct RunSecrets {
    source: Arc<dyn Secrets>,
    names: Arc<[String]>,
    read: Arc<Mutex<Read>>,
}

/// What was read since the engine took up the run.
struct Read {
    known: KnownSecrets,
    scrubber: Arc<Scrubber>,
    /// Why those can't be read of which no value is known.
    unknown: BTreeMap<String, SecretError>,
}

impl RunSecrets {
    pub(super) fn of(source: &Arc<dyn Secrets>, snapshot: &Snapshot) -> Self {
        let names: Vec<String> = snapshot.secrets().into_iter().map(str::to_owned).collect();
        let known = KnownSecrets::default();
        let scrubber = Arc::new(known.scrubber());
        let read = Read { known, scrubber, unknown: BTreeMap::new() };
        Self { source: source.clone(), names: names.into(), read: Arc::new(Mutex::new(read)) }
    }

    /// Whether the playbook names none.
    pub(super) fn are_none(&self) -> bool {
        self.names.is_empty()
    }

    /// Reads all of them, so that whatever comes back is searched for their present values. Returns the first that can't
    /// be read.
    pub(super) async fn read_all(&self) -> Result<(), SecretError> {
        let mut first = Ok(());
        for name in self.names.iter() {
            if let Err(error) = self.value(name).await {
                first = first.and(Err(error));
            }
        }
        first
    }

    async fn value(&self, name: &str) -> Result<SecretText, SecretError> {
        let value = self.source.read(name).await;
        let mut read = self.lock();
        let taken = value.and_then(|value| Ok((read.known.take(name, &value)?, value)));
        match taken {
            Ok((is_new, value)) => {
                read.unknown.remove(name);
                if is_new {
                    read.scrubber = Arc::new(read.known.scrubber());
                }
                Ok(value)
            }
            Err(error) => {
                if !read.known.has(name) {
                    read.unknown.insert(name.to_owned(), error.clone());
                }
                Err(error)
            }
        }
    }

    /// The secrets of one call of the run.
    pub(super) fn of_call(&self) -> CallSecrets {
        CallSecrets { run: self.clone(), sent: Arc::default() }
    }

    /// An input without secrets. As long as any of them was never read, whatever comes from outside is withheld: an engine
    /// before this one may have sent it.
    pub(super) fn scrub(&self, input: Input) -> Input {
        if self.are_none() || mutant!(SecretJournaled) {
            return input;
        }
        match (self.unknown(), input) {
            (None, input) => self.scrubber().input(input),
            (Some(error), Input::Answered { key, call, answer }) => {
                Input::Answered { key, call, answer: withheld(answer, &error) }
            }
            (Some(_), input) => Scrubber::of_unknown().input(input),
        }
    }

    /// Why the first of those that were never read can't be read.
    fn unknown(&self) -> Option<SecretError> {
        self.lock().unknown.values().next().cloned()
    }

    fn scrubber(&self) -> Arc<Scrubber> {
        Arc::clone(&self.lock().scrubber)
    }

    fn lock(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The secrets of one call. Cheap to clone; clones know what the call was sent with.
#[derive(Clone)]
pub(super) struct CallSecrets {
    run: RunSecrets,
    sent: Arc<OnceLock<Sent>>,
}

/// With what a call is sent.
struct Sent {
    caller: Caller,
    names: Vec<String>,
    to: Destination,
    /// Where they are in the arguments of an action.
    places: Vec<SecretPlace>,
    /// Finds these values also when they have changed so often meanwhile that the run has forgotten them.
    scrubber: Arc<Scrubber>,
}

impl CallSecrets {
    /// Whether the playbook names none.
    pub(super) fn are_none(&self) -> bool {
        self.run.are_none()
    }

    /// The secrets of the same call when it is performed again: they are looked up anew.
    pub(super) fn again(&self) -> Self {
        self.run.of_call()
    }

    /// Reads all secrets of the run. What can't be read now need not be in the call; what is, is read again for it.
    pub(super) async fn read_all(&self) {
        let _ = self.run.read_all().await;
    }

    /// The call with its secrets in place; `None` if it has none. Playbook and policy both have to let each of them go
    /// where the call goes.
    pub(super) async fn filled(&self, perform: &Perform) -> Result<Option<Call>, SecretError> {
        let wanted = secrets_in(&perform.what, &perform.secrets)?;
        if wanted.is_empty() {
            return Ok(None);
        }
        let (Some(caller), Some(to)) = (&perform.caller, destination(&perform.what)) else {
            // The machine names the caller of every call that may have secrets.
            let why = "it is not known on whose behalf it is made".to_owned();
            return Err(SecretError::Unfit { why });
        };
        let names: Vec<String> = wanted.iter().map(|one| one.grant.name.clone()).collect();
        self.allowed(caller, &names, &to).await?;
        let mut secrets = Vec::new();
        for entitled in wanted {
            secrets.push((entitled, self.run.value(&entitled.grant.name).await?));
        }
        let call = filled(&perform.what, &secrets)?;
        let (caller, scrubber) = (Caller::clone(caller), self.run.scrubber());
        // It is filled once, and by others when it is performed again.
        let places = secret_places(&perform.what, &secrets);
        let _ = self.sent.set(Sent { caller, names, to, places, scrubber });
        Ok(Some(call))
    }

    /// Whether the policy still lets the secrets of the call go where it goes. Its request may be sent more than once.
    pub(super) async fn may_still(&self) -> Result<(), SecretError> {
        match self.sent.get() {
            Some(Sent { caller, names, to, .. }) => self.allowed(caller, names, to).await,
            None => Ok(()),
        }
    }

    async fn allowed(
        &self,
        caller: &Caller,
        names: &[String],
        to: &Destination,
    ) -> Result<(), SecretError> {
        for name in names.iter().filter(|_| !mutant!(OneSideGrants)) {
            self.run.source.allowed(caller, name, to).await?;
        }
        Ok(())
    }

    /// Where secrets are in the arguments of the action that is sent.
    pub(super) fn places(&self) -> &[SecretPlace] {
        self.sent.get().map(|sent| sent.places.as_slice()).unwrap_or_default()
    }

    /// What the call was sent with, unless the scrubber of the run finds it, too: whatever comes back goes through that.
    fn forgotten(&self) -> Option<&Sent> {
        let of_run = self.run.scrubber();
        self.sent.get().filter(|sent| !Arc::ptr_eq(&sent.scrubber, &of_run))
    }

    /// An answer without what the call was sent with.
    pub(super) fn answer(&self, answer: Answer) -> Answer {
        match self.forgotten().filter(|_| !mutant!(SecretJournaled)) {
            Some(sent) => sent.scrubber.answer(answer),
            None => answer,
        }
    }

    /// What is noticed about the call, without secrets.
    pub(super) fn notice(&self, notice: Notice) -> Notice {
        if self.are_none() {
            return notice;
        }
        match (self.run.unknown(), notice) {
            (None, notice) => {
                let notice = self.run.scrubber().notice(notice);
                match self.forgotten() {
                    Some(sent) => sent.scrubber.notice(notice),
                    None => notice,
                }
            }
            (Some(error), Notice::NoAnswer { since, errors, .. }) => {
                Notice::NoAnswer { since, message: instead(&error), errors }
            }
            (Some(_), notice) => Scrubber::of_unknown().notice(notice),
        }
    }
}

/// What is said in the place of a message.
fn instead(error: &SecretError) -> String {
    format!("what came is withheld: {error}")
}

/// An answer of which nothing may be kept but what became of the call: whatever an agent or a server says may have a
/// secret that can't be read.
fn withheld(answer: Answer, error: &SecretError) -> Answer {
    let all = || SecretError::Withheld { why: error.to_string() };
    let told = |told: CallError| match told {
        // The engine itself says these.
        CallError::Secret(_) | CallError::NotGranted(_) => told,
        CallError::Failed(_) | CallError::Refused(_) => all().into(),
        CallError::Malformed(_)
        | CallError::Unreachable(_)
        | CallError::NotTaken(_)
        | CallError::Lost(_)
        | CallError::TimedOut(_)
        | CallError::WrongNode(_) => told.map_message(|_| instead(error)),
    };
    match answer {
        Answer::Info(Ok(_)) => Answer::Info(Err(all().into())),
        Answer::Info(Err(error)) => Answer::Info(Err(told(error))),
        Answer::RunAction(Ok(_)) => Answer::RunAction(Err(all().into())),
        Answer::RunAction(Err(error)) => Answer::RunAction(Err(told(error))),
        Answer::WaitStatus(Ok(_)) => Answer::WaitStatus(Err(all().into())),
        Answer::WaitStatus(Err(error)) => Answer::WaitStatus(Err(told(error))),
        Answer::HttpSend(Ok(_) | Err(HttpError::Failed(_))) => Answer::HttpSend(Err(all().into())),
        Answer::HttpSend(Err(HttpError::TimedOut(_))) => {
            Answer::HttpSend(Err(HttpError::TimedOut(instead(error))))
        }
        Answer::WaitSignal(_) => Scrubber::of_unknown().answer(answer),
        Answer::HttpSend(Err(HttpError::NotGranted(_) | HttpError::Secret(_))) | Answer::Sleep => {
            answer
        }
    }
}

/// The answer to a call that is not performed because of a secret.
pub(super) fn refused(call: &Call, error: SecretError) -> Answer {
    match call {
        Call::Info => Answer::Info(Err(CallError::from(error))),
        Call::RunAction { .. } => Answer::RunAction(Err(CallError::from(error))),
        Call::WaitStatus { .. } => Answer::WaitStatus(Err(CallError::from(error))),
        Call::Sleep { .. } => Answer::Sleep,
        Call::HttpSend { .. } => Answer::HttpSend(Err(HttpError::from(error))),
        Call::WaitSignal { .. } => Answer::WaitSignal(Err(CallError::from(error))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::run::{HttpBody, HttpResponse, JsonText, KeptNode, Millis, NodeInfo, Timestamp};

    #[test]
    fn nothing_that_an_agent_says_is_left_of_an_answer_that_is_withheld() {
        let error = SecretError::Gone { name: "key".to_owned() };
        let said = "the agent says it".to_owned();
        let text = |error: fn(String) -> CallError| error(said.clone());
        let node: NodeInfo = NodeInfo {
            status: said.clone(),
            attributes: serde_json::Map::new(),
            raw: json!({"said": said}),
            datastore: crate::run::Datastore::default(),
        };
        let body = HttpBody::from(said.clone().into_bytes());
        let response = HttpResponse { status: 200, headers: Vec::new(), body };
        let mut answers = vec![
            Answer::Info(Ok(KeptNode::from(node))),
            Answer::WaitStatus(Ok(said.clone())),
            Answer::RunAction(Ok(JsonText::from(json!([said])))),
            Answer::HttpSend(Ok(response)),
            Answer::HttpSend(Err(HttpError::Failed(said.clone()))),
            Answer::HttpSend(Err(HttpError::TimedOut(said.clone()))),
        ];
        for error in [
            text(CallError::Failed),
            text(CallError::Refused),
            text(CallError::Malformed),
            text(CallError::Unreachable),
            text(CallError::NotTaken),
            text(CallError::Lost),
            text(CallError::TimedOut),
            text(CallError::WrongNode),
        ] {
            answers.push(Answer::RunAction(Err(error.clone())));
            answers.push(Answer::Info(Err(error)));
        }
        for answer in answers {
            let kept = serde_json::to_string(&withheld(answer.clone(), &error)).unwrap();
            assert!(!kept.contains("agent says"), "{kept}");
            assert!(kept.contains("withheld") && kept.contains("secret-gone"), "{kept}");
            let is_open = |answer: &Answer| answer.error().is_some_and(CallError::leaves_open);
            assert_eq!(is_open(&withheld(answer.clone(), &error)), is_open(&answer));
        }
        let own = Answer::RunAction(Err(CallError::from(error.clone())));
        assert_eq!(withheld(own.clone(), &error), own, "what the engine says itself");
    }

    #[tokio::test]
    async fn what_is_noticed_is_withheld_while_a_secret_was_never_read() {
        let secrets = crate::secrets::FakeSecrets::default();
        let read = Read {
            known: KnownSecrets::default(),
            scrubber: Arc::new(Scrubber::new([])),
            unknown: BTreeMap::new(),
        };
        let run = RunSecrets {
            source: Arc::new(secrets.clone()),
            names: Arc::from(["key".to_owned()]),
            read: Arc::new(Mutex::new(read)),
        };
        assert!(run.read_all().await.is_err());
        let silent = Notice::NoAnswer {
            since: Timestamp::from_millis(0).plus(Millis(1)),
            message: "500: correct horse".to_owned(),
            errors: true,
        };
        let told = |notice: Notice| serde_json::to_string(&run.of_call().notice(notice)).unwrap();
        assert!(told(silent.clone()).contains("what came is withheld: secret-gone"));
        assert!(!told(silent.clone()).contains("horse"));
        secrets.put("key", "correct horse");
        run.read_all().await.unwrap();
        assert!(told(silent).contains("500: [secret]"));
    }
}
