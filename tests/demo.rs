//! The demonstration as a user sees it: the real binaries, real agents, real HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::{examples, exports, wait};

/// Far longer than the demonstration takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);

/// How long processes may take to be gone.
const GONE_LIMIT: Duration = Duration::from_secs(20);

fn demo(temp: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_replibook"));
    let of_scenes = [
        ("approval", "approval"),
        ("canary", "canary"),
        ("membership", "membership"),
        ("guard", "guards"),
        ("ssh", "ssh"),
        ("secure", "secure"),
    ];
    let named = of_scenes.into_iter().find(|(scene, _)| arguments.contains(scene));
    let example = examples::all().join(named.map_or("rolling-restart", |(_, folder)| folder));
    command.arg("demo").args(arguments).arg("--example").arg(example);
    command.env("TMPDIR", temp).env("NO_COLOR", "1").env("PATH", path_with_tools());
    command.kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Where programs are, with those that `make` has put into the user's cache folder.
fn path_with_tools() -> std::ffi::OsString {
    let tools = cache().join("replibook/tools");
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(tools).chain(std::env::split_paths(&path))).unwrap()
}

fn cache() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    cache.or_else(home).unwrap_or_default()
}

async fn play(temp: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = tokio::time::timeout(LIMIT, demo(temp, arguments).output()).await;
    let Output { status, stdout, stderr } = output.expect("the demonstration ends").unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    (status.code(), text)
}

/// Plays a scene that ends well. Then replays the run from its export, as it is and after somebody has
/// changed an answer of `agent` in it. Returns what the demonstration said.
async fn play_twice(temp: &Path, arguments: &[&str], agent: &str) -> String {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("run.tar.zst");
    let export = ["--export", file.to_str().unwrap()];
    let (code, text) = play(temp, &[arguments, &export].concat()).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(&format!("replictl run replay {}", file.display())), "{text}");
    exports::check(&file, agent, files.path()).await;
    text
}

/// Every `127.0.0.1:PORT` that the demonstration named.
fn addresses(text: &str) -> Vec<&str> {
    let after = text.split("://").skip(1);
    let ends = |c: char| !(c.is_ascii_digit() || c == '.' || c == ':');
    let mut found: Vec<&str> = after.filter_map(|rest| rest.split(ends).next()).collect();
    found.retain(|address| address.starts_with("127.0.0.1:") && !address.ends_with(':'));
    found.sort_unstable();
    found.dedup();
    found
}

/// Waits until nobody listens on any of the addresses.
async fn gone(addresses: &[&str]) {
    wait::until("all processes to be gone", GONE_LIMIT, async || {
        addresses.iter().all(|address| TcpStream::connect(*address).is_err()).then_some(())
    })
    .await;
}

