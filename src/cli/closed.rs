//! Standard output or standard error whose reader went away: who follows a run for hours should not, for nobody.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::oneshot;

use super::error::CliError;

/// Waits until nobody reads standard output or standard error any longer, which a write would tell only with the
/// next line. The error is that of such a write. It never comes of a file.
pub(crate) async fn reader_gone() -> CliError {
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
    CliError::Output(io::ErrorKind::BrokenPipe.into())
}

/// Blocks until one of these streams has no reader any longer; false if that can't be told.
fn is_gone(streams: &[BorrowedFd<'_>]) -> bool {
    // What is asked for is nothing: an error or an end is told always.
    let all = streams.iter().map(|it| PollFd::from_borrowed_fd(*it, PollFlags::empty()));
    let mut all: Vec<PollFd<'_>> = all.collect();
    loop {
        match poll(&mut all, None) {
            Ok(_) => return true,
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
