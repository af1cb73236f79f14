//! Standard output or standard error whose reader went away: who follows a run for hours should not do so for nobody.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::oneshot;

use super::error::CliError;

/// Goes on with what is followed until nobody reads standard output or standard error any longer; none then, as how
/// it ends was not told to anybody.
pub(crate) async fn while_read<T>(
    followed: impl Future<Output = Result<T, CliError>>,
) -> Result<Option<T>, CliError> {
    let done = tokio::select! {
        done = followed => done,
        () = reader_gone() => return Ok(None),
    };
    match done {
        // The next line was faster.
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(None),
        done => done.map(Some),
    }
}

/// Waits until nobody reads them, which a write would tell only with the next line. It never comes of a file.
async fn reader_gone() {
    let (told, gone) = oneshot::channel();
    let watching = std::thread::Builder::new().name("readers".to_owned()).spawn(move || {
        let (out, err) = (io::stdout(), io::stderr());
        if is_gone(&[out.as_fd(), err.as_fd()]) {
            // Whoever asked may have gone on meanwhile.
            let _ = told.send(());
        }
    });
    // Where this can't be watched, the next line that is written tells.
    if watching.is_err() || gone.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Blocks until one of these streams has no reader any longer; false if that can't be told.
fn is_gone(streams: &[BorrowedFd<'_>]) -> bool {
    // What is asked for is nothing: an error or an end is told always.
    let all = streams.iter().map(|it| PollFd::from_borrowed_fd(*it, PollFlags::empty()));
    let mut all: Vec<PollFd<'_>> = all.collect();
    loop {
        match poll(&mut all, None) {
            // Some systems can't watch terminals, and say so here.
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
