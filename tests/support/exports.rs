//! Exports of runs that restarted nodes: replayed as they are, and again after somebody has changed an
//! answer.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use replibook::replay::{ArchiveLimits, MemberName, pack, unpack};
use serde_json::{Value, json};
use tokio::process::Command;

/// How long a replay may take: far longer than it needs, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);

/// Changes the lines of one member of an unpacked export.
pub(crate) fn change_lines(folder: &Path, member: &MemberName, change: impl Fn(&mut Vec<Value>)) {
    let path = folder.join(member.to_string());
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    change(&mut lines);
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(path, text).unwrap();
}

/// Replays a file without a server. Returns the exit code, standard output and standard error.
async fn replay(file: &Path, cache: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_replictl"));
    command.args(["run", "replay"]).arg(file).args(arguments);
    command.env("REPLIBOOK_SERVER", "http://127.0.0.1:1").env("NO_COLOR", "1");
    command.env("XDG_CACHE_HOME", cache).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output()).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Checks that the run in `file` is the same when it is played again. Then changes an answer that `agent`
/// gave to its step `drain`: its checksum has to show that, and the replay has to find it. `dir` is for
/// files.
pub(crate) async fn check(file: &Path, agent: &str, dir: &Path) {
    let cache = dir.join("cache");
    let (code, out, err) = replay(file, &cache, &[]).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.starts_with("same: ") && out.ends_with(" replayed, 0 left out\n"), "{out}");

    let tampered = tamper(file, agent, dir);
    let (code, out, err) = replay(&tampered, &cache, &[]).await;
    assert_eq!((code, out.as_str()), (3, ""), "{err}");
    assert!(err.contains("it was changed after the export: journals.ndjson;"), "{err}");

    let (code, out, err) = replay(&tampered, &cache, &["--force"]).await;
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.starts_with("differs: "), "{out}");
    let place = format!(
        "agent {agent}, stage restart, step drain, attempt 1, call 1: the result differs\n"
    );
    assert!(out.contains(&place), "{out}");
    assert!(out.contains("  recorded: {\"moved\":3}\n"), "{out}");
    assert!(out.contains("  now:      {\"moved\":4}\n"), "{out}");
    assert_eq!(out.matches(" differs\n").count(), 1, "{out}");
    assert!(err.contains("warning: ") && err.contains("journals.ndjson"), "{err}");
}

/// The same export with one changed answer, and with its manifest as it was.
fn tamper(file: &Path, agent: &str, dir: &Path) -> std::path::PathBuf {
    let folder = tempfile::tempdir_in(dir).unwrap();
    let (manifest, changed) = unpack(file, folder.path(), ArchiveLimits::default()).unwrap();
    assert_eq!(changed, []);
    change_lines(folder.path(), &MemberName::Journals, |lines| {
        let is_meant = |line: &&mut Value| line["agent"] == agent && line["step_name"] == "drain";
        let journal = lines.iter_mut().find(is_meant).unwrap();
        journal["answers"][0]["answer"] = json!({"run-action": {"Ok": {"moved": 4}}});
    });
    let tampered = dir.join("tampered.tar.zst");
    pack(folder.path(), &manifest, &tampered).unwrap();
    tampered
}
