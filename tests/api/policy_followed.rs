//! The file of a policy while a server runs, and a store that is away when the policy is asked.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use replibook::clock::{Clock, TokioClock};
use replibook::outbound::{Caller, Reachable as _};
use replibook::playbook::{Grants, PluginKind, PluginPin};
use replibook::policy::{PinFacts, PolicyFile, PolicyNetworks, follow};
use replibook::run::{Digest, HttpError, Millis, RunStatus, Timestamp};
use replibook::store::memory::FaultMoment;
use replibook::store::{MemoryStore, Plugin, Store, StoreOptions};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::engine::{Engine, id_of};
use crate::api::plugins::{strategy, using};
use crate::api::policy::policy;
use crate::api::server::{CLUSTER, DEADLINE, JumpingClock, PLUGINS, Server};
use crate::minisign::Key;
use crate::wait::until;

/// A file of a policy, in a folder of its own.
struct File {
    folder: tempfile::TempDir,
}

impl File {
    fn new(name: &str, rules: &str) -> Self {
        let file = Self { folder: tempfile::tempdir().unwrap() };
        file.write(name, rules);
        file
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("policy.yaml")
    }

    fn write(&self, name: &str, rules: &str) {
        let text = format!(
            "apiVersion: replicante.io/v1\nkind: Policy\nmetadata: {{ name: {name} }}\nspec:\n  plugins: [{rules}]\n"
        );
        std::fs::write(self.path(), text).unwrap();
    }

    fn open(&self) -> PolicyFile {
        PolicyFile::open(&self.path()).unwrap()
    }
}

/// Follows a file until it is ended, in a time in which nobody waits.
struct Following {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Following {
    fn start(file: PolicyFile, store: Arc<MemoryStore>) -> Self {
        let (stop, clock) = (CancellationToken::new(), Arc::new(JumpingClock::default()));
        let task = tokio::spawn(follow(file, store, PLUGINS.clone(), clock, stop.clone()));
        Self { stop, task }
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

#[tokio::test]
async fn a_misspelt_built_in_plugin_is_reported_whenever_the_file_has_it() {
    let misspelt = "{ match: 'builtin:metrics' }";
    let says = "is about the built-in plugin \"metrics\", expected one of ";
    let file = File::new("house", misspelt);
    let error = file.open().check(&PLUGINS).unwrap_err().to_string();
    assert!(error.contains(&format!("policy.yaml: rule 1 {says}")), "{error}");
    assert!(error.contains("metric, "), "{error}");

    file.write("house", "{ match: 'builtin:metric' }, { match: 'builtin:*' }");
    let opened = file.open();
    opened.check(&PLUGINS).unwrap();
    let current = opened.current();
    let store =
        Arc::new(MemoryStore::new(StoreOptions::default(), Arc::new(JumpingClock::default())));
    let following = Following::start(opened, store);
    file.write("misspelt", &format!("{{ match: 'file:*' }}, {misspelt}"));
    let problem = until("the problem", DEADLINE, async || current.standing()?.problem).await;
    assert!(problem.contains(&format!("policy.yaml: rule 2 {says}")), "{problem}");
    assert_eq!(current.now().unwrap().name, "house", "the last good policy counts");
    file.write("mended", "{ match: 'file:*' }");
    let standing = until("the mended policy", DEADLINE, async || {
        current.standing().filter(|standing| standing.policy.name == "mended")
    })
    .await;
    assert_eq!(standing.problem, None);
    following.end().await;
}

#[tokio::test]
async fn runs_outside_of_the_policy_are_counted_again_when_they_end() {
    let lax = Server::start().await;
    let bytes = strategy("ends");
    let digest = Digest::of(&bytes);
    lax.put("/api/v1/plugins", bytes).await.ok(201);
    let uploaded = json!({ "document": using("file:x.wasm"), "uploads": { "own": digest } });
    lax.post("/api/v1/playbooks", uploaded).await.ok(201);
    lax.apply_cluster(CLUSTER).await.ok(201);
    let start = json!({ "playbook": "restart", "cluster": "eu" });
    let run = id_of(&lax.post("/api/v1/runs", start).await.ok(201));

    let opened = File::new("strict", "{ match: 'builtin:*' }").open();
    let server = lax.restarted(opened.current()).await;
    let following = Following::start(opened, server.store.clone());
    let outside = async || server.get("/readyz").await.ok(200)["policy"]["outside"].clone();
    let counted = until("the run to be counted", DEADLINE, async || {
        Some(outside().await).filter(|outside| !outside.is_null())
    })
    .await;
    assert_eq!((&counted["runs"], &counted["first"]), (&json!(1), &json!([run.to_string()])));
    Engine::hold(&server, run).await.set(RunStatus::Done, |_| {}).await;
    until("the end of the run to be counted", DEADLINE, async || {
        outside().await.is_null().then_some(())
    })
    .await;
    following.end().await;
    server.stop().await;
}

/// Asks which networks this plugin may reach, in a task.
fn asks(
    judged: PinFacts,
    digest: Digest,
) -> JoinHandle<Result<replibook::outbound::Networks, HttpError>> {
    let plugin = PluginPin {
        source: "file:own.wasm".to_owned(),
        digest,
        kind: PluginKind::Step,
        name: "own".to_owned(),
        version: "1.0.0".to_owned(),
        grants: Grants::default(),
        provenance: None,
        signers: Vec::new(),
    };
    let caller = Caller { playbook: "restart".to_owned(), plugin };
    tokio::spawn(async move { PolicyNetworks::new(judged).networks(&caller).await })
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_asked_again_and_fails_no_agent() {
    let start = Timestamp::from_millis(1_000_000);
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(start));
    let store = Arc::new(MemoryStore::new(StoreOptions::default(), clock.clone()));
    let bytes = strategy("away");
    let mut info = PLUGINS.builtins()[0].info.clone();
    info.digest = Digest::of(&bytes);
    let digest = info.digest.clone();
    store.put_plugin(&Plugin::new(info, clock.now()), bytes.into()).await.unwrap();
    let rules = "{ match: 'file:*', may: { networks: [127.0.0.0/8] } }";
    let current = policy(&Key::new(), rules);
    let judged = PinFacts::new(current.clone(), store.clone(), PLUGINS.clone(), clock.clone());

    store.faults().fail_calls(FaultMoment::Before);
    let asked = asks(judged.clone(), digest.clone());
    clock.sleep(Duration::from_millis(2_500)).await;
    assert!(!asked.is_finished(), "no failure of the store is an answer");
    store.faults().heal();
    let networks = asked.await.unwrap().unwrap();
    assert!(networks.allow("127.0.0.1".parse().unwrap()), "{networks}");
    assert_eq!(clock.now().since(start), Millis(3_000), "it was asked once a second");

    // The policy that counts once the store is back is the one that is judged by.
    store.faults().fail_calls(FaultMoment::After);
    let asked = asks(judged, digest);
    clock.sleep(Duration::from_millis(500)).await;
    let strict = policy(&Key::new(), "").standing().unwrap();
    current.changed((*strict.policy).clone(), strict.content);
    store.faults().heal();
    let networks = asked.await.unwrap().unwrap();
    assert!(!networks.allow("127.0.0.1".parse().unwrap()), "{networks}");
}