fn assert_empty(temp: &Path) {
    let left: Vec<_> = std::fs::read_dir(temp).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[tokio::test]
async fn twelve_agents_are_restarted_and_nothing_is_left_behind() {
    let temp = tempfile::tempdir().unwrap();
    let text = play_twice(temp.path(), &[], "node-1").await;
    assert!(text.contains("12 done"), "{text}");
    assert!(text.matches("sha256:").count() >= 2, "shows the pinned digests: {text}");
    for node in 1..=12 {
        assert!(text.contains(&format!("node-{node} ")), "names every agent: {text}");
    }
    let addresses = addresses(&text);
    assert_eq!(addresses.len(), 13, "a server and twelve agents: {text}");
    gone(&addresses).await;
    assert_empty(temp.path());
}

#[tokio::test]
async fn a_second_command_approves_a_run_in_its_middle() {
    let temp = tempfile::tempdir().unwrap();
    let arguments = ["--scene", "approval", "--agents", "5"];
    let text = play_twice(temp.path(), &arguments, "node-4").await;
    let place = |words: &str| text.find(words).unwrap_or_else(|| panic!("{words:?} in {text}"));
    let order = [
        "2 done, 0 failed, 3 to go: do the first ones look well?",
        "exit code 6",
        "$ replictl run approve ",
        "--reason 'they look well' --watch",
        "exit code 0",
    ];
    let places = order.map(place);
    assert!(places.is_sorted(), "{places:?} in {text}");
    assert!(text.contains("2 done, 3 pending"), "the first command ends half way: {text}");
    assert!(text.contains("5 done"), "the second one ends with all: {text}");
    gone(&addresses(&text)).await;
    assert_empty(temp.path());
}

#[tokio::test]
async fn a_canary_soaks_and_growing_batches_are_drawn_as_they_start() {
    let temp = tempfile::tempdir().unwrap();
    let text = play_twice(temp.path(), &["--scene", "canary"], "node-7").await;
    let lines = [
        "batch 1 (canary): 1 agent started  ▓···········",
        "watching 1 agent",
        "batch 2, 2/4 (20%): 2 agents started  █▓▓·········",
        "watching 3 agents",
        "batch 3, 3/4 (35%): 4 agents started  ███▓▓▓▓·····",
        "watching 5 agents",
        "batch 4, 4/4 (100%): 5 agents started  ███████▓▓▓▓▓",
        "watching 6 agents",
        "12 of 12 agents done",
    ];
    let mut rest = text.as_str();
    for line in lines {
        rest = rest.split_once(line).unwrap_or_else(|| panic!("{line} is not next: {text}")).1;
    }
    gone(&addresses(&text)).await;
    assert_empty(temp.path());
}

/// The cells of an agent's line in a table. Columns are at least two spaces apart.
fn row<'a>(table: &'a str, agent: &str) -> Vec<&'a str> {
    let of = |line: &&str| line.split_whitespace().next() == Some(agent);
    let line = table.lines().find(of).unwrap_or_else(|| panic!("{agent} in {table}"));
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[tokio::test]
async fn one_agent_joins_and_one_leaves_in_the_middle_of_a_run() {
    let temp = tempfile::tempdir().unwrap();
    let text = play_twice(temp.path(), &["--scene", "membership"], "node-13").await;
    let place = |words: &str| text.find(words).unwrap_or_else(|| panic!("{words:?} in {text}"));
    let (joins, leaves) = (place("--- node-13 joins"), place("--- node-12 leaves"));
    assert!(joins < place("node-13 is ADDED"), "{text}");
    assert!(joins < leaves && leaves < place("node-12 is REMOVED"), "{text}");
    let tables: Vec<&str> = text.split("AGENT ").skip(1).collect();
    let [middle, end] = tables.as_slice() else { panic!("two tables in {text}") };
    for table in [middle, end] {
        let (joined, left) = (row(table, "node-13"), row(table, "node-12"));
        assert!(joined.last().unwrap().starts_with("ADDED "), "{joined:?}");
        assert_eq!(left[2], "REMOVED", "{left:?}");
        assert!(left.last().unwrap().starts_with("REMOVED "), "{left:?}");
        assert_eq!(row(table, "node-1").last(), Some(&"-"));
    }
    assert_eq!(row(end, "node-13")[2], "DONE");
    assert!(end.contains("12 done, 1 removed"), "{end}");
    let addresses = addresses(&text);
    assert_eq!(addresses.len(), 15, "a server, a platform and thirteen agents: {text}");
    gone(&addresses).await;
    assert_empty(temp.path());
}

#[tokio::test]
async fn an_agent_that_fails_in_a_cluster_that_changes_pauses_the_run_too() {
    let temp = tempfile::tempdir().unwrap();
    let (code, text) =
        play(temp.path(), &["--scene", "membership", "--fail", "2", "--export", "run.tar.zst"])
            .await;
    assert_eq!(code, Some(9), "{text}");
    assert!(text.contains("no export: the run is PAUSED"), "{text}");
    assert!(text.contains("make demo-membership FAIL=2 KEEP=1"), "{text}");
    gone(&addresses(&text)).await;
    assert_empty(temp.path());
}

