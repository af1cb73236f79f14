//! What can be asked of the server: a method for each endpoint.

use bytes::Bytes;
use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;

use super::client::{Client, Repeat, UPLOAD_TIMEOUT};
use super::error::ClientError;
use crate::api::wire::{
    AbandonRun, AppliedDocuments, ApplyCluster, ApplyDocuments, ApplyPlaybook, ClusterAgents,
    ClusterView, CommandView, DrainEngine, EngineView, FoundRuns, Listing, PlaybookView,
    PluginView, RetryRun, RunView, StartRun, SubmitCommand,
};
use crate::run::{AgentId, AgentRecord, Digest, EngineId, RunId, Snapshot};
use crate::why::Explanation;

/// The most items in one page, as the server has it too.
pub const MAX_PAGE: usize = 1_000;

type Result<T> = std::result::Result<T, ClientError>;

/// A list that is read in pages.
#[derive(Clone, Debug)]
pub struct Pages<'a> {
    segments: Vec<String>,
    filters: Vec<(&'static str, String)>,
    client: &'a Client,
}

impl<'a> Pages<'a> {
    fn new(client: &'a Client, segments: &[&str]) -> Self {
        let segments = segments.iter().map(|&segment| segment.to_owned()).collect();
        Self { segments, filters: Vec::new(), client }
    }

    /// Only items for which the filter `name` is `value`; all when there is no value.
    #[must_use]
    pub fn only(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.filters.extend(value.map(|value| (name, value.to_string())));
        self
    }

    /// Reads at most `limit` items after `after`, page by page. `next` of the answer tells where to
    /// go on.
    ///
    /// # Errors
    /// As for every request. A server that gives the same place to go on twice is malformed.
    pub async fn read<T: DeserializeOwned>(
        &self,
        after: Option<String>,
        limit: usize,
    ) -> Result<Listing<T>> {
        let mut all = Listing { items: Vec::new(), next: after, damaged: Vec::new() };
        loop {
            let wanted = (limit - all.items.len().min(limit)).min(MAX_PAGE);
            let page: Listing<T> = self.page(all.next.as_deref(), wanted).await?;
            let is_empty = page.items.is_empty() && page.damaged.is_empty();
            let stuck = page.next.is_some() && (page.next == all.next || is_empty);
            if stuck {
                return Err(ClientError::Malformed {
                    server: self.client.server().to_owned(),
                    request: format!("GET …/{}", self.segments.join("/")),
                    message: "a page that does not lead on".to_owned(),
                });
            }
            all.items.extend(page.items);
            all.damaged.extend(page.damaged);
            all.next = page.next;
            if all.next.is_none() || all.items.len() >= limit {
                return Ok(all);
            }
        }
    }

    /// The same for a person, who is not told of more where there is none: a full page of the server has a `next`
    /// also where it is the last.
    pub(crate) async fn read_to_show<T: DeserializeOwned>(
        &self,
        after: Option<String>,
        limit: usize,
    ) -> Result<Listing<T>> {
        let mut all = self.read(after, limit).await?;
        if let Some(next) = &all.next {
            let further: Listing<serde::de::IgnoredAny> = self.page(Some(next), 1).await?;
            if further.items.is_empty() && further.next.is_none() {
                all.next = None;
                all.damaged.extend(further.damaged);
            }
        }
        Ok(all)
    }

    /// One page: a [`Listing`], or what has more beside its items.
    async fn page<P: DeserializeOwned>(&self, after: Option<&str>, limit: usize) -> Result<P> {
        let segments: Vec<&str> = self.segments.iter().map(String::as_str).collect();
        let mut request = self.client.get(&segments).query(&self.filters);
        request = request.query(&[("limit", limit)]);
        if let Some(after) = after {
            request = request.query(&[("after", after)]);
        }
        self.client.json(request, Repeat::Always).await
    }
}

impl Client {
    fn get(&self, segments: &[&str]) -> RequestBuilder {
        self.request(Method::GET, segments)
    }

    async fn delete(&self, request: RequestBuilder) -> Result<()> {
        let request = request.timeout(super::client::REQUEST_TIMEOUT);
        self.bytes(request, Repeat::Unsent).await.map(|_| ())
    }

    /// Uploads a plugin. The server checks the digest and that it is a plugin.
    ///
    /// # Errors
    /// [`ClientError::Refused`] also when the bytes are no plugin.
    pub async fn upload_plugin(&self, digest: &Digest, bytes: Bytes) -> Result<PluginView> {
        let request = self.request(Method::PUT, &["plugins"]);
        let request = request.query(&[("digest", digest.as_str())]);
        let request = request.header("content-type", "application/wasm").body(bytes);
        self.json_within(request, Repeat::Always, UPLOAD_TIMEOUT).await
    }

