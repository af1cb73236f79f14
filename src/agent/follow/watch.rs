//! What people are told about a call while it is followed: that its agent does not answer, or that its action
//! waits behind others. This observes the requests of one call and changes nothing about them, so a call goes
//! the same way without it.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use uuid::Uuid;

use super::limits::{AgentLimits, FollowContext};
use crate::agent::{
    ActionPhase, ActionRequest, ActionStatus, AgentClient, AgentError, QueuedAction, Scheduled,
};
use crate::clock::Clock;
use crate::run::{Millis, NodeInfo, Notice, Timestamp};
use serde_json::Value;

/// How many characters of a text of an agent or the network a notice holds: it is written to the store, and is
/// part of a sentence.
const MAX_MESSAGE_CHARS: usize = 300;

/// The shortest time that a request gets before people are told that the agent is silent: this may be the
/// request that is answered.
const ANSWER_TIME: Millis = Millis::from_secs(1);

/// How often one call asks for the queue of an agent that does not show it.
const QUEUE_TRIES: u32 = 3;

/// Passes a notice on; false when there is no room for it now. Nobody waits for room, since that would delay
/// the call.
type Report = Box<dyn Fn(Option<Notice>) -> bool + Send + Sync>;

impl FollowContext {
    /// A context for one call, whose progress is passed to `report`: a notice, or `None` when the call goes on
    /// as it should.
    ///
    /// `known` is the last notice that was given about this call. If `again`, another task may have given
    /// notices since, so the first good answer is reported in any case.
    pub fn watched(
        &self,
        known: Option<Notice>,
        again: bool,
        report: impl Fn(Option<Notice>) -> bool + Send + Sync + 'static,
    ) -> Self {
        let silent_since = known.as_ref().filter(|known| known.is_silence()).map(Notice::since);
        let new_since = known.as_ref().filter(|known| !known.is_silence()).map(Notice::since);
        let seen = Seen {
            told_at: self.clock.now(),
            told: known,
            unsure: again,
            silent_since,
            new_since,
            last: None,
            queue_tries: QUEUE_TRIES,
        };
        let watched = Watched {
            client: Arc::clone(&self.client),
            clock: Arc::clone(&self.clock),
            limits: self.limits.clone(),
            report: Box::new(report),
            seen: Mutex::new(seen),
        };
        Self { client: Arc::new(watched), ..self.clone() }
    }
}

/// The client of one call, which observes the requests as it hands them on.
struct Watched {
    client: Arc<dyn AgentClient>,
    clock: Arc<dyn Clock>,
    limits: AgentLimits,
    report: Report,
    seen: Mutex<Seen>,
}

/// What was observed so far.
struct Seen {
    told: Option<Notice>,
    told_at: Timestamp,
    /// Whether `told` may not be the last notice that was given.
    unsure: bool,
    /// When the first request after the last good answer was sent.
    silent_since: Option<Timestamp>,
    /// The error of the last request that got no good answer, and whether there was an answer at all.
    last: Option<(String, bool)>,
    /// Since when looks have shown the action as NEW.
    new_since: Option<Timestamp>,
    /// How often the queue may still be asked for without success.
    queue_tries: u32,
}

impl Watched {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a request on. If it gets no answer, people are told while it is still in progress.
    async fn pass<T>(
        &self,
        address: &str,
        request: impl Future<Output = Result<T, AgentError>> + Send,
    ) -> Result<T, AgentError> {
        let sent = self.clock.now();
        let rest = {
            let mut seen = self.seen();
            let since = *seen.silent_since.get_or_insert(sent);
            let told = seen.told.as_ref().is_some_and(Notice::is_silence);
            let rest = since.plus(self.limits.silent_after).since(sent);
            (!told).then(|| rest.max(ANSWER_TIME))
        };
        let mut request = pin!(request);
        let answer = match rest {
            None => request.await,
            Some(rest) => tokio::select! {
                biased;
                answer = &mut request => answer,
                () = self.clock.sleep(rest.to_std()) => {
                    self.tell_silence(address);
                    request.await
                }
            },
        };
        match &answer {
            Ok(_) => self.answered(),
            Err(error) if error.is_ours() => self.not_asked(sent),
            Err(error) => {
                self.seen().last = Some((cut(&error.to_string()), is_answer(error)));
                self.tell_silence(address);
            }
        }
        answer
    }

    /// Nothing was sent, so no silence of the agent begins with this request.
    fn not_asked(&self, sent: Timestamp) {
        let mut seen = self.seen();
        if seen.silent_since == Some(sent) {
            seen.silent_since = None;
        }
    }

    fn answered(&self) {
        let (was_silent, unsure) = {
            let mut seen = self.seen();
            (seen.silent_since, seen.last) = (None, None);
            let silent = seen.told.as_ref().map(Notice::is_silence);
            (silent == Some(true), seen.unsure && silent.is_none())
        };
        if was_silent || unsure {
            self.tell(None);
        }
    }

    /// Tells people that the agent gives no good answer, if that has lasted long enough.
    fn tell_silence(&self, address: &str) {
        let found = {
            let seen = self.seen();
            let (message, errors) = seen.last.clone().unwrap_or_else(|| {
                (cut(&format!("{address} has not answered the last request yet")), false)
            });
            let since = seen.silent_since;
            since.map(|since| (since, Notice::NoAnswer { since, message, errors }))
        };
        let Some((since, notice)) = found else { return };
        if self.clock.now().since(since) >= self.limits.silent_after {
            self.tell(Some(notice));
        }
    }

