//! The servers that steps send requests to. Each deals with a request as the agent would with the action of that
//! step, and has one effect for each key.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use replibook::clock::Clock;
use replibook::outbound::{Outbound, Sending};
use replibook::run::{HttpError, HttpResponse, Millis, Timestamp};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::documents::{MOVED, SECRET_HEADER, SERVER};
use crate::gate::{Gate, lock};
use crate::ledger::SharedLedger;
use crate::plan::{AgentPlan, CALM, End, Point, Side};
use crate::post_fault::PostFault;

/// All servers. They live as long as the history, whatever happens to engines.
pub(crate) struct Web {
    plans: Vec<AgentPlan>,
    clock: Arc<dyn Clock>,
    start: Timestamp,
    /// How many requests with a key came.
    came: Mutex<BTreeMap<Uuid, usize>>,
    ledger: SharedLedger,
}

fn lost() -> HttpError {
    HttpError::Failed("connection reset".to_owned())
}

impl Web {
    pub(crate) fn new(
        plans: &[AgentPlan],
        clock: Arc<dyn Clock>,
        start: Timestamp,
        ledger: SharedLedger,
    ) -> Arc<Self> {
        Arc::new(Self { plans: plans.to_vec(), clock, start, came: Mutex::default(), ledger })
    }

    /// Deals with a request, whose answer has its key as the body.
    async fn serve(&self, sending: &Sending) -> Result<HttpResponse, HttpError> {
        let path = sending.request.url().strip_prefix(SERVER).unwrap();
        let (path, is_moved) = match path.strip_suffix(MOVED) {
            Some(path) => (path, true),
            None => (path, false),
        };
        let (agent, step) = path.split_once('/').unwrap();
        let agent = agent.strip_prefix("node-").and_then(|number| number.parse::<usize>().ok());
        // Agents of another cluster have a server that does nothing.
        let plan = agent.and_then(|agent| self.plans.get(agent)).ok_or_else(lost)?;
        let action = &plan.actions[step.parse::<usize>().unwrap()];
        let nth = {
            let mut came = lock(&self.came);
            let count = came.entry(sending.key).or_default();
            *count += 1;
            *count - 1
        };
        let is_calm = self.clock.now().since(self.start).0 >= CALM;
        let takes = if action.end == End::Stalled && !is_calm { CALM } else { action.takes };
        let timeout = sending.request.timeout();
        match action.posts.get(nth) {
            Some(PostFault::Lost | PostFault::Stray | PostFault::Broken | PostFault::Cut(_)) => {
                return Err(lost());
            }
            Some(PostFault::AnswerLost | PostFault::Garbled) => {
                self.ledger.request_arrived(sending.key);
                return Err(lost());
            }
            Some(PostFault::Late(length) | PostFault::Held(length)) => {
                self.clock.sleep(Millis(*length).to_std()).await;
            }
            Some(PostFault::Doubled) | None => {}
        }
        self.ledger.request_arrived(sending.key);
        self.clock.sleep(Millis(takes).min(timeout).to_std()).await;
        if Millis(takes) >= timeout {
            return Err(HttpError::TimedOut("no answer".to_owned()));
        }
        let status = match action.end {
            End::Failed => 500,
            // Some servers refuse by sending the client elsewhere.
            End::Refused if !is_moved => 307,
            End::Refused => 403,
            End::Done | End::Forgotten | End::Stalled => 200,
        };
        let body = sending.key.to_string().into_bytes().into();
        // Servers may return what they got.
        let mut headers = vec![("x-echo".to_owned(), secret_in(sending))];
        if status == 307 {
            headers.push(("location".to_owned(), format!("{SERVER}{path}{MOVED}")));
        }
        Ok(HttpResponse { status, headers, body })
    }
}

/// What a request has in the header of secrets.
fn secret_in(sending: &Sending) -> String {
    let mut headers = sending.request.headers().iter();
    headers.find(|(name, _)| name == SECRET_HEADER).map(|(_, value)| value.clone()).unwrap()
}

/// The servers as one life of an engine reaches them.
pub(crate) struct EngineWeb {
    pub(crate) web: Arc<Web>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) ledger: SharedLedger,
}

#[async_trait]
impl Outbound for EngineWeb {
    /// A request that is on its way arrives, even if its sender dies meanwhile.
    async fn send(&self, sending: Sending) -> Result<HttpResponse, HttpError> {
        self.gate.at(Point::Post, Side::Before).await;
        self.ledger.request_begins(self.gate.engine, &sending, &secret_in(&sending));
        let (answer, answered) = oneshot::channel();
        let web = Arc::clone(&self.web);
        tokio::spawn(async move {
            let served = web.serve(&sending).await;
            // Nobody waits for the answer if the sender has died or given up.
            let _ = answer.send(served);
        });
        let served = answered.await.unwrap_or_else(|_| Err(lost()));
        self.gate.at(Point::Post, Side::After).await;
        served
    }
}
