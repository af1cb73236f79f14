//! The HTTP clients with which agents are reached: one for each content of credentials, so that no connection of another
//! is used, and new certificates count for new connections at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, ClientBuilder};
use rustls::ClientConfig;

use super::client::AgentError;
use super::connections::TooLittle;
use super::http::too_little;
use super::inside::{Inside, answering};
use crate::credentials::{KeptCredentials, NotUsed, Use, trusting_nobody};
use crate::outbound::client_builder;
use crate::playbook::Reach;
use crate::run::Digest;

/// Why the HTTP client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AgentHttpError {
    /// TLS can't be set up.
    #[error("failed to set up TLS: {0}")]
    Tls(String),
    /// The HTTP client could not be made.
    #[error("failed to make an HTTP client")]
    Client(#[from] reqwest::Error),
}

/// Makes a client that uses these settings of TLS.
type Make = Arc<dyn Fn(ClientConfig) -> reqwest::Result<Client> + Send + Sync>;

/// The HTTP clients of one kind of server. Cheap to clone; clones share them.
#[derive(Clone)]
pub(in crate::agent) struct Clients {
    /// The client without credentials.
    plain: Client,
    make: Make,
    kept: KeptCredentials,
    used: Use,
    inside: Option<Inside>,
    /// The client of each name, with the content that it was made of. Dropping one closes its unused connections.
    made: Arc<Mutex<HashMap<String, (Digest, Client)>>>,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clients({:?})", self.used)
    }
}

/// With what a request is sent.
pub(in crate::agent) struct With {
    pub(in crate::agent) client: Client,
    pub(in crate::agent) authorization: Option<HeaderValue>,
    /// The gateway within this server, if the request is for it: then nothing leaves this process.
    inside: Option<Inside>,
}

impl Clients {
    /// Clients for one use, made by `builder`. There are no credentials yet.
    pub(in crate::agent) fn new(
        used: Use,
        plain: Client,
        builder: impl Fn() -> ClientBuilder + Send + Sync + 'static,
    ) -> Self {
        let make: Make = Arc::new(move |config| {
            let builder = builder().tls_backend_preconfigured(config);
            builder.build()
        });
        let (kept, inside) = (KeptCredentials::default(), None);
        Self { plain, make, kept, used, inside, made: Arc::default() }
    }

    /// These credentials can be used.
    pub(in crate::agent) fn with_credentials(self, kept: KeptCredentials) -> Self {
        Self { kept, made: Arc::default(), ..self }
    }

    /// The server has this gateway within itself.
    pub(in crate::agent) fn with_inside(self, inside: Option<Inside>) -> Self {
        Self { inside, ..self }
    }

    /// With what to send a request that needs no credentials.
    pub(in crate::agent) fn plain(&self) -> With {
        With::client(self.plain.clone())
    }

    /// With what to send a request to the gateway within this server; `None` if the address is not there.
    ///
    /// # Errors
    /// This server has none.
    pub(in crate::agent) fn inside(&self, address: &str) -> Result<Option<With>, TooLittle> {
        let inside = answering(self.inside.as_ref(), address)?;
        Ok(inside.map(|inside| With { inside: Some(inside), ..self.plain() }))
    }

    /// With what to send a request to an address, by the credentials of a name.
    ///
    /// # Errors
    /// They may not go there, or there are none.
    pub(in crate::agent) fn named(&self, name: &str, address: &str) -> Result<With, NotUsed> {
        let kept = self.kept.get(name, self.used)?;
        let config = kept.client_for(address)?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let known = made.get(name).filter(|(content, _)| *content == kept.content);
        let client = match known {
            Some((_, client)) => client.clone(),
            None => {
                let client = (self.make)(config.clone());
                let client = client.map_err(|error| lacking(name, &error.to_string()))?;
                made.insert(name.to_owned(), (kept.content.clone(), client.clone()));
                client
            }
        };
        drop(made);
        let bearer = |token: &String| {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| lacking(name, "its token can't be sent in a header"))?;
            value.set_sensitive(true);
            Ok::<_, NotUsed>(value)
        };
        let authorization = kept.credential.token.as_ref().map(bearer).transpose()?;
        Ok(With { authorization, ..With::client(client) })
    }
}

impl With {
    /// A client, and nothing else.
    pub(in crate::agent) const fn client(client: Client) -> Self {
        Self { client, authorization: None, inside: None }
    }

    /// Sends a request as this says.
    pub(in crate::agent) async fn send(
        self,
        request: reqwest::RequestBuilder,
    ) -> reqwest::Result<reqwest::Response> {
        let mut request = request.build()?;
        if let Some(authorization) = self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        match self.inside {
            Some(inside) => inside.answer(request).await,
            None => self.client.execute(request).await,
        }
    }
}

fn lacking(name: &str, why: &str) -> NotUsed {
    NotUsed::Lacking { name: name.to_owned(), why: why.to_owned() }
}

/// The error of a request that must not be sent to an agent. What this server lacks says nothing about the agent.
pub(super) fn barred(address: &str, why: NotUsed) -> AgentError {
    let address = address.to_owned();
    match why.is_lack() {
        true => AgentError::Short { address, message: why.to_string() },
        false => AgentError::Barred { address, why },
    }
}

/// With what to send a request to an agent that is reached in this way.
pub(super) fn with(clients: &Clients, reach: &Reach, address: &str) -> Result<With, AgentError> {
    if let Some(outdated) = &reach.outdated {
        return Err(barred(address, NotUsed::Outdated(outdated.clone())));
    }
    let inside = clients.inside(address).map_err(|short| too_little(address, short))?;
    if let Some(inside) = inside {
        return Ok(inside);
    }
    match &reach.credentials {
        None => Ok(clients.plain()),
        Some(name) => clients.named(name, address).map_err(|why| barred(address, why)),
    }
}

/// The settings of TLS without credentials.
pub(super) fn without_credentials() -> Result<ClientConfig, AgentHttpError> {
    trusting_nobody().map_err(AgentHttpError::Tls)
}

/// How the clients of agents are made.
pub(super) fn builder(connect: Duration, kept: Duration, kept_per_host: usize) -> ClientBuilder {
    client_builder(connect).pool_idle_timeout(kept).pool_max_idle_per_host(kept_per_host)
}
