//! The requests to the server: a method for each endpoint, which decides whether the request is safe to repeat.
//! How it is repeated is in `client.rs`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::client::{Client, Repeat, UPLOAD_TIMEOUT};
use super::error::ClientError;
use crate::agent::OutputStream;
use crate::api::SELECTOR;
use crate::api::wire::{
    AbandonRun, AppliedDocuments, ApplyCluster, ApplyDocuments, ApplyPlaybook, CanI, ClusterAgents,
    ClusterView, CommandView, DrainEngine, EngineView, ExecCommand, FoundRuns, ImportView,
    IssuerView, Listing, OutputView, PlaybookView, PluginView, RetryRun, RunPlan, RunView,
    SendSignal, StartImport, StartRun, SubmitCommand, WhoAmI,
};
use crate::playbook::access::Verb;
use crate::run::{AgentId, AgentRecord, Digest, EngineId, RunId, Snapshot};
use crate::why::Explanation;

/// The most items in one page; the server has the same limit.
pub const MAX_PAGE: usize = 1_000;

type Result<T> = std::result::Result<T, ClientError>;

/// Which agents of which cluster are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Name of the cluster.
    pub cluster: &'a str,
    /// Only agents for which this expression is true.
    pub selector: Option<&'a str>,
    /// Whether each of them is asked how it is.
    pub ask: bool,
}

