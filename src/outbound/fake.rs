//! HTTP servers in memory: for tests of the engine and for simulations. They are deterministic, and keep account of
//! what was asked of them, so that a test can prove what the engine promises.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use uuid::Uuid;

use super::client::{Outbound, Sending};
use crate::clock::Clock;
use crate::run::{HttpBody, HttpError, HttpResponse, Millis};

/// Requests that are remembered; the oldest go first, so that a simulation of days does not fill the memory.
const MAX_REMEMBERED: usize = 10_000;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// It is answered with this status.
    Answered(u16),
    /// It takes effect, but its answer is lost.
    AnswerLost,
    /// It never arrives.
    NotReached,
}

/// Servers in memory that answer each request with its own body. Cheap to clone; clones are the same servers.
#[derive(Clone)]
pub struct FakeOutbound {
    clock: Arc<dyn Clock>,
    kept: Arc<Mutex<Kept>>,
}

struct Kept {
    latency: Millis,
    next: VecDeque<Exchange>,
    received: VecDeque<Sending>,
    effects: BTreeMap<Uuid, u32>,
}

impl FakeOutbound {
    /// Servers that answer each request with 200 after 10 ms.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let kept = Kept {
            latency: Millis(10),
            next: VecDeque::new(),
            received: VecDeque::new(),
            effects: BTreeMap::new(),
        };
        Self { clock, kept: Arc::new(Mutex::new(kept)) }
    }

    /// How long each request takes from now on.
    pub fn set_latency(&self, latency: Millis) {
        self.lock().latency = latency;
    }

    /// What becomes of the next request that nothing was said about.
    pub fn then(&self, exchange: Exchange) {
        self.lock().next.push_back(exchange);
    }

    /// The requests that arrived, oldest first.
    pub fn received(&self) -> Vec<Sending> {
        self.lock().received.iter().cloned().collect()
    }

    /// How many times requests with this key arrived. A server that heeds keys had one effect for each.
    pub fn arrivals(&self) -> BTreeMap<Uuid, u32> {
        self.lock().effects.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a request in, and tells what becomes of it.
    fn take(&self, sending: &Sending) -> Exchange {
        let mut kept = self.lock();
        let exchange = kept.next.pop_front().unwrap_or(Exchange::Answered(200));
        if exchange != Exchange::NotReached {
            *kept.effects.entry(sending.key).or_insert(0) += 1;
            kept.received.push_back(sending.clone());
            if kept.received.len() > MAX_REMEMBERED {
                kept.received.pop_front();
            }
        }
        exchange
    }
}

#[async_trait]
impl Outbound for FakeOutbound {
    async fn send(&self, sending: Sending) -> Result<HttpResponse, HttpError> {
        let exchange = self.take(&sending);
        let (latency, timeout) = (self.lock().latency, sending.request.timeout());
        self.clock.sleep(latency.min(timeout).to_std()).await;
        if latency > timeout {
            return Err(HttpError::TimedOut(format!("no whole answer within {timeout}")));
        }
        match exchange {
            Exchange::Answered(status) => {
                let body = HttpBody::clone(sending.request.body());
                Ok(HttpResponse { status, headers: Vec::new(), body })
            }
            Exchange::AnswerLost | Exchange::NotReached => {
                Err(HttpError::Failed("the connection was closed".to_owned()))
            }
        }
    }
}