/// The demonstration with several engines, on a MongoDB server for tests.
fn demo_ha(temp: &Path, arguments: &[&str]) -> Command {
    let script = examples::all().join("../tests/support/with-mongodb.sh");
    let inner = demo(temp, &[&["--scene", "ha"], arguments].concat());
    let mut command = Command::new(script);
    command.arg(cache().join("replibook/tools/mongodb-test-server"));
    command.arg(inner.as_std().get_program()).args(inner.as_std().get_args());
    command.env("TMPDIR", temp).env("NO_COLOR", "1").kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[tokio::test]
async fn one_of_three_engines_is_killed_and_one_drained_and_nothing_is_done_twice() {
    let temp = tempfile::tempdir().unwrap();
    let arguments = ["--agents", "12"];
    let output = tokio::time::timeout(LIMIT, demo_ha(temp.path(), &arguments).output()).await;
    let Output { status, stdout, stderr } = output.expect("the demonstration ends").unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(0), "{text}");
    for cluster in ["demo-1", "demo-2", "demo-3"] {
        assert!(text.contains(&format!("run on {cluster}: DONE, 12 done")), "{text}");
    }
    assert!(text.contains("each agent was drained and restarted once"), "{text}");
    assert!(text.contains(", killed"), "a run was taken over: {text}");
    let draining = text.lines().filter(|line| line.contains(" draining ")).count();
    assert!(draining >= 1, "{text}");
    gone(&addresses(&text)).await;
    assert_empty(temp.path());
}

#[tokio::test]
async fn signed_plugins_of_a_registry_run_and_a_changed_one_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (code, text) = play(temp.path(), &["--scene", "registry"]).await;
    assert_eq!(code, Some(0), "{text}");
    // What is typed and said is on standard error, so that is in order.
    let mut rest = text.as_str();
    for words in [
        "$ minisign -G -W -p ops.pub -s ops.key",
        "$ minisign -S -s ops.key -m zone-by-zone.wasm",
        "$ replictl plugin push zone-by-zone.wasm oci://127.0.0.1:",
        "$ replictl plugin push safe-restart.wasm oci://127.0.0.1:",
        "$ replibook serve --policy policy.yaml",
        "$ grep source: playbook.yaml",
        "$ replictl apply -f cluster.yaml -f playbook.yaml",
        "$ replictl run start rolling-restart --cluster demo --watch",
        "--- somebody changes zone-by-zone",
        "$ replictl apply -f changed.yaml",
        "is not over these bytes",
        "exit code 3",
        "the changed plugin was refused",
    ] {
        rest = rest.split_once(words).unwrap_or_else(|| panic!("{words} is not next: {text}")).1;
    }
    assert!(text.contains("12 done"), "{text}");
    assert!(text.contains("signed_by: [ops]"), "{text}");
    let pinned = text.matches("      source: oci://127.0.0.1:").count();
    assert!(pinned >= 4, "two in each playbook: {text}");
    let addresses = addresses(&text);
    assert_eq!(addresses.len(), 14, "a registry, a server and twelve agents: {text}");
    gone(&addresses).await;
    assert_empty(temp.path());
}

#[tokio::test]
async fn a_guard_lets_one_agent_of_one_zone_go_whatever_the_strategy_names() {
    let temp = tempfile::tempdir().unwrap();
    let text = play_twice(temp.path(), &["--scene", "guard"], "node-5").await;
    // What is typed and said is on standard error, so that is in order.
    let mut rest = text.as_str();
    for words in [
        "guards: [{ name: one-zone, by: attributes.zone, max_out: 1, groups: 1 }]",
        "$ replictl run watch ",
        "a ▓···   b ····   c ····",
        "--- node-1, which was done, turns ill by itself: it is UNAVAILABLE",
        "$ replictl describe run ",
        "--- node-1 is well again: the run goes on by itself",
        "a ████   b ████   c ████",
        "at most 1 agent out at once, in at most 1 zone",
    ] {
        rest = rest.split_once(words).unwrap_or_else(|| panic!("{words} is not next: {text}")).1;
    }
    assert!(text.contains("12 done"), "{text}");
    assert!(text.contains("out in zone a: node-1"), "the run says because of whom: {text}");
    assert!(
        text.lines().all(|line| !line.contains("  c ") || line.chars().count() <= 80),
        "{text}"
    );
    gone(&addresses(&text)).await;
    assert_empty(temp.path());
}

