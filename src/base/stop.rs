//! How a program that serves is asked to stop.

use std::io;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// The ways in which a program is asked to stop.
pub struct StopAsked {
    interrupt: Signal,
    terminate: Signal,
    stdin_closed: Option<oneshot::Receiver<()>>,
}

impl StopAsked {
    /// Listens from now on; to the end of standard input only if that is wanted.
    ///
    /// # Errors
    /// When signals or standard input can't be listened to.
    pub fn listen(until_stdin_closes: bool) -> anyhow::Result<Self> {
        let stdin_closed = until_stdin_closes.then(stdin_closed).transpose();
        let stdin_closed = stdin_closed.context("failed to watch standard input")?;
        // A file that may not grow is an error of the write that meets it, as a full disk is, and not
        // the end of the program. The handler stays when nobody listens.
        let too_large = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
        drop(signal(too_large).context("failed to listen for SIGXFSZ")?);
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?,
            stdin_closed,
        })
    }

    /// Returns once the program is asked to stop.
    pub async fn wait(&mut self) {
        let closed = async {
            match &mut self.stdin_closed {
                // An error means that the thread is gone, which it is only after the end.
                Some(closed) => drop(closed.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = closed => {}
        }
    }
}

/// Reads standard input to its end, and says so, on a thread of its own: tokio's would keep the runtime from
/// ending while a read waits.
///
/// # Errors
/// When there can be no such thread.
pub fn stdin_closed() -> io::Result<oneshot::Receiver<()>> {
    let (closed, receiver) = oneshot::channel();
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        // A failed read ends it as well as the end.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = closed.send(());
    })?;
    Ok(receiver)
}