/// A list of the server, read page by page.
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

    /// Only items for which the filter `name` is `value`; without a value, all items.
    #[must_use]
    pub fn only(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.filters.extend(value.map(|value| (name, value.to_string())));
        self
    }

    /// Reads at most `limit` items after `after`, page by page. `next` of the answer tells where the list goes
    /// on.
    ///
    /// # Errors
    /// Those of every request. [`ClientError::Malformed`] also when the server names the same place to go on
    /// twice.
    pub async fn read<T: DeserializeOwned>(
        &self,
        after: Option<String>,
        limit: usize,
    ) -> Result<Listing<T>> {
        let mut all = Listing { items: Vec::new(), next: after, damaged: Vec::new() };
        loop {
            let wanted = (limit - all.items.len().min(limit)).min(MAX_PAGE);
            let page: Listing<T> = self.page(all.next.as_deref(), wanted).await?;
            // A page of a list that is searched may be empty although a later one is not.
            let is_searched = self.filters.iter().any(|(name, _)| *name == SELECTOR);
            let is_empty = !is_searched && page.items.is_empty() && page.damaged.is_empty();
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

    /// Like [`read`](Self::read), but does not promise a further page that is empty: a full page of the server
    /// has a `next` even if it is the last one.
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

    /// One page: a [`Listing`], or a type that has more beside its items.
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

    /// Uploads a plugin, with the text of its signatures. The server checks the digest, the signatures, and that the
    /// bytes are a plugin.
    ///
    /// # Errors
    /// [`ClientError::Refused`] also when the bytes are not a plugin, or when the policy of the server refuses it.
    pub async fn upload_plugin(
        &self,
        digest: &Digest,
        bytes: Bytes,
        signatures: Option<&str>,
    ) -> Result<PluginView> {
        self.upload_plugin_of(digest, bytes, signatures, &[]).await
    }

    /// The same, with what is kept of where the plugin came from: `source`, as the playbook names it, and `actor`.
    pub(crate) async fn upload_plugin_of(
        &self,
        digest: &Digest,
        bytes: Bytes,
        signatures: Option<&str>,
        said: &[(&'static str, String)],
    ) -> Result<PluginView> {
        let request = self.request(Method::PUT, &["plugins"]);
        let mut request = request.query(&[("digest", digest.as_str())]).query(said);
        if let Some(signatures) = signatures {
            request = request.header("plugin-signatures", STANDARD.encode(signatures));
        }
        let request = request.header("content-type", "application/wasm").body(bytes);
        self.json_within(request, Repeat::Always, UPLOAD_TIMEOUT).await
    }

    /// Has the server bring a plugin from a registry. A second request is a second import, so it is not repeated.
    pub async fn start_import(&self, import: &StartImport) -> Result<ImportView> {
        self.json(self.request(Method::POST, &["imports"]).json(import), Repeat::Unsent).await
    }

    /// How far an import is.
    pub async fn import(&self, id: Uuid) -> Result<ImportView> {
        self.json(self.get(&["imports", &id.to_string()]), Repeat::Always).await
    }

    /// Cancels an import, which leaves nothing.
    pub async fn cancel_import(&self, id: Uuid) -> Result<()> {
        self.delete(self.request(Method::DELETE, &["imports", &id.to_string()])).await
    }

    /// Adds signatures to a plugin that the server has.
    ///
    /// # Errors
    /// [`ClientError::Refused`] also when a signature is not over its bytes.
    pub async fn sign_plugin(&self, digest: &Digest, signatures: &str) -> Result<PluginView> {
        let request = self.request(Method::PUT, &["plugins", digest.as_str(), "signatures"]);
        let request = request.header("content-type", "text/plain").body(signatures.to_owned());
        self.json(request, Repeat::Always).await
    }

    /// What is known about a plugin; 404 if the server does not have it.
    pub async fn plugin(&self, digest: &Digest) -> Result<PluginView> {
        self.json(self.get(&["plugins", digest.as_str()]), Repeat::Always).await
    }

    /// The bytes of a plugin.
    ///
    /// # Errors
    /// [`ClientError::Malformed`] also when the bytes have another digest.
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

    /// Removes a plugin; refused while a playbook or a run pins it.
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
        // A second request would change nothing, but its answer would say `unchanged`.
        self.json(request, Repeat::Unsent).await
    }

    /// A playbook with its document; without a version, the highest one.
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

    /// Applies several documents, all or none of them; with `dry_run` they are only validated.
    pub async fn apply_all(
        &self,
        apply: &ApplyDocuments,
        dry_run: bool,
    ) -> Result<AppliedDocuments> {
        let request = self.request(Method::POST, &["apply"]).json(apply);
        let request = if dry_run { request.query(&[("dry_run", true)]) } else { request };
        // A second request would change nothing, but its answer would say `unchanged`.
        self.json(request, Repeat::Unsent).await
    }

    /// A cluster with its document.
    pub async fn cluster(&self, name: &str) -> Result<ClusterView> {
        self.json(self.get(&["clusters", name]), Repeat::Always).await
    }

    /// A page of the agents of a cluster as they are known now.
    pub async fn cluster_agents(
        &self,
        asked: Asked<'_>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ClusterAgents> {
        let Asked { cluster, selector, ask } = asked;
        let agents = Pages::new(self, &["clusters", cluster, "agents"]).only(SELECTOR, selector);
        agents.only("ask", ask.then_some(true)).page(after, limit).await
    }

    /// All clusters: items are [`ClusterView`]s.
    pub fn clusters(&self) -> Pages<'_> {
        Pages::new(self, &["clusters"])
    }

    /// Removes a cluster; refused while a run on it has not ended.
    pub async fn delete_cluster(&self, name: &str) -> Result<()> {
        self.delete(self.request(Method::DELETE, &["clusters", name])).await
    }

    /// Starts a run. The key makes it safe to repeat the request: the second time it returns the same run.
    pub async fn start_run(&self, start: &StartRun, idempotency_key: &str) -> Result<RunView> {
        let request = self.request(Method::POST, &["runs"]).json(start);
        let request = request.header("idempotency-key", idempotency_key);
        self.json(request, Repeat::Always).await
    }

    /// Runs a command on agents of a cluster. The key works as in [`start_run`](Self::start_run).
    pub async fn exec(&self, exec: &ExecCommand, idempotency_key: &str) -> Result<RunView> {
        let request = self.request(Method::POST, &["exec"]).json(exec);
        let request = request.header("idempotency-key", idempotency_key);
        self.json(request, Repeat::Always).await
    }

    /// A piece of what the last action of an agent has written: from an offset in the output of `action`, or else of
    /// whatever action is the last.
    pub async fn output(
        &self,
        (run, agent): (RunId, &AgentId),
        stream: OutputStream,
        (action, from): (Option<Uuid>, u64),
    ) -> Result<OutputView> {
        let request = self.get(&["runs", &run.to_string(), "agents", agent.as_str(), "output"]);
        let mut request = request.query(&[("stream", stream.as_str())]).query(&[("from", from)]);
        if let Some(action) = action {
            request = request.query(&[("action", action)]);
        }
        self.json(request, Repeat::Always).await
    }

    /// Checks a start, and says what the run would be. Nothing is kept.
    pub async fn plan_run(&self, start: &StartRun) -> Result<RunPlan> {
        let request = self.request(Method::POST, &["runs", "plan"]).json(start);
        self.json(request, Repeat::Always).await
    }

    /// Starts a run over agents of a finished one. The key works as in [`start_run`](Self::start_run).
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

    /// Gives up a run that can't go on. Repeating the request changes nothing.
    pub async fn abandon_run(&self, run: RunId, request: &AbandonRun) -> Result<RunView> {
        let path = ["runs", &run.to_string(), "abandon"];
        self.json(self.request(Method::POST, &path).json(request), Repeat::Always).await
    }

    /// Who this program is to the server.
    pub async fn who_am_i(&self) -> Result<WhoAmI> {
        self.json(self.get(&["auth", "whoami"]), Repeat::Always).await
    }

    /// Whether one may do something, perhaps with a playbook or on a cluster.
    pub async fn can_i(
        &self,
        verb: Verb,
        playbook: Option<&str>,
        cluster: Option<&str>,
    ) -> Result<CanI> {
        let mut asked = vec![("verb", verb.as_str())];
        asked.extend(playbook.map(|name| ("playbook", name)));
        asked.extend(cluster.map(|name| ("cluster", name)));
        self.json(self.get(&["auth", "can-i"]).query(&asked), Repeat::Always).await
    }

    /// The engines that share the store, sorted by name.
    pub async fn engines(&self) -> Result<Listing<EngineView>> {
        self.json(self.get(&["engines"]), Repeat::Always).await
    }

    /// The issuers at which people log in. Whoever asks need not be known.
    pub async fn issuers(&self) -> Result<Listing<IssuerView>> {
        self.json(self.get(&["auth", "issuers"]), Repeat::Always).await
    }

    /// Tells an engine to hand over its runs, or to take up runs again. Repeating the request changes nothing.
    pub async fn drain_engine(&self, id: &EngineId, request: &DrainEngine) -> Result<EngineView> {
        let path = ["engines", id.0.as_str(), "drain"];
        self.json(self.request(Method::PUT, &path).json(request), Repeat::Always).await
    }

    /// A run, even if its documents can't be read.
    pub async fn run(&self, id: RunId) -> Result<RunView> {
        self.json(self.get(&["runs", &id.to_string()]), Repeat::Always).await
    }

    /// What a run was started with.
    pub async fn snapshot(&self, id: RunId) -> Result<Snapshot> {
        self.json(self.get(&["runs", &id.to_string(), "snapshot"]), Repeat::Always).await
    }

    /// What a run waits for, since when, and what would make it go on.
    pub async fn explanation(&self, id: RunId) -> Result<Explanation> {
        let request = self.get(&["runs", &id.to_string(), "explanation"]);
        self.json(request, Repeat::Always).await
    }

    /// Runs, newest first: items are [`RunView`]s; filters are `cluster`, `status`, `playbook` and `since`.
    pub fn runs(&self) -> Pages<'_> {
        Pages::new(self, &["runs"])
    }

    /// The runs whose identifiers contain these consecutive digits, or the newest run. `None` if the server is
    /// too old to know this request: it takes `find` for the identifier of a run.
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

    /// Asks a run to do something. A command with an identifier is safe to repeat, and a repetition tells its
    /// outcome.
    pub async fn submit(&self, run: RunId, command: &SubmitCommand) -> Result<CommandView> {
        let request = self.request(Method::POST, &["runs", &run.to_string(), "commands"]);
        let repeat = if command.id.is_some() { Repeat::Always } else { Repeat::Unsent };
        self.json(request.json(command), repeat).await
    }

    /// Sends a signal to a run. With an identifier in it, the request can be repeated.
    pub async fn signal(&self, run: RunId, signal: &SendSignal) -> Result<CommandView> {
        let request = self.request(Method::POST, &["runs", &run.to_string(), "signals"]);
        let repeat = if signal.id.is_some() { Repeat::Always } else { Repeat::Unsent };
        self.json(request.json(signal), repeat).await
    }

    /// The record of one agent in a run.
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

    /// A request for the events of a run as a stream, after the event with sequence `last`.
    pub(crate) fn event_stream(&self, run: RunId, last: u64) -> RequestBuilder {
        let request = self.get(&["runs", &run.to_string(), "events"]);
        let request = request.header("accept", "text/event-stream");
        if last == 0 { request } else { request.header("last-event-id", last) }
    }
}
