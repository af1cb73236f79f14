//! Notices that nobody reads standard output or standard error any more, so that a command that follows a run
//! for hours does not go on for nobody.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::oneshot;

use super::error::CliError;

/// Waits for `followed` for as long as somebody reads standard output and standard error. `None` when that has
/// ended, since the result was not told to anybody.
pub(crate) async fn while_read<T>(
    followed: impl Future<Output = Result<T, CliError>>,
) -> Result<Option<T>, CliError> {
    let done = tokio::select! {
        done = followed => done,
        () = reader_gone() => return Ok(None),
    };
    match done {
        // The next write noticed it first.
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(None),
        done => done.map(Some),
    }
}

/// Waits until a stream has no reader, which a write would only notice with the next line. Never returns for
/// files.
async fn reader_gone() {
    let (told, gone) = oneshot::channel();
    let watching = std::thread::Builder::new().name("readers".to_owned()).spawn(move || {
        let (out, err) = (io::stdout(), io::stderr());
        if is_gone(&[out.as_fd(), err.as_fd()]) {
            // The caller may not wait any more.
            let _ = told.send(());
        }
    });
    // If this can't be watched, the next write notices it.
    if watching.is_err() || gone.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Blocks until one of these streams has no reader any more; false if that can't be known.
fn is_gone(streams: &[BorrowedFd<'_>]) -> bool {
    // No event is asked for: errors and hang-ups are always reported.
    let all = streams.iter().map(|it| PollFd::from_borrowed_fd(*it, PollFlags::empty()));
    let mut all: Vec<PollFd<'_>> = all.collect();
    loop {
        match poll(&mut all, None) {
            // Some systems can't watch terminals, and report that here.
            Ok(_) => {
                let gone = PollFlags::HUP | PollFlags::ERR;
                return all.iter().any(|it| it.revents().intersects(gone));
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_gone_with_its_reader_whatever_stands_beside_it() {
        let (reader, writer) = io::pipe().unwrap();
        let file = tempfile::tempfile().unwrap();
        let watching = std::thread::spawn(move || is_gone(&[file.as_fd(), writer.as_fd()]));
        drop(reader);
        assert!(watching.join().unwrap());
    }
}
