//! What a job is on its way to a node: one line.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::Trouble;
use super::put::MAX_DIFF;
use super::script::{encode, quote};
use super::work::{Job, Work};
use crate::run::Timestamp;

/// The version of the line. A gateway reads what those before it wrote.
pub(super) const VERSION: &str = "v1";

/// The most bytes of what is handed to a job by standard input, or of a script, or of a file: what an agent takes as
/// the arguments of an action.
pub const MAX_INPUT: usize = 2 * 1024 * 1024;

/// The most bytes that the words of a command may have. Each of them has to fit into what Linux takes as an argument.
pub const MAX_WORDS: usize = 96 * 1024;

/// A shell reads a short line byte by byte, without another process. For a longer one a process is cheaper.
const BULK: usize = 8 * 1024;

/// The script that puts a file in its place, which says one byte more of a difference than may be kept.
static PUT: LazyLock<String> =
    LazyLock::new(|| include_str!("put.sh").replace("MAX_DIFF", &(MAX_DIFF + 1).to_string()));

/// A line for the node.
pub(super) struct Order {
    pub(super) line: String,
    /// Whether the node should read it at once.
    pub(super) bulk: bool,
}

/// What is kept of the action beside the work.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) args: Value,
    pub(super) metadata: Map<String, Value>,
    pub(super) created: Timestamp,
}

/// What the node's shell runs.
struct Plan {
    run: String,
    input: String,
    text: String,
}

/// The line for a job.
///
/// # Errors
/// [`Trouble::Refused`]: it can't be handed over as it is.
pub(super) fn order(job: &Job, sent: Timestamp) -> Result<Order, Trouble> {
    let Plan { mut run, input, text } = plan(job)?;
    if run.len() > MAX_WORDS {
        let found = format!("{} bytes", run.len());
        return Err(refused("the words of the command", found, "at most 96 KiB"));
    }
    let record =
        Record { args: job.args.clone(), metadata: job.metadata.clone(), created: job.created };
    let record = serde_json::to_vec(&record)
        .map_err(|error| refused("the arguments", error.to_string(), "JSON"))?;
    let record = encode(&record);
    let bulk = record.len() + run.len() + input.len() + text.len() > BULK;
    let printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    let encoded = bulk || !run.bytes().all(|byte| printable(byte) && byte != b'\\');
    if encoded {
        run = encode(run.as_bytes());
    }
    let timeout = job.timeout.map_or(0, |timeout| timeout.as_secs_f64().ceil().max(1.0) as u64);
    let user = job.become_user.as_deref().unwrap_or("-");
    let line = format!(
        "{VERSION} {} {} {} {timeout} {user} {} {record} {input} {text} {run}{}\n",
        sent.as_millis().max(0),
        encode(job.kind.as_bytes()),
        u8::from(job.secret),
        u8::from(encoded),
        if bulk { " end" } else { "" },
    );
    Ok(Order { line, bulk })
}

fn plan(job: &Job) -> Result<Plan, Trouble> {
    if let Some(user) = &job.become_user {
        user_name(user)?;
    }
    match &job.work {
        Work::Command { argv, stdin, env, folder } => {
            if argv.first().is_none_or(String::is_empty) {
                return Err(refused("the command", "nothing".to_owned(), "a program"));
            }
            let words = argv.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
            let run = line(job, env, folder.as_deref(), &words)?;
            Ok(Plan { run, input: input(stdin)?, text: encode(b"") })
        }
        Work::Script { interpreter, text, stdin, env, folder } => {
            let interpreter = interpreter_of(interpreter, text);
            let words = interpreter.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
            // Another user can't read the folder of the job, and secrets may not be in it.
            let by_stdin = job.secret || job.become_user.as_deref().is_some_and(|u| u != "root");
            if by_stdin && !stdin.is_empty() {
                let found = format!("{} bytes", stdin.len());
                let expected = "none, since the script itself comes that way: it has secrets, or another user runs it";
                return Err(refused("the standard input of the script", found, expected));
            }
            if by_stdin {
                let run = line(job, env, folder.as_deref(), &words)?;
                return Ok(Plan { run, input: input(text.as_bytes())?, text: encode(b"") });
            }
            let run = line(job, env, folder.as_deref(), &format!("{words} \"$script\""))?;
            Ok(Plan { run, input: input(stdin)?, text: input(text.as_bytes())? })
        }
        Work::PutFile { path, content, mode, owner, group, check } => {
            if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
                return Err(refused(
                    "the path of the file",
                    format!("{path:?}"),
                    "an absolute path",
                ));
            }
            let mode = mode.map_or("-".to_owned(), |mode| format!("{:o}", mode & 0o7777));
            let name = |name: &Option<String>| match name {
                None => Ok("-".to_owned()),
                Some(name) => user_name(name).map(|()| name.clone()),
            };
            let (owner, group) = (name(owner)?, name(group)?);
            let diff = if job.secret { "hidden" } else { "diff" };
            let check = if *check { "check" } else { "put" };
            let words = ["sh", "-c", &*PUT, "sh", path, &mode, &owner, &group, check, diff];
            let words = words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
            let run = line(job, &BTreeMap::new(), None, &words)?;
            Ok(Plan { run, input: input(content)?, text: encode(b"") })
        }
    }
}

