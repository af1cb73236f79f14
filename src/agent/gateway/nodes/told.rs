//! Makes sense of the parts of an answer.

use std::str::FromStr;

use bytes::Bytes;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::answer::Answer;
use super::order::{Record, VERSION};
use super::script::decode;
use super::seen::{End, Facts, JobState, Killed, Listed, Lost, Phase, Piece, Said, Seen};
use super::{MAX_PIECE, MAX_STDOUT};
use crate::run::{Millis, Timestamp};

/// What an answer can't be read for.
pub(super) type Unread = String;

/// The clocks of both sides at the moment at which the node said hello.
#[derive(Clone, Debug)]
pub(super) struct Clocks {
    /// By the clock of the gateway.
    pub(super) now: Timestamp,
    /// Since the boot of the node.
    up: f64,
    boot: String,
}

impl Clocks {
    pub(super) fn read(answer: &Answer, now: Timestamp) -> Result<Self, Unread> {
        let words = answer.words("hi").ok_or("found no greeting")?;
        Ok(Self { now, up: number(words.first())?, boot: word(words.get(1))?.to_owned() })
    }

    /// The moment that was so long after the boot.
    fn at(&self, up: f64) -> Timestamp {
        let ago = ((self.up - up).max(0.0) * 1_000.0) as i64;
        Timestamp::from_millis(self.now.as_millis().saturating_sub(ago))
    }
}

/// What the job does, as far as the answer says it. Nothing if another process is about to begin it.
pub(super) fn state(
    answer: &Answer,
    clocks: &Clocks,
    sent: Timestamp,
) -> Result<Option<JobState>, Unread> {
    if let Some(words) = answer.words("end") {
        return end(answer, words, clocks, sent).map(|end| Some(JobState::Ended(end)));
    }
    if let Some(words) = answer.words("lost") {
        let (since, why) = match word(words.first())? {
            "rebooted" => (sent, Lost::Rebooted),
            "killed" => (clocks.at(number(words.get(1))?), Lost::Killed),
            "torn" => (clocks.now, Lost::Torn),
            other => return Err(format!("found {other:?}, expected why the job is lost")),
        };
        return Ok(Some(JobState::Lost { since, why }));
    }
    if let Some(words) = answer.words("running").or_else(|| answer.words("begun")) {
        return Ok(Some(JobState::Running { since: clocks.at(number(words.first())?) }));
    }
    if answer.words("new").is_some() {
        return Ok(Some(JobState::NotStarted));
    }
    Ok(None)
}

fn end(answer: &Answer, words: &[String], clocks: &Clocks, sent: Timestamp) -> Result<End, Unread> {
    let [code, from, to, why, boot] = words else {
        return Err(format!("found {} words about the end of the job, expected 5", words.len()));
    };
    let (from, to): (f64, f64) = (number(Some(from))?, number(Some(to))?);
    let (started, ended) = if *boot == clocks.boot {
        (clocks.at(from), clocks.at(to))
    } else {
        // The node was rebooted since; when it was sent is known.
        (sent, sent.plus(Millis(((to - from).max(0.0) * 1_000.0) as u64)))
    };
    let killed = match why.as_str() {
        "-" => None,
        "timeout" => Some(Killed::Timeout),
        "output" => Some(Killed::Output),
        other => return Err(format!("found {other:?}, expected why the job was killed")),
    };
    let stdout = answer.content("out").unwrap_or_default();
    Ok(End {
        code: number(Some(code))?,
        killed,
        stdout: Bytes::copy_from_slice(stdout.get(..MAX_STDOUT).unwrap_or(stdout)),
        cut: stdout.len() > MAX_STDOUT,
        stderr: Bytes::copy_from_slice(answer.content("err").unwrap_or_default()),
        started,
        ended,
    })
}

/// A job of which the node knows that it began, and nothing else: not even its kind.
pub(super) fn torn(answer: &Answer, clocks: &Clocks) -> Option<Seen> {
    let words = answer.words("lost")?;
    (words.first().map(String::as_str) == Some("torn")).then(|| Seen {
        kind: String::new(),
        args: Value::Null,
        metadata: Map::new(),
        created: clocks.now,
        sent: clocks.now,
        state: JobState::Lost { since: clocks.now, why: Lost::Torn },
    })
}

