//! One exchange with a node: a process that carries the script there, what it is given, and what it answers.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, Command};
use uuid::Uuid;

use super::answer::Answer;
use crate::clock::Clock;

/// How long a job that was begun may take to be answered in the same exchange.
pub const QUICK: Duration = Duration::from_secs(1);

/// How long an exchange may take. Large answers come over slow lines; programs that are asked for the status of a node
/// are slow, too.
pub const WITHIN: Duration = Duration::from_secs(60);

/// How long a process may take to end once it has nothing more to say.
const DRAIN: Duration = Duration::from_secs(1);

/// The most bytes of standard error that are kept, from its end.
const MAX_SAID: usize = 8 * 1024;

/// What came of an exchange.
pub(super) struct Heard {
    pub(super) answer: Answer,
    /// What the carrier, or the shell on the node, wrote to standard error.
    pub(super) said: Vec<u8>,
    pub(super) ended: Ended,
}

/// Why nothing more came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ended {
    /// The answer is whole.
    Whole,
    /// The job goes on, and nobody waits for its end.
    Goes,
    /// The carrier ended before the answer was whole.
    Cut(Option<ExitStatus>),
    /// It took too long.
    TimeIsUp,
    /// More came than a script of ours says.
    TooLong,
}

/// Gives the script its input and hears its answer.
///
/// # Errors
/// The process can't be started.
pub(super) async fn exchange(
    mut command: Command,
    input: &[u8],
    nonce: Uuid,
    clock: &dyn Clock,
) -> io::Result<Heard> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Signals of a terminal are not meant for it, and a job that it begins here leads a group of its own.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let (stdin, stdout, mut stderr) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut heard = Heard { answer: Answer::new(nonce), said: Vec::new(), ended: Ended::TimeIsUp };
    let Heard { answer, said, ended } = &mut heard;
    {
        let reading = async {
            tokio::select! {
                biased;
                ended = listen(stdout, answer, clock) => ended,
                // It never ends before the answer does.
                () = aside(stdin, input, stderr.as_mut(), said) => Ended::Cut(None),
            }
        };
        tokio::select! {
            found = reading => *ended = found,
            () = clock.sleep(WITHIN) => {}
        }
    }
    match *ended {
        // What it says last says why.
        Ended::Cut(_) => {
            let end = async { tokio::join!(child.wait(), read_said(stderr.as_mut(), said)).0.ok() };
            *ended = Ended::Cut(
                tokio::select! { status = end => status, () = clock.sleep(DRAIN) => None },
            );
        }
        // Its end is near; killing it would cost more. What it said before may still be on its way here.
        Ended::Whole => {
            let end = async { tokio::join!(child.wait(), read_said(stderr.as_mut(), said)) };
            tokio::select! { _ = end => {}, () = clock.sleep(DRAIN) => {} }
        }
        Ended::Goes | Ended::TimeIsUp | Ended::TooLong => {}
    }
    Ok(heard)
}

/// Writes the input and reads standard error, as long as somebody listens to the answer.
async fn aside(
    stdin: Option<ChildStdin>,
    input: &[u8],
    stderr: Option<impl AsyncRead + Unpin>,
    said: &mut Vec<u8>,
) {
    let write = async {
        if let Some(mut stdin) = stdin {
            // Who reads no further says why in the answer.
            let _ = stdin.write_all(input).await;
            let _ = stdin.shutdown().await;
        }
    };
    tokio::join!(write, read_said(stderr, said));
    std::future::pending::<()>().await;
}

async fn read_said(stderr: Option<impl AsyncRead + Unpin>, said: &mut Vec<u8>) {
    let Some(mut stderr) = stderr else { return };
    let mut buffer = [0; 4 * 1024];
    while let Ok(length @ 1..) = stderr.read(&mut buffer).await {
        said.extend_from_slice(buffer.get(..length).unwrap_or_default());
        let excess = said.len().saturating_sub(MAX_SAID);
        said.drain(..excess);
    }
}

async fn listen(
    stdout: Option<impl AsyncRead + Unpin>,
    answer: &mut Answer,
    clock: &dyn Clock,
) -> Ended {
    let Some(mut stdout) = stdout else { return Ended::Cut(None) };
    let mut buffer = vec![0; 16 * 1024];
    let mut patience = None;
    loop {
        if patience.is_none() && answer.words("begun").is_some() {
            patience = Some(Box::pin(clock.sleep(QUICK)));
        }
        let read = stdout.read(&mut buffer);
        let read = match &mut patience {
            None => read.await,
            Some(over) => tokio::select! {
                read = read => read,
                () = over => return Ended::Goes,
            },
        };
        let Ok(length @ 1..) = read else { return Ended::Cut(None) };
        let room = answer.add(buffer.get(..length).unwrap_or_default());
        if answer.is_whole() {
            return Ended::Whole;
        }
        if !room {
            return Ended::TooLong;
        }
    }
}