/// The line of shell that becomes the command.
fn line(
    job: &Job,
    env: &BTreeMap<String, String>,
    folder: Option<&str>,
    words: &str,
) -> Result<String, Trouble> {
    let mut line = String::new();
    if let Some(folder) = folder {
        let folder =
            if folder.starts_with('-') { format!("./{folder}") } else { folder.to_owned() };
        let _ = write!(line, "cd {} || exit 126; ", quote(&folder));
    }
    line.push_str("exec ");
    if let Some(user) = &job.become_user {
        let _ = write!(line, "sudo -n -H -u {} -- ", quote(user));
    }
    if !env.is_empty() || words.starts_with('-') {
        line.push_str("env ");
    }
    for (name, value) in env {
        if !is_variable(name) {
            return Err(refused("a variable", format!("{name:?}"), "letters, digits and _"));
        }
        let _ = write!(line, "{} ", quote(&format!("{name}={value}")));
    }
    line.push_str(words);
    if line.contains('\0') {
        return Err(refused("the command", "a byte that is zero".to_owned(), "none"));
    }
    Ok(line)
}

fn input(bytes: &[u8]) -> Result<String, Trouble> {
    if bytes.len() > MAX_INPUT {
        let found = format!("{} bytes", bytes.len());
        return Err(refused("what is handed to the job", found, "at most 2 MiB"));
    }
    Ok(encode(bytes))
}

/// What reads a script: as it is said, or as the first line of the script says it. The kernel is not asked, so that the
/// folder of the job may be one in which nothing may be run.
fn interpreter_of(said: &[String], text: &str) -> Vec<String> {
    if !said.is_empty() {
        return said.to_vec();
    }
    let first = text.lines().next().and_then(|line| line.strip_prefix("#!")).unwrap_or_default();
    // A kernel hands over all that comes after the program as one argument.
    let first = first.trim();
    let (program, rest) = first.split_once([' ', '\t']).unwrap_or((first, ""));
    let words = [program, rest.trim()].into_iter().filter(|word| !word.is_empty());
    let words: Vec<String> = words.map(str::to_owned).collect();
    if words.is_empty() { vec!["sh".to_owned()] } else { words }
}

fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Checks the name of a user or group, which must not be an option of a program.
pub(super) fn user_name(name: &str) -> Result<(), Trouble> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-@+$#".contains(&byte);
    if name.is_empty() || name.starts_with('-') || !name.bytes().all(plain) {
        return Err(refused(
            "the name of a user or group",
            format!("{name:?}"),
            "letters, digits, _ . - @ + #",
        ));
    }
    Ok(())
}