#[tokio::test]
async fn a_run_over_tls_starts_when_two_have_approved_it_who_did_not_start_it() {
    let temp = tempfile::tempdir().unwrap();
    let text = play_twice(temp.path(), &["--scene", "secure"], "node-5").await;
    // Data of commands is on standard output, which comes first here; what is typed and said is on standard error.
    let mut rest = text.as_str();
    for words in [
        "use: agent\norigins: [\"https://127.0.0.1:*\"]",
        "- { who: [\"token:admin\"], may: [admin] }",
        "12 done",
        "replibook token new $who",
        "$ replibook serve --credentials credentials --tls server",
        "server   https://127.0.0.1:",
        "node-12  https://127.0.0.1:",
        "agents answer nobody without a certificate of that authority for clients",
        "$ replictl --context admin apply -f ",
        "$ replictl --context ci apply -f ",
        "$ replictl --context olga run start approved-restart --cluster demo --watch",
        "exit code 6",
        "$ replictl --context ci run approve last --yes",
        "token:ci may not steer or approve a run: expected the verb steer or approve",
        "exit code 11",
        "\"who\": \"token:ci\"",
        "\"outcome\": \"refused\"",
        "\"code\": \"not-allowed\"",
        "$ replictl --context olga run approve last --yes",
        "token:olga has started the run: somebody else has to approve it",
        "exit code 11",
        "\"code\": \"approval-not-wanted\"",
        "$ replictl --context alice run approve last --yes",
        "it still waits: 1 of 2 approvals, by token:alice",
        "$ replictl --context bob run approve last --yes",
        "exit code 0",
        "AT        WHO          WHAT",
        "token:ci     steer or approve a run       refused: not-allowed",
        "token:olga   ",
        "refused: approval-not-wanted",
        "token:alice  approve or reject a run      done",
        "token:bob    approve or reject a run      done",
    ] {
        rest = rest.split_once(words).unwrap_or_else(|| panic!("{words} is not next: {text}")).1;
    }
    assert!(!text.contains("rpb_"), "nothing of a token is shown: {text}");
    let own = text.lines().filter(|line| {
        ["---", "  \"", "$ replibook", "    replictl", "agents "]
            .iter()
            .any(|start| line.starts_with(start))
    });
    let audit = text.lines().skip_while(|line| !line.starts_with("AT        WHO")).take(10);
    let long: Vec<_> = own.chain(audit).filter(|line| line.chars().count() > 80).collect();
    assert!(long.is_empty(), "{long:#?} of {text}");
    let addresses = addresses(&text);
    assert_eq!(addresses.len(), 13, "a server and twelve agents: {text}");
    assert!(!text.contains("http://127"), "{text}");
    gone(&addresses).await;
    assert_empty(temp.path());
}

#[tokio::test]
async fn every_example_document_is_valid() {
    let (temp, examples) = (tempfile::tempdir().unwrap(), examples::all());
    let folders = std::fs::read_dir(&examples).unwrap().map(|entry| entry.unwrap().path());
    let documents =
        folders.flat_map(|it| ["playbook.yaml", "cluster.yaml"].map(|name| it.join(name)));
    let mut documents: Vec<_> = documents.filter(|path| path.is_file()).collect();
    for name in ["chrony", "inventory", "rolling-reboot", "rolling-upgrade"] {
        documents.push(examples.join("playbooks").join(name).with_extension("yaml"));
    }
    for name in
        ["approval", "canary", "guards", "membership", "rolling-restart", "secure", "upgrade"]
    {
        assert!(documents.contains(&examples.join(name).join("playbook.yaml")), "{documents:?}");
    }
    assert!(documents.contains(&examples.join("membership/cluster.yaml")), "{documents:?}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_replictl"));
    command.arg("validate").env("XDG_CACHE_HOME", temp.path()).kill_on_drop(true);
    documents.iter().for_each(|path| {
        command.arg("-f").arg(path);
    });
    let output = tokio::time::timeout(LIMIT, command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
}

