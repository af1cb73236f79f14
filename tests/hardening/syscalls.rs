//! What the server asks of the system is what the unit of systemd lets it ask.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::scene::{Scene, plainly};

/// SQLite gives the files that it makes to the owner of the database, but only if it is root, as tests in containers are.
const AS_ROOT: &str = "fchown";

/// The sets of calls that the unit allows, and forbids.
fn filters() -> (Vec<String>, Vec<String>) {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/systemd/replibook.service");
    let unit = fs::read_to_string(unit).unwrap();
    let lines = unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter="));
    let (denied, allowed): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with('~'));
    let owned = |sets: Vec<&str>| {
        let names = sets.iter().flat_map(|set| set.trim_start_matches('~').split(' '));
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    (owned(allowed), owned(denied))
}

/// The calls of a set, as systemd knows it; `None` without systemd.
fn calls(set: &str) -> Option<BTreeSet<String>> {
    let output = Command::new("systemd-analyze").args(["syscall-filter", set]).output().ok()?;
    let text = String::from_utf8(output.stdout).unwrap();
    let mut found = BTreeSet::new();
    for line in text.lines().skip(1).map(str::trim).filter(|line| !line.starts_with('#')) {
        match line.starts_with('@') {
            true => found.extend(calls(line)?),
            false => drop(found.insert(line.to_owned())),
        }
    }
    Some(found)
}

/// The calls in a trace. Of a call that was interrupted by another thread's, the first half has the name.
fn traced(path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path).unwrap();
    let called = text.lines().filter_map(|line| {
        let call = line.split_once(' ')?.1.trim_start();
        let name = call.split_once('(')?.0;
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        (is_name && !name.is_empty()).then(|| name.to_owned())
    });
    called.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unit_allows_every_call_of_a_server_that_compiles_and_runs_plugins() {
    let (allowed, denied) = filters();
    let sets = |names: &[String]| -> Option<BTreeSet<String>> {
        let sets: Option<Vec<_>> = names.iter().map(|name| calls(name)).collect();
        Some(sets?.into_iter().flatten().collect())
    };
    let (Some(allowed), Some(denied)) = (sets(&allowed), sets(&denied)) else {
        println!("there is no systemd-analyze here: the calls are not compared");
        return;
    };
    if Command::new("strace").arg("--version").output().is_err() {
        println!("there is no strace here: the calls are not looked at");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let to = trace.clone();
    let watched = move |program: &'static str| {
        let mut command = tokio::process::Command::new("strace");
        command.args(["-f", "-qq", "-s", "0", "-o"]).arg(&to).arg(program);
        command
    };
    let scene = Scene::start(dir.path(), &watched, &plainly).await;
    scene.run(dir.path(), &plainly).await;
    scene.stop().await;
    let traced = traced(&trace);
    assert!(traced.contains("mprotect") && traced.contains("epoll_wait"), "{traced:?}");
    let may = |call: &String| allowed.contains(call) && !denied.contains(call);
    let refused: Vec<_> = traced.iter().filter(|call| !may(call) && *call != AS_ROOT).collect();
    assert!(refused.is_empty(), "the unit forbids {refused:?}");
}
