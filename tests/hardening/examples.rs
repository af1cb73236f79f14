//! The examples of how to run a server for others: what they name exists, and systemd takes the unit.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The most exposure that `systemd-analyze security` may find, in tenths: 10 is none, 100 is all.
const MOST_EXPOSED: &str = "20";

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(example(name)).unwrap()
}

/// The options of a command line.
fn options(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let options = words.filter_map(|word| word.strip_prefix("--").filter(|name| !name.is_empty()));
    options.map(|name| format!("--{name}")).collect()
}

fn help() -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_replibook")).args(["serve", "--help"]).output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

/// The lines of the unit from `ExecStart=` on, as long as they go on.
fn command_of(unit: &str) -> String {
    let from = unit.find("ExecStart=").unwrap();
    let mut command = String::new();
    for line in unit[from..].lines() {
        command.push_str(line.trim_end_matches('\\'));
        if !line.ends_with('\\') {
            break;
        }
    }
    command
}

#[test]
fn options_are_those_of_the_server() {
    let help = help();
    let (unit, container) = (read("systemd/replibook.service"), read("container/Containerfile"));
    let from = container.find("CMD ").unwrap();
    let known = options(&help);
    for (name, command) in
        [("unit", command_of(&unit)), ("container", container[from..].to_owned())]
    {
        let named = options(&command);
        // What a server beyond loopback has to have.
        for needed in ["--tls", "--credentials", "--access", "--audit", "--policy", "--data"] {
            assert!(named.contains(needed), "{name}: no {needed} in {command}");
        }
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?} are no options of the server");
        assert!(!named.contains("--insecure"), "{name}");
    }
}

#[test]
fn the_container_runs_as_nobody_in_particular() {
    let container = read("container/Containerfile");
    let users: Vec<&str> =
        container.lines().filter_map(|line| line.strip_prefix("USER ")).collect();
    assert_eq!(users, ["65532:65532"], "a number, so that Kubernetes can tell that it is not root");
    let last = container.rfind("\nFROM ").unwrap();
    assert!(!container[last..].contains("\nRUN "), "nothing is installed in what is shipped");
    assert!(!container.contains("ADD "), "nothing is downloaded by the build but crates");
}

/// Runs `systemd-analyze` on the unit as it would be installed here; `None` where there is no such program.
fn analyze(args: &[&str]) -> Option<Output> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("replibook.service");
    // Neither the program nor its user is installed on a machine that runs tests.
    let unit = read("systemd/replibook.service")
        .replace("/usr/local/bin/replibook", env!("CARGO_BIN_EXE_replibook"))
        .replace("=replibook\nGroup=replibook\n", "=daemon\nGroup=daemon\n");
    fs::write(&file, unit).unwrap();
    let output = Command::new("systemd-analyze").args(args).arg(&file).output();
    let Ok(output) = output else {
        println!("there is no systemd-analyze here: the unit is not looked at");
        return None;
    };
    Some(output)
}

#[test]
fn systemd_takes_the_unit() {
    let Some(output) = analyze(&["verify", "--man=no"]) else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    // It looks at other units of the machine too.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("replibook.service")).collect();
    assert!(ours.is_empty() && output.status.success(), "{said}");
}

#[test]
fn the_unit_leaves_little_open() {
    let threshold = format!("--threshold={MOST_EXPOSED}");
    let Some(output) = analyze(&["security", "--offline=yes", "--no-pager", &threshold]) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