    /// A plugin.
    pub async fn plugin(&self, digest: &Digest) -> Result<PluginView> {
        self.json(self.get(&["plugins", digest.as_str()]), Repeat::Always).await
    }

    /// The bytes of a plugin.
    ///
    /// # Errors
    /// [`ClientError::Malformed`] also when they have another digest.
    pub async fn plugin_bytes(&self, digest: &Digest) -> Result<Bytes> {
        let request = self.get(&["plugins", digest.as_str(), "bytes"]).timeout(UPLOAD_TIMEOUT);
        let bytes = self.bytes(request, Repeat::Always).await?;
        let found = Digest::of(&bytes);
        if found == *digest {
            return Ok(bytes);
        }
        Err(ClientError::Malformed {
            server: self.server().to_owned(),
            request: format!("GET …/plugins/{digest}/bytes"),
            message: format!("found bytes with digest {found}"),
        })
    }

    /// All plugins: items are [`PluginView`]s.
    pub fn plugins(&self) -> Pages<'_> {
        Pages::new(self, &["plugins"])
    }

    /// Removes a plugin.
    pub async fn delete_plugin(&self, digest: &Digest) -> Result<()> {
        self.delete(self.request(Method::DELETE, &["plugins", digest.as_str()])).await
    }

    /// Applies a playbook; with `dry_run` it is only validated.
    pub async fn apply_playbook(
        &self,
        apply: &ApplyPlaybook,
        dry_run: bool,
    ) -> Result<PlaybookView> {
        let request = self.request(Method::POST, &["playbooks"]).json(apply);
        let request = if dry_run { request.query(&[("dry_run", true)]) } else { request };
        // The same content a second time changes nothing; but the answer would say `unchanged`.
        self.json(request, Repeat::Unsent).await
    }

    /// A playbook; without a version the highest one.
    pub async fn playbook(&self, name: &str, version: Option<&str>) -> Result<PlaybookView> {
        let mut request = self.get(&["playbooks", name]);
        if let Some(version) = version {
            request = request.query(&[("version", version)]);
        }
        self.json(request, Repeat::Always).await
    }

    /// All playbooks: items are [`PlaybookView`]s.
    pub fn playbooks(&self) -> Pages<'_> {
        Pages::new(self, &["playbooks"])
    }

    /// Removes one version of a playbook.
    pub async fn delete_playbook(&self, name: &str, version: &str) -> Result<()> {
        let request = self.request(Method::DELETE, &["playbooks", name]);
        self.delete(request.query(&[("version", version)])).await
    }

    /// Applies a cluster; with `dry_run` it is only validated.
    pub async fn apply_cluster(&self, apply: &ApplyCluster, dry_run: bool) -> Result<ClusterView> {
        let request = self.request(Method::POST, &["clusters"]).json(apply);
        let request = if dry_run { request.query(&[("dry_run", true)]) } else { request };
        self.json(request, Repeat::Unsent).await
    }

    /// Applies several documents, all of them or none; with `dry_run` they are only validated.
    pub async fn apply_all(
        &self,
        apply: &ApplyDocuments,
        dry_run: bool,
    ) -> Result<AppliedDocuments> {
        let request = self.request(Method::POST, &["apply"]).json(apply);
        let request = if dry_run { request.query(&[("dry_run", true)]) } else { request };
        // Sending it twice changes nothing, but then the answer would say `unchanged`.
        self.json(request, Repeat::Unsent).await
    }

    /// A cluster.
    pub async fn cluster(&self, name: &str) -> Result<ClusterView> {
        self.json(self.get(&["clusters", name]), Repeat::Always).await
    }

    /// A page of the agents of a cluster, as they are known now; with `ask` each is asked how it is.
    pub async fn cluster_agents(
        &self,
        cluster: &str,
        after: Option<&str>,
        limit: usize,
        ask: bool,
    ) -> Result<ClusterAgents> {
        let agents = Pages::new(self, &["clusters", cluster, "agents"]);
        agents.only("ask", ask.then_some(true)).page(after, limit).await
    }

    /// All clusters: items are [`ClusterView`]s.
    pub fn clusters(&self) -> Pages<'_> {
        Pages::new(self, &["clusters"])
    }

    /// Removes a cluster.
    pub async fn delete_cluster(&self, name: &str) -> Result<()> {
        self.delete(self.request(Method::DELETE, &["clusters", name])).await
    }

    /// Starts a run. The key makes it safe to ask twice: the second time the same run is returned.
    pub async fn start_run(&self, start: &StartRun, idempotency_key: &str) -> Result<RunView> {
        let request = self.request(Method::POST, &["runs"]).json(start);
        let request = request.header("idempotency-key", idempotency_key);
        self.json(request, Repeat::Always).await
    }

    /// Starts a run over agents of a finished one. The key is as for [`start_run`](Self::start_run).
    pub async fn retry_run(
        &self,
        run: RunId,
        retry: &RetryRun,
        idempotency_key: &str,
    ) -> Result<RunView> {
        let request = self.request(Method::POST, &["runs", &run.to_string(), "retry"]).json(retry);
        let request = request.header("idempotency-key", idempotency_key);
        self.json(request, Repeat::Always).await
    }

    /// Gives up a run that can't go on. Asking twice changes nothing.
    pub async fn abandon_run(&self, run: RunId, request: &AbandonRun) -> Result<RunView> {
        let path = ["runs", &run.to_string(), "abandon"];
        self.json(self.request(Method::POST, &path).json(request), Repeat::Always).await
    }

    /// The engines that share the store.
    pub async fn engines(&self) -> Result<Listing<EngineView>> {
        self.json(self.get(&["engines"]), Repeat::Always).await
    }

    /// Says whether an engine is to hand over its runs. Asking twice changes nothing.
    pub async fn drain_engine(&self, id: &EngineId, request: &DrainEngine) -> Result<EngineView> {
        let path = ["engines", id.0.as_str(), "drain"];
        self.json(self.request(Method::PUT, &path).json(request), Repeat::Always).await
    }

    /// A run.
    pub async fn run(&self, id: RunId) -> Result<RunView> {
        self.json(self.get(&["runs", &id.to_string()]), Repeat::Always).await
    }

    /// What a run was started with.
    pub async fn snapshot(&self, id: RunId) -> Result<Snapshot> {
        self.json(self.get(&["runs", &id.to_string(), "snapshot"]), Repeat::Always).await
    }

    /// What a run waits for, since when, and what would move it.
    pub async fn explanation(&self, id: RunId) -> Result<Explanation> {
        let request = self.get(&["runs", &id.to_string(), "explanation"]);
        self.json(request, Repeat::Always).await
    }

    /// Runs, newest first: items are [`RunView`]s; filters are `cluster`, `status`, `playbook` and `since`.
    pub fn runs(&self) -> Pages<'_> {
        Pages::new(self, &["runs"])
    }

    /// The runs whose identifiers have these digits in a row, or the newest one. `None` if the server is too old to
    /// know this request: it takes `find` for the identifier of a run.
    pub async fn find_runs(&self, part: Option<&str>) -> Result<Option<FoundRuns>> {
        let mut request = self.get(&["runs", "find"]);
        if let Some(part) = part {
            request = request.query(&[("part", part)]);
        }
        match self.json(request, Repeat::Always).await {
            Ok(found) => Ok(Some(found)),
            Err(ClientError::Refused(problem)) if matches!(problem.status, 400 | 404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks something of a run. The command has an identifier, so that this is safe to repeat and
    /// tells what became of it.
    pub async fn submit(&self, run: RunId, command: &SubmitCommand) -> Result<CommandView> {
        let request = self.request(Method::POST, &["runs", &run.to_string(), "commands"]);
        let repeat = if command.id.is_some() { Repeat::Always } else { Repeat::Unsent };
        self.json(request.json(command), repeat).await
    }

    /// The record of one agent.
    pub async fn agent(&self, run: RunId, agent: &AgentId) -> Result<AgentRecord> {
        let request = self.get(&["runs", &run.to_string(), "agents", agent.as_str()]);
        self.json(request, Repeat::Always).await
    }

    /// Agent records of a run: items are [`AgentRecord`]s; the filter is `state`.
    pub fn agents(&self, run: RunId) -> Pages<'_> {
        Pages::new(self, &["runs", &run.to_string(), "agents"])
    }

    /// Journals of a run: items are [`Journal`](crate::run::Journal)s; the filter is `agent`.
    pub fn journals(&self, run: RunId) -> Pages<'_> {
        Pages::new(self, &["runs", &run.to_string(), "journals"])
    }

    /// Log lines of a run: items are [`LogLine`](crate::run::LogLine)s; the filter is `agent`.
    pub fn logs(&self, run: RunId) -> Pages<'_> {
        Pages::new(self, &["runs", &run.to_string(), "logs"])
    }

    /// Events of a run: items are [`RunEvent`](crate::run::RunEvent)s.
    pub fn events(&self, run: RunId) -> Pages<'_> {
        Pages::new(self, &["runs", &run.to_string(), "events"])
    }

    /// A request for the events of a run as a stream, after the event `last`.
    pub(crate) fn event_stream(&self, run: RunId, last: u64) -> RequestBuilder {
        let request = self.get(&["runs", &run.to_string(), "events"]);
        let request = request.header("accept", "text/event-stream");
        if last == 0 { request } else { request.header("last-event-id", last) }
    }
}