/// The job that the answer is about, with this state.
pub(super) fn seen(answer: &Answer, state: JobState) -> Result<Seen, Unread> {
    let (kind, sent) = header(answer)?;
    let record = answer.content("what").unwrap_or_default().trim_ascii();
    let record = decode(record).ok_or("found no record of the action")?;
    let record: Record = serde_json::from_slice(&record)
        .map_err(|error| format!("the record of the action: {error}"))?;
    let Record { args, metadata, created } = record;
    Ok(Seen { kind, args, metadata, created, sent, state })
}

/// The kind of the job, and when it was sent.
pub(super) fn header(answer: &Answer) -> Result<(String, Timestamp), Unread> {
    let words = answer.words("job").ok_or("found nothing about the job")?;
    let version = word(words.first())?;
    if version != VERSION {
        return Err(format!("found a job of version {version:?}, expected {VERSION}"));
    }
    Ok((text(words.get(2))?, Timestamp::from_millis(number(words.get(1))?)))
}

pub(super) fn list(answer: &Answer) -> Result<Vec<Listed>, Unread> {
    let mut listed = Vec::new();
    for (words, _) in answer.all("job") {
        // Other folders are not ours.
        let Ok(id) = Uuid::parse_str(word(words.first())?) else { continue };
        let sent = Timestamp::from_millis(number(words.get(1))?);
        let phase = match word(words.get(3))? {
            "new" => Phase::NotStarted,
            "running" => Phase::Running,
            "lost" => Phase::Lost,
            "ended" => Phase::Ended(number(words.get(4))?),
            other => return Err(format!("found {other:?}, expected what the job does")),
        };
        listed.push(Listed { id, kind: text(words.get(2))?, sent, phase });
    }
    listed.sort_by_key(|job| (job.sent, job.id));
    Ok(listed)
}

pub(super) fn piece(answer: &Answer, from: u64) -> Result<Piece, Unread> {
    let words = answer.words("piece").ok_or("found no output")?;
    let bytes = answer.content("piece").unwrap_or_default();
    let over = word(words.first())? == "1";
    Ok(Piece {
        bytes: Bytes::copy_from_slice(bytes),
        next: from.saturating_add(bytes.len() as u64),
        ended: over && bytes.len() < MAX_PIECE,
    })
}

pub(super) fn facts(answer: &Answer) -> Result<Facts, Unread> {
    let uname = answer.words("uname").ok_or("found nothing that uname says")?;
    let [kernel, hostname, release, arch] = uname else {
        return Err(format!("found {} words of uname, expected 4", uname.len()));
    };
    let unquoted = |word: &String| word.trim_matches(['"', '\'']).to_owned();
    let os: Vec<_> = answer.words("os").unwrap_or_default().iter().map(unquoted).collect();
    let os = os.join(" ").trim().to_owned();
    let mut own = Map::new();
    for (_, line) in answer.all("own") {
        let line = String::from_utf8_lossy(line);
        if let Some((name, value)) = line.trim_end_matches('\n').split_once(' ') {
            own.insert(name.to_owned(), Value::String(value.to_owned()));
        }
    }
    let status = match (answer.content("status"), answer.words("code")) {
        (Some(stdout), Some(code)) => {
            Some(Said { code: number(code.first())?, stdout: Bytes::copy_from_slice(stdout) })
        }
        (Some(_), None) | (None, Some(_) | None) => None,
    };
    let up: Option<f64> = answer.words("uptime").map(|up| number(up.first())).transpose()?;
    Ok(Facts {
        os: if os.is_empty() { kernel.clone() } else { os },
        kernel: format!("{kernel} {release}"),
        arch: arch.clone(),
        hostname: hostname.clone(),
        uptime: up.map(|up| Millis((up.max(0.0) * 1_000.0) as u64)),
        own,
        status,
    })
}

fn word(word: Option<&String>) -> Result<&str, Unread> {
    word.map(String::as_str).ok_or_else(|| "found a line that is too short".to_owned())
}

pub(super) fn number<N: FromStr>(found: Option<&String>) -> Result<N, Unread> {
    let found = word(found)?;
    found.parse().map_err(|_| format!("found {found:?}, expected a number"))
}

fn text(found: Option<&String>) -> Result<String, Unread> {
    let found = word(found)?;
    let bytes = decode(found.as_bytes()).and_then(|bytes| String::from_utf8(bytes).ok());
    bytes.ok_or_else(|| format!("found {found:?}, expected a text"))
}
