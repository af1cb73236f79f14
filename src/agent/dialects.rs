//! Speaks with agents of both generations: as their Cluster says, or else as is found out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::Value;
use uuid::Uuid;

use super::client::{
    ActionRequest, ActionStatus, AgentClient, AgentError, QueuedAction, Scheduled,
};
use super::http::HttpAgents;
use super::output_call::{OutputPiece, OutputQuery};
use super::stable::StableAgents;
use crate::playbook::{Dialect, Reach};
use crate::run::NodeInfo;

/// The most agents whose dialect is remembered: more than a server has at work. Whoever is forgotten is asked again.
const REMEMBERED: usize = 200_000;

/// An [`AgentClient`] for agents of both generations.
///
/// Of an agent whose Cluster names no dialect it is found out, by asking about its node: an agent of the one generation
/// answers 404 to what the other is asked for. A dialect that was found out counts until the agent answers so: then it may
/// have been replaced by one of the other generation.
///
/// An action that the agent does not know in one dialect is unknown only once it is certain that the agent speaks that
/// dialect. Before the first request to schedule something is sent, the dialect is found out.
pub struct AnyDialect {
    main: Arc<dyn AgentClient>,
    stable: Arc<dyn AgentClient>,
    /// What their Cluster says; `None`: they are found out.
    told: Option<Dialect>,
    found: Found,
}

/// The dialects that were found out, by the addresses of the agents. All clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Found(Arc<Mutex<HashMap<String, Dialect>>>);

impl Found {
    fn of(&self, address: &str) -> Option<Dialect> {
        self.with(|found| found.get(address).copied())
    }

    fn note(&self, address: &str, dialect: Dialect) {
        self.with(|found| {
            if found.get(address) == Some(&dialect) {
                return;
            }
            if found.len() >= REMEMBERED {
                found.clear();
            }
            found.insert(address.to_owned(), dialect);
        });
    }

    fn with<T>(&self, look: impl FnOnce(&mut HashMap<String, Dialect>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AnyDialect {
    /// A client that speaks `told`, or finds out what to speak.
    pub fn new(
        main: Arc<dyn AgentClient>,
        stable: Arc<dyn AgentClient>,
        told: Option<Dialect>,
        found: Found,
    ) -> Self {
        Self { main, stable, told, found }
    }

    /// A client for agents that are reached over HTTP.
    pub fn over(http: HttpAgents, told: Option<Dialect>, found: Found) -> Self {
        let stable = StableAgents::over(http.clone());
        Self::new(Arc::new(http), Arc::new(stable), told, found)
    }

    fn speaking(&self, dialect: Dialect) -> &dyn AgentClient {
        match dialect {
            Dialect::Main => self.main.as_ref(),
            Dialect::Stable => self.stable.as_ref(),
        }
    }

    /// The dialect that the agent is known to speak.
    fn known(&self, address: &str) -> Option<Dialect> {
        self.told.or_else(|| self.found.of(address))
    }

    /// How to speak to an agent of which nothing is known.
    fn guess(&self, address: &str) -> &dyn AgentClient {
        self.speaking(self.known(address).unwrap_or(Dialect::Main))
    }

    /// The dialect of the agent. An error if whoever answers does not say what it speaks: perhaps that is not the agent.
    async fn find(&self, address: &str) -> Result<Dialect, AgentError> {
        let said = self.node(address).await;
        match (self.known(address), said) {
            (Some(dialect), _) => Ok(dialect),
            (None, Ok(_)) => Ok(Dialect::Main),
            (None, Err(error)) => Err(error),
        }
    }
}

#[async_trait]
impl AgentClient for AnyDialect {
    async fn schedule(
        &self,
        address: &str,
        request: &ActionRequest,
    ) -> Result<Scheduled, AgentError> {
        let dialect = match self.known(address) {
            Some(dialect) => dialect,
            None => match self.find(address).await {
                Ok(dialect) => dialect,
                Err(error) if error.retryable() => return Err(nothing_was_sent(error)),
                // Whoever says nothing about its node is spoken to as most are.
                Err(_) => Dialect::Main,
            },
        };
        self.speaking(dialect).schedule(address, request).await
    }

    async fn action(&self, address: &str, id: Uuid) -> Result<Option<ActionStatus>, AgentError> {
        let known = self.known(address);
        let status = self.guess(address).action(address, id).await?;
        if status.is_some() || known.is_some() {
            return Ok(status);
        }
        match self.find(address).await? {
            Dialect::Stable => self.stable.action(address, id).await,
            // What answered before may have been something else.
            Dialect::Main => self.main.action(address, id).await,
        }
    }

    async fn queue(&self, address: &str) -> Result<Vec<QueuedAction>, AgentError> {
        self.guess(address).queue(address).await
    }

    async fn node(&self, address: &str) -> Result<NodeInfo, AgentError> {
        let dialect = self.known(address).unwrap_or(Dialect::Main);
        let error = match self.speaking(dialect).node(address).await {
            Ok(info) => {
                self.found.note(address, dialect);
                return Ok(info);
            }
            Err(error) => error,
        };
        if self.told.is_some() || !is_not_there(&error) {
            return Err(error);
        }
        let other = dialect.other();
        match self.speaking(other).node(address).await {
            Err(also) if is_not_there(&also) => Err(error),
            said => {
                // Whoever refuses to answer has the call all the same, and so has whoever answers what can't be read.
                let has_it = matches!(
                    said,
                    Ok(_) | Err(AgentError::Refused { .. } | AgentError::Malformed { .. })
                );
                if has_it {
                    self.found.note(address, other);
                }
                said
            }
        }
    }

    async fn output(
        &self,
        address: &str,
        id: Uuid,
        query: OutputQuery,
    ) -> Result<Option<OutputPiece>, AgentError> {
        self.guess(address).output(address, id, query).await
    }

    async fn store(&self, address: &str) -> Result<Value, AgentError> {
        self.guess(address).store(address).await
    }

    async fn shards(&self, address: &str) -> Result<Value, AgentError> {
        self.guess(address).shards(address).await
    }

    fn reaching(&self, reach: &Reach) -> Option<Arc<dyn AgentClient>> {
        let main = self.main.reaching(reach).unwrap_or_else(|| Arc::clone(&self.main));
        let stable = self.stable.reaching(reach).unwrap_or_else(|| Arc::clone(&self.stable));
        Some(Arc::new(Self::new(main, stable, reach.dialect, self.found.clone())))
    }
}

/// Whether the agent has no such call.
const fn is_not_there(error: &AgentError) -> bool {
    matches!(error, AgentError::Refused { status: 404 | 405, .. })
}

/// The error of a request to schedule that was not sent, since the question before it failed.
fn nothing_was_sent(error: AgentError) -> AgentError {
    match error {
        AgentError::NoAnswer { address, message }
        | AgentError::Broken { address, message, .. }
        | AgentError::Malformed { address, message } => AgentError::Connect { address, message },
        AgentError::Connect { .. }
        | AgentError::Short { .. }
        | AgentError::Refused { .. }
        | AgentError::Barred { .. }
        | AgentError::WrongNode(_) => error,
    }
}

#[cfg(test)]
#[path = "dialects_tests.rs"]
mod tests;
