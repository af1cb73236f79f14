//! The secrets of one run: they are put into a call when it is performed, and taken out of everything that comes back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::run::{
    Answer, Call, CallError, HttpError, Input, Notice, Perform, Scrubber, SecretError, SecretText,
    Snapshot, destination, filled, secrets_in,
};
use crate::secrets::Secrets;
use replibook_core::mutant;

/// How many values of one secret are remembered: what was sent before it changed may still be in an answer.
const REMEMBERED: usize = 4;

/// The secrets that the playbook of a run names. Cheap to clone; clones share what was read.
#[derive(Clone)]
pub(super) struct RunSecrets {
    source: Arc<dyn Secrets>,
    names: Arc<[String]>,
    read: Arc<Mutex<Read>>,
}

/// The values that were read since the engine took up the run.
struct Read {
    values: BTreeMap<String, VecDeque<SecretText>>,
    scrubber: Arc<Scrubber>,
}

impl RunSecrets {
    pub(super) fn of(source: &Arc<dyn Secrets>, snapshot: &Snapshot) -> Self {
        let names: Vec<String> = snapshot.secrets().into_iter().map(str::to_owned).collect();
        let read = Read { values: BTreeMap::new(), scrubber: Arc::new(Scrubber::new([])) };
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
        let value = self.source.read(name).await?;
        let mut read = self.lock();
        let known = read.values.entry(name.to_owned()).or_default();
        if !known.contains(&value) {
            known.push_back(value.clone());
            if known.len() > REMEMBERED {
                known.pop_front();
            }
            read.scrubber = Arc::new(Scrubber::new(read.values.values().flatten()));
        }
        Ok(value)
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
        let mut secrets = Vec::new();
        for entitled in wanted {
            let name = entitled.grant.name.as_str();
            if !mutant!(OneSideGrants) {
                self.source.allowed(caller, name, &to).await?;
            }
            secrets.push((entitled, self.value(name).await?));
        }
        filled(&perform.what, &secrets).map(Some)
    }

    /// The first secret of the attempt whose value was never read, with why it can't be read now.
    pub(super) async fn unread(&self, perform: &Perform) -> Option<SecretError> {
        for entitled in &perform.secrets {
            let name = &entitled.grant.name;
            let is_known = self.lock().values.contains_key(name);
            if is_known {
                continue;
            }
            if let Err(error) = self.value(name).await {
                return Some(error);
            }
        }
        None
    }

    /// An input without secrets.
    pub(super) fn scrub(&self, input: Input) -> Input {
        if self.are_none() || mutant!(SecretJournaled) {
            return input;
        }
        self.scrubber().input(input)
    }

    /// What is noticed about a call, without secrets.
    pub(super) fn scrub_notice(&self, notice: Notice) -> Notice {
        if self.are_none() { notice } else { self.scrubber().notice(notice) }
    }

    fn scrubber(&self) -> Arc<Scrubber> {
        Arc::clone(&self.lock().scrubber)
    }

    fn lock(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to an action whose secret can't be read any more. What the agent says about it may have the secret.
pub(super) fn withheld(answer: Answer, error: &SecretError) -> Answer {
    let why = error.to_string();
    match answer {
        Answer::RunAction(Ok(_) | Err(CallError::Failed(_) | CallError::Refused(_))) => {
            Answer::RunAction(Err(CallError::from(SecretError::Withheld { why })))
        }
        Answer::RunAction(Err(CallError::Malformed(_))) => {
            Answer::RunAction(Err(CallError::Malformed(format!("what came is withheld: {why}"))))
        }
        // Of these the engine itself has said what happened.
        Answer::RunAction(Err(_))
        | Answer::Info(_)
        | Answer::WaitStatus(_)
        | Answer::Sleep
        | Answer::HttpSend(_)
        | Answer::WaitSignal(_) => answer,
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
