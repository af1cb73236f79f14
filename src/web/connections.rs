//! One connection, which is cut when its client neither speaks nor reads. It sees each byte that passes, so it can
//! tell slow headers from a client that has not begun a request.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::standing::{Phase, Standing};

/// How slow a client may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// From the first byte of a request until all of its headers have arrived. They fit into a few packets.
    pub(crate) head: Duration,
    /// How long a connection is kept at least while it waits for a request, even if another one wants its place: a
    /// request that was sent has arrived by then.
    pub(crate) grace: Duration,
    /// How long to wait for the next request. Longer than the 60 s for which proxies keep a connection, so that
    /// the proxy is the one that closes it.
    pub(crate) idle: Duration,
    /// The longest time without a byte in either direction while a request is answered. Longer than any answer
    /// takes to begin.
    pub(crate) silent: Duration,
    /// How long an answer may fall behind [`RATE`] while its client does not read.
    pub(crate) stalled: Duration,
}

impl Times {
    /// The times of a server whose answers begin within `silent`.
    pub(crate) const fn silent_for(silent: Duration) -> Self {
        Self {
            head: Duration::from_secs(10),
            grace: Duration::from_secs(1),
            idle: Duration::from_secs(75),
            silent,
            stalled: Duration::from_secs(30),
        }
    }
}

/// The fewest bytes per second that a client must read on average while an answer waits for it. The slowest lines
/// carry several times that, and at this rate the largest page takes a few minutes.
const RATE: u32 = 16 * 1024;

/// A stream that ends with an error when its client is too slow.
pub(super) struct Connection<S> {
    stream: S,
    standing: Arc<Standing>,
    times: Times,
    /// When the last byte passed, in either direction.
    passed: Instant,
    reads: Timer,
    writes: Timer,
    writing: Option<Writing>,
}

/// An answer that waits for its client to read.
struct Writing {
    since: Instant,
    bytes: usize,
}

impl<S> Connection<S> {
    pub(super) fn new(stream: S, standing: Arc<Standing>, times: Times) -> Self {
        let (reads, writes) = (Timer::default(), Timer::default());
        Self { stream, standing, times, passed: Instant::now(), reads, writes, writing: None }
    }

    /// Ready once the client has been silent for too long.
    fn too_quiet(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Times { head, idle, silent, .. } = self.times;
        let (phase, since) = self.standing.phase();
        let (due, what) = match phase {
            Phase::Waiting => (since + idle, "no request began"),
            Phase::Head => (since + head, "the headers of a request were not there"),
            Phase::Answering | Phase::Answered | Phase::Dismissed => {
                (self.passed + silent, "no byte passed")
            }
        };
        self.reads.poll(due, cx).map(|()| late(what, due - since))
    }

    fn too_slow(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Writing { since, bytes } =
            *self.writing.get_or_insert_with(|| Writing { since: Instant::now(), bytes: 0 });
        let earned = Duration::from_secs_f64(bytes as f64 / f64::from(RATE));
        let due = since + self.times.stalled + earned;
        self.writes.poll(due, cx).map(|()| late("the answer was not read", due - since))
    }

    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Ok(bytes)) => {
                self.passed = Instant::now();
                if let Some(writing) = &mut self.writing {
                    writing.bytes = writing.bytes.saturating_add(bytes);
                    // Bytes that trickle through a few at a time must not do so for ever.
                    if let Poll::Ready(error) = self.too_slow(cx) {
                        return Poll::Ready(Err(error));
                    }
                }
                result
            }
            Poll::Ready(Err(_)) => result,
            Poll::Pending => self.too_slow(cx).map(Err),
        }
    }
}

fn late(what: &str, after: Duration) -> io::Error {
    let message = format!("{what} within {:.1} s", after.as_secs_f64());
    io::Error::new(io::ErrorKind::TimedOut, message)
}

/// Says when a moment has come, where that moment moves more often than anyone asks about it.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    fn poll(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(result) => {
                self.passed = Instant::now();
                self.standing.heard();
                Poll::Ready(result)
            }
            Poll::Pending => self.too_quiet(cx).map(Err),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(cx, result)
    }

    /// Called once everything that was to be written has been handed to the system.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        if result.is_pending() {
            // What TLS has encrypted waits here, and not in a write.
            return self.too_slow(cx).map(Err);
        }
        if matches!(result, Poll::Ready(Ok(()))) {
            self.writing = None;
            // Nobody may poll for the next request again before a byte arrives, so set the timer for it now.
            if self.standing.flushed() && self.too_quiet(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_shutdown(cx) {
            // The last word of TLS is not waited for any longer than an answer.
            Poll::Pending => self.too_slow(cx).map(Err),
            Poll::Ready(ended) => Poll::Ready(ended),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.wrote(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    /// A connection whose client may be slow only for a moment, with that client's end of it.
    async fn impatient(times: Times) -> (Connection<TcpStream>, Arc<Standing>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let standing = Arc::new(Standing::new(Arc::default()));
        (Connection::new(stream, Arc::clone(&standing), times), standing, client)
    }

    fn never() -> Times {
        Times::silent_for(Duration::from_secs(3_600))
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_or_half_of_it_is_left() {
        for (says, says_so) in [("", "no request began"), ("GET", "the headers of a request")] {
            let times = Times { head: SHORT, idle: SHORT, ..never() };
            let (mut connection, _, mut client) = impatient(times).await;
            client.write_all(says.as_bytes()).await.unwrap();
            let mut heard = Vec::new();
            let error = connection.read_to_end(&mut heard).await.unwrap_err();
            assert_eq!((error.kind(), &*heard), (io::ErrorKind::TimedOut, says.as_bytes()));
            assert!(error.to_string().starts_with(says_so), "{error}");
        }
    }

    #[tokio::test]
    async fn a_client_that_sends_nothing_of_a_body_is_left() {
        let times = Times { silent: SHORT, ..never() };
        let (mut connection, standing, _client) = impatient(times).await;
        standing.begins();
        let error = connection.read_u8().await.unwrap_err();
        assert!(error.to_string().starts_with("no byte passed"), "{error}");
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_left() {
        let (mut connection, _, _client) = impatient(Times { stalled: SHORT, ..never() }).await;
        let much = vec![0; 1024 * 1024];
        let error = loop {
            if let Err(error) = connection.write_all(&much).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().starts_with("the answer was not read"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_that_passes_gives_all_the_time_again_and_a_moment_may_come_nearer() {
        let mut timer = Timer::default();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let minute = Duration::from_secs(60);
        for _ in 0..3 {
            assert!(timer.poll(Instant::now() + minute, &mut cx).is_pending());
            tokio::time::advance(Duration::from_secs(59)).await;
        }
        let due = Instant::now() + Duration::from_secs(1);
        assert!(timer.poll(due, &mut cx).is_pending());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(timer.poll(due, &mut cx).is_ready());
    }
}
