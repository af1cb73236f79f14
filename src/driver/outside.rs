//! Performs what steps ask for that is no call to an agent: HTTP requests, and waits for signals.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::lease::LeaseGuard;
use crate::clock::{Clock, sleep_until};
use crate::outbound::{Outbound, Sending};
use crate::run::{
    AgentSeq, Answer, AttemptKey, CallError, HttpError, HttpRequest, HttpResponse, Millis, Perform,
    Received, Signal, Timestamp,
};
use replibook_core::mutant;

/// How long to wait before it is looked again whether the lease lets a request go out.
const GUARD_WAIT: Duration = Duration::from_millis(500);

/// What a request of a step is sent with.
pub(super) struct Sender {
    pub(super) outbound: Arc<dyn Outbound>,
    pub(super) lease: LeaseGuard,
    pub(super) clock: Arc<dyn Clock>,
}

impl Sender {
    /// Waits until the lease lets a request go out.
    pub(super) async fn wait(&self) {
        while !self.lease.may_act() {
            self.clock.sleep(GUARD_WAIT).await;
        }
    }

    /// Sends a request under the lease of the run. `None` if so little is left of the lease that the request is cut off,
    /// and may have arrived. It has to be sent again, with the same key: by whoever takes the run over, or from here, if
    /// the lease is prolonged after all.
    pub(super) async fn send(&self, perform: &Perform, request: &HttpRequest) -> Option<Answer> {
        let Some(caller) = perform.caller.as_deref() else {
            // The machine names the caller of every request.
            let message = "it is not known on whose behalf the request is sent".to_owned();
            return Some(Answer::HttpSend(Err(HttpError::NotGranted(message))));
        };
        let sending = Sending {
            request: request.clone(),
            key: perform.key.action_id(self.lease.run(), &perform.agent, perform.call),
            caller: caller.clone(),
        };
        self.wait().await;
        tokio::select! {
            biased;
            // Looked at first: whoever stood still for a while must not send anything after it.
            () = self.lease.ending() => None,
            answer = self.answer_to(sending) => Some(Answer::HttpSend(answer)),
        }
    }

    /// What the server answers, whatever that is: a redirect is an answer, too. Where it points nobody has granted.
    async fn answer_to(&self, sending: Sending) -> Result<HttpResponse, HttpError> {
        if mutant!(RedirectFollowed) {
            let answer = self.outbound.send(sending.clone()).await?;
            return match elsewhere(&sending, &answer) {
                Some(sending) => self.outbound.send(sending).await,
                None => Ok(answer),
            };
        }
        self.outbound.send(sending).await
    }
}

/// The request as a client that follows redirects would send it next. Only a [mistake](replibook_core::mutants) needs it.
fn elsewhere(sending: &Sending, answer: &HttpResponse) -> Option<Sending> {
    let (_, to) = answer.headers.iter().find(|(name, _)| name == "location")?;
    let was = &sending.request;
    let timeout = u32::try_from(was.timeout().0).ok()?;
    let (method, headers) = (was.method().as_str(), was.headers().to_vec());
    let request = HttpRequest::new(method, to, headers, was.body().bytes(), timeout).ok()?;
    Some(Sending { request, ..sending.clone() })
}

/// The calls that wait for signals, at most one for each agent. They are in order, since agents that one signal wakes
/// go on in a history as they are woken here.
#[derive(Default)]
pub(super) struct Waits(BTreeMap<AgentSeq, Waiting>);

struct Waiting {
    key: AttemptKey,
    name: String,
    tell: oneshot::Sender<Received>,
}

impl Waits {
    /// Begins a wait for the signal `name`. The receiver is told of the signal.
    pub(super) fn begin(&mut self, perform: &Perform, name: &str) -> oneshot::Receiver<Received> {
        let (tell, told) = oneshot::channel();
        match &perform.signal {
            // Whoever waits has not looked yet, so the signal is kept for it.
            Some(signal) => drop(tell.send(signal.received())),
            None => {
                let waiting = Waiting { key: perform.key, name: name.to_owned(), tell };
                self.0.insert(perform.key.agent, waiting);
            }
        }
        told
    }

    /// Ends the waits for this signal.
    pub(super) fn signal(&mut self, signal: &Signal, to: Option<AgentSeq>) {
        let is_for = |agent: &AgentSeq, waiting: &Waiting| {
            waiting.name == signal.name
                && (to.is_none_or(|to| to == *agent) || mutant!(SignalToAll))
        };
        let ended: Vec<_> =
            self.0.extract_if(.., |agent, waiting| is_for(agent, waiting)).collect();
        for (_, waiting) in ended {
            // A wait that was given up meanwhile is told nothing.
            let _ = waiting.tell.send(signal.received());
        }
    }

    /// Forgets the wait of an attempt that is given up.
    pub(super) fn forget(&mut self, key: AttemptKey) {
        if self.0.get(&key.agent).is_some_and(|waiting| waiting.key == key) {
            self.0.remove(&key.agent);
        }
    }
}

/// Waits until the signal comes, or for `timeout` from `since` on.
pub(super) async fn wait_signal(
    clock: &dyn Clock,
    told: oneshot::Receiver<Received>,
    name: &str,
    (since, timeout): (Timestamp, Millis),
) -> Answer {
    let signal = async {
        match told.await {
            Ok(received) => received,
            // The wait was given up, and so will this be.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        received = signal => Answer::WaitSignal(Ok(received)),
        () = sleep_until(clock, since.plus(timeout)) => {
            let message = format!("no signal {name} came within {timeout}");
            Answer::WaitSignal(Err(CallError::TimedOut(message)))
        }
    }
}
