//! A server on a port of its own, and a client for it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use replibook::access::Keeper;
use replibook::agent::FakeAgents;
use replibook::agent::platform::FakePlatforms;
use replibook::api::{ApiState, install_builtins, serve};
use replibook::clock::{Clock, SystemClock};
use replibook::driver::{Followers, Signals};
use replibook::plugin::{HostConfig, PluginHost};
use replibook::policy::CurrentPolicy;
use replibook::run::Timestamp;
use replibook::secrets::FakeSecrets;
use replibook::store::{MemoryStore, StoreOptions};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Shared by all tests, since compiling the built-in plugins takes a moment.
pub(crate) static PLUGINS: LazyLock<PluginHost> = LazyLock::new(|| {
    PluginHost::start(HostConfig { threads: Some(1), ..HostConfig::default() })
        .expect("the plugin host should start")
});

/// How long a test waits for what must come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) signals: Signals,
    pub(crate) platforms: FakePlatforms,
    pub(crate) agents: FakeAgents,
    client: reqwest::Client,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
    clock: Arc<dyn Clock>,
}

/// An answer with a body in JSON, or without one.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

/// A store with the built-in plugins.
async fn new_store(clock: &Arc<dyn Clock>) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new(StoreOptions::default(), Arc::clone(clock)));
    install_builtins(&*store, &PLUGINS, &**clock).await.unwrap();
    store
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with_clock(Arc::new(SystemClock)).await
    }

    pub(crate) async fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let store = new_store(&clock).await;
        Self::of(clock, store, |state| state).await
    }

    /// A server with a policy.
    pub(crate) async fn with_policy(policy: CurrentPolicy) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = new_store(&clock).await;
        Self::of(clock, store, |state| state.with_policy(policy)).await
    }

    /// A server that lets in whom this keeper knows, and a clock that nobody waits for.
    pub(crate) async fn with_keeper(keeper: Keeper) -> Self {
        Self::with_keeper_at(keeper, Arc::new(JumpingClock::default())).await
    }

    /// A server with this clock that lets in whom this keeper knows.
    pub(crate) async fn with_keeper_at(keeper: Keeper, clock: Arc<dyn Clock>) -> Self {
        let store = new_store(&clock).await;
        Self::of(clock, store, |state| state.with_keeper(keeper)).await
    }

    /// A server with these secrets.
    pub(crate) async fn with_secrets(secrets: FakeSecrets) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = new_store(&clock).await;
        Self::of(clock, store, |state| state.with_secrets(Arc::new(secrets))).await
    }

    /// Stops the server, and starts another one with this policy over the same store.
    pub(crate) async fn restarted(self, policy: CurrentPolicy) -> Self {
        let (clock, store) = (self.clock.clone(), self.store.clone());
        self.stop().await;
        Self::of(clock, store, |state| state.with_policy(policy)).await
    }

    /// A server with at most `connections` connections, and a clock that nobody waits for.
    pub(crate) async fn with_connections(connections: usize) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(JumpingClock::default());
        let store = new_store(&clock).await;
        Self::of(clock, store, |state| state.with_connections(connections)).await
    }

    /// A server whose plugins are checked by this host.
    pub(crate) async fn with_host(plugins: PluginHost) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = new_store(&clock).await;
        Self::of_host(plugins, clock, store, |state| state).await
    }

    /// A server with a policy, whose plugins are checked by this host.
    pub(crate) async fn with_host_and_policy(plugins: PluginHost, policy: CurrentPolicy) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = new_store(&clock).await;
        Self::of_host(plugins, clock, store, |state| state.with_policy(policy)).await
    }

    async fn of(
        clock: Arc<dyn Clock>,
        store: Arc<MemoryStore>,
        set: impl FnOnce(ApiState) -> ApiState,
    ) -> Self {
        Self::of_host(PLUGINS.clone(), clock, store, set).await
    }

    async fn of_host(
        plugins: PluginHost,
        clock: Arc<dyn Clock>,
        store: Arc<MemoryStore>,
        set: impl FnOnce(ApiState) -> ApiState,
    ) -> Self {
        // Fails if another test has done it before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let kept_clock = clock.clone();
        let signals = Signals::new();
        let platforms = FakePlatforms::new(clock.clone());
        let client = Arc::new(platforms.clone());
        let followers = Followers::new(client, store.clone(), clock.clone());
        let signals_too = signals.clone();
        let agents = FakeAgents::new(clock.clone());
        let state = ApiState::new(store.clone(), plugins, signals_too, followers, clock)
            .with_agents(Arc::new(agents.clone()));
        let state = set(state);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(serve(listener, state, async move {
            let _ = stopped.await;
        }));
        let client = reqwest::Client::builder().no_proxy().timeout(DEADLINE).build().unwrap();
        let clock = kept_clock;
        Self { address, store, signals, platforms, agents, client, stop, served, clock }
    }

    /// Tells the server to stop, and waits until it has.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        tokio::time::timeout(DEADLINE, self.served).await.unwrap().unwrap().unwrap();
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.client.request(method.parse().unwrap(), self.url(path))
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        send(self.request("GET", path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        send(self.request("DELETE", path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        send(self.request("POST", path).json(&body)).await
    }

    pub(crate) async fn put(&self, path: &str, bytes: impl Into<Bytes>) -> Reply {
        send(self.request("PUT", path).body(bytes.into())).await
    }

    pub(crate) async fn apply(&self, document: &str) -> Reply {
        self.post("/api/v1/playbooks", json!({ "document": document })).await
    }

    pub(crate) async fn apply_cluster(&self, document: &str) -> Reply {
        self.post("/api/v1/clusters", json!({ "document": document })).await
    }
}

pub(crate) async fn send(request: RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.bytes().await.unwrap();
    let body = match bytes.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(&bytes).unwrap(),
    };
    Reply { status, headers, body }
}

impl Reply {
    /// The body of an answer, which must have this status.
    #[track_caller]
    pub(crate) fn ok(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }

    /// The body of an error, which must be a problem with this status and code.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, code: &str) -> Value {
        assert_eq!((self.status, &self.body["code"]), (status, &json!(code)), "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["type"], "about:blank");
        assert!(self.body["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        self.body
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// A clock that jumps ahead to the end of every sleep, so that nobody waits for it.
#[derive(Debug, Default)]
pub(crate) struct JumpingClock(AtomicI64);

#[async_trait]
impl Clock for JumpingClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + self.0.load(Ordering::SeqCst))
    }

    async fn sleep(&self, length: Duration) {
        tokio::task::yield_now().await;
        self.0.fetch_add(i64::try_from(length.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

pub(crate) const CLUSTER: &str = "
apiVersion: replicante.io/v1
kind: Cluster
metadata: { name: eu }
spec:
  agents:
    - { id: node-1, address: 'http://127.0.0.1:1' }
    - { id: node-2, address: 'http://127.0.0.1:2' }
";

/// A playbook with these lines in its `spec`, in front of its one stage.
pub(crate) fn playbook(name: &str, version: &str, spec: &str) -> String {
    format!(
        "apiVersion: replicante.io/v1
kind: Playbook
metadata: {{ name: {name}, version: {version} }}
spec:
  {spec}
  stages:
    - name: restart
      strategy: {{ use: rolling }}
      steps:
        - name: drain
          action: agent.replicante.io/test.success
"
    )
}