    /// Notices what a look at the action showed.
    async fn looked(&self, address: &str, id: Uuid, phase: Option<ActionPhase>) {
        match phase {
            Some(ActionPhase::New) => self.is_new(address, id).await,
            Some(ActionPhase::Running) | None => {
                let was_queued = {
                    let mut seen = self.seen();
                    seen.new_since = None;
                    seen.told.as_ref().is_some_and(|told| !told.is_silence())
                };
                if was_queued {
                    self.tell(None);
                }
            }
            // The answer of the call follows at once.
            Some(ActionPhase::Done | ActionPhase::Failed) => {}
        }
    }

    async fn is_new(&self, address: &str, id: Uuid) {
        let now = self.clock.now();
        let (since, asks) = {
            let mut seen = self.seen();
            (*seen.new_since.get_or_insert(now), seen.queue_tries > 0)
        };
        let lasts = now.since(since);
        let place = match asks && lasts >= self.limits.queue_after {
            true => self.place(address, id).await,
            false => None,
        };
        match place {
            Some((before, behind)) if before > 0 => {
                self.tell(Some(Notice::Queued { since, before, behind }));
            }
            Some(_) if lasts >= self.limits.new_after => {
                self.tell(Some(Notice::Queued { since, before: 0, behind: None }));
            }
            Some(_) | None => {}
        }
    }

    /// How many actions come before this one in the agent's queue, and the kind of the one that runs or goes
    /// first; `None` if the agent does not say. After a few tries such an agent is not asked any more.
    async fn place(&self, address: &str, id: Uuid) -> Option<(u32, Option<String>)> {
        let answer = tokio::select! {
            biased;
            answer = self.client.queue(address) => Some(answer),
            () = self.clock.sleep(self.limits.queue_wait.to_std()) => None,
        };
        match answer {
            Some(Ok(queue)) => {
                self.seen().queue_tries = QUEUE_TRIES;
                place_in(&queue, id)
            }
            Some(Err(error)) if !error.retryable() => {
                self.seen().queue_tries = 0;
                None
            }
            Some(Err(_)) | None => {
                let mut seen = self.seen();
                seen.queue_tries = seen.queue_tries.saturating_sub(1);
                None
            }
        }
    }

    /// Gives a notice, unless the same was given already, or one of the same kind a short while ago. If there
    /// is no room, it is given at the next opportunity.
    fn tell(&self, notice: Option<Notice>) {
        let now = self.clock.now();
        let mut seen = self.seen();
        let kind = |notice: &Option<Notice>| notice.as_ref().map(Notice::is_silence);
        let is_same = seen.told == notice
            || kind(&seen.told) == kind(&notice)
                && now.since(seen.told_at) < self.limits.notice_again;
        if (!is_same || seen.unsure) && (self.report)(notice.clone()) {
            (seen.told, seen.told_at, seen.unsure) = (notice, now, false);
        }
    }
}

/// How many actions come before this one, and the kind of the one that runs or goes first; `None` when it is
/// not in the queue (any more).
fn place_in(queue: &[QueuedAction], id: Uuid) -> Option<(u32, Option<String>)> {
    let place = queue.iter().position(|action| action.id == id)?;
    let (first, after) = queue.split_at(place);
    let is_running = |action: &&QueuedAction| action.phase == ActionPhase::Running;
    let runs_after = after.iter().filter(is_running).filter(|action| action.id != id);
    let others: Vec<_> = first.iter().chain(runs_after).collect();
    let behind = others.iter().copied().find(is_running).or_else(|| others.first().copied());
    let before = u32::try_from(others.len()).unwrap_or(u32::MAX);
    Some((before, behind.map(|action| cut(&action.kind))))
}

/// Whether the agent answered at all, though not with a success.
pub(super) const fn is_answer(error: &AgentError) -> bool {
    match error {
        AgentError::Connect { .. }
        | AgentError::Short { .. }
        | AgentError::NoAnswer { .. }
        | AgentError::Barred { .. }
        | AgentError::WrongNode(_) => false,
        AgentError::Broken { .. } | AgentError::Refused { .. } | AgentError::Malformed { .. } => {
            true
        }
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[async_trait]
impl AgentClient for Watched {
    async fn schedule(
        &self,
        address: &str,
        request: &ActionRequest,
    ) -> Result<Scheduled, AgentError> {
        self.pass(address, self.client.schedule(address, request)).await
    }

    async fn action(&self, address: &str, id: Uuid) -> Result<Option<ActionStatus>, AgentError> {
        let found = self.pass(address, self.client.action(address, id)).await?;
        self.looked(address, id, found.as_ref().map(|status| status.phase)).await;
        Ok(found)
    }

    async fn queue(&self, address: &str) -> Result<Vec<QueuedAction>, AgentError> {
        self.client.queue(address).await
    }

    async fn node(&self, address: &str) -> Result<NodeInfo, AgentError> {
        self.pass(address, self.client.node(address)).await
    }

    async fn store(&self, address: &str) -> Result<Value, AgentError> {
        self.pass(address, self.client.store(address)).await
    }

    async fn shards(&self, address: &str) -> Result<Value, AgentError> {
        self.pass(address, self.client.shards(address)).await
    }
}
