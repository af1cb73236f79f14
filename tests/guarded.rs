//! The programs with an access file: tokens, contexts, files that change while a server runs, and what is written down.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use replibook::cli::demo::Process;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::wait;

/// Far longer than anything here takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Makes a token: its text, and the line for the access file.
    async fn token(&self, name: &str) -> (String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_replibook"));
        let output = command.args(["token", "new", name]).output().await.unwrap();
        assert!(output.status.success());
        let (out, err) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
        let (token, said) = (out.unwrap().trim().to_owned(), err.unwrap());
        assert!(token.starts_with("rpb_") && !said.contains(&token), "{said}");
        let line = said.lines().find(|line| line.contains("sha256")).unwrap();
        (token, line.to_owned())
    }

    fn access(&self, tokens: &[&str], rules: &str) {
        let text = format!(
            "apiVersion: replicante.io/v1\nkind: Access\nmetadata: {{ name: site }}\nspec:\n  tokens:\n{}\n  rules: [{rules}]\n",
            tokens.join("\n")
        );
        std::fs::write(self.path("access.yaml"), text).unwrap();
    }

    async fn server(&self) -> Process {
        let (data, access, audit) =
            (self.text("data"), self.text("access.yaml"), self.text("audit.jsonl"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_replibook"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data", &data, "--until-stdin-closes"]);
        command.args(["--access", &access, "--audit", &audit]);
        Process::start("server", command, &self.path("server.log")).await.unwrap()
    }

    /// `replictl` with the contexts of this site, and this on its standard input.
    async fn replictl(&self, input: &str, args: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_replictl"));
        command.args(args).env("REPLIBOOK_CONFIG", self.path("contexts/config.yaml"));
        for variable in
            ["REPLIBOOK_SERVER", "REPLIBOOK_TOKEN", "REPLIBOOK_TOKEN_FILE", "REPLIBOOK_CONTEXT"]
        {
            command.env_remove(variable);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.unwrap().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout) + &text(&output.stderr))
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn who_may_do_what_is_said_by_a_file_that_may_change_and_break() {
    let site = Site { folder: tempfile::tempdir().unwrap() };
    let (ci, ci_line) = site.token("ci").await;
    let (boss, boss_line) = site.token("boss").await;
    let admin = "{ who: ['token:boss'], may: [admin] }";
    let both = format!("{admin}, {{ who: ['token:ci'], may: [view, apply] }}");
    site.access(&[&ci_line, &boss_line], &both);
    let server = site.server().await;

    // Contexts keep who one is; without one nobody is let in.
    let (code, said) = site.replictl("", &["--server", server.address(), "get", "runs"]).await;
    assert!(code == 11 && said.contains("hint: `replictl login`"), "{code} {said}");
    for (name, token) in [("ci", &ci), ("boss", &boss)] {
        let set = ["--server", server.address(), "context", "set", name, "--token-stdin"];
        let (code, said) = site.replictl(&format!("{token}\n"), &set).await;
        assert!(code == 0 && !said.contains(token.as_str()), "{said}");
    }
    assert_eq!(mode(&site.path("contexts/config.yaml")), 0o600);
    let (_, said) = site.replictl("", &["context", "list"]).await;
    assert!(said.contains("*        ci") && !said.contains("rpb_"), "{said}");
    let (code, said) = site.replictl("", &["auth", "whoami", "-o", "name"]).await;
    assert_eq!((code, said.trim()), (0, "token:ci"));
    let (code, _) = site.replictl("", &["auth", "can-i", "apply"]).await;
    assert_eq!(code, 0);
    let (code, said) = site.replictl("", &["auth", "can-i", "start"]).await;
    assert!(code == 11 && said.contains("no"), "{code} {said}");
    let file = site.text("token");
    std::fs::write(&file, &boss).unwrap();
    let args = ["--token-file", &file, "auth", "whoami", "-o", "name"];
    assert_eq!(site.replictl("", &args).await.1.trim(), "token:boss");

    let playbook = site.text("p.yaml");
    let text = "apiVersion: replicante.io/v1\nkind: Playbook\nmetadata: { name: all, version: 1.0.0 }\nspec:\n  stages:\n    - \
                { name: go, strategy: { use: rolling }, steps: [{ name: s, action: agent.replicante.io/test.success }] }\n";
    std::fs::write(&playbook, text).unwrap();
    let (code, said) = site.replictl("", &["apply", "-f", &playbook]).await;
    assert_eq!(code, 0, "{said}");
    let (code, said) = site.replictl("", &["delete", "cluster", "eu"]).await;
    assert!(code == 11 && said.contains("expected the verb operate"), "{code} {said}");
    // The access file itself is nobody's to apply.
    let (code, said) = site.replictl("", &["apply", "-f", &site.text("access.yaml")]).await;
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(code == 3 && words.contains("serve --access FILE"), "{code} {said}");
    let (code, said) = site.replictl("", &["validate", "-f", &site.text("access.yaml")]).await;
    assert_eq!(code, 0, "{said}");

    // A file that got broken changes nothing, and says so to those who may know.
    std::fs::write(site.path("access.yaml"), "kind: Access\n").unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ready = async || -> Value {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let asked = client.get(format!("{}/readyz", server.address())).bearer_auth(&boss);
        asked.send().await.unwrap().json().await.unwrap()
    };
    let problem = wait::until("the problem", LIMIT, async || {
        ready().await["access"]["problem"].as_str().map(str::to_owned)
    });
    assert!(problem.await.contains("access.yaml"));
    assert_eq!(site.replictl("", &["get", "playbooks"]).await.0, 0);
    // One that is good again counts.
    site.access(&[&ci_line, &boss_line], admin);
    wait::until("the change", LIMIT, async || {
        (site.replictl("", &["get", "playbooks"]).await.0 == 11).then_some(())
    })
    .await;
    assert_eq!(site.replictl("", &["--context", "boss", "get", "playbooks"]).await.0, 0);
    let (_, said) = site.replictl("", &["--context", "boss", "get", "engines", "-o", "json"]).await;
    let engines: Value = serde_json::from_str(&said).unwrap();
    let files = &engines[0]["files"];
    assert!(files["access"].as_str().is_some_and(|sum| sum.starts_with("sha256:")), "{said}");

    assert_eq!(mode(&site.path("audit.jsonl")), 0o600);
    let audit = std::fs::read_to_string(site.path("audit.jsonl")).unwrap();
    let outcomes = ["begins", "done", "refused"].map(|word| audit.contains(&format!("\"{word}\"")));
    assert_eq!(outcomes, [true; 3], "{audit}");
    let log = std::fs::read_to_string(site.path("server.log")).unwrap();
    for token in [&ci, &boss] {
        assert!(!log.contains(&token[4..24]) && !audit.contains(&token[4..24]));
    }
}

#[tokio::test]
async fn a_server_does_not_start_with_a_file_that_says_nothing_good() {
    let site = Site { folder: tempfile::tempdir().unwrap() };
    std::fs::write(site.path("access.yaml"), "kind: Access\nspec: { rule: [] }\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_replibook"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--data", &site.text("data")]);
    command.args(["--access", &site.text("access.yaml")]).stdin(Stdio::null());
    let output = tokio::time::timeout(LIMIT, command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("did you mean \"rules\""), "{said}");
    // Others may reach it only if it knows who they are.
    let mut command = Command::new(env!("CARGO_BIN_EXE_replibook"));
    command.args(["serve", "--listen", "0.0.0.0:0", "--data", &site.text("data")]);
    let output = tokio::time::timeout(LIMIT, command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("--tls NAME and --access FILE"), "{said}");
}
