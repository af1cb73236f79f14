//! Real handshakes with another implementation of TLS: the openssl and the curl of this machine.

use std::process::{Output, Stdio};

use tokio::process::Command;

use super::tls::{agent, kept};
use crate::certificates::{Authority, Files, put};

struct Scene {
    folder: tempfile::TempDir,
    agent: replibook::agent::server::RunningAgent,
}

impl Scene {
    async fn new(asks: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ours = Authority::new("ours");
        let (server, client) = (ours.issue(&["127.0.0.1", "localhost"]), ours.issue(&["client"]));
        let ca = asks.then_some(&ours);
        let files =
            Files { used: "server", origins: &[], ca, identity: Some(&server), token: None };
        put(folder.path(), "server", &files);
        std::fs::write(folder.path().join("ca"), ours.pem()).unwrap();
        std::fs::write(folder.path().join("client"), client.cert + &client.key).unwrap();
        let agent = agent(folder.path(), &kept(folder.path())).await;
        Self { folder, agent }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// What openssl says about a connection.
    async fn s_client(&self, more: &[&str], says: &str) -> (bool, String) {
        let (address, ca) = (self.agent.address().to_string(), self.file("ca"));
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &address, "-CAfile", &ca, "-verify_return_error"]);
        let output = run(command.args(more), says).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    }

    async fn curl(&self, more: &[&str]) -> Output {
        let url = format!("{}/api/unstable/info/node", self.agent.url());
        let ca = self.file("ca");
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--noproxy", "*", "--cacert", &ca, &url]);
        run(command.args(more), "").await
    }
}

async fn run(command: &mut Command, says: &str) -> Output {
    use tokio::io::AsyncWriteExt as _;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It may have ended before.
    let _ = stdin.write_all(says.as_bytes()).await;
    drop(stdin);
    let limit = std::time::Duration::from_secs(60);
    tokio::time::timeout(limit, child.wait_with_output()).await.expect("in time").unwrap()
}

#[tokio::test]
async fn old_versions_and_renegotiation_are_refused() {
    let scene = Scene::new(false).await;
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let (went, said) = scene.s_client(&[version, "-alpn", "h2,http/1.1"], "Q\n").await;
        assert!(went && said.contains(name), "{version}: {said}");
        assert!(said.contains("ALPN protocol: http/1.1"), "{version}: {said}");
    }
    for version in ["-tls1", "-tls1_1"] {
        // By itself this openssl would not even offer them.
        let (went, said) = scene.s_client(&[version, "-cipher", "ALL:@SECLEVEL=0"], "Q\n").await;
        assert!(!went && said.contains("Cipher is (NONE)"), "{version}: {said}");
        assert!(said.contains("SSL alert number"), "{version}: {said}");
    }
    for cipher in ["AES128-SHA", "DES-CBC3-SHA", "ECDHE-RSA-AES256-SHA", "NULL:@SECLEVEL=0"] {
        let (went, said) = scene.s_client(&["-tls1_2", "-cipher", cipher], "Q\n").await;
        assert!(!went, "{cipher}: {said}");
    }
    // `R` asks for a renegotiation.
    let (_, said) = scene.s_client(&["-tls1_2", "-legacy_renegotiation"], "R\n").await;
    assert!(said.contains("RENEGOTIATING") && said.contains("no renegotiation"), "{said}");
}

#[tokio::test]
async fn another_client_is_answered_if_it_shows_its_certificate() {
    let scene = Scene::new(true).await;
    let client = scene.file("client");
    let output = scene.curl(&["--cert", &client]).await;
    let body = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && body.contains("\"node_status\":\"HEALTHY\""), "{output:?}");
    for version in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]] {
        let output = scene.curl(&version).await;
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    }
}
