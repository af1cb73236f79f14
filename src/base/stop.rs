//! How a serving program is asked to stop: by SIGINT or SIGTERM, or, where a parent process wants that, by the end
//! of its standard input.

use std::io;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Listens for every way in which a program is asked to stop.
pub struct StopAsked {
    interrupt: Signal,
    terminate: Signal,
    stdin_closed: Option<oneshot::Receiver<()>>,
}

impl StopAsked {
    /// Listens from now on. The end of standard input counts only if `until_stdin_closes`.
    ///
    /// # Errors
    /// When signals or standard input can't be listened to.
    pub fn listen(until_stdin_closes: bool) -> anyhow::Result<Self> {
        let stdin_closed = until_stdin_closes.then(stdin_closed).transpose();
        let stdin_closed = stdin_closed.context("failed to watch standard input")?;
        // A write past the file size limit must fail like a write to a full disk, and not kill the program. The
        // handler stays in place even when nobody listens.
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
                // An error means that the thread is gone, and it only ends at the end of standard input.
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

/// Reads standard input to its end on a thread of its own, and then says so. Tokio's standard input would keep the
/// runtime from ending while a read waits.
///
/// # Errors
/// When the thread can't be started.
pub fn stdin_closed() -> io::Result<oneshot::Receiver<()>> {
    let (closed, receiver) = oneshot::channel();
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        // A failed read counts as the end too.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = closed.send(());
    })?;
    Ok(receiver)
}
