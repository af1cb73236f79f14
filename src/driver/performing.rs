//! Performs the calls of steps, each in a task of its own: those to agents, and HTTP requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use super::lease::LeaseGuard;
use super::outside::Sender;
use super::secrets::{CallSecrets, refused};
use crate::agent::{self, ActionRequest, FollowContext, Start};
use crate::clock::sleep_until;
use crate::outbound::Outbound;
use crate::run::{
    Answer, Call, CallError, CallName, Input, JsonText, KeptNode, Perform, SECRET_PLACES,
};
use replibook_core::mutant;
use serde_json::json;

/// What the task of a call needs.
pub(super) struct Performing {
    pub(super) follow: FollowContext,
    pub(super) outbound: Arc<dyn Outbound>,
    pub(super) lease: LeaseGuard,
    pub(super) inbox: mpsc::Sender<Input>,
    pub(super) secrets: CallSecrets,
    /// Whether the agent was seen to know the action.
    pub(super) accepted: Arc<AtomicBool>,
}

impl Performing {
    /// Performs a call, with its secrets in place of their tokens.
    pub(super) async fn perform(mut self, perform: Perform) -> Answer {
        let mut before: Vec<CallSecrets> = Vec::new();
        loop {
            if let Some(answer) = self.try_to(&perform).await {
                // A server that heeds the key may answer with what it was sent the first time.
                return before.iter().fold(answer, |answer, sent| sent.answer(answer));
            }
            if mutant!(RequestForgotten) {
                std::future::pending::<()>().await;
            }
            let again = self.secrets.again();
            before.push(std::mem::replace(&mut self.secrets, again));
        }
    }

    /// Performs a call once. `None` if it is a request that is to be sent again.
    async fn try_to(&self, perform: &Perform) -> Option<Answer> {
        if self.secrets.are_none() {
            return self.act(perform).await;
        }
        if perform.what.name() == CallName::HttpSend {
            // What is sent is looked up once it may be sent.
            self.sender().wait().await;
        }
        self.secrets.read_all().await;
        let may_be_out = perform.what.name() == CallName::RunAction && perform.again;
        let mut perform = perform.clone();
        let mut unsent = None;
        if !perform.look_only {
            match self.secrets.filled(&perform).await {
                Ok(Some(call)) => perform.what = call,
                Ok(None) => {}
                // It is followed to its end, and not sent again.
                Err(error) if may_be_out => {
                    perform.look_only = true;
                    unsent = Some(error);
                }
                Err(error) => return Some(refused(&perform.what, error)),
            }
        }
        let answer = self.act(&perform).await?;
        Some(match unsent {
            Some(error) if self.never_arrived(&perform, &answer) => refused(&perform.what, error),
            Some(_) | None => self.secrets.answer(answer),
        })
    }

    /// Whether an action that was only looked at turned out not to exist.
    fn never_arrived(&self, perform: &Perform, answer: &Answer) -> bool {
        let is_unknown =
            matches!(answer, Answer::RunAction(Err(CallError::Lost(_) | CallError::NotTaken(_))));
        is_unknown && !perform.accepted && !self.accepted.load(Ordering::Acquire)
    }

    fn sender(&self) -> Sender {
        let (outbound, clock) = (self.outbound.clone(), self.follow.clock.clone());
        Sender { outbound, lease: self.lease.clone(), clock }
    }

    /// `None` if it is a request whose answer did not come in time.
    async fn act(&self, perform: &Perform) -> Option<Answer> {
        Some(match &perform.what {
            Call::Info => {
                let info = agent::info(&self.follow, &perform.address, perform.wanted()).await;
                Answer::Info(info.and_then(|info| perform.of_its_agent(info)).map(KeptNode::from))
            }
            Call::WaitStatus { statuses, timeout } => {
                let address = &perform.address;
                let since = perform.since;
                Answer::WaitStatus(
                    agent::wait_status(
                        &self.follow,
                        address,
                        statuses,
                        since,
                        *timeout,
                        perform.expects(),
                    )
                    .await,
                )
            }
            Call::Sleep { length } => {
                sleep_until(self.follow.clock.as_ref(), perform.since.plus(*length)).await;
                Answer::Sleep
            }
            Call::HttpSend { request } => self.sender().send(perform, request).await?,
            // It is told of the signal by name, before it comes here.
            Call::WaitSignal { .. } => std::future::pending().await,
            Call::RunAction { kind, arguments } => {
                let request = self.request(perform, kind, arguments);
                self.run_action(perform, &request).await
            }
        })
    }

    fn request(&self, perform: &Perform, kind: &str, args: &JsonText) -> ActionRequest {
        let run = self.lease.run();
        let label = |text: String| serde_json::Value::String(text);
        let mut metadata = vec![
            ("replibook.run".to_owned(), label(run.to_string())),
            ("replibook.agent".to_owned(), label(perform.agent.to_string())),
            ("replibook.attempt".to_owned(), label(perform.key.attempt.to_string())),
        ];
        if !self.secrets.places().is_empty() {
            let places = json!(self.secrets.places()).to_string();
            metadata.push((SECRET_PLACES.to_owned(), label(places)));
        }
        ActionRequest {
            id: perform.key.action_id(run, &perform.agent, perform.call),
            kind: kind.to_owned(),
            args: args.clone(),
            created_time: perform.since,
            metadata: metadata.into_iter().collect(),
        }
    }

    async fn run_action(&self, perform: &Perform, request: &ActionRequest) -> Answer {
        let start = Start {
            again: perform.again && !mutant!(PostWithoutLook),
            accepted: perform.accepted && !mutant!(AcceptanceForgotten),
            look_only: perform.look_only,
            bytes: perform.bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            expected: perform.expects(),
            unidentified: perform.unidentified,
        };
        let (key, call) = (perform.key, perform.call);
        let on_accepted = || {
            self.accepted.store(true, Ordering::Release);
            let inbox = self.inbox.clone();
            // This input may be late: it only serves to tell, after a crash, a lost action from one that never
            // arrived.
            tokio::spawn(async move {
                let _ = inbox.send(Input::Accepted { key, call }).await;
            });
        };
        let (refuse, mut refusal) = mpsc::channel(1);
        let may_post = || async {
            if let Err(error) = self.secrets.may_still().await {
                // There is no action, and nothing of the request is on its way: the call ends here.
                let _ = refuse.try_send(error);
                return std::future::pending().await;
            }
            self.lease.may_act()
        };
        let (follow, address) = (&self.follow, &perform.address);
        tokio::select! {
            biased;
            answer = agent::run_action(follow, address, request, start, on_accepted, may_post) => {
                Answer::RunAction(answer)
            }
            Some(error) = refusal.recv() => refused(&perform.what, error),
        }
    }
}