pub(super) const fn refused(what: &'static str, found: String, expected: &'static str) -> Trouble {
    Trouble::Refused { what, found, expected }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;

    fn job(work: Work) -> Job {
        Job {
            id: Uuid::nil(),
            kind: "k".to_owned(),
            args: Value::Null,
            metadata: Map::new(),
            created: Timestamp::default(),
            work,
            secret: false,
            become_user: None,
            timeout: None,
        }
    }

    fn command(argv: &[&str], stdin: usize) -> Job {
        job(Work::Command {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            stdin: Bytes::from(vec![b'x'; stdin]),
            env: BTreeMap::new(),
            folder: None,
        })
    }

    fn put(path: &str) -> Job {
        job(Work::PutFile {
            path: path.to_owned(),
            content: Bytes::new(),
            mode: None,
            owner: None,
            group: None,
            check: false,
        })
    }

    fn script(interpreter: &[&str], text: &str, stdin: &'static [u8]) -> Job {
        job(Work::Script {
            interpreter: interpreter.iter().map(|word| (*word).to_owned()).collect(),
            text: text.to_owned(),
            stdin: Bytes::from_static(stdin),
            env: BTreeMap::new(),
            folder: None,
        })
    }

    #[test]
    fn what_shells_and_programs_would_take_for_something_else_is_refused() {
        let as_user = |user: &str, job: Job| Job { become_user: Some(user.to_owned()), ..job };
        let variable = |name: &str| {
            let mut job = command(&["a"], 0);
            if let Work::Command { env, .. } = &mut job.work {
                env.insert(name.to_owned(), "x".to_owned());
            }
            job
        };
        for (what, job, good) in [
            ("the largest input", command(&["a"], MAX_INPUT), true),
            ("one byte more", command(&["a"], MAX_INPUT + 1), false),
            ("words that are too long", command(&["a", &"x".repeat(MAX_WORDS)], 0), false),
            ("nothing", command(&[], 0), false),
            ("an empty program", command(&[""], 0), false),
            ("a byte that is zero", command(&["a", "b\0"], 0), false),
            ("a user", as_user("www-data", command(&["a"], 0)), true),
            ("an option as a user", as_user("-s", command(&["a"], 0)), false),
            ("a line as a user", as_user("a b", command(&["a"], 0)), false),
            ("a variable", variable("A_1"), true),
            ("two words as a variable", variable("A B"), false),
            ("an option as a variable", variable("-i"), false),
            ("a file", put("/etc/motd"), true),
            ("a file that is somewhere", put("motd"), false),
            ("a folder", put("/etc/"), false),
            ("a script with input", script(&[], "true", b"x"), true),
            (
                "one that comes by its input",
                Job { secret: true, ..script(&[], "true", b"x") },
                false,
            ),
            ("one for another user", as_user("www-data", script(&[], "true", b"x")), false),
        ] {
            let order = order(&job, Timestamp::default());
            let refused = matches!(order, Err(Trouble::Refused { .. }));
            assert_eq!((order.is_ok(), refused), (good, !good), "{what}");
        }
    }

    #[test]
    fn short_lines_can_be_read_by_people_and_long_ones_at_once() {
        let line = |job: Job| order(&job, Timestamp::from_millis(5)).map(|order| order.line);
        let short = line(command(&["systemctl", "restart", "my db"], 0)).unwrap();
        assert!(
            short.starts_with("v1 5 k 0 0 - 0 ")
                && short.ends_with(" - - exec systemctl restart 'my db'\n")
        );
        let user = Job { become_user: Some("root".to_owned()), ..command(&["id"], 0) };
        assert!(line(user).unwrap().ends_with(" exec sudo -n -H -u root -- id\n"));
        let long = order(&command(&["id"], BULK), Timestamp::default()).unwrap();
        assert!(long.bulk && long.line.ends_with(" exec\\0040id end\n"));
    }

    #[test]
    fn scripts_are_read_by_what_their_first_line_says() {
        for (said, text, expected) in [
            (&["python3", "-u"][..], "#!/bin/sh\n", &["python3", "-u"][..]),
            (&[], "#!/usr/bin/env python3\nprint()", &["/usr/bin/env", "python3"]),
            (&[], "#! /bin/sh -e -u\n", &["/bin/sh", "-e -u"]),
            (&[], "echo", &["sh"]),
            (&[], "#!\n", &["sh"]),
        ] {
            let said: Vec<_> = said.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(interpreter_of(&said, text), expected, "{text}");
        }
    }
}