#[tokio::test]
async fn nodes_behind_ssh_are_imported_and_one_that_fails_is_shown_at_work() {
    let temp = tempfile::tempdir().unwrap();
    let (code, text) = play(temp.path(), &["--scene", "ssh", "--agents", "8", "--fail", "1"]).await;
    assert_eq!(code, Some(5), "{text}");
    assert!(text.contains("8 nodes in 1 group; 1 note above"), "{text}");
    for line in [
        "  compacting part 4 of 4\n",
        "  cannot write part 4: no space left on device\n",
        "\nexit code 5\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    gone(&addresses(&text)).await;
    assert_empty(temp.path());
}

#[tokio::test]
async fn two_failures_pause_the_run_and_it_says_what_to_type() {
    let temp = tempfile::tempdir().unwrap();
    let (code, text) = play(temp.path(), &["--fail", "2"]).await;
    assert_eq!(code, Some(9), "{text}");
    assert!(text.contains("replictl run resume "), "{text}");
    assert!(text.contains("replictl run cancel "), "{text}");
    assert!(text.contains("stop now"), "{text}");
    gone(&addresses(&text)).await;
    assert_empty(temp.path());
}

/// The line that is printed when the run is started.
const STARTS: &str = "$ replictl run start";

/// Starts the demonstration. Returns it with everything that it said up to the line that begins with `until`,
/// and with a task that ends once no process is left that could say more.
async fn started(temp: &Path, arguments: &[&str], until: &str) -> (Child, String, JoinHandle<()>) {
    let mut child = demo(temp, arguments).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut text = String::new();
    let reading = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            text.push_str(&line);
            text.push('\n');
            if line.starts_with(until) {
                return;
            }
        }
        panic!("ended before it said {until:?}: {text}");
    };
    tokio::time::timeout(LIMIT, reading).await.expect("the demonstration says that");
    // A process that goes on must not block on a pipe that nobody reads.
    let silent = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, text, silent)
}

async fn send(signal: &str, child: &Child) {
    let id = child.id().unwrap().to_string();
    let sent = Command::new("kill").args([signal, &id]).status().await.unwrap();
    assert!(sent.success());
}

#[tokio::test]
async fn an_interrupted_demonstration_leaves_nothing_behind() {
    let leaves = "--- node-12 leaves";
    for (arguments, until, processes) in [
        (&[][..], STARTS, 13),
        (&["--scene", "membership"], leaves, 15),
        (&["--scene", "registry"], STARTS, 14),
        (&["--scene", "secure"], "--- alice approves it", 13),
    ] {
        let temp = tempfile::tempdir().unwrap();
        let (mut child, text, silent) = started(temp.path(), arguments, until).await;
        assert_eq!(addresses(&text).len(), processes, "{text}");
        for folder in std::fs::read_dir(temp.path()).unwrap().map(Result::unwrap) {
            let mode = folder.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o700, "{:?} is for its user alone", folder.path());
        }
        send("-INT", &child).await;
        let status = tokio::time::timeout(LIMIT, child.wait()).await.unwrap().unwrap();
        assert_eq!(status.code(), Some(130));
        tokio::time::timeout(GONE_LIMIT, silent).await.expect("nobody says more").unwrap();
        gone(&addresses(&text)).await;
        assert_empty(temp.path());
    }
}

#[tokio::test]
async fn a_killed_demonstration_leaves_no_process_behind() {
    let changes = "--- node-13 joins";
    for (arguments, until) in [
        (&[][..], STARTS),
        (&["--scene", "membership"], changes),
        (&["--scene", "registry"], STARTS),
        (&["--scene", "secure"], "--- alice approves it"),
    ] {
        let temp = tempfile::tempdir().unwrap();
        let (mut child, text, silent) = started(temp.path(), arguments, until).await;
        child.kill().await.unwrap();
        tokio::time::timeout(GONE_LIMIT, silent).await.expect("nobody says more").unwrap();
        gone(&addresses(&text)).await;
    }
}

#[tokio::test]
async fn impossible_numbers_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (code, text) = play(temp.path(), &["--agents", "3", "--fail", "4"]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("expected at most 3"), "{text}");
    let (code, text) = play(temp.path(), &["--scene", "membership", "--agents", "4"]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("expected 5 to 99"), "{text}");
    assert_empty(temp.path());
}
