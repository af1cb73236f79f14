//! One exchange with a node: a process that carries the script there, what it is given, and what it answers.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::answer::{Answer, MAX_ANSWER};
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

/// The most bytes of an answer of which there may be as many as there are exchanges: nearly all are far shorter.
const SMALL_ANSWER: usize = 128 * 1024;

/// How many bytes larger answers may take together. Those for which there is no room are read once there is some.
pub const MAX_ANSWERS: usize = 64 * 1024 * 1024;

/// Room for large answers. Who has a share of it waits for nobody else here, so everybody gets one at last.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_ANSWERS / MAX_ANSWER)))
    }
}

/// What came of an exchange.
pub(super) struct Heard {
    pub(super) answer: Answer,
    /// What the carrier, or the shell on the node, wrote to standard error.
    pub(super) said: Vec<u8>,
    pub(super) ended: Ended,
    /// Room for a large answer.
    share: Option<OwnedSemaphorePermit>,
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

/// Gives the script the word of its marks and its input, and hears its answer. Neither is among the arguments of a process.
///
/// # Errors
/// The process can't be started.
pub(super) async fn exchange(
    mut command: Command,
    input: &[u8],
    nonce: Uuid,
    room: &Room,
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
    let answer = Answer::new(nonce);
    let mut heard = Heard { answer, said: Vec::new(), ended: Ended::TimeIsUp, share: None };
    let Heard { answer, said, ended, share } = &mut heard;
    let word = format!("{}\n", nonce.simple());
    {
        let reading = async {
            tokio::select! {
                biased;
                ended = listen(stdout, answer, (room, share), clock) => ended,
                // It never ends before the answer does.
                () = aside(stdin, [word.as_bytes(), input], stderr.as_mut(), said) => Ended::Cut(None),
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
    input: [&[u8]; 2],
    stderr: Option<impl AsyncRead + Unpin>,
    said: &mut Vec<u8>,
) {
    let write = async {
        if let Some(mut stdin) = stdin {
            // Who reads no further says why in the answer.
            for input in input {
                let _ = stdin.write_all(input).await;
            }
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
    (room, share): (&Room, &mut Option<OwnedSemaphorePermit>),
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
        let has_room = answer.add(buffer.get(..length).unwrap_or_default());
        if answer.is_whole() {
            return Ended::Whole;
        }
        if !has_room {
            return Ended::TooLong;
        }
        if share.is_none() && answer.len() > SMALL_ANSWER {
            *share = Arc::clone(&room.0).acquire_owned().await.ok();
        }
    }
}

const _: () = assert!(MAX_ANSWERS >= MAX_ANSWER, "there is room for one");

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;
    use crate::clock::SystemClock;

    /// Far longer than anything here takes, even on a busy machine.
    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn large_answers_wait_for_room_and_small_ones_do_not() {
        let (room, nonce, clock) = (Room::default(), Uuid::from_u128(1), SystemClock);
        let all = u32::try_from(MAX_ANSWERS / MAX_ANSWER).unwrap();
        let taken = Arc::clone(&room.0).acquire_many_owned(all).await.unwrap();
        let hear = async |size: usize| {
            let (mut node, stdout) = duplex(SMALL_ANSWER);
            let bye = format!("\n@{} bye\n", nonce.simple());
            let said = [vec![b'x'; size], bye.into_bytes()].concat();
            let writing = tokio::spawn(async move { node.write_all(&said).await });
            let (mut answer, mut share) = (Answer::new(nonce), None);
            let ended = listen(Some(stdout), &mut answer, (&room, &mut share), &clock).await;
            drop(writing);
            (ended, share.is_some())
        };
        let small = tokio::time::timeout(LIMIT, hear(SMALL_ANSWER / 2)).await;
        assert_eq!(small.unwrap(), (Ended::Whole, false));
        let mut large = Box::pin(hear(3 * SMALL_ANSWER));
        let early = tokio::select! {
            biased;
            ended = &mut large => Some(ended),
            () = async { for _ in 0..1_000 { tokio::task::yield_now().await } } => None,
        };
        assert_eq!(early, None, "there is no room");
        drop(taken);
        assert_eq!(tokio::time::timeout(LIMIT, large).await.unwrap(), (Ended::Whole, true));
        assert_eq!(room.0.available_permits(), all as usize, "what was taken is given back");
    }
}
