//! Plugins that take long to be refused: what one costs, and whom it holds up. The compiler is a script, which works on
//! bytes with the word "slow" in them until the test lets it end, and then refuses whatever it got.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use replibook::plugin::{Compile, CompileApart, CompileLimits, HostConfig, PluginHost};
use replibook::run::Digest;

use crate::api::imports::{ended, opened, reach, registry, start};
use crate::api::policy::policy;
use crate::api::server::{DEADLINE, Reply, Server, send};
use crate::minisign::Key;
use crate::wait::until;

/// A compiler that keeps a record of its work.
struct Compiler {
    folder: tempfile::TempDir,
}

impl Compiler {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    async fn server(&self) -> Server {
        Server::with_host(self.host()).await
    }

    fn host(&self) -> PluginHost {
        let folder = self.folder.path().display();
        let script = format!(
            "#!/bin/sh\necho begins >> {folder}/record\n\
             if grep -aq slow; then while [ ! -e {folder}/go ]; do sleep 0.02; done; fi\n\
             echo ends >> {folder}/record\necho refused >&2\nexit 10\n"
        );
        let program = self.folder.path().join("compiler");
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let compile = Compile::Apart(CompileApart { program, limits: CompileLimits::default() });
        let config = HostConfig { threads: Some(1), compile, ..HostConfig::default() };
        PluginHost::start(config).unwrap()
    }

    fn record(&self) -> Vec<String> {
        let record = std::fs::read_to_string(self.path("record")).unwrap_or_default();
        record.lines().map(str::to_owned).collect()
    }

    /// Waits until the compiler has begun this many times.
    async fn begun(&self, times: usize) {
        until("the compiler", DEADLINE, async || {
            let begun = self.record().iter().filter(|line| *line == "begins").count();
            (begun >= times).then_some(())
        })
        .await;
    }

    /// Waits until it has ended as often as it began.
    async fn ended(&self, times: usize) {
        until("the compiler to end", DEADLINE, async || {
            let ended = self.record().iter().filter(|line| *line == "ends").count();
            (ended >= times).then_some(())
        })
        .await;
    }

    /// Lets it end its work on bytes that are slow.
    fn go(&self) {
        std::fs::write(self.path("go"), "").unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Bytes that look like a component until they are compiled.
fn looks_good(tag: &str) -> Vec<u8> {
    [b"\0asm\x0d\0\x01\0", tag.as_bytes()].concat()
}

/// A client at an address of this machine: the server takes those of different addresses for different clients.
fn client(last: u8) -> reqwest::Client {
    let address = IpAddr::from([127, 0, 0, last]);
    let client = reqwest::Client::builder().no_proxy().local_address(address);
    client.timeout(Duration::from_secs(60)).build().unwrap()
}

/// Uploads from this client, in a task that may be cut off.
fn upload(server: &Server, from: u8, bytes: Vec<u8>) -> tokio::task::JoinHandle<Reply> {
    let request = client(from).put(server.url("/api/v1/plugins")).body(bytes);
    tokio::spawn(send(request))
}

fn refused(reply: Reply) {
    let problem = reply.problem(422, "invalid-plugin");
    assert!(problem["problems"][0]["message"].as_str().unwrap().contains("refused"), "{problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_whose_client_goes_costs_once_and_keeps_its_turn() {
    let compiler = Compiler::new();
    let server = compiler.server().await;
    let first = upload(&server, 1, looks_good("slow"));
    compiler.begun(1).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    // The same client has another one compiled only after that.
    let second = upload(&server, 1, looks_good("quick"));
    // Anybody else has not to wait, so the server had the time to begin it.
    refused(upload(&server, 2, looks_good("of another")).await.unwrap());
    assert_eq!(compiler.record(), ["begins", "begins", "ends"]);
    compiler.go();
    refused(second.await.unwrap());
    let expected = ["begins", "begins", "ends", "ends", "begins", "ends"];
    assert_eq!(compiler.record(), expected);
    // What nobody waited for is known all the same.
    refused(upload(&server, 1, looks_good("slow")).await.unwrap());
    refused(upload(&server, 3, looks_good("slow")).await.unwrap());
    assert_eq!(compiler.record(), expected);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_bytes_of_several_clients_are_compiled_once() {
    let compiler = Compiler::new();
    let server = compiler.server().await;
    let uploads: Vec<_> =
        (1..=4).map(|from| upload(&server, from, looks_good("slow and the same"))).collect();
    compiler.begun(1).await;
    compiler.go();
    for upload in uploads {
        refused(upload.await.unwrap());
    }
    assert_eq!(compiler.record(), ["begins", "ends"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_uploads_of_one_client_hold_up_no_other() {
    let compiler = Compiler::new();
    let server = compiler.server().await;
    let slow: Vec<_> =
        (0..5).map(|n| upload(&server, 1, looks_good(&format!("slow {n}")))).collect();
    compiler.begun(1).await;
    for n in 0..3 {
        refused(upload(&server, 2, looks_good(&format!("quick {n}"))).await.unwrap());
    }
    let begun = compiler.record().iter().filter(|line| *line == "begins").count();
    assert_eq!(begun, 4, "one of the first client at a time");
    compiler.go();
    for upload in slow {
        refused(upload.await.unwrap());
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_is_cancelled_while_it_compiles_is_remembered_too() {
    let compiler = Compiler::new();
    let server = compiler.server().await;
    let bytes = looks_good("slow import");
    let registry = registry(bytes.clone(), opened()).await;
    let source = |tag: &str| format!("oci://{}/own:{tag}", registry.host);
    let begun = start(&server, &source("1")).await;
    compiler.begun(1).await;
    let path = format!("/api/v1/imports/{}", begun["id"].as_str().unwrap());
    server.delete(&path).await.ok(204);
    compiler.go();
    compiler.ended(1).await;
    // By another name, so that it is the bytes that are known; and as an upload.
    let failed = ended(&server, &start(&server, &source("2")).await).await;
    assert_eq!(failed["problem"]["code"], "invalid-component", "{failed}");
    refused(upload(&server, 1, bytes.clone()).await.unwrap());
    assert_eq!(compiler.record(), ["begins", "ends"]);
    let shown = server.get(&format!("/api/v1/plugins/{}", Digest::of(&bytes))).await;
    shown.problem(404, "plugin-not-found");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waited_for_its_turn_is_judged_by_the_policy_of_then() {
    let (compiler, key) = (Compiler::new(), Key::new());
    let lax = policy(&key, "{ match: 'file:*' }, { match: 'oci://127.0.0.1:*/ops/*' }");
    let server = Server::with_host_and_policy(compiler.host(), lax.clone()).await;
    let registry = registry(looks_good("imported"), opened()).await;
    let slow = upload(&server, 1, looks_good("slow"));
    compiler.begun(1).await;
    // Of the same client, so they wait.
    let waiting = upload(&server, 1, looks_good("uploaded"));
    let import = start(&server, &format!("oci://{}/ops/own:1", registry.host)).await;
    reach(&server, &import, &["checking"]).await;
    // Anybody else has not to wait, so the server had the time to let both in.
    refused(upload(&server, 2, looks_good("of another")).await.unwrap());
    let strict = policy(&key, "").standing().unwrap();
    lax.changed((*strict.policy).clone(), strict.content);
    compiler.go();
    refused(slow.await.unwrap());
    let problem = waiting.await.unwrap().problem(403, "plugin-refused");
    assert!(problem["detail"].as_str().unwrap().starts_with("no rule"), "{problem}");
    let failed = ended(&server, &import).await;
    assert_eq!(failed["problem"]["code"], "plugin-refused", "{failed}");
    // Nothing of either was compiled, and a refusal of the policy is not remembered.
    assert_eq!(compiler.record(), ["begins", "begins", "ends", "ends"]);
    let again = policy(&key, "{ match: 'file:*' }").standing().unwrap();
    lax.changed((*again.policy).clone(), again.content);
    refused(upload(&server, 1, looks_good("uploaded")).await.unwrap());
    server.stop().await;
}
